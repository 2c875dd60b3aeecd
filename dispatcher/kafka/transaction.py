"""One transactional producer from its epoch to its end, one transaction at a time.

Nothing here raises the library's errors: every step returns what went wrong, so that no traceback keeps a
producer alive that has to go. Once anything was not clean the owner discards the whole object.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing
from dispatcher.core.shard_figures import Epoch
from dispatcher.kafka import config
from dispatcher.kafka.config import PRODUCER_STATISTICS_MS, TRANSACTION_TIMEOUT_MS, Config, Connection
from dispatcher.kafka.faults import (
    broken_callback,
    error_of,
    is_fenced,
    is_local_failure,
    is_unsendable,
    timed_out,
    unknown_topic,
)
from dispatcher.kafka.hearing import EpochHearing
from dispatcher.kafka.letting_go import let_go
from dispatcher.kafka.making import made

_CONNECT_SECONDS = 1.0
ISOLATE_SECONDS = 0.5 * TRANSACTION_TIMEOUT_MS / 1000
"""How long a transaction that looks for a culprit sends its records one by one; the rest goes together."""
_SLICE = 500
"""Records that are handed over at once where time is taken for it: about a millisecond's work."""
Numbered = tuple[int, Outgoing]


@dataclass(frozen=True, slots=True)
class Dating:
    """The time stamp of a transaction's records, but for those of some topics: they carry their sending's."""

    at: Instant = 0
    but_for: frozenset[str] = frozenset()


AS_SENT = Dating()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each step may take, in seconds; a stop waits for it. `slice` is the longest single call."""

    fence: float = 8.0
    send: float = TRANSACTION_TIMEOUT_MS / 1000 + 1.0
    commit: float = 8.0
    ends: float = 8.0
    stall: float = 8.0
    slice: float = 3.0


@dataclass(frozen=True, slots=True)
class Means:
    """What a transaction stands on: how a producer is made of settings, and seconds that never go back.

    One `turn` serves all transactions of a process that take their time: a slice of one at a time.
    """

    producer: Callable[[Config], Producer] = Producer
    seconds: Callable[[], float] = time.monotonic
    turn: AbstractContextManager[object] = field(default_factory=threading.Lock)


REAL = Means()


@dataclass(frozen=True, slots=True)
class Fault:
    """A step that went wrong, the library's error, and the index of the record it is about, if known."""

    step: str
    error: KafkaError
    index: int | None = None


class Outcome:
    """What the delivery reports of one transaction tell: the place of the last record, the refused ones."""

    def __init__(self) -> None:
        self.offset = -1
        self.appended = -1
        self.refused: list[tuple[int, KafkaError]] = []

    def watch(self, index: int) -> Watch:
        """Return the delivery callback of the record at `index`."""
        return Watch(self, index)


