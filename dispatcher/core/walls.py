"""The engine: croniter on the naive wall clock, where it is right.

It is handed only plain lists of values, one day field at a time (see `dispatcher.core.dialect`), and never
an aware datetime: its own clock-change rules are not ours. Walls are whole seconds, counted as if in UTC.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.metadata import version
from threading import Lock

from croniter import croniter  # type: ignore[import-untyped]  # it ships none


class Walls:
    """The walls that match one plain expression, in order. Safe to share between threads."""

    __slots__ = ("_engine", "_lock")

    def __init__(self, text: str) -> None:
        self._engine = croniter(text, 0.0, second_at_beginning=text.count(" ") == 5)
        self._lock = Lock()  # a croniter keeps its place

    def after(self, wall: int) -> int | None:
        """Return the first matching wall later than `wall`, or None when there is none within 50 years."""
        try:
            with self._lock:
                return int(self._engine.get_next(float, start_time=float(wall)))
        except (ValueError, OverflowError):  # croniter's word for "none", and the calendar's end in year 9999
            return None


@lru_cache(maxsize=8192)
def walls_of(text: str) -> Walls:
    """Return the walls of a plain expression; equal texts share one engine while it is in use."""
    return Walls(text)


@cache
def engine_version() -> str:
    """Return the version of the cron engine; with it results may change."""
    return version("croniter")
