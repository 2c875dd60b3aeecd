"""The comparison for workers: a bare loop that reads the very same fires, and tells of each or does not.

    python -m bench.pool_plain <bootstrap> <prefix> <expect> read|tell

`read` consumes a hundred at a time and looks at every field. `tell` writes an event of each besides, as long
as a worker's, and commits about two thousand and the offsets behind them in one transaction: what any
consumer must do that promises as much, and nothing of what a worker does more. One thread does it all.
When everything is read (and committed) it says in JSON how many there were, from when to when, and the
processor time.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames

TOGETHER = 2_000
_READ = 100
_PATIENCE = 300
_VALUE = (
    b'{"v":1,"handler":"noop","startedAt":"2026-11-20T02:00:00.123Z","endedAt":"2026-11-20T02:00:00.123Z",'
    b'"redelivered":false,"topic":"%b","partition":%d,"offset":%d}'
)


@dataclass(frozen=True)
class Pass:
    """One pass: how many fires, from the first read to the last done, in milliseconds of the wall."""

    count: int
    began: float
    ended: float
    cpu: float
    """Seconds of processor time of the process, librdkafka's threads among them."""

    @property
    def rate(self) -> float:
        """Fires a second."""
        return self.count / (self.ended - self.began) * 1000

    @property
    def cpu_each(self) -> float:
        """Microseconds of processor time for each fire."""
        return self.cpu / self.count * 1e6


def run(bootstrap: str, names: TopicNames, expect: int, what: str) -> Pass:
    """Let the loop read everything there is, in a process and a group of its own."""
    command = [sys.executable, "-m", "bench.pool_plain", bootstrap, names.prefix, str(expect), what]
    done = subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)
    return Pass(**json.loads(done.stdout))


def main() -> None:
    """Read as told, and say how it went."""
    bootstrap, prefix, expect, what = sys.argv[1:]
    names, group = TopicNames(prefix), f"bare-{uuid.uuid4().hex[:8]}"
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 16_384,
        }
    )
    consumer.subscribe([names.lane(lane) for lane in Lane])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 0,
            "queue.buffering.max.messages": 1_000_000,
            "transactional.id": group,
        }
    )
    producer.init_transactions()
    gc.collect()
    gc.freeze()
    batches = _batches(consumer, int(expect))
    print(json.dumps(read(batches) if what == "read" else tell(batches, consumer, producer, names)))
    consumer.close()


def read(batches: Iterator[list[Message]]) -> dict[str, float]:
    """Look at every field of every message."""
    count, began, cpu = 0, 0.0, 0.0
    for batch in batches:
        if not count:
            began, cpu = time.time_ns() / 1e6, time.process_time()
        for message in batch:
            _fields(message)
        count += len(batch)
    return _result(count, began, cpu)


def tell(
    batches: Iterator[list[Message]], consumer: Consumer, producer: Producer, names: TopicNames
) -> dict[str, float]:
    """Write an event of every message, and commit them with the offsets, so many at a time."""
    count, began, cpu, open_ = 0, 0.0, 0.0, 0
    produce: Any = producer.produce
    ends: dict[tuple[str, int], int] = {}
    source = f"/{names.prefix}/workers/bare".encode()
    for batch in batches:
        if not count:
            began, cpu = time.time_ns() / 1e6, time.process_time()
        if not open_:
            producer.begin_transaction()
        for message in batch:
            topic, partition, offset, _, key, _, headers = _fields(message)
            produce(names.events, *event(topic, partition, offset, key, headers, source))
            ends[topic, partition] = offset + 1
        count, open_ = count + len(batch), open_ + len(batch)
        if open_ >= TOGETHER:
            _commit(consumer, producer, ends)
            open_ = 0
    if open_:
        _commit(consumer, producer, ends)
    return _result(count, began, cpu)


def event(
    topic: str, partition: int, offset: int, key: bytes, headers: list[tuple[str, bytes]], source: bytes
) -> tuple[bytes, bytes, int, None, None, int, list[tuple[str, bytes]]]:
    """Return what `produce` takes, but for the topic: an event as long as a worker's."""
    told = dict(headers)
    fire, subject, shard = told["ce_id"], told["ce_subject"], told["shard"]
    own = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"run.succeeded"),
        ("ce_source", source),
        ("ce_id", b"run.succeeded/%b/1" % fire),
        ("ce_time", b"2026-11-20T02:00:00.123Z"),
        ("content-type", b"application/json"),
        ("shard", shard),
        ("ce_subject", subject),
        ("fire", fire),
        ("attempt", told["attempt"]),
    ]
    value = _VALUE % (topic.encode(), partition, offset)
    return value, key, int(shard), None, None, 0, own


def _commit(consumer: Consumer, producer: Producer, ends: dict[tuple[str, int], int]) -> None:
    offsets = [TopicPartition(*place, end) for place, end in ends.items()]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
    producer.commit_transaction()
    ends.clear()


def _batches(consumer: Consumer, expect: int) -> Iterator[list[Message]]:
    """Yield messages, a hundred at a time where there are so many, until all have come."""
    seen = 0
    while seen < expect:
        batch = consumer.consume(min(_READ, expect - seen), 0.5)
        seen += len(batch)
        if batch:
            yield batch


def _fields(message: Message) -> Any:
    if error := message.error():
        raise AssertionError(error)
    return (
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp(),
        message.key(),
        message.value(),
        message.headers(),
    )


def _result(count: int, began: float, cpu: float) -> dict[str, float]:
    return {
        "count": count,
        "began": began,
        "ended": time.time_ns() / 1e6,
        "cpu": time.process_time() - cpu,
    }


if __name__ == "__main__":
    main()
