"""Fires for workers to run, written as the dispatcher writes them, long before anybody reads them."""

from __future__ import annotations

import json
from typing import Any

from confluent_kafka import Producer

from dispatcher.core.job import JobReader
from dispatcher.core.message import MessageMaker, Outgoing, TopicNames

PARTITIONS = 12
_JOBS = 1_000
_TOGETHER = 5_000
_BEGIN = 1_763_600_400_000


def fires(names: TopicNames, runs: int, handler: str = "noop", **fields: object) -> list[Outgoing]:
    """Return so many fires of a thousand jobs, each planned a second after the one before."""
    reader = JobReader()
    jobs = [
        reader.read(json.dumps({
            "jobName": f"job-{number:07}", "cronTime": "* * * * * *", "job": handler, **fields,
        }).encode())
        for number in range(min(runs, _JOBS))
    ]  # fmt: skip
    maker = MessageMaker(names, 0, lambda _topic: PARTITIONS)
    return [
        maker.fire(jobs[number % len(jobs)], _BEGIN + number // len(jobs) * 1_000, "0" * 64)
        for number in range(runs)
    ]


def fill(bootstrap: str, names: TopicNames, messages: list[Outgoing]) -> None:
    """Write messages in transactions, so that readers meet what they meet of the dispatcher."""
    producer = Producer({
        "bootstrap.servers": bootstrap, "acks": "all", "compression.type": "lz4",
        "transactional.id": f"{names.prefix}-fill",
    })  # fmt: skip
    produce: Any = producer.produce
    producer.init_transactions()
    for begin in range(0, len(messages), _TOGETHER):
        producer.begin_transaction()
        for topic, value, key, partition, headers in messages[begin : begin + _TOGETHER]:
            produce(topic, value, key, partition, headers=headers)
        producer.commit_transaction()
