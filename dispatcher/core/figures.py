"""The figures of a worker, as values: what leaves the pool for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dispatcher.core.job import Lane


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
    redelivered: int = 0
    overlaps: int = 0
    failed_commits: int = 0
    replicas: int = 1
    """How many workers like this one would be right for what comes and what waits, all lanes together."""
