"""Kafka in memory: partitions, transactions, producer epochs, and requests the network may hold for long.

The model is of what a client without KIP-890 meets: an EndTxn carries the producer's epoch but does not say
*which* transaction it ends, so a late one ends whatever is open for that epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from dispatcher.core.message import Headers
from dispatcher.kafka.config import TRANSACTION_TIMEOUT_MS
from dispatcher.ports import LedgerRecord

OPEN, COMMITTED, ABORTED = range(3)
FENCED = KafkaError.INVALID_PRODUCER_EPOCH
WRONG_STATE = KafkaError.INVALID_TXN_STATE


class Refusal(Exception):
    """A request the broker refuses, with the code of its error."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


class Entry:
    """One record of a partition; the entry `None` is a marker, or was compacted away."""

    __slots__ = ("_heads", "appended", "by", "headers", "key", "seen", "state", "txn", "value")

    def __init__(
        self, key: bytes | None, value: bytes | None, headers: Headers | None, appended: int, by: Any
    ) -> None:
        self.key = key
        self.value = value
        self.headers = headers
        self.appended = appended
        self.by = by
        self.state = OPEN
        self.seen = 0
        """When a live reader of committed records saw it, by the clock that is furthest ahead."""
        self.txn = -1
        """The number of its transaction: records of one number were committed together."""
        self._heads: dict[str, bytes] | None = None

    @property
    def heads(self) -> dict[str, bytes]:
        """Its headers by name."""
        if self._heads is None:
            self._heads = dict(self.headers or ())
        return self._heads


