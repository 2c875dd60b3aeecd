"""A dispatcher as it is now, as one value: what its metrics and its status are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dispatcher.core.health import Health
from dispatcher.core.instant import Instant
from dispatcher.core.shard_figures import HostFigures
from dispatcher.observe.absence import Seen
from dispatcher.observe.tracing import NO_TRACES, TraceCounts

WELL = Health()


@dataclass(frozen=True, slots=True)
class DaemonFigures:
    """`seen` are the shards of the installation by what is read of them, `lags` the records not read yet.

    `problems` says why the schedule file cannot be used, line by line.
    """

    now: Instant
    shards: int = 0
    host: HostFigures = field(default_factory=HostFigures)
    seen: Mapping[int, Seen] = field(default_factory=dict)
    lags: Mapping[int, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    health: Health = WELL
    readiness: Health = WELL
    traces: TraceCounts = NO_TRACES
