"""Readers that share nothing with the dispatcher: one while faults happen, and one that reads after them."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from dispatcher.core.log_record import Record

LANES = ("critical", "high", "normal", "low")
READ_SECONDS = 120.0
_COMMITTED = {
    "group.id": "torture-reader",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 100,
    "reconnect.backoff.max.ms": 500,
    "log_level": 2,
}


class Seen(NamedTuple):
    """A committed record and when it arrived, in milliseconds."""

    record: Record
    at: int


def topics_of(prefix: str) -> tuple[str, ...]:
    """Return the topics that hold the history of an installation."""
    return (f"{prefix}.ledger", f"{prefix}.events", *(f"{prefix}.jobs.{lane}" for lane in LANES))


def now() -> int:
    """Return the wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


class Live:
    """A reader of committed records that runs while faults happen, and notes when it saw what."""

    def __init__(self, bootstrap: str, prefixes: Sequence[str]) -> None:
        self._prefixes = {topic: prefix for prefix in prefixes for topic in topics_of(prefix)}
        self._seen: dict[str, list[Seen]] = {prefix: [] for prefix in prefixes}
        self._commits: dict[str, dict[int, list[int]]] = {prefix: defaultdict(list) for prefix in prefixes}
        self._end = threading.Event()
        self.errors: list[str] = []
        self._consumer = Consumer({**_COMMITTED, "bootstrap.servers": bootstrap})
        self._consumer.assign(_partitions(self._consumer, tuple(self._prefixes)))
        self._thread = threading.Thread(target=self._run, name="live reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._end.set()
        self._thread.join()
        self._consumer.close()

    def seen(self, prefix: str) -> list[Seen]:
        """Return what was seen of an installation so far."""
        return list(self._seen[prefix])

    def recovered(self, prefix: str, fault: int) -> int:
        """Return the milliseconds from a fault until each shard had committed again; 0 without an end."""
        worst = 0
        for times in self._commits[prefix].values():
            after = bisect_right(times, fault + 20)
            if after < len(times):
                worst = max(worst, times[after] - fault)
        return worst

    def _run(self) -> None:
        while not self._end.is_set():
            first = self._consumer.poll(0.1)
            if first is None:
                continue
            messages = [first, *self._consumer.consume(1000, 0)]
            at = now()
            for message in messages:
                self._take(message, at)

    def _take(self, message: Message, at: int) -> None:
        if (error := message.error()) is not None:
            self.errors.append(str(error))
            return
        record = record_of(message)
        prefix = self._prefixes[record.topic]
        self._seen[prefix].append(Seen(record, at))
        if record.topic.endswith(".ledger"):
            self._commits[prefix][record.partition].append(at)


def fresh(bootstrap: str, prefix: str) -> list[Record]:
    """Return every committed record of an installation, read from the beginning to the ends as they are."""
    consumer = Consumer({**_COMMITTED, "bootstrap.servers": bootstrap, "enable.partition.eof": True})
    found: list[Record] = []
    try:
        partitions = _partitions(consumer, topics_of(prefix))
        consumer.assign(partitions)
        left = {(one.topic, one.partition) for one in partitions}
        deadline = time.monotonic() + READ_SECONDS
        while left:
            assert time.monotonic() < deadline, f"{prefix}: no end of {sorted(left)[:5]}"
            for message in consumer.consume(2000, 0.5):
                if message.error() is not None:
                    left.discard((message.topic() or "", message.partition() or 0))
                else:
                    found.append(record_of(message))
    finally:
        consumer.close()
    return found


def hanging(bootstrap: str, prefix: str) -> list[str]:
    """Return the partitions whose committed end lies below their end: a transaction is open there."""
    ends = []
    for isolation in ("read_committed", "read_uncommitted"):
        consumer = Consumer({**_COMMITTED, "bootstrap.servers": bootstrap, "isolation.level": isolation})
        ends.append({
            (one.topic, one.partition): consumer.get_watermark_offsets(one, timeout=10)[1]
            for one in _partitions(consumer, topics_of(prefix))
        })  # fmt: skip
        consumer.close()
    return [f"{name}-{number}" for (name, number), end in ends[0].items() if end < ends[1][name, number]]


def record_of(message: Message) -> Record:
    """Return a message as the checker takes it."""
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        cast("list[tuple[str, bytes]]", message.headers() or []),
        message.value(),
        message.key(),
    )


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
    deadline = time.monotonic() + READ_SECONDS
    while True:
        try:
            known = consumer.list_topics(timeout=10).topics
        except KafkaException:
            known = {}
        if all(topic in known and known[topic].partitions for topic in topics):
            return [
                TopicPartition(topic, number, 0) for topic in topics for number in known[topic].partitions
            ]
        assert time.monotonic() < deadline, f"not all of {topics} are there"