class Watch:
    """A delivery callback. It never raises: that would come out of a commit which is done."""

    __slots__ = ("_index", "_outcome")

    def __init__(self, outcome: Outcome, index: int) -> None:
        self._outcome = outcome
        self._index = index

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Note what became of the record."""
        outcome = self._outcome
        if error is None:
            outcome.offset = message.offset() or 0
            outcome.appended = message.timestamp()[1]
        elif is_unsendable(error):
            outcome.refused.append((self._index, error))


class Transactor:
    """A producer with a transactional id. `outcome` is that of the present or last transaction.

    Who wants to know its `epoch` says so with `tells`, and asks now and then.
    """

    def __init__(
        self,
        connection: Connection,
        transactional_id: str,
        patience: Patience,
        means: Means = REAL,
        *,
        tells: bool = False,
    ) -> None:
        self.outcome = Outcome()
        self._patience = patience
        self._seconds = means.seconds
        self._turn = means.turn
        self._may_abort = False
        self._stage_seconds = 0.0
        self._heard = EpochHearing()
        settings = config.shard_producer(connection, transactional_id)
        if tells:
            settings |= {"statistics.interval.ms": PRODUCER_STATISTICS_MS, "stats_cb": self._heard.hear}
        self._producer = made(means.producer, settings)

    def epoch(self) -> Epoch | None:
        """Return the producer's epoch as soon as the library has told it, which is served for that."""
        self._serve(0)
        return self._heard.epoch

    def init(self, topic: str) -> KafkaError | None:
        """Take over the id; repeat the call in slices. Return the last error, None when it is ours.

        `topic` is any that exists: it is asked about twice first, which brings the connection up. Without,
        the library finds no broker and looks again after half a second, every fourth time or so.
        """
        end = self._seconds() + self._patience.fence
        if self._call("list_topics", topic, _CONNECT_SECONDS) is None:
            self._call("list_topics", topic, _CONNECT_SECONDS)
        while True:
            left = end - self._seconds()
            error = self._call("init_transactions", max(0.1, min(self._patience.slice, left)))
            if error is None or not error.retriable() or self._seconds() >= end:
                return error
            self._serve(0.1)

    def stage(
        self,
        outgoing: Sequence[Outgoing],
        *,
        isolate: bool = False,
        dating: Dating = AS_SENT,
        over: float | None = None,
    ) -> Fault | None:
        """Begin a transaction, hand over every record and wait until the brokers have them.

        `dating` stamps them. `isolate` sends them one by one for `ISOLATE_SECONDS`: brokers refuse a whole
        batch for one record. Where there are so many seconds for it, they are spread `over` them: a burst
        that is sent as fast as can be takes processors, and brokers, from whatever else is due.
        """
        self.outcome = Outcome()
        error = self._call("begin_transaction")
        if error is not None:
            return Fault("begin", error)
        self._may_abort = True
        started = self._seconds()
        if over is None:
            fault = self._produce(enumerate(outgoing), dating, len(outgoing) - 1, isolate=isolate)
        else:
            fault = self._spread(outgoing, dating, over)
        fault = fault or self._flush()
        self._stage_seconds = self._seconds() - started
        return fault

    def send_offsets(self, offsets: list[TopicPartition], group: object) -> Fault | None:
        """Have a group's offsets committed with the transaction; after its records it costs nothing."""
        error = self._call("send_offsets_to_transaction", offsets, group, self._patience.send)
        return None if error is None else Fault("committing offsets", error)

    def seal(self) -> tuple[Fault | None, float, int]:
        """Commit what was staged; return the fault, the seconds it took and the calls it needed.

        A commit that timed out is called again and never aborted: it may have reached the coordinator.
        """
        self._may_abort = False
        started = self._seconds()
        end = started + self._patience.commit
        calls = 0
        while True:
            calls += 1
            error = self._call("commit_transaction", self._patience.slice)
            now = self._seconds()
            if error is None:
                return None, now - started, calls
            if not error.retriable() or now >= end:
                self._may_abort = error.txn_requires_abort()
                return self._refusal(error), now - started, calls
            self._serve(0.1)

    def discard(self) -> None:
        """Let go of the producer within about 2.5 s; nothing may be asked of it afterwards."""
        let_go(self._producer, abort=self._may_abort)
        del self._producer

    def _spread(self, outgoing: Sequence[Outgoing], dating: Dating, over: float) -> Fault | None:
        """Queue every record in slices, partition by partition: few large batches are cheap for brokers."""
        ordered = _by_partition(outgoing)
        began, count = self._seconds(), len(ordered)
        for done in range(0, count, _SLICE):
            due = began + over * done / count
            while (left := due - self._seconds()) > 0.001:
                self._serve(left)
            with self._turn:
                fault = self._produce(ordered[done : done + _SLICE], dating, count - 1, isolate=False)
            if fault is not None:
                return fault
        return None

    def _produce(
        self, numbered: Iterable[Numbered], dating: Dating, last: int, *, isolate: bool
    ) -> Fault | None:
        """Queue records, with the positional arguments that make it fast; serve a full queue."""
        produce: Callable[..., None] = self._producer.produce
        watch = self.outcome.watch
        end = self._seconds() + self._patience.send
        until = self._seconds() + ISOLATE_SECONDS
        at, but_for = dating.at, dating.but_for
        for index, (topic, value, key, partition, headers) in numbered:
            callback = watch(index) if isolate or index == last else None
            stamp = at if at and topic not in but_for else 0
            alone = isolate and self._seconds() < until
            while True:
                try:
                    produce(topic, value, key, partition, callback, None, stamp, headers)
                    break
                except BufferError:
                    if self._seconds() > end:
                        return Fault("sending", timed_out())
                    self._serve(0.005)
                except KafkaException as failure:
                    error = error_of(failure)
                    self._may_abort = not is_fenced(error)
                    return Fault(f"a message to {topic}-{partition}", error, index)
            if alone and (fault := self._flush()) is not None:
                return fault
        return None

    def _flush(self) -> Fault | None:
        """Wait for every delivery report. A refused record is told here if watched, else by the commit."""
        try:
            left = self._producer.flush(self._patience.send)
        except (KafkaException, SystemError):
            # A fatal state is raised here, or spoils a callback; a new transaction would be told the reason.
            self._may_abort = False
            return Fault("sending", self._call("begin_transaction") or timed_out())
        if self.outcome.refused:
            return Fault("sending", self.outcome.refused[0][1], self._culprit())
        return Fault("sending", timed_out()) if left else None

    def _refusal(self, error: KafkaError) -> Fault:
        """Return why a commit failed. Records that failed here sooner than they time out have no topic."""
        if is_local_failure(error) and self._stage_seconds < 0.8 * TRANSACTION_TIMEOUT_MS / 1000:
            error = unknown_topic()
        return Fault("commit", error, self._culprit())

    def _culprit(self) -> int | None:
        """Return the index of the refused record when it is one alone: a batch is refused as a whole."""
        refused = self.outcome.refused
        return refused[0][0] if len(refused) == 1 else None

    def _call(self, name: str, *arguments: object) -> KafkaError | None:
        try:
            getattr(self._producer, name)(*arguments)
        except KafkaException as failure:
            return error_of(failure)
        except SystemError as failure:
            return broken_callback(failure)
        return None

    def _serve(self, seconds: float) -> None:
        """Let the library work; a fatal state that it raises here is raised by the next call too."""
        self._call("poll", seconds)


def _by_partition(outgoing: Sequence[Outgoing]) -> list[Numbered]:
    """Return records with their places, those of one partition together and in order."""
    found: dict[tuple[str, int], list[Numbered]] = {}
    for index, one in enumerate(outgoing):
        found.setdefault((one[0], one[3]), []).append((index, one))
    return [one for some in found.values() for one in some]
