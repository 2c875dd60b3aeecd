"""The checker's own reading of instants and of lengths of time."""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000
_UNITS = {"w": 604_800_000, "d": _DAY_MS, "h": 3_600_000, "m": 60_000, "s": 1000}
_AMOUNT = re.compile(r"(\d+)\s*([wdhms])[a-z]*")


@lru_cache(maxsize=65_536)
def instant_of(text: str) -> int:
    """Return an ISO-8601 instant in milliseconds; digits beyond them are cut off. Raises ValueError."""
    if len(text) in {20, 24} and text[-1] == "Z" and text[10] == "T":
        millis = int(text[20:23]) if len(text) == 24 else 0
        clock = int(text[11:13]) * 3_600_000 + int(text[14:16]) * 60_000 + int(text[17:19]) * 1000
        return _day_of(text[:10]) + clock + millis
    moment = datetime.fromisoformat(text.upper())
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError(f"{text!r} has no offset")
    clock = moment.hour * 3600 + moment.minute * 60 + moment.second
    east = offset.days * 86_400 + offset.seconds
    days = moment.toordinal() - _EPOCH_DAY
    return (days * 86_400 + clock - east) * 1000 + moment.microsecond // 1000


@lru_cache(maxsize=4096)
def _day_of(text: str) -> int:
    return (date(int(text[:4]), int(text[5:7]), int(text[8:10])).toordinal() - _EPOCH_DAY) * _DAY_MS


def period_of(text: str) -> int:
    """Return the length of an `every` in milliseconds: amounts of units, in words or as ISO 8601."""
    words = text.strip().lower()
    if words.startswith("p"):
        words = words.replace("p", "").replace("t", "")
    return sum(int(amount) * _UNITS[unit] for amount, unit in _AMOUNT.findall(words))
