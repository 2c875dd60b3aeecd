"""Instants: milliseconds since 1970-01-01T00:00:00Z as an int, and their one text form."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

Instant = int
"""Milliseconds since the epoch, UTC. Leap seconds do not exist, as in POSIX time."""

LAST: Instant = 253_402_300_799_999
"""The last millisecond of the year 9999, where the calendar of the standard library ends."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TEXT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)


def from_datetime(moment: datetime) -> Instant:
    """Return the instant of an aware datetime, rounded down to the millisecond.

    Raises ValueError when the datetime is naive: it names no instant.
    """
    if moment.utcoffset() is None:
        raise ValueError(f"{moment} has no time zone; give an aware datetime, e.g. in datetime.UTC")
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(instant: Instant) -> datetime:
    """Return the instant as an aware UTC datetime."""
    return _EPOCH + timedelta(milliseconds=instant)


@lru_cache(maxsize=4096)
def to_text(instant: Instant) -> str:
    """Return e.g. `2026-11-20T02:00:00Z`; milliseconds appear only when they are not zero."""
    day, within = divmod(instant, 86_400_000)
    seconds, millisecond = divmod(within, 1000)
    minutes, second = divmod(seconds, 60)
    text = f"{_date(day)}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
    return f"{text}.{millisecond:03d}Z" if millisecond else f"{text}Z"


def from_text(text: str) -> Instant:
    """Read an ISO-8601 date and time with an offset or `Z`, of the years 1970 to 9999.

    Digits beyond the millisecond are cut off. Raises ValueError, in prose, for anything else.
    """
    form = _TEXT.fullmatch(text)
    if form is None:
        raise ValueError(f"{_short(text)} is not an instant; write e.g. 2026-11-20T02:00:00Z, or with +01:00")
    if form.group(1) is None:
        raise ValueError(f"{text!r} has no offset; add Z or e.g. +01:00")
    try:
        instant = from_datetime(datetime.fromisoformat(text.upper()))
    except ValueError as error:
        raise ValueError(f"{text!r} is not an instant: {error}") from error
    if not 0 <= instant <= LAST:
        raise ValueError(f"{text!r} is not within the years 1970 to 9999 of UTC")
    return instant


@lru_cache(maxsize=64)
def _date(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()[:10]


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
