"""A burst that is written and waits, in an open transaction, for its instant."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.clock import Reading
from dispatcher.core.batch import Batch, Limits
from dispatcher.core.burst import strayed
from dispatcher.core.instant import Instant
from dispatcher.core.shard import Shard

_SLACK_MS = 1_000


@dataclass(frozen=True, slots=True)
class Staged:
    """What was written ahead, for which instant, and since when it waits, in monotonic milliseconds."""

    batch: Batch
    at: Instant
    since: int

    def spoiled(self, shard: Shard, reading: Reading, limits: Limits) -> str | None:
        """Return why it must not be committed, now or later, or None.

        It waits for a bounded time whatever the wall clock does: brokers end transactions that wait too long.
        """
        if shard.clock_hold is not None:
            return shard.clock_hold
        if reading.now < self.at and reading.monotonic - self.since > limits.stage_ahead_ms + _SLACK_MS:
            return "it has waited for longer than stagings may: the clock is slow, or was set back"
        if shard.disturbs(self.at, reading.now):
            return "a change of the schedule has to come before it"
        return strayed(self.at, reading.now, limits)
