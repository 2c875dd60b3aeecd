"""A slow, plain second opinion on cron: look at every clock reading one after the other.

It shares nothing with the package: it matches each value of a field by reading the field's text again, takes
what clocks show, and whether they show it again, from `zoneinfo`, and applies the rule reading by reading.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from hashlib import blake2b
from importlib.resources import files
from itertools import product
from operator import contains
from random import Random
from zoneinfo import ZoneInfo

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
RANGES = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@cache
def zone(key: str) -> ZoneInfo:
    """The zone from the packaged data, whatever the host has."""
    with files("tzdata").joinpath("zoneinfo").joinpath(*key.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=key)


def seeded(seed: int) -> Random:
    """The same random cases in every run."""
    return Random(seed)


def shown(key: str, at: int) -> datetime:
    return datetime.fromtimestamp(at, zone(key))


def offset(key: str, at: int) -> int:
    moment = shown(key, at).utcoffset()
    assert moment is not None
    return int(moment.total_seconds())


def changes(key: str, first_year: int, last_year: int) -> list[int]:
    """All instants at which the zone's offset changes, found hour by hour and then second by second."""
    begin = int(datetime(first_year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(last_year + 1, 1, 1, tzinfo=UTC).timestamp())
    found = []
    before = offset(key, begin)
    for hour in range(begin + 3600, end, 3600):
        after = offset(key, hour)
        if after != before:
            found.append(next(at for at in range(hour - 3599, hour + 1) if offset(key, at) == after))
        before = after
    return found


def _number(text: str, names: list[str], low: int) -> int:
    return names.index(text) + low if text in names else int(text)


def _term_matches(term: str, value: int, place: int) -> bool:
    low, high = RANGES[place]
    names = {4: MONTHS, 5: WEEKDAYS}.get(place, [])
    body, _, step = term.partition("/")
    if body == "*":
        start, stop = low, high
    elif "-" in body:
        start, stop = (_number(end, names, low) for end in body.split("-"))
    else:
        start = _number(body, names, low)
        stop = high if step else start
    candidates = [value, 7] if place == 5 and value == 0 else [value]
    return any(start <= it <= stop and (it - start) % int(step or 1) == 0 for it in candidates)


def _nearest_working_day(year: int, month: int, day: int) -> int:
    days = calendar.monthrange(year, month)[1]
    day = min(day, days)
    working = [it for it in range(1, days + 1) if calendar.weekday(year, month, it) < 5]
    return min(working, key=lambda it: abs(it - day))


def _day_of_month_matches(text: str, day: date) -> bool:
    for term in text.split(","):
        if term == "L":
            if (day + timedelta(days=1)).day == 1:
                return True
        elif term.endswith("W"):
            if day.day == _nearest_working_day(day.year, day.month, int(term[:-1])):
                return True
        elif _term_matches(term, day.day, 3):
            return True
    return False


def _day_of_week_matches(text: str, day: date) -> bool:
    weekday = day.isoweekday() % 7
    for term in text.split(","):
        if "#" in term:
            name, nth = term.split("#")
            if _number(name, WEEKDAYS, 0) % 7 == weekday and (day.day + 6) // 7 == int(nth):
                return True
        elif re.fullmatch("L([0-7]|[A-Z]{3})", term):
            is_last = (day + timedelta(days=7)).month != day.month
            if _number(term[1:], WEEKDAYS, 0) % 7 == weekday and is_last:
                return True
        elif _term_matches(term, weekday, 5):
            return True
    return False


@dataclass(frozen=True)
class Expression:
    """An expression taken apart: six texts, seconds first."""

    fields: tuple[str, ...]
    steps: int

    @property
    def elapsed(self) -> bool:
        return any(text.startswith("*") for text in self.fields[:3])

    def day_matches(self, day: date) -> bool:
        return _day_matches(self.fields, day)

    def matches(self, wall: datetime) -> bool:
        clock = (wall.second, wall.minute, wall.hour)
        return all(map(contains, map(_values, self.fields[:3], range(3)), clock)) and self.day_matches(
            wall.date()
        )


@lru_cache(maxsize=4096)
def _values(text: str, place: int) -> frozenset[int]:
    low, high = RANGES[place]
    return frozenset(
        value
        for value in range(low, high + 1)
        if any(_term_matches(term, value, place) for term in text.split(","))
    )


@lru_cache(maxsize=65536)
def _day_matches(fields: tuple[str, ...], day: date) -> bool:
    days, _, weekdays = fields[3:]
    if day.month not in _values(fields[4], 4):
        return False
    by_day = days not in {"*", "?"}
    by_weekday = weekdays not in {"*", "?"}
    if by_day and by_weekday:
        return _day_of_month_matches(days, day) or _day_of_week_matches(weekdays, day)
    if by_day:
        return _day_of_month_matches(days, day)
    return not by_weekday or _day_of_week_matches(weekdays, day)


def take_apart(text: str) -> Expression:
    fields = MACROS.get(text.lower(), text.upper()).split()
    return Expression(tuple(fields if len(fields) == 6 else ["0", *fields]), 1 if len(fields) == 6 else 60)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a clock shows at an instant: the time of day and the date, and whether it shows them again.

    `passed_over` are the walls that it would have shown since the reading before, had it gone on evenly.
    """

    at: int
    clock: tuple[int, int, int]
    day: date
    again: bool
    passed_over: tuple[datetime, ...]


@lru_cache(maxsize=128)
def _readings(key: str, begin: int, end: int, step: int) -> list[Reading]:
    readings = []
    step_on = timedelta(seconds=step)
    expected = shown(key, begin - step).replace(tzinfo=None) + step_on
    for at in range(begin, end, step):
        moment = shown(key, at)
        wall = moment.replace(tzinfo=None, fold=0)
        passed_over = []
        while expected < wall:
            passed_over.append(expected)
            expected += step_on
        clock = (wall.second, wall.minute, wall.hour)
        readings.append(Reading(at, clock, wall.date(), moment.fold == 1, tuple(passed_over)))
        expected = wall + step_on
    return readings


def fires(text: str, key: str, begin: int, end: int, *, gap: str = "run", overlap: str = "once") -> list[int]:
    """All fires in [begin, end), in seconds; `begin` must be a whole minute, offsets too for five fields."""
    expression = take_apart(text)
    clocks = set(product(*map(_values, expression.fields[:3], range(3))))
    silent_again = not expression.elapsed and overlap == "once"
    runs_after_gap = not expression.elapsed and gap == "run"
    found = []
    for it in _readings(key, begin, end, expression.steps):
        fire = it.clock in clocks and not (silent_again and it.again) and expression.day_matches(it.day)
        if not fire and runs_after_gap and it.passed_over:
            fire = any(map(expression.matches, it.passed_over))
        if fire:
            found.append(it.at)
    return found


def next_of(found: list[int], after: int) -> int | None:
    place = bisect_right(found, after)
    return found[place] if place < len(found) else None


def days(text: str, first: date, last: date) -> list[date]:
    """All days from the first to the last on which an expression may fire."""
    expression = take_apart(text)
    span = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [day for day in span if expression.day_matches(day)]


def hashed(name: str, field: str, low: int, size: int) -> int:
    """What `H` is in a field of a job, as documented."""
    return low + int.from_bytes(blake2b(f"{field}:{name}".encode(), digest_size=8).digest(), "big") % size
