"""The one place where time comes from. Loops read it once per step and hand the reading on."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol


class Reading(NamedTuple):
    """One look at the clocks: `now` is wall time, `monotonic` never goes back; both in milliseconds."""

    now: int
    monotonic: int


class Clock(Protocol):
    """Tells wall and monotonic time together."""

    def read(self) -> Reading:
        """Return both clocks, read as close together as can be."""
        ...


class SystemClock:
    """The machine's clocks."""

    def read(self) -> Reading:
        """Return wall and monotonic time in whole milliseconds."""
        return Reading(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)
