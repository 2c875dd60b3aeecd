"""The checker's own walk along the wall clocks of a zone, with its own rule for their changes.

All times are whole seconds: instants since the epoch, walls as what a clock shows counted as if it were UTC.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from dispatcher.observe.expression import Expression

_DAY = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_CHUNK = 400 * _DAY
_LOOK_BACK = 3 * _DAY
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Instants in [begin, end) with one offset; `before` is that of the stretch before it."""

    begin: int
    end: int
    offset: int
    before: int


def fires(expression: Expression, zone: str, gap: str, overlap: str, first: int, last: int) -> array[int]:
    """Return the fires from an instant to an instant, both included, in milliseconds.

    `gap` is what a fixed expression does when clocks jump over its walls (`run` once right after the jump, or
    `skip`), `overlap` what it does when its walls are shown again (`once`, or `twice`).
    """
    runs = expression.fixed and gap == "run"
    once = expression.fixed and overlap == "once"
    found: array[int] = array("q")
    for stretch in stretches(zone, first, last):
        offset, begin = stretch.offset, stretch.begin
        if runs and first <= begin and _jumped(expression, stretch):
            found.append(begin * 1000)
            begin += 1
        shown_from = begin + offset
        if once and offset < stretch.before:
            shown_from = begin + stretch.before
        low = max(shown_from, first + offset)
        high = min(stretch.end, last + 1) + offset
        for at in walls(expression, low, high):
            found.extend([(wall - offset) * 1000 for wall in at])
    return found


def _jumped(expression: Expression, stretch: Stretch) -> bool:
    """Return whether clocks jumped over a matching wall where a stretch begins."""
    missing = walls(expression, stretch.begin + stretch.before, stretch.begin + stretch.offset)
    return next(missing, None) is not None


def walls(expression: Expression, low: int, high: int) -> Iterator[list[int]]:
    """Yield the matching walls in [low, high), day by day; no day yields none."""
    if low >= high:
        return
    seconds = expression.seconds
    for day in _days(expression, low // _DAY, (high - 1) // _DAY):
        base = day * _DAY
        begin = bisect_left(seconds, low - base) if base < low else 0
        end = bisect_left(seconds, high - base) if base + _DAY > high else len(seconds)
        if begin < end:
            yield [base + second for second in seconds[begin:end]]


def _days(expression: Expression, first: int, last: int) -> Iterator[int]:
    day = date.fromordinal(first + _EPOCH_DAY)
    year, month = day.year, day.month
    while True:
        base = date(year, month, 1).toordinal() - _EPOCH_DAY - 1
        if base >= last:
            return
        yield from (base + each for each in expression.days(year, month) if first <= base + each <= last)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def stretches(zone: str, first: int, last: int) -> Iterator[Stretch]:
    """Yield the stretches that cover [first, last]; the earliest begins where its offset does, or before."""
    begin = first - _LOOK_BACK
    offset = before = _offset(zone, begin)
    for at, after in _changes(zone, begin, last):
        if at > first:
            yield Stretch(begin, at, offset, before)
        begin, before, offset = at, offset, after
    yield Stretch(begin, last + 1, offset, before)


def _changes(zone: str, after: int, until: int) -> Iterator[tuple[int, int]]:
    """Yield (instant, new offset) of every change of a zone's clocks in (after, until]."""
    if zone == "UTC":
        return
    for chunk in range(after // _CHUNK, until // _CHUNK + 1):
        yield from (change for change in _changes_of(zone, chunk) if after < change[0] <= until)


@lru_cache(maxsize=8192)
def _changes_of(zone: str, chunk: int) -> list[tuple[int, int]]:
    begin = chunk * _CHUNK
    found = []
    offset = _offset(zone, begin - 1)
    for day in range(begin - 1, begin + _CHUNK - 1, _DAY):
        later = _offset(zone, day + _DAY)
        if later != offset:
            found.append((_first_with(zone, later, day, day + _DAY), later))
            offset = later
    return found


def _first_with(zone: str, offset: int, low: int, high: int) -> int:
    """Return the first instant in (low, high] that has the offset that `high` has."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == offset:
            high = middle
        else:
            low = middle
    return high


def _offset(zone: str, at: int) -> int:
    offset = datetime.fromtimestamp(at, _zone(zone)).utcoffset()
    return 0 if offset is None else offset // _SECOND


@cache
def _zone(key: str) -> tzinfo:
    if key == "UTC":
        return UTC
    with files("tzdata").joinpath("zoneinfo", *key.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=key)
