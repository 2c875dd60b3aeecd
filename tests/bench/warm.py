"""Warming a broker up: a fresh one runs uncompiled code and answers ten times slower than it will."""

from __future__ import annotations

import time
import uuid

from broker.tools import committed, create
from confluent_kafka import Producer

SECONDS, PRODUCERS = 12.0, 4
_LARGE, _PARTITIONS = 2_000, 12
_HEADERS: list[tuple[str, str | bytes | None]] = [(f"header-{number}", b"value") for number in range(8)]


def warm_up(bootstrap: str) -> None:
    """Write transactions and plain messages, small and large, for some seconds; then read them."""
    topic = create(bootstrap, f"warm-up-{uuid.uuid4().hex[:8]}", _PARTITIONS, retention_ms="60000")
    common = {"bootstrap.servers": bootstrap, "acks": "all", "compression.type": "lz4"}
    plain = Producer(common)
    producers = [Producer({**common, "transactional.id": f"warm-up-{each}"}) for each in range(PRODUCERS)]
    for producer in producers:
        producer.init_transactions()
    end = time.monotonic() + SECONDS
    turn = 0
    while time.monotonic() < end:
        turn += 1
        for producer in producers:
            producer.begin_transaction()
            _send(producer, topic, _LARGE if turn % 4 == 0 else turn % 50 + 1)
        for producer in producers:
            producer.flush()
            producer.commit_transaction()
        _send(plain, topic, _LARGE if turn % 4 == 0 else 10)
        plain.flush()
    for partition in range(_PARTITIONS):
        committed(bootstrap, topic, partition)


def _send(producer: Producer, topic: str, count: int) -> None:
    for number in range(count):
        producer.produce(topic, b"value" * 40, b"key-%d" % number, number % _PARTITIONS, headers=_HEADERS)
