"""The comparison: a plain, non-transactional producer loop that sends the very same messages.

    python -m bench.plain <bootstrap> <prefix from> <prefix to>

It reads every committed fire of one installation (key, value, headers, partition), holds them ready in due
order, and for each line on its standard input sends them all to the other installation's topics and says
in JSON how many there were, when it began and when the last was acknowledged.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition

from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames

Ready = tuple[str, bytes | None, bytes | None, int, list[tuple[str, bytes]]]


@dataclass(frozen=True)
class Pass:
    """One pass: how many messages, begun and acknowledged when, in milliseconds of the wall."""

    count: int
    began: float
    ended: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.count / (self.ended - self.began) * 1000


class Plain:
    """The loop in a process of its own."""

    def __init__(self, bootstrap: str, source: TopicNames, target: TopicNames, since: float = 0) -> None:
        command = [sys.executable, "-m", "bench.plain", bootstrap, source.prefix, target.prefix, str(since)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.count = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def send(self) -> Pass:
        """Send everything once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return Pass(**json.loads(self._process.stdout.readline()))


def main() -> None:
    """Read, then send as often as asked."""
    bootstrap, source, target, since = sys.argv[1:]
    messages = collect(bootstrap, TopicNames(source), TopicNames(target), float(since))
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2_097_151,
        }
    )
    producer.list_topics(timeout=30)
    gc.collect()
    gc.freeze()
    print(len(messages), flush=True)
    for _ in sys.stdin:
        print(json.dumps(send(producer, messages)), flush=True)


def send(producer: Producer, messages: list[Ready]) -> dict[str, float]:
    """Send all messages as fast as this client can; return the count and the times."""
    produce: Any = producer.produce
    began = time.time_ns() / 1e6
    for topic, value, key, partition, headers in messages:
        produce(topic, value, key, partition, None, None, 0, headers)
    producer.flush()
    return {"count": len(messages), "began": began, "ended": time.time_ns() / 1e6}


def collect(bootstrap: str, source: TopicNames, target: TopicNames, since: float) -> list[Ready]:
    """Return the committed fires of an installation sent at or after an instant, in due order."""
    found: list[tuple[bytes, bytes, Ready]] = []
    known: dict[Any, Any] = {}
    for lane in Lane:
        for message in committed(bootstrap, source.lane(lane)):
            if message.timestamp()[1] < since:
                continue
            headers: Any = [known.setdefault(pair, pair) for pair in message.headers() or []]
            key, value = message.key(), known.setdefault(message.value(), message.value())
            ready = (target.lane(lane), value, key, message.partition() or 0, headers)
            found.append((dict(headers)["ce_time"], key or b"", ready))
    found.sort(key=lambda one: one[:2])
    return [ready for _, _, ready in found]


def committed(bootstrap: str, topic: str) -> list[Any]:
    """Return every committed record of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-plain",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    left = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
    found = []
    while left:
        for message in consumer.consume(2_000, 0.5):
            if message.error() is None:
                found.append(message)
            else:
                left.discard(message.partition() or 0)
    consumer.close()
    return found


if __name__ == "__main__":
    main()
