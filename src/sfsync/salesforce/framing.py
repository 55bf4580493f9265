"""Cut a JSON array into its elements while it arrives, holding one element at most.

Why: a reply of the stream is one JSON array, and after a long stop it may be far larger than the memory we
allow ourselves. Elements are found by their outer shape only (strings, brackets, commas); whether one is
valid JSON is decided when it is decoded. An element beyond the limit is dropped while it passes, but for its
head, so that one monstrous event cannot stop the stream. Rejected: ijson, which decodes everything in Python
to find the same commas.

The regular expressions are possessive: they run in linear time and never backtrack.
Source: RFC 8259. Outside of strings, and by byte value inside of UTF-8, the delimiters are unambiguous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD_BYTES = 64 * 1024

_BLANK = re.compile(rb"[ \t\r\n]*+")
_DELIMITER = re.compile(rb'["\[\]{},]')
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class FramingError(ValueError):
    """The bytes are no JSON array, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Oversize:
    """An element that was larger than allowed: its first bytes and its size."""

    head: bytes
    size: int


Element = bytes | Oversize


class ArrayFramer:
    """Feed it the bytes of one JSON array, in pieces of any size; it gives back whole elements in order."""

    def __init__(self, *, element_bytes_max: int) -> None:
        self._element_bytes_max = element_bytes_max
        self._element = bytearray()
        self._size = 0
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False
        self._is_started = False
        self._is_ended = False
        self._needs_element = False

    def feed(self, piece: bytes) -> list[Element]:
        """Return the elements that *piece* completes. Raises `FramingError`."""
        elements: list[Element] = []
        place = 0
        while place < len(piece):
            if not self._is_started:
                place = self._start(piece, place)
            elif self._is_ended:
                place = self._expect_blank(piece, place)
            elif self._is_in_string:
                place = self._pass_string(piece, place)
            else:
                place = self._pass_structure(piece, place, elements)
        return elements

    def finish(self) -> None:
        """Say that the bytes are over. Raises `FramingError` when the array is not."""
        if not self._is_ended:
            raise FramingError("the array is cut")

    def _start(self, piece: bytes, place: int) -> int:
        place = _blank_end(piece, place)
        if place < len(piece):
            if piece[place] != 0x5B:
                raise FramingError("not an array")
            self._is_started = True
            place += 1
        return place

    def _expect_blank(self, piece: bytes, place: int) -> int:
        end = _blank_end(piece, place)
        if end < len(piece):
            raise FramingError("bytes after the array")
        return end

    def _pass_string(self, piece: bytes, place: int) -> int:
        start = place
        if self._is_escaped:
            self._is_escaped = False
            place += 1
        found = _STRING_REST.match(piece, place)
        place = found.end() if found else place
        if place < len(piece):
            # What stops the expression is the closing quote, or a backslash that is the piece's last byte.
            self._is_in_string = self._is_escaped = piece[place] == 0x5C
            place += 1
        self._keep(piece, start, place)
        return place

    def _pass_structure(self, piece: bytes, place: int, elements: list[Element]) -> int:
        found = _DELIMITER.search(piece, place)
        if found is None:
            self._keep(piece, place, len(piece))
            return len(piece)
        end = found.end()
        match found.group():
            case b'"':
                self._is_in_string = True
            case b"[" | b"{":
                self._depth += 1
            case b"," | b"]" if self._depth == 0:
                self._keep(piece, place, end - 1)
                self._complete(elements, is_last=found.group() == b"]")
                return end
            case b"," if self._depth:
                pass
            case _:
                self._depth -= 1
                if self._depth < 0:
                    raise FramingError("a bracket closes what was not opened")
        self._keep(piece, place, end)
        return end

    def _keep(self, piece: bytes, start: int, end: int) -> None:
        self._size += end - start
        limit = self._element_bytes_max if self._size <= self._element_bytes_max else HEAD_BYTES
        if len(self._element) > limit:
            del self._element[limit:]
        room = limit - len(self._element)
        self._element += piece[start : min(end, start + room)]

    def _complete(self, elements: list[Element], *, is_last: bool) -> None:
        whole = bytes(self._element).strip(b" \t\r\n")
        if self._size > self._element_bytes_max:
            elements.append(Oversize(bytes(self._element[:HEAD_BYTES]), self._size))
        elif whole:
            elements.append(whole)
        elif not is_last or self._needs_element:
            raise FramingError("an element is missing")
        self._needs_element = not is_last
        self._is_ended = is_last
        self._element.clear()
        self._size = 0


def _blank_end(piece: bytes, place: int) -> int:
    found = _BLANK.match(piece, place)
    return found.end() if found else place
