"""Relative dates of SOQL (`TODAY`, `LAST_N_DAYS:7`) as spans of days, in the user's time zone.

Source: SOQL and SOSL Reference, "Date Formats and Date Literals in WHERE". Weeks begin on Sunday, as in Japan and
the United States. Fiscal periods are not offered.
"""

from collections.abc import Callable
from datetime import date, timedelta

Span = tuple[date, date]


def span_of(word: str, count: int | None, today: date) -> Span | None:
    """Return the days from (inclusive) and to (exclusive) that a literal stands for; None if there is no such word."""
    if count is None:
        fixed = _FIXED.get(word)
        return fixed(today) if fixed else None
    counted = _COUNTED.get(word)
    return counted(today, count) if counted else None


def _days(today: date, first: int, last: int) -> Span:
    return today + timedelta(days=first), today + timedelta(days=last + 1)


def _weeks(today: date, first: int, last: int) -> Span:
    sunday = today - timedelta(days=(today.weekday() + 1) % 7)
    return sunday + timedelta(weeks=first), sunday + timedelta(weeks=last + 1)


def _month(today: date, offset: int) -> date:
    year, month = divmod(today.year * 12 + today.month - 1 + offset, 12)
    return date(year, month + 1, 1)


def _months(today: date, first: int, last: int) -> Span:
    return _month(today, first), _month(today, last + 1)


def _quarters(today: date, first: int, last: int) -> Span:
    start = (today.month - 1) % 3
    return _month(today, 3 * first - start), _month(today, 3 * (last + 1) - start)


def _years(today: date, first: int, last: int) -> Span:
    return date(today.year + first, 1, 1), date(today.year + last + 1, 1, 1)


_UNITS: dict[str, Callable[[date, int, int], Span]] = {
    "WEEK": _weeks,
    "MONTH": _months,
    "QUARTER": _quarters,
    "YEAR": _years,
}
_FIXED: dict[str, Callable[[date], Span]] = {
    "TODAY": lambda today: _days(today, 0, 0),
    "YESTERDAY": lambda today: _days(today, -1, -1),
    "TOMORROW": lambda today: _days(today, 1, 1),
    "LAST_90_DAYS": lambda today: _days(today, -90, 0),
    "NEXT_90_DAYS": lambda today: _days(today, 1, 90),
}
_COUNTED: dict[str, Callable[[date, int], Span]] = {
    "LAST_N_DAYS": lambda today, count: _days(today, -count, 0),
    "NEXT_N_DAYS": lambda today, count: _days(today, 1, count),
    "N_DAYS_AGO": lambda today, count: _days(today, -count, -count),
}


def _register(unit: str, span: Callable[[date, int, int], Span]) -> None:
    for name, offset in (("LAST", -1), ("THIS", 0), ("NEXT", 1)):
        _FIXED[f"{name}_{unit}"] = lambda today, offset=offset: span(today, offset, offset)  # type: ignore[misc]
    _COUNTED[f"LAST_N_{unit}S"] = lambda today, count: span(today, -count, -1)
    _COUNTED[f"NEXT_N_{unit}S"] = lambda today, count: span(today, 1, count)
    _COUNTED[f"N_{unit}S_AGO"] = lambda today, count: span(today, -count, -count)


for _unit, _span in _UNITS.items():
    _register(_unit, _span)
