"""The client library's transactional producer, as far as a shard's log uses it, on brokers in memory.

Every place where a process can die, be paused or meet the network is a named point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from dispatcher.core.message import Headers
from simulation.broker import FENCED, Entry, Held, Partition, Refusal

if TYPE_CHECKING:
    from simulation.replica import Process

Callback = Callable[[KafkaError | None, Any], None]

RESENT_MS = 245
"""How long a hidden retry takes at the least: measured, 0.8 of the library's back-off of 300 ms."""


class Report:
    """What a delivery callback is given."""

    __slots__ = ("_appended", "_offset")

    def __init__(self, offset: int, appended: int) -> None:
        self._offset = offset
        self._appended = appended

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return (2, self._appended)


def timed_out() -> KafkaException:
    """Return what a call raises that was not answered in time."""
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))


class MemoryProducer:
    """One producer of one process."""

    def __init__(self, process: Process, config: dict[str, Any]) -> None:
        self._process = process
        self._point = process.point
        self._world = process.world
        self._brokers = process.world.brokers
        self._ident: str = config["transactional.id"]
        self._ledger = process.world.topics.ledger
        self._epoch = -1
        self._fatal: KafkaError | None = None
        self._failed: KafkaError | None = None
        self._queue: list[tuple[Partition, Entry, Callback | None]] = []
        self._added: set[Partition] = set()

    # What the transactor calls.

    def list_topics(self, _topic: str, timeout: float) -> None:
        self._process.check()
        if self._world.fault("facts"):
            self._world.wait(timeout * 1000)
            raise timed_out()

    def init_transactions(self, timeout: float) -> None:
        self._point("before fence")
        if self._world.fault("fence"):
            self._world.wait(timeout * 1000)
            if self._world.chance.random() < 0.5:
                self._brokers.init(self._ident)  # only the answer was lost
            raise timed_out()
        if self._brokers.during(self._ident) is not None:
            self._world.wait(500)
        self._epoch = self._brokers.init(self._ident)
        self._world.wait(2)
        self._point("after fence")

    def begin_transaction(self) -> None:
        self._point("before begin")
        self._raise_fatal()
        self._added.clear()
        self._failed = None
        self._point("after begin")

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        callback: Callback | None,
        _partitioner: None,
        _timestamp: int,
        headers: Headers | None,
    ) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if topic == self._ledger and self._queue and self._queue[-1][0].topic != topic:
            if self._world.chance.random() < 0.5:
                self._deliver()
            self._point("fires produced")
        entry = Entry(key, value, headers, 0, self._process)
        self._queue.append((self._brokers.partition(topic, partition), entry, callback))

    def flush(self, timeout: float = 0.0) -> int:
        self._point("ledger produced")
        if self._fatal is None and self._world.fault("flush"):
            self._world.wait(timeout * 1000)
            return len(self._queue)
        self._world.wait(self._world.chance.random() * 2)
        self._deliver()
        self._point("flushed")
        return 0

    def poll(self, timeout: float) -> int:
        self._world.wait(timeout * 1000)
        self._process.check()
        return 0

    def commit_transaction(self, timeout: float) -> None:
        self._point("before EndTxn")
        self._raise_fatal()
        if self._failed is not None:
            raise KafkaException(self._failed)
        self._end_transaction(timeout, commit=True)
        self._point("EndTxn acked")

    def abort_transaction(self, timeout: float) -> None:
        self._point("before abort")
        self._raise_fatal()
        self._queue.clear()
        if self._added:
            self._end_transaction(timeout, commit=False)
        self._point("aborted")

    def purge(self) -> None:
        self._process.check()
        self._queue.clear()

    # What happens on the way.

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)

    def _deliver(self) -> None:
        """Send what is queued."""
        queue, self._queue = self._queue, []
        now = self._world.now
        error = self._fatal
        for log, entry, callback in queue:
            offset = -1
            entry.appended = now
            if error is None and self._world.refused and self._refuses(entry):
                error = self._failed = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, txn_requires_abort=True)
                self._world.count("refused")
            if error is None:
                try:
                    offset = self._append(log, entry)
                except Refusal as refusal:
                    error = self._refused(refusal)
            if callback is not None:
                callback(error, Report(offset, now))

    def _refuses(self, entry: Entry) -> bool:
        heads = entry.heads
        return heads.get("ce_type") == b"dispatcher.fire" and heads["ce_subject"] in self._world.refused

    def _append(self, log: Partition, entry: Entry) -> int:
        if log not in self._added:
            self._brokers.begin(self._ident, self._epoch, log)
            self._added.add(log)
        return self._brokers.append(self._ident, self._epoch, log, entry)

    def _end_transaction(self, timeout: float, *, commit: bool) -> None:
        world = self._world
        what = world.fault("commit" if commit else "abort")
        if what is None:
            world.wait(1 + world.chance.random() * 4)
            self._end(commit=commit)
            return
        world.count(f"{'commit' if commit else 'abort'} {what}")
        getattr(self, f"_{what}")(timeout, commit=commit)

    def _end(self, *, commit: bool) -> None:
        """Have the request arrive now."""
        lag = self._world.marker_lag()
        try:
            self._brokers.end(self._ident, self._epoch, commit=commit, delay=lag)
        except Refusal as refusal:
            raise KafkaException(self._refused(refusal)) from None
        self._point("EndTxn done")

    def _hold(self, *, commit: bool) -> None:
        self._brokers.held.append(Held(self._ident, self._epoch, commit, self._brokers.during(self._ident)))

    # What can become of an EndTxn.

    def _slow(self, _timeout: float, *, commit: bool) -> None:
        """It arrives, and takes its time."""
        self._world.wait(self._world.chance.choice([5, 100, 205, 215, 400]))
        self._end(commit=commit)
        self._world.wait(self._world.chance.choice([5, 100, 205, 215, 400]))

    def _held(self, _timeout: float, *, commit: bool) -> None:
        """The network holds it; the library sends another by itself, and that one is answered."""
        self._hold(commit=commit)
        self._world.wait(RESENT_MS + self._world.chance.random() * 400)
        self._end(commit=commit)

    def _unheard(self, _timeout: float, *, commit: bool) -> None:
        """Its answer is lost; the library repeats it, and that one is answered."""
        self._end(commit=commit)
        self._world.wait(RESENT_MS + self._world.chance.random() * 400)
        self._end(commit=commit)

    def _silent(self, timeout: float, *, commit: bool) -> None:
        """It is lost, or held, or done without an answer: the call ends without one."""
        chance = self._world.chance.random()
        if chance < 0.4:
            self._hold(commit=commit)
        elif chance < 0.7:
            self._end(commit=commit)
        self._world.wait(timeout * 1000)
        raise timed_out()

    def _refusal(self, _timeout: float, *, commit: bool) -> None:
        """The coordinator cannot do it now: the transaction is to be aborted."""
        del commit
        self._failed = KafkaError(KafkaError.UNKNOWN_PRODUCER_ID, "not now", txn_requires_abort=True)
        raise KafkaException(self._failed)

    def _refused(self, refusal: Refusal) -> KafkaError:
        if refusal.code == FENCED:
            self._fatal = KafkaError(KafkaError._FENCED, "a newer producer", fatal=True)
            return self._fatal
        self._failed = KafkaError(refusal.code, "refused", txn_requires_abort=True)
        return self._failed
