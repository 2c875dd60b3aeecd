"""A shard's clocks: watched for jumps, and held until somebody accepts one that jumped too far."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from dispatcher.clock import Reading
from dispatcher.core.instant import Instant
from dispatcher.core.jump import apart_from_broker, jump_between
from dispatcher.core.shard import Shard


class Clocks:
    """Compares each reading with the one before, and the first with the broker's clock.

    `limit_ms` is how far clocks may jump or differ.
    """

    def __init__(self, say: FilteringBoundLogger) -> None:
        self._say = say
        self._before: Reading | None = None

    def begin(self, reading: Reading) -> None:
        """Begin to watch, from a reading on."""
        self._before = reading

    def compare(self, shard: Shard, now: Instant, appended: Instant, limit_ms: int) -> bool:
        """Compare with the broker's time of a record just written; return whether the shard is held."""
        why = apart_from_broker(now, appended, limit_ms)
        if why is not None:
            self._hold(shard, why)
        return why is not None

    def watch(self, shard: Shard, reading: Reading, limit_ms: int) -> None:
        """Compare with the reading before."""
        before, self._before = self._before, reading
        if before is not None and shard.clock_hold is None:
            why = jump_between((before.now, before.monotonic), (reading.now, reading.monotonic), limit_ms)
            if why is not None:
                self._hold(shard, why)

    def _hold(self, shard: Shard, why: str) -> None:
        shard.clock_hold = why
        self._say.error(
            "clock.held", why=why, mend="set the clock if it is wrong, then run `dispatcher accept-clock`"
        )
