"""Tell the plan of a changed mapping: to people as lines, to programs as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ..core.ids import Entity
from ..core.mapping_plan import ColumnChange
from ..store.preview import Preview
from .findings import printable
from .mapping_preview import DESCRIBES, Cost, Plan

_SHOWN_CHARS = 60


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as one JSON document."""
    return {
        "org": plan.org,
        "first": plan.first,
        "columns": [
            {
                "table": change.table,
                "column": change.name,
                "change": change.kind,
                "type": change.column.pg_type if change.column else None,
                "sources": _sources(change.column.sources) if change.column else {},
                "sources_before": _sources(change.before),
                "waits_for": change.waits_for or None,
                "rows": [
                    asdict(found) | {"sampled": found.sampled.value if found.sampled else None}
                    for found in plan.previews.get((change.table, change.name), ())
                ],
            }
            for change in plan.changes
        ],
        "readings": [
            {
                "entity": cost.reading.entity.value,
                "fields": list(cost.reading.gained),
                "fields_dropped": list(cost.reading.dropped),
                "records": cost.records,
                "api_calls": cost.api_calls,
                "duration_s": cost.duration_s,
            }
            for cost in plan.costs
        ],
        "api_calls": sum(cost.api_calls for cost in plan.costs) + DESCRIBES,
        "api_calls_made": plan.api_calls_made,
        "settings": list(plan.settings),
        "warnings": list(plan.warnings),
    }


def plan_lines(plan: Plan) -> Iterator[str]:
    """Tell the plan to people."""
    yield f"org {plan.org}" + (
        ": nothing was bound yet, a first start makes all columns" if plan.first else ""
    )
    if not plan.changes_anything:
        yield "nothing would change"
    yield from plan.settings
    yield from _columns(plan)
    yield from _readings(plan)
    for warning in plan.warnings:
        yield f"warning: {printable(warning)}"


def _columns(plan: Plan) -> Iterator[str]:
    if plan.changes:
        yield "\ncolumns"
    for change in plan.changes:
        yield f"  {_MARKS[change.kind]} {change.table}.{change.name}{_change(change)}"
        for found in plan.previews.get((change.table, change.name), ()):
            yield from _rows(found)


def _readings(plan: Plan) -> Iterator[str]:
    if plan.costs:
        yield "\nrecords to read again, by themselves, while events go on"
    for cost in plan.costs:
        yield f"  {cost.reading.entity.value:<8} {_cost(cost)}"
    if plan.costs:
        calls = sum(cost.api_calls for cost in plan.costs)
        yield f"\nAPI calls: about {calls + DESCRIBES:,}; this plan made {plan.api_calls_made}"


_MARKS = {
    "added": "+",
    "fed again": "+",
    "fed otherwise": "~",
    "resumed": "~",
    "suspended": "!",
    "no longer fed": "-",
}


def _change(change: ColumnChange) -> str:
    before = _feeds(change.before)
    if change.column is None:
        return f" is no longer fed (was {before}): it stays with its last values and is the application's"
    remarks = {
        "added": "",
        "suspended": f": suspended, {change.waits_for} is gone, hidden or of another type; it keeps its last values",
        "fed again": ": taken back, what is in it now is overwritten",
        "fed otherwise": f" (was {before})",
        "resumed": ": its field is back",
    }
    return f" {change.column.pg_type} from {_feeds(change.column.sources)}{remarks[change.kind]}"


def _rows(found: Preview) -> Iterator[str]:
    if found.sampled is None:
        yield f"      {found.changing:,} of {found.looked_at:,} rows would change"
    else:
        yield f"      of {found.looked_at:,} {found.sampled.value} records read now, {found.changing:,} would change"
    for example in found.examples:
        yield f"        {example.subject_id}: {_value(example.before)} → {_value(example.after)}"


def _cost(cost: Cost) -> str:
    reading = cost.reading
    reasons = []
    if reading.gained:
        reasons.append(f"for {', '.join(reading.gained)}")
    if reading.dropped:
        reasons.append(f"to drop {', '.join(reading.dropped)} from the mirror")
    duration = (
        "" if cost.duration_s is None else f", about {cost.duration_s:,.0f} s at the pace of the last sweep"
    )
    return f"{cost.records:,} records, {cost.api_calls:,} calls{duration}: {' and '.join(reasons) or 'not read whole yet'}"


def _sources(sources: Mapping[Entity, str]) -> dict[str, str]:
    return {entity.value: name for entity, name in sources.items()}


def _feeds(sources: Mapping[Entity, str]) -> str:
    return ", ".join(f"{entity.value}.{name}" for entity, name in sources.items())


def _value(text: str | None) -> str:
    if text is None:
        return "null"
    cut = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return f'"{printable(cut)}"'
