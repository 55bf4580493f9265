"""The pure room: no I/O, no clock, no environment; values in, values out."""
