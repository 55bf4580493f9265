"""Record ids: key prefix, counter in base 62, and the three checksum characters that make 18 of 15.

Source: the Object Reference's "ID Field Type"; the checksum marks which of the fifteen characters are capitals.
"""

from functools import lru_cache
from itertools import count
from random import Random

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

KEY_PREFIXES = {
    "Account": "001",
    "Contact": "003",
    "Lead": "00Q",
    "User": "005",
    "Group": "00G",
    "Organization": "00D",
    "Opportunity": "006",
    "Query": "01g",
    "Job": "750",
    "Batch": "751",
    "PermissionSet": "0PS",
    "PermissionSetAssignment": "0Pa",
    "ObjectPermissions": "110",
}


@lru_cache(maxsize=65_536)
def _check(chunk: str) -> str:
    return _CHECKSUM[sum(1 << place for place, char in enumerate(chunk) if "A" <= char <= "Z")]


def to_18(id_15: str) -> str:
    """Append the checksum to a 15-character id."""
    return id_15 + _check(id_15[:5]) + _check(id_15[5:10]) + _check(id_15[10:])


def normalize(text: str) -> str | None:
    """Return the 18-character form of a 15- or 18-character id, or None if *text* is no id.

    The checksum of an 18-character id repairs its letter case, as Salesforce does it.
    """
    if len(text) not in (15, 18) or not text.isascii() or not text.isalnum():
        return None
    if len(text) == 15:
        return to_18(text)
    checksum = text[15:].upper()
    if any(char not in _CHECKSUM for char in checksum):
        return None
    bits = [_CHECKSUM.index(char) >> place & 1 for char in checksum for place in range(5)]
    return "".join(c.upper() if bit else c.lower() for c, bit in zip(text[:15], bits, strict=True)) + checksum


class IdSource:
    """Hands out ids in ascending order, per key prefix, from a start that depends on the seed."""

    def __init__(self, seed: int = 1, pod: str = "5i") -> None:
        self._pod = pod
        start = Random(seed).randrange(62**4, 62**5)
        self._counters = {prefix: count(start) for prefix in KEY_PREFIXES.values()}

    def next(self, entity: str) -> str:
        """Return a new 18-character id for *entity*."""
        prefix = KEY_PREFIXES[entity]
        number = next(self._counters[prefix])
        digits = ""
        for _ in range(10):
            number, rest = divmod(number, 62)
            digits = ALPHABET[rest] + digits
        return to_18(prefix + self._pod + digits)
