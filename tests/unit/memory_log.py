"""A shard's log in memory with the semantics of the real one: epochs, fencing, transactions that fail.

What the broker holds outlives every log; a log is one process's producer and reader. Faults are queued
for the calls to come, so that a test can fail any of them at any point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from dispatcher.clock import Reading
from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.shard_figures import Epoch
from dispatcher.errors import (
    DispatcherError,
    Fenced,
    KafkaUnreachable,
    TransactionFailed,
    Unsendable,
)
from dispatcher.ports import Chunk, Committed, LedgerRecord, LogEnds, TopicFacts


class Commit(Enum):
    """What becomes of a commit."""

    CLEAN = "committed"
    SUSPECT = "committed, but slowly"
    UNHEARD = "committed, and reported as failed"
    LOST = "not committed, and reported as failed"


class HandClock:
    """Both clocks, moved by hand."""

    def __init__(self, now: Instant) -> None:
        self.now = now
        self.monotonic = 1_000_000

    def read(self) -> Reading:
        return Reading(self.now, self.monotonic)

    def pass_(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now += milliseconds
        self.monotonic += milliseconds

    def jump(self, milliseconds: int) -> None:
        """Set the wall clock."""
        self.now += milliseconds


class MemoryBroker:
    """One shard's ledger partition and everything else that was committed."""

    def __init__(self, topics: TopicNames, clock: HandClock) -> None:
        self.topics = topics
        self.clock = clock
        self.epoch = 0
        self.ledger: list[LedgerRecord | None] = []
        """By offset; None stands for a commit marker."""
        self.low = 0
        self.committed: list[Outgoing] = []
        """What readers of committed records see outside the ledger, in order."""
        self.transactions: list[list[Outgoing]] = []
        self.ahead_ms = 0
        """How far the broker's clock is ahead of the machine's."""
        self.commits: deque[Commit] = deque()
        self.fencing: deque[DispatcherError | None] = deque()
        self.staging: deque[DispatcherError | None] = deque()
        self.asking: deque[DispatcherError | None] = deque()
        self.reading: deque[DispatcherError | None] = deque()
        self.refuses: Callable[[Outgoing], bool] = lambda _: False
        self.tells_index = False
        """Whether a refused message is named without `isolate`."""
        self.stalls: Callable[[Outgoing], bool] = lambda _: False
        """Messages whose transactions time out."""
        self.tries: list[tuple[int, bool]] = []
        """(records, isolate) of every transaction that was tried."""
        self.stagings: list[tuple[Instant, Instant]] = []
        """(instant, clock) of every transaction that was staged for an instant."""
        self.landings: list[tuple[Instant, Instant]] = []
        """(instant, clock) of every one of these that was committed."""

    def ids(self, kind: bytes = b"dispatcher.fire") -> list[str]:
        """Return the ids of the committed messages of a type, in order."""
        heads = [dict(headers or ()) for *_, headers in self.committed]
        return [head["ce_id"].decode() for head in heads if head["ce_type"] == kind]

    def write(self, outgoing: Sequence[Outgoing]) -> Committed:
        """Take a transaction in as committed."""
        appended = self.clock.now + self.ahead_ms
        for topic, value, key, _, _ in outgoing:
            if topic == self.topics.ledger:
                self.ledger.append(LedgerRecord(key or b"", value, len(self.ledger), appended))
        self.committed += [one for one in outgoing if one[0] != self.topics.ledger]
        self.transactions.append(list(outgoing))
        last = len(self.ledger) - 1
        self.ledger.append(None)
        return Committed(last, appended, None)


def _next_error(errors: deque[DispatcherError | None]) -> None:
    if errors and (error := errors.popleft()) is not None:
        raise error


