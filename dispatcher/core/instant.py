"""Instants: milliseconds since 1970-01-01T00:00:00Z as an int, and their one text form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

Instant = int
"""Milliseconds since the epoch, UTC. Leap seconds do not exist, as in POSIX time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def from_datetime(moment: datetime) -> Instant:
    """Return the instant of an aware datetime, rounded down to the millisecond."""
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(instant: Instant) -> datetime:
    """Return the instant as an aware UTC datetime."""
    return _EPOCH + timedelta(milliseconds=instant)


@lru_cache(maxsize=4096)
def to_text(instant: Instant) -> str:
    """Return e.g. `2026-11-20T02:00:00Z`; milliseconds appear only when they are not zero."""
    moment = to_datetime(instant)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") if moment.year > 999 else moment.replace(tzinfo=None).isoformat()[:19]
    return f"{text}.{instant % 1000:03d}Z" if instant % 1000 else f"{text}Z"


def from_text(text: str) -> Instant:
    """Read an ISO-8601 instant with an offset or `Z`. Raises ValueError when it has none or is not one."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; add Z or e.g. +01:00")
    return from_datetime(moment)
