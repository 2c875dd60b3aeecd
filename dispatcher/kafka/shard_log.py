"""The transactional side of one shard: fence, commit or stage and seal, read the ledger.

The rules come from what was measured: the library repeats a lost EndTxn by itself and reports success, and
the late first one can then end the *next* transaction. So every commit is timed alone, and whatever was not
quick and clean costs the producer: a new one has a new epoch, which makes the late request powerless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, takewhile

from confluent_kafka import Message, TopicPartition

from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.shard_figures import Epoch
from dispatcher.errors import KafkaUnreachable, TransactionFailed
from dispatcher.kafka.config import SUSPECT_COMMIT_SECONDS, Connection
from dispatcher.kafka.faults import failed_transaction, text_of
from dispatcher.kafka.offsets import PartitionEnds
from dispatcher.kafka.reading import read_partition
from dispatcher.kafka.transaction import AS_SENT, REAL, Dating, Fault, Means, Patience, Transactor
from dispatcher.ports import Chunk, Committed, LedgerRecord, LogEnds

USUAL = Patience()


class KafkaShardLog:
    """`ShardLog` on a real cluster. All calls from one thread; everything ends within its `Patience`."""

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        shard: int,
        patience: Patience = USUAL,
        means: Means = REAL,
        ends: PartitionEnds | None = None,
    ) -> None:
        self._connection = connection.named(f"shard-{shard}")
        self._ends = ends or PartitionEnds(self._connection)
        self._topic = topics.ledger
        self._undated = frozenset((topics.ledger, topics.events))
        self._shard = shard
        self._id = f"{topics.prefix}-shard-{shard}"
        self._patience = patience
        self._means = means
        self._transactor: Transactor | None = None

    def fence(self) -> None:
        """Make every older producer of this shard powerless and be ready to commit.

        Raises KafkaUnreachable when no coordinator answered in time, else Fenced or TransactionFailed.
        """
        self.close()
        self._transactor = Transactor(self._connection, self._id, self._patience, self._means, tells=True)
        error = self._transactor.init(self._topic)
        if error is None:
            return
        self.close()
        if error.retriable():
            raise KafkaUnreachable(
                f"{self._id}: no transaction coordinator answered for {self._patience.fence:g} s"
                f" ({text_of(error)}); check that the brokers at {self._connection.bootstrap} are up"
            )
        raise failed_transaction(self._id, "fencing", error)

    def commit(self, outgoing: Sequence[Outgoing], *, isolate: bool = False) -> Committed:
        """Write all records in one transaction; the last one must be a ledger record.

        Raises Unsendable, Fenced or TransactionFailed. After any of them, and after a suspect commit, the
        producer is gone: fence and read the ledger. The index of an Unsendable is known when the client
        refused the record at once, or with `isolate`, which sends them one by one while time allows.
        """
        self._stage(outgoing, AS_SENT, isolate=isolate)
        return self.seal()

    def stage(self, outgoing: Sequence[Outgoing], at: Instant, over: float = 0.0) -> None:
        """Write all records in a transaction that stays open; its messages carry the time stamp `at`.

        It takes about `over` seconds where it could be faster, for others have work to do meanwhile. Raises
        as `commit` does. Only `seal`, or `close`, which aborts, may follow; a broker gives the transaction up
        `TRANSACTION_TIMEOUT_MS` after it was begun.
        """
        self._stage(outgoing, Dating(at, self._undated), over=over)

    def seal(self) -> Committed:
        """Commit what was staged, timed alone. Fails, and is suspect, as `commit` is."""
        transactor = self._ready()
        clean = False
        try:
            fault, took, calls = transactor.seal()
            if fault is not None:
                raise self._failed(fault)
            outcome = transactor.outcome
            committed = Committed(outcome.offset, outcome.appended, self._suspicion(took, calls))
            clean = committed.suspect is None
        finally:
            if not clean:
                self.close()
        return committed

    def ends(self) -> LogEnds:
        """Return the first offset kept and the high watermark. Raises KafkaUnreachable.

        The end is the uncommitted one: the committed one can lie below records that are committed already.
        """
        return self._ends.of(self._topic, self._shard, self._patience.ends)

    def read(self, start: int, until: int) -> Iterator[LedgerRecord]:
        """Yield the committed records from `start` up to the end `until`, which it reaches or raises.

        Raises KafkaUnreachable without progress for `Patience.stall`, LedgerUnfit for an offset out of range.
        """
        first = TopicPartition(self._topic, self._shard, start)
        batches = read_partition(self._connection, first, until, self._patience.stall)
        records = map(_record, chain.from_iterable(batches))
        return takewhile(lambda record: record.offset < until, records)

    def chunks(self, start: int, until: int) -> Iterator[Chunk]:
        """Yield what `read` does as keys and values, as they come: a ledger may hold millions of records."""
        first = TopicPartition(self._topic, self._shard, start)
        for batch in read_partition(self._connection, first, until, self._patience.stall):
            last = batch[-1].offset() or 0
            some = batch if last < until else [one for one in batch if (one.offset() or 0) < until]
            yield [(one.key() or b"", one.value()) for one in some], min(last + 1, until)

    def epoch(self) -> Epoch | None:
        """Return the epoch of the producer, which the library tells some seconds after `fence`."""
        return None if self._transactor is None else self._transactor.epoch()

    def close(self) -> None:
        """Let go of the producer within about 2.5 s; an open transaction is aborted."""
        if self._transactor is not None:
            self._transactor.discard()
        self._transactor = None

    def _ready(self) -> Transactor:
        if self._transactor is None:
            raise TransactionFailed(f"{self._id}: there is no producer; fence before the next commit")
        return self._transactor

    def _stage(
        self,
        outgoing: Sequence[Outgoing],
        dating: Dating,
        *,
        isolate: bool = False,
        over: float | None = None,
    ) -> None:
        transactor = self._ready()
        clean = False
        try:
            fault = transactor.stage(outgoing, isolate=isolate, dating=dating, over=over)
            if fault is not None:
                raise self._failed(fault, {one[0] for one in outgoing})
            clean = True
        finally:
            if not clean:
                self.close()

    def _suspicion(self, took: float, calls: int) -> str | None:
        if calls == 1 and took < SUSPECT_COMMIT_SECONDS:
            return None
        return (
            f"{self._id}: the commit took {took * 1000:.0f} ms and {calls} call(s), where"
            f" {SUSPECT_COMMIT_SECONDS * 1000:.0f} ms and one are clean: it may have been sent twice"
        )

    def _failed(self, fault: Fault, topics: Collection[str] = ()) -> TransactionFailed:
        return failed_transaction(self._id, fault.step, fault.error, fault.index, topics)


def _record(message: Message) -> LedgerRecord:
    offset = message.offset()
    assert offset is not None
    return LedgerRecord(message.key() or b"", message.value(), offset, message.timestamp()[1])
