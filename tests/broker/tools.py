"""What several broker tests need: topics, a quick look into a partition, a wait with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from dispatcher.core.message import TopicNames
from dispatcher.kafka.config import Connection
from dispatcher.kafka.topic_plan import topic_plan
from dispatcher.kafka.topics import KafkaTopics


def create(bootstrap: str, name: str, partitions: int = 1, **settings: str) -> str:
    """Create one topic; underscores in the names of settings stand for dots."""
    settings = {setting.replace("_", "."): value for setting, value in settings.items()}
    topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([topic]).values():
        future.result()
    eventually(lambda: len(admin.list_topics(name, timeout=5).topics[name].partitions) == partitions)
    return name


def installed(bootstrap: str, prefix: str, shards: int = 4) -> TopicNames:
    """Create every topic of an installation."""
    names = TopicNames(prefix)
    left = KafkaTopics(Connection(bootstrap)).ensure(topic_plan(names, shards, 3 * shards), 1).left
    assert left == ()
    return names


def committed(bootstrap: str, topic: str, partition: int = 0, seconds: float = 20.0) -> list[Message]:
    """Return every committed record of a partition, read by a client that shares nothing with the package."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "tests", "isolation.level": "read_committed",
        "enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Message] = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            message = consumer.poll(0.5)
            if message is not None and message.error() is not None:
                return found
            if message is not None:
                found.append(message)
    finally:
        consumer.close()
    raise AssertionError(f"{topic}-{partition}: no end within {seconds} s")


def values(messages: Sequence[Message]) -> list[bytes | None]:
    """Return the values of messages."""
    return [message.value() for message in messages]


def eventually(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return the first true answer of a condition; fail when there is none within the time."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        pause.wait(0.02)
    return answer
