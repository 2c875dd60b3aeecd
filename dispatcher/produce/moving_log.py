"""A shard's log each of whose calls counts as a move of the thread that makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing
from dispatcher.core.shard_figures import Epoch
from dispatcher.ports import Chunk, Committed, LedgerRecord, LogEnds, ShardLog
from dispatcher.service import Motion


class MovingLog:
    """Hands every call on. One alone ends within the log's patience, but many make up a step of a shard."""

    def __init__(self, log: ShardLog, motion: Motion) -> None:
        self._log = log
        self._motion = motion

    def fence(self) -> None:
        """Make every older producer of this shard powerless."""
        self._motion.moved()
        self._log.fence()

    def commit(self, outgoing: Sequence[Outgoing], *, isolate: bool = False) -> Committed:
        """Write all records in one transaction."""
        self._motion.moved()
        return self._log.commit(outgoing, isolate=isolate)

    def stage(self, outgoing: Sequence[Outgoing], at: Instant, over: float = 0.0) -> None:
        """Write all records in a transaction that stays open."""
        self._motion.moved()
        self._log.stage(outgoing, at, over)

    def seal(self) -> Committed:
        """Commit what was staged."""
        self._motion.moved()
        return self._log.seal()

    def ends(self) -> LogEnds:
        """Return the ends of the ledger partition as they are now."""
        self._motion.moved()
        return self._log.ends()

    def read(self, start: int, until: int) -> Iterator[LedgerRecord]:
        """Yield the committed records from `start` up to the end `until`."""
        for record in self._log.read(start, until):
            self._motion.moved()
            yield record

    def chunks(self, start: int, until: int) -> Iterator[Chunk]:
        """Yield what `read` does, many records at once."""
        self._motion.moved()
        for chunk in self._log.chunks(start, until):
            yield chunk
            self._motion.moved()

    def epoch(self) -> Epoch | None:
        """Return the epoch that `fence` brought, None while it is not told."""
        self._motion.moved()
        return self._log.epoch()

    def close(self) -> None:
        """Let go of the producer and reader."""
        self._motion.moved()
        self._log.close()
