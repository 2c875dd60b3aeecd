"""The small contracts by which the stations meet; `daemon.py` connects them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dispatcher.core.instant import Instant
from dispatcher.core.message import Headers, Outgoing
from dispatcher.core.run import Delivery
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.core.settling import Settled
from dispatcher.core.shard_figures import Epoch
from dispatcher.errors import DispatcherError

__all__ = [
    "Chunk",
    "Committed",
    "End",
    "Headers",
    "LedgerRecord",
    "LogEnds",
    "Outgoing",
    "Place",
    "ScheduleSink",
    "ShardLog",
    "TopicDirectory",
    "TopicFacts",
    "Wake",
    "Witness",
    "WorkHooks",
    "WorkLog",
]


class LedgerRecord(NamedTuple):
    """One committed record of a ledger partition; `appended` is the broker's own time, in milliseconds.

    A tuple, for a long ledger has millions of them.
    """

    key: bytes
    value: bytes | None
    offset: int
    appended: Instant


Chunk = tuple[list[tuple[bytes, bytes | None]], int]
"""Keys and values of successive ledger records, and the offset to read on from."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction that committed: offset and broker append time of its last record.

    `suspect` says why the outcome must still be checked against the ledger (a slow or retried commit),
    or is None. The producer of a suspect commit is already discarded.
    """

    offset: int
    appended: Instant
    suspect: str | None


@dataclass(frozen=True, slots=True)
class LogEnds:
    """First offset still kept and the end (high watermark, uncommitted included) of a partition."""

    low: int
    high: int


class ShardLog(Protocol):
    """The transactional side of one shard: its stable transactional id and its ledger partition."""

    def fence(self) -> None:
        """Make every older producer of this shard powerless.

        Raises KafkaUnreachable, or TransactionFailed or a kind of it.
        """
        ...

    def commit(self, outgoing: Sequence[Outgoing], *, isolate: bool = False) -> Committed:
        """Write all records in one transaction; the last one must be a ledger record.

        Any failure discards the producer and raises TransactionFailed or a kind of it: fence and read
        the ledger before going on. `isolate` asks for the index of a refused message, at a price.
        """
        ...

    def stage(self, outgoing: Sequence[Outgoing], at: Instant, over: float = 0.0) -> None:
        """Write all records in a transaction that stays open; nobody sees them before `seal`.

        The writing may take `over` seconds, and takes no less where that spares others.

        The messages carry the time stamp `at`, ledger records and events that of their writing. The last
        record must be a ledger record. Any failure discards the producer and raises as `commit` does; only
        `seal` or `close`, which aborts, may follow.
        """
        ...

    def seal(self) -> Committed:
        """Commit what was staged. Fails, and is suspect, as `commit` is."""
        ...

    def ends(self) -> LogEnds:
        """Return the ends of the ledger partition as they are now."""
        ...

    def read(self, start: int, until: int) -> Iterator[LedgerRecord]:
        """Yield the committed records from `start` up to the end `until`, which it reaches or raises.

        Raises KafkaUnreachable when there is no progress for its time limit.
        """
        ...

    def chunks(self, start: int, until: int) -> Iterator[Chunk]:
        """Yield what `read` does, many records at once and no more of them than keys and values."""
        ...

    def epoch(self) -> Epoch | None:
        """Return the epoch that `fence` brought, None while the client library has not told it.

        Ask now and then, between transactions: the library tells what else it has to meanwhile.
        """
        ...

    def close(self) -> None:
        """Let go of the producer and reader within a bounded time; an open transaction is aborted."""
        ...


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What has to be known of a topic to send to it."""

    partitions: int
    max_message_bytes: int


class TopicDirectory(Protocol):
    """Knows the topics of the cluster."""

    def facts(self, topic: str) -> TopicFacts | None:
        """Return what is known of a topic, asking the broker now and then; None when there is none."""
        ...

    def forget(self) -> None:
        """Ask the broker again at the next question."""
        ...


class ScheduleSink(Protocol):
    """Where the feed brings what it reads."""

    def bases(self) -> tuple[ShardBase, ...]:
        """Return what is in force in each shard that is ready to change."""
        ...

    def apply(self, change: ChangeSet) -> None:
        """Hand a change set to its shard. Never blocks."""
        ...

    def looked(self, shards: tuple[int, ...], revision: str) -> None:
        """Tell that the file was compared with these shards; their change sets, if any, were handed over.

        `revision` is the file's as it is now, empty when it cannot be read: a change set of another that
        still waits is no longer wanted.
        """
        ...

    def refused(self, revision: str, error: DispatcherError) -> None:
        """Tell that the file was refused or could not be read; `revision` is empty when it was not read."""
        ...


Place = tuple[str, int]
"""A partition: topic and number."""


class WorkHooks(Protocol):
    """What a worker's log tells of its partitions, from within `take` and `close`."""

    def assigned(self, places: Mapping[Place, tuple[int, str]]) -> None:
        """Tell where to begin in partitions that are this worker's now: committed offset and its metadata."""
        ...

    def revoked(self, places: Sequence[Place]) -> None:
        """Tell that partitions go to another worker once this returns; what was decided may be committed."""
        ...

    def lost(self, places: Sequence[Place]) -> None:
        """Tell that partitions may be another's already: nothing of them may be committed."""
        ...


class WorkLog(Protocol):
    """The Kafka side of a worker: what it reads, and its transactional id. All calls from one thread."""

    def take(self, seconds: float) -> list[Delivery]:
        """Return deliveries as they come; wait for the first no longer than `seconds`."""
        ...

    def hold(self, places: Sequence[Place]) -> None:
        """Deliver nothing more of some partitions, until `go_on`."""
        ...

    def go_on(self, places: Sequence[Place]) -> None:
        """Deliver again."""
        ...

    def positions(self) -> Mapping[Place, tuple[int, int]]:
        """Return of each partition the next offset to be delivered and the end that readers may reach."""
        ...

    def silence(self) -> float:
        """Return for how many seconds no broker has answered."""
        ...

    def commit(self, outgoing: Sequence[Outgoing], offsets: Mapping[Place, tuple[int, str]]) -> bool:
        """Write records and offsets in one transaction; return whether it is committed for certain.

        False: it is not, nothing of it happened, and it may be tried again. Raises KafkaUnreachable when that
        cannot be found out, and TransactionFailed or a kind of it when a record cannot be sent. After either
        nothing may be written before `recall` has answered.
        """
        ...

    def recall(self) -> bool:
        """Return whether the last transaction, of which nobody knew, is committed after all.

        False when there is none such. Raises KafkaUnreachable while that cannot be found out.
        """
        ...

    def close(self) -> None:
        """Leave the group and let go of the clients within a bounded time."""
        ...


class End(NamedTuple):
    """How a delivery ended, and through which handler.

    `times` are those of the handler's beginning and end; None: it was settled without one.
    """

    delivery: Delivery
    settled: Settled
    handler: str
    times: tuple[Instant, Instant] | None


Witness = Callable[[End], None]
"""Is told of every end by the thread that owns the runs: it must not block, nor raise."""

Wake = Callable[[], None]
