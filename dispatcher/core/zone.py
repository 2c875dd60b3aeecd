"""Time zones from the packaged IANA data, as tables of the changes of their clocks.

The `tzdata` package is the only source: the host's own database may be older or newer, and two replicas
that disagree about a zone would disagree about fires. All times here are whole seconds, instants since the
epoch in UTC, offsets and walls east of it; a wall is what a clock shows, counted as if it were UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo

from dispatcher.core.instant import Instant
from dispatcher.errors import InvalidCron

_SPAN = 1 << 29  # seconds of one table, about 17 years
_STRIDE = 3 * 86_400  # below the least distance of two changes of one zone since 1970, 7 days less an hour
_MARGIN = 3 * 86_400  # above the longest repeated part, 24 hours
_FIRST, _LAST = -62_135_400_000, 253_402_128_000  # where offsets can still be asked for, years 1 to 9999


@dataclass(frozen=True, slots=True)
class Change:
    """At the instant `at` the offset goes from `before` to `after`.

    Tables end with changes that change nothing (`before == after`); they need no special care.
    """

    at: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Local:
    """An instant as the clocks of a zone show it.

    `wall` carries its offset. `showing` tells whether these clocks show that wall once or twice. `jump` is
    the change by which clocks went forward at this very instant, if they did.
    """

    wall: datetime
    showing: Literal["only", "first", "second"]
    jump: Change | None


class Zone:
    """One time zone. Tables are built when first needed and kept; any thread may ask."""

    __slots__ = ("_info", "_tables", "key")

    def __init__(self, key: str, info: tzinfo) -> None:
        self.key = key
        self._info = info
        self._tables: dict[int, tuple[list[int], list[Change]]] = {}

    def around(self, at: int) -> tuple[Change, Change]:
        """Return the last change at or before an instant, whose `after` holds then, and the next one."""
        index = at // _SPAN
        table = self._tables.get(index)
        if table is None:
            table = self._tables[index] = self._table(index)
        instants, changes = table
        place = bisect_right(instants, at)
        return changes[place - 1], changes[place]

    def local(self, instant: Instant) -> Local:
        """Return what the zone's clocks show at an instant in milliseconds."""
        at = instant // 1000
        last, following = self.around(at)
        wall = datetime.fromtimestamp(at, UTC).astimezone(timezone(timedelta(seconds=last.after)))
        jump = last if last.at == at and last.after > last.before else None
        if at < last.at + last.before - last.after:
            return Local(wall, "second", None)
        if at >= following.at + following.after - following.before:
            return Local(wall, "first", jump)
        return Local(wall, "only", jump)

    def _table(self, index: int) -> tuple[list[int], list[Change]]:
        begin, end = index * _SPAN - _MARGIN, (index + 1) * _SPAN
        offset = self._offset(begin)
        changes = [Change(begin, offset, offset)]
        for start in range(begin, end, _STRIDE):
            stop = min(start + _STRIDE, end)
            later = self._offset(stop)
            if later != offset:
                changes.append(Change(self._bisect(start, stop, offset), offset, later))
                offset = later
        if changes[-1].at != end:
            changes.append(Change(end, offset, offset))
        return [change.at for change in changes], changes

    def _bisect(self, start: int, stop: int, offset: int) -> int:
        """Return the first instant in (start, stop] that no longer has the offset `start` has."""
        while stop - start > 1:
            middle = (start + stop) // 2
            if self._offset(middle) == offset:
                start = middle
            else:
                stop = middle
        return stop

    def _offset(self, at: int) -> int:
        moment = datetime.fromtimestamp(min(max(at, _FIRST), _LAST), UTC).astimezone(self._info)
        offset = moment.utcoffset()
        return 0 if offset is None else offset // timedelta(seconds=1)


@cache
def zone_keys() -> frozenset[str]:
    """Return the names of all zones and links in the packaged data."""
    return frozenset(files("tzdata").joinpath("zones").read_text("ascii").split()) | {"UTC"}


def load_zone(key: str) -> Zone:
    """Return the zone of an IANA name; the same object for the same name.

    Raises InvalidCron, with near names as advice, when there is none. Only names of the packaged list are
    ever looked up, so no name can lead out of it.
    """
    if not isinstance(key, str) or key not in zone_keys():
        raise InvalidCron(
            f"{str(key)[:60]!r} is not a time zone",
            field="timezone",
            value=str(key)[:60],
            advice=_advice(str(key)),
        )
    return _load(key)


@cache
def tzdata_version() -> str:
    """Return the release of the packaged zone data, e.g. `2026.6`; with it results may change."""
    return version("tzdata")


@cache
def _load(key: str) -> Zone:
    if key == "UTC":
        return Zone(key, UTC)
    with files("tzdata").joinpath("zoneinfo", *key.split("/")).open("rb") as data:
        return Zone(key, ZoneInfo.from_file(data, key=key))


def _advice(key: str) -> str:
    wanted = key.strip().casefold().replace(" ", "_")
    spelled = {name.casefold(): name for name in sorted(zone_keys())}
    cities = {name.rpartition("/")[2]: name for name in reversed(spelled)}
    near = [spelled[name] for name in get_close_matches(wanted, spelled, n=3, cutoff=0.75)]
    near = near or [spelled[cities[name]] for name in get_close_matches(wanted, cities, n=2, cutoff=0.85)]
    return (
        f"did you mean {' or '.join(near)}?" if near else "write an IANA name such as Europe/Berlin, or UTC"
    )
