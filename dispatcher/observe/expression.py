"""The checker's own reading of cron expressions: what a wall clock and a calendar must show.

It trusts that an expression is valid, and shares nothing with the reader of the planner.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from itertools import product

_MACROS = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A field: its name, its first and last value, and the last one that `H` gives."""

    name: str
    first: int
    last: int
    hashed: int


_SECOND = _Kind("second", 0, 59, 59)
_MINUTE = _Kind("minute", 0, 59, 59)
_HOUR = _Kind("hour", 0, 23, 23)
_DAY = _Kind("day-of-month", 1, 31, 28)
_MONTH = _Kind("month", 1, 12, 12)
_WEEKDAY = _Kind("day-of-week", 0, 6, 6)


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression matches: seconds of the day, months, and days by either rule (None: any).

    A `fixed` one begins none of its time fields with `*`: the rule for clock changes holds for it.
    """

    seconds: tuple[int, ...]
    months: frozenset[int]
    month_days: tuple[str, ...] | None
    week_days: tuple[str, ...] | None
    fixed: bool
    name: str

    def days(self, year: int, month: int) -> list[int]:
        """Return the days of a month that match, in order."""
        if month not in self.months:
            return []
        length = monthrange(year, month)[1]
        if self.month_days is None and self.week_days is None:
            return list(range(1, length + 1))
        found: set[int] = set()
        for term in self.month_days or ():
            found |= _month_days(term, year, month, self.name)
        for term in self.week_days or ():
            found |= _week_days(term, year, month, self.name)
        return sorted(day for day in found if day <= length)


@lru_cache(maxsize=4096)
def read_expression(text: str, name: str = "") -> Expression:
    """Read a valid expression; `name` is the job's, by which `H` is chosen."""
    text = text.strip().upper()
    parts = _MACROS.get(text, text).split()
    second = parts[0] if len(parts) == 6 else "0"
    minute, hour, day, month, weekday = parts[-5:]
    clock = (
        _values(hour, _HOUR, name),
        _values(minute, _MINUTE, name),
        _values(second, _SECOND, name),
    )
    return Expression(
        seconds=tuple(h * 3600 + m * 60 + s for h, m, s in product(*map(sorted, clock))),
        months=frozenset(_values(month, _MONTH, name)),
        month_days=None if day in {"*", "?"} else tuple(day.split(",")),
        week_days=None if weekday in {"*", "?"} else tuple(weekday.split(",")),
        fixed=not any(part.startswith("*") for part in parts[:-3]),
        name=name,
    )


def _values(text: str, kind: _Kind, name: str) -> set[int]:
    return {value for term in text.split(",") for value in _term(term, kind, name)}


def _term(term: str, kind: _Kind, name: str) -> range | list[int]:
    body, stroke, step_text = term.partition("/")
    step = int(step_text) if stroke else 1
    if body == "*":
        return range(kind.first, kind.last + 1, step)
    if body == "H" or body.startswith("H("):
        return _hashed(body, step if stroke else None, kind, name)
    low_text, dash, high_text = body.partition("-")
    low = _number(low_text, kind)
    if dash:
        return [_turned(value, kind) for value in range(low, _number(high_text, kind) + 1, step)]
    return range(low, kind.last + 1, step) if stroke else [_turned(low, kind)]


def _number(text: str, kind: _Kind) -> int:
    names = {"month": _MONTHS, "day-of-week": _WEEKDAYS}.get(kind.name, [])
    return names.index(text) + kind.first if text in names else int(text)


def _turned(value: int, kind: _Kind) -> int:
    return 0 if kind is _WEEKDAY and value == 7 else value


def _hashed(body: str, step: int | None, kind: _Kind, name: str) -> range | list[int]:
    first, last = kind.first, kind.hashed
    if body != "H":
        low, high = body[2:-1].split("-")
        first, last = _number(low, kind), min(_number(high, kind), kind.last)
    chosen = int.from_bytes(blake2b(f"{kind.name}:{name}".encode(), digest_size=8).digest(), "big")
    size = last - first + 1
    if step is None:
        return [first + chosen % size]
    return range(first + chosen % min(step, size), last + 1, step)


def _month_days(term: str, year: int, month: int, name: str) -> set[int]:
    length = monthrange(year, month)[1]
    if term == "L":
        return {length}
    if not term.endswith("W"):
        return set(_term(term, _DAY, name))
    day = min(int(term[:-1]), length)
    weekday = date(year, month, day).isoweekday()
    if weekday == 6:
        return {day - 1 if day > 1 else day + 2}
    if weekday == 7:
        return {day + 1 if day < length else day - 2}
    return {day}


def _week_days(term: str, year: int, month: int, name: str) -> set[int]:
    length = monthrange(year, month)[1]
    begins_on = date(year, month, 1).isoweekday() % 7
    which, mark, nth = term.partition("#")
    if mark:
        first = 1 + (_number(which, _WEEKDAY) - begins_on) % 7
        return {first + 7 * (int(nth) - 1)}
    if term[0] == "L":
        first = 1 + (_number(term[1:], _WEEKDAY) - begins_on) % 7
        return {max(range(first, length + 1, 7))}
    wanted = set(_term(term, _WEEKDAY, name))
    return {day for day in range(1, length + 1) if (begins_on + day - 1) % 7 in wanted}
