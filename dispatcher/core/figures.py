"""The figures of a worker, as values: what leaves the pool for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dispatcher.core.job import Lane
from dispatcher.core.spread import Spread

RUN_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """One lane now: runs that wait here, seats that run, messages not yet delivered, seats wanted."""

    waiting: int = 0
    busy: int = 0
    behind: int = 0
    wanted: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """A worker as it is now, for whoever shows it."""

    seats: int = 0
    most_seats: int = 0
    lanes: Mapping[Lane, LaneFigures] = field(default_factory=dict)
    runs: Mapping[tuple[str, Lane], int] = field(default_factory=dict)
    handler_seconds: Mapping[str, float] = field(default_factory=dict)
    handler_runs: Mapping[str, int] = field(default_factory=dict)
    run_times: Mapping[str, Spread] = field(default_factory=dict)
    """How the seconds of attempts are spread, by handler."""
    first_attempts: int = 0
    later_attempts: int = 0
    redelivered: int = 0
    overlaps: int = 0
    unfenced: int = 0
    failed_commits: int = 0
    replicas: int = 1
    """How many workers like this one would be right for what comes and what waits, all lanes together."""
