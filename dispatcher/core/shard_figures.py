"""The figures of a shard at work, as values: what leaves its thread for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dispatcher.core.spread import Spread

LATENESS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
TRANSACTION_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.21, 0.5, 1.0, 2.5, 5.0)
"""0.21 s is where a commit becomes suspect."""


class Epoch(NamedTuple):
    """The epoch of a shard's producer, as the transaction coordinator gave it out; older ones are powerless.

    Epochs are counted for each producer id: the coordinator gives out another id when they are used up.
    """

    producer: int
    number: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What a shard did since the process began, however often it came and went.

    `lateness` and `transactions` are spreads of seconds by kind. `skips` counts by reason.
    """

    fires: int = 0
    skips: Mapping[str, int] = field(default_factory=dict)
    lateness: Mapping[str, Spread] = field(default_factory=dict)
    transactions: Mapping[str, Spread] = field(default_factory=dict)
    bursts: Mapping[str, int] = field(default_factory=dict)
    job_fires: Mapping[str, int] = field(default_factory=dict)
    reloads: int = 0
    fenced: int = 0
    suspects: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ShardNow:
    """What is in force in a shard, and what holds it up; `held` is why a change of the schedule waits.

    `jobs` counts by state: enabled, disabled, paused. `epoch` is None until the client library has told it.
    """

    revision: str = ""
    change: int = 0
    clock_hold: str | None = None
    held: str | None = None
    jobs: Mapping[str, int] = field(default_factory=dict)
    epoch: Epoch | None = None


@dataclass(frozen=True, slots=True)
class HostFigures:
    """All shards of a process: those at work now, and what was counted of any that ever was.

    `refused_since` is when the schedule file became unusable, 0 while it is well, and `refused` how often one
    was found so.
    """

    now: Mapping[int, ShardNow] = field(default_factory=dict)
    counts: Mapping[int, Counts] = field(default_factory=dict)
    taken: int = 0
    given_up: int = 0
    refused: int = 0
    refused_since: int = 0
