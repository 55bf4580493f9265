"""Write docs/logs.md from the catalogue: `make docs`.

Why: a list kept by hand is wrong after a month; what operators read is made from what the code obeys.
"""

from __future__ import annotations

from sfsync.log import EVENTS

HEADING = """\
# Log events

sfsync writes one event per line to standard error: JSON, or coloured text on a terminal. The list is closed: a
name, its level and its keys change only with a note in the changelog, so searches and alerts may rely on them.
`info` is a change of state, `warning` something that was coped with, `error` something that somebody must look
at. Every line also has `event`, `level` and `timestamp` (UTC), and `org`, `entity`, `channel`, `sweep_id`,
`session`, `attempt` or `task` where they are known. Names end in their unit: `_s` seconds, `_ms` milliseconds.

No event carries a field value, a token or a password. Whatever is passed under a key that is not listed here
appears as `[redacted]`. Warnings of other libraries appear as `log.foreign` with the name of their `logger`, without
their text.

This file is made by `make docs` from `src/sfsync/log.py`.
"""


TABLE_HEAD = "| event | level | keys | meaning |\n|---|---|---|---|\n"


def render() -> str:
    """Return the whole document."""
    groups: dict[str, list[str]] = {}
    for name in EVENTS:
        groups.setdefault(name.partition(".")[0], []).append(_row(name))
    tables = [f"\n## {group}\n\n{TABLE_HEAD}{''.join(rows)}" for group, rows in groups.items()]
    return HEADING + "".join(tables)


def _row(name: str) -> str:
    spec = EVENTS[name]
    keys = ", ".join(f"`{key}`" for key in sorted(spec.keys))
    return f"| `{name}` | {spec.level} | {keys} | {spec.meaning} |\n"


if __name__ == "__main__":
    print(render(), end="")