class Partition:
    """A log. What lies behind its last stable offset is not shown to readers of committed records."""

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.entries: list[Entry | None] = []
        self.unstable: dict[Transaction, int] = {}
        """The first offset of each transaction that is open, or whose marker readers do not know yet."""
        self.told = 0
        """How far the live reader has read."""

    @property
    def high(self) -> int:
        """The high watermark."""
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset."""
        return min(self.unstable.values()) if self.unstable else len(self.entries)

    def committed(self, start: int, until: int) -> Iterator[LedgerRecord]:
        """Yield what a reader of committed records sees from one offset up to another."""
        for offset, entry in enumerate(self.entries[start : min(until, self.stable)], start):
            if entry is not None and entry.state == COMMITTED:
                yield LedgerRecord(entry.key or b"", entry.value, offset, entry.appended)


@dataclass(eq=False, slots=True)
class Transaction:
    """One transaction as its coordinator knows it."""

    started: int
    number: int
    entries: list[Entry] = field(default_factory=list)
    partitions: dict[Partition, None] = field(default_factory=dict)


@dataclass(slots=True)
class Coordinator:
    """What the brokers know of one transactional id."""

    epoch: int = -1
    open: Transaction | None = None
    ended: bool | None = None
    """Whether the last transaction of this epoch was committed; None: it has ended none."""


@dataclass(slots=True)
class Held:
    """An EndTxn on its way, for as long as the network likes."""

    ident: str
    epoch: int
    commit: bool
    during: Transaction | None
    """The transaction it was meant for."""


class Brokers:
    """All partitions and coordinators. `later` does something after some milliseconds, `now` is the time.

    `read` is the live reader of committed records: it is called with those that become visible.
    """

    def __init__(
        self,
        now: Callable[[], int],
        later: Callable[[int, Callable[[], None]], None],
        read: Callable[[Partition, list[Entry]], None],
        count: Callable[[str], None],
    ) -> None:
        self.partitions: dict[tuple[str, int], Partition] = {}
        self.held: list[Held] = []
        self._ids: dict[str, Coordinator] = {}
        self._now = now
        self._later = later
        self._read = read
        self._count = count
        self._begun = 0

    def partition(self, topic: str, number: int) -> Partition:
        """Return a partition; it is there once it is asked for."""
        found = self.partitions.get((topic, number))
        if found is None:
            found = self.partitions[topic, number] = Partition(topic, number)
        return found

    def init(self, ident: str) -> int:
        """InitProducerId: abort what is open, and return an epoch that makes older producers powerless."""
        one = self._ids.setdefault(ident, Coordinator())
        if one.open is not None:
            self._count("aborted by a successor")
            self._end(one, commit=False, delay=0)
        one.epoch += 1
        one.ended = None
        return one.epoch

    def begin(self, ident: str, epoch: int, partition: Partition) -> None:
        """AddPartitionsToTxn: the first one opens a transaction."""
        one = self._of(ident, epoch)
        if one.open is None:
            self._begun += 1
            txn = one.open = Transaction(self._now(), self._begun)
            self._later(TRANSACTION_TIMEOUT_MS, lambda: self._time_out(one, txn))
        one.open.partitions[partition] = None

    def append(self, ident: str, epoch: int, partition: Partition, entry: Entry) -> int:
        """Produce within a transaction; return the offset."""
        txn = self._of(ident, epoch).open
        if txn is None or partition not in txn.partitions:
            raise Refusal(WRONG_STATE)
        entry.txn = txn.number
        txn.entries.append(entry)
        offset = len(partition.entries)
        if txn not in partition.unstable:
            partition.unstable[txn] = offset
        partition.entries.append(entry)
        return offset

    def end(self, ident: str, epoch: int, *, commit: bool, delay: int = 0) -> None:
        """EndTxn: end whatever is open for this epoch. A repeated one is answered like the first.

        Readers see the markers after `delay` milliseconds.
        """
        one = self._of(ident, epoch)
        if one.open is None:
            if one.ended is not commit:
                raise Refusal(WRONG_STATE)
            return
        self._end(one, commit=commit, delay=delay)

    def release(self, held: Held) -> None:
        """Let a held request arrive at last."""
        one = self._ids[held.ident]
        if one.epoch == held.epoch and one.open is not None:
            self._count("late EndTxn in time" if one.open is held.during else "late EndTxn ended another")
            self._end(one, commit=held.commit, delay=0)
        else:
            self._count("late EndTxn powerless")

    def has_open(self) -> bool:
        """Return whether any transaction is open anywhere."""
        return any(one.open is not None for one in self._ids.values())

    def during(self, ident: str) -> Transaction | None:
        """Return the transaction that is open for an id."""
        one = self._ids.get(ident)
        return None if one is None else one.open

    def compact(self, partition: Partition) -> None:
        """Keep only the last committed record of each key, of those that readers know."""
        seen: set[bytes | None] = set()
        for offset in range(partition.stable - 1, -1, -1):
            entry = partition.entries[offset]
            if entry is None:
                continue
            if entry.state == ABORTED or entry.key in seen:
                partition.entries[offset] = None
            else:
                seen.add(entry.key)

    def _of(self, ident: str, epoch: int) -> Coordinator:
        one = self._ids[ident]
        if one.epoch != epoch:
            self._count("fenced")
            raise Refusal(FENCED)
        return one

    def _time_out(self, one: Coordinator, txn: Transaction) -> None:
        if one.open is txn:
            self._count("timed out")
            self._end(one, commit=False, delay=0)
            one.epoch += 1
            one.ended = None

    def _end(self, one: Coordinator, *, commit: bool, delay: int) -> None:
        txn = one.open
        assert txn is not None
        one.open, one.ended = None, commit
        self._count("committed" if commit else "aborted")
        state = COMMITTED if commit else ABORTED
        for entry in txn.entries:
            entry.state = state
        for partition in txn.partitions:
            partition.entries.append(None)
        if delay:
            self._later(delay, lambda: self._settle(txn))
        else:
            self._settle(txn)

    def _settle(self, txn: Transaction) -> None:
        """Let readers know of a transaction's end."""
        for partition in txn.partitions:
            partition.unstable.pop(txn, None)
            told, stable = partition.told, partition.stable
            if stable <= told:
                continue
            partition.told = stable
            visible = partition.entries[told:stable]
            found = [entry for entry in visible if entry is not None and entry.state == COMMITTED]
            if found:
                self._read(partition, found)
