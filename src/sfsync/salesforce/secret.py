"""A text that must never be shown: a key, a password, a token.

Why: secrets leak through what nobody wrote on purpose: a repr in a traceback, a dataclass printed by
`check`, a pickle in a crash dump. A wrapper whose every spelling is `***` makes those safe; the one way out,
`reveal`, can be searched for.
"""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Hold a secret text; show `***` whatever one does, short of calling `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the wire and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied: pass the object itself")
