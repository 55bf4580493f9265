"""HTTP for operators: is it alive, is it ready, and the figures.

Why: it listens on loopback unless it is told otherwise and given a token; what a page shows is decided by
`sync/health.py` and `sync/metrics.py`, so that nothing here can disturb the work.
"""
