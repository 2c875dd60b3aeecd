"""Lengths of time as people write them in `every`: "30s", "2 minutes", "1h 30m", "PT1H30M"."""

from __future__ import annotations

import re

LONGEST_MS = 366 * 86_400_000

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_WORDS = re.compile(
    r"(?:(?P<d>\d+)\s*(?:d|days?)\s*)?(?:(?P<h>\d+)\s*(?:h|hrs?|hours?)\s*)?"
    r"(?:(?P<m>\d+)\s*(?:m|mins?|minutes?)\s*)?(?:(?P<s>\d+)\s*(?:s|secs?|seconds?))?",
    re.ASCII,
)
_ISO = re.compile(
    r"p(?:(?P<w>\d+)w|(?:(?P<d>\d+)d)?(?:t(?=\d)(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?)?)", re.ASCII
)
_CALENDAR = re.compile(r"p(?:\d+y)?(?:\d+m)?.*|.*\d\s*(?:mo|months?|y|years?)\b.*", re.ASCII)


def parse_every(text: str) -> int:
    """Return a period in milliseconds.

    Takes whole numbers of d, h, m, s or their words, largest first, and ISO-8601 durations of weeks, or of
    days, hours, minutes and seconds. Raises ValueError, in prose, for anything else, for less than one
    second and for more than 366 days.
    """
    wanted = text.strip().lower() if len(text) <= 64 else ""
    form = (_ISO if wanted.startswith("p") else _WORDS).fullmatch(wanted)
    amounts = {unit: int(amount) for unit, amount in form.groupdict().items() if amount} if form else {}
    if not amounts:
        raise ValueError(_complaint(text, wanted))
    period = 1000 * sum(amount * _SECONDS[unit] for unit, amount in amounts.items())
    if period < 1000:
        raise ValueError(f"{text!r} is no time at all; the shortest period is 1s")
    if period > LONGEST_MS:
        raise ValueError(f"{text!r} is longer than 366 days; use `at` or a cronTime for so rare a job")
    return period


def _complaint(text: str, wanted: str) -> str:
    if wanted and _CALENDAR.fullmatch(wanted) and re.search(r"\d\s*[my]", wanted.partition("t")[0]):
        return f"{text!r} counts months or years, which vary in length; use days or a cronTime like 0 0 1 * *"
    if re.search(r"\d\s*ms\b|\d[.,]\d", wanted):
        return f"{text!r} is not a whole number of seconds; write e.g. 30s or 1m 30s"
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return f"{shown!r} is not a period; write e.g. 30s, 5 minutes, 1h 30m, 1d or PT1H30M"
