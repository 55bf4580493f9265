"""Write docs/types.md from the table of types: `make docs`.

Why: which Postgres type a field gets is a promise to applications; what they read is made from what the code obeys.
"""

from __future__ import annotations

from sfsync.core.values import TYPES, UNMAPPED

HEADING = """\
# Types

Which Postgres type a mapped column has follows from the type that Salesforce describes for its field, and from nothing
else: no type is guessed from values. Every value has one spelling, whichever way it came: as JSON (REST and CometD), as
a cell of a Bulk API 2.0 result, or as Avro (Pub/Sub API).

- Empty text is null: Salesforce itself does not tell the two apart. So is an empty cell.
- Texts are kept to the byte: `01234`, `NA`, half-width kana, `\\r\\n`. Only what no database can hold is replaced by U+FFFD and
  counted (`sfsync_cleaned_values`): NUL and lone surrogates.
- Ids of 15 characters become the 18 characters that mean the same.
- An `int` that describe gives more than 9 digits is stored as `bigint`, and is called `long` below.
- Numbers are `numeric`, exactly as Salesforce spells them, without trailing zeros; a number of more than 340 digits is refused.
- Instants are UTC to the millisecond, days have no zone; both lie between the years 0001 and 9999.
- What cannot be read as its field's type is not stored: the record becomes a dead letter, with the field's name and without the
  value, and is read again with growing waits. All others go on.

A `calculated` field has the type of its result.

This file is made by `make docs` from `src/sfsync/core/values.py`.

| describe type | Postgres type | JSON: REST, CometD | Bulk 2.0 cell | Avro |
|---|---|---|---|---|
"""


def render() -> str:
    """Return the whole document."""
    rows = "".join(
        f"| `{name}` | `{kind.pg_type}` | {' | '.join(_shown(example) for example in kind.examples)} |\n"
        for name, kind in TYPES.items()
    )
    unmapped = "".join(f"| `{name}` | {reason} |\n" for name, reason in UNMAPPED.items())
    return f"{HEADING}{rows}\nNot mapped:\n\n| describe type | why |\n|---|---|\n{unmapped}"


def _shown(example: str) -> str:
    """Set the values of an example as code, and leave its remarks as they are."""
    return ", ".join(_one(part) for part in example.split(", "))


def _one(example: str) -> str:
    value, bracket, remark = example.partition(" (")
    return f"`{value}`{bracket}{remark}"


if __name__ == "__main__":
    print(render(), end="")