class MemoryLog:
    """One producer and reader on a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._epoch: int | None = None
        self._open: Sequence[Outgoing] | None = None
        self._at: Instant | None = None

    def fence(self) -> None:
        self.close()
        _next_error(self._broker.fencing)
        self._broker.epoch += 1
        self._epoch = self._broker.epoch

    def commit(self, outgoing: Sequence[Outgoing], *, isolate: bool = False) -> Committed:
        self._hand_over(outgoing, isolate=isolate)
        return self.seal()

    def stage(self, outgoing: Sequence[Outgoing], at: Instant, _over: float = 0.0) -> None:
        self._hand_over(outgoing, isolate=False)
        if self._broker.staging and (error := self._broker.staging.popleft()) is not None:
            self.close()
            raise error
        self._broker.stagings.append((at, self._broker.clock.now))
        self._at = at

    def seal(self) -> Committed:
        broker = self._broker
        outgoing, epoch, at = self._open, self._epoch, self._at
        self.close()
        assert at is None or broker.clock.now >= at, "what is staged must not be committed before its instant"
        if epoch is None or outgoing is None:
            raise TransactionFailed("there is no producer; fence before the next commit")
        if epoch != broker.epoch:
            raise Fenced("another producer holds the shard")
        if any(map(broker.stalls, outgoing)):
            raise TransactionFailed("timed out; only the ledger knows the outcome")
        what = broker.commits.popleft() if broker.commits else Commit.CLEAN
        if what is Commit.LOST:
            raise TransactionFailed("no answer; only the ledger knows the outcome")
        committed = broker.write(outgoing)
        if at is not None:
            broker.landings.append((at, broker.clock.now))
        if what is Commit.UNHEARD:
            raise TransactionFailed("no answer; only the ledger knows the outcome")
        if what is Commit.SUSPECT:
            return Committed(committed.offset, committed.appended, "the commit took 900 ms")
        self._epoch = epoch
        return committed

    def _hand_over(self, outgoing: Sequence[Outgoing], *, isolate: bool) -> None:
        """Begin a transaction and write its records: nobody sees them yet."""
        broker = self._broker
        assert outgoing[-1][0] == broker.topics.ledger, "the last record must be the ledger's"
        assert self._open is None, "a transaction is open"
        broker.tries.append((len(outgoing), isolate))
        epoch = self._epoch
        self.close()
        if epoch is None:
            raise TransactionFailed("there is no producer; fence before the next commit")
        if epoch != broker.epoch:
            raise Fenced("another producer holds the shard")
        for index, one in enumerate(outgoing):
            if broker.refuses(one):
                raise Unsendable("too large", index if isolate or broker.tells_index else None)
        self._epoch, self._open = epoch, outgoing

    def ends(self) -> LogEnds:
        _next_error(self._broker.asking)
        return LogEnds(self._broker.low, len(self._broker.ledger))

    def read(self, start: int, until: int) -> Iterator[LedgerRecord]:
        assert self._broker.low <= start <= until <= len(self._broker.ledger)
        for one in self._broker.ledger[start:until]:
            _next_error(self._broker.reading)
            if one is not None:
                yield one

    def chunks(self, start: int, until: int) -> Iterator[Chunk]:
        for record in self.read(start, until):
            yield [(record.key, record.value)], record.offset + 1

    def epoch(self) -> Epoch | None:
        return None if self._epoch is None else Epoch(7, self._epoch)

    def close(self) -> None:
        """Let go of the producer; an open transaction is aborted."""
        self._epoch = self._open = self._at = None


class MemoryDirectory:
    """Topics by name; those of the installation have 12 partitions unless said otherwise."""

    def __init__(self) -> None:
        self.topics: dict[str, TopicFacts | None] = {}
        self.unreachable = 0
        """For so many questions no broker answers."""

    def facts(self, topic: str) -> TopicFacts | None:
        if self.unreachable:
            self.unreachable -= 1
            raise KafkaUnreachable("no broker tells of topics")
        return self.topics.get(topic, TopicFacts(12, 1_000_000))

    def forget(self) -> None:
        """There is nothing to forget: every question is answered afresh."""
