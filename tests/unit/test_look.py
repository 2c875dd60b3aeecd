"""A look at an installation does not take a partition that nobody leads for a moment for an empty one."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import Connection
from dispatcher.kafka.recovery import Depth, Look

PLACE = ("t.ledger", 0)


class Said:
    """A message, or an error told of a partition."""

    def __init__(self, offset: int, code: int | None = None) -> None:
        self._offset, self._code = offset, code

    def error(self) -> KafkaError | None:
        return None if self._code is None else KafkaError(self._code)

    def topic(self) -> str:
        return PLACE[0]

    def partition(self) -> int:
        return PLACE[1]

    def offset(self) -> int:
        return self._offset


class Scripted:
    """A consumer's edge: says one thing after the other."""

    def __init__(self, *said: Said) -> None:
        self._said = list(said)
        self._looked: set[str] = set()

    def list_topics(self, topic: str, timeout: float) -> None:
        assert timeout <= 1
        self._looked.add(topic)

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert self._looked == {one.topic for one in partitions}, "who leads is looked for first"

    def poll(self, _: float) -> Said | None:
        return self._said.pop(0) if self._said else None

    def consume(self, *_: Any) -> list[Said]:
        return []


def read(*said: Said) -> list[int | None]:
    look = Look(Connection("nowhere:9092"), TopicNames("t"), 1, Depth(20, whole=False, seconds=30.0))
    consumer: Any = Scripted(*said)
    return [message.offset() for message in look._messages(consumer, {PLACE: (0, 3)})]


def test_a_partition_without_a_leader_is_waited_for() -> None:
    assert read(Said(0), Said(-1, KafkaError.UNKNOWN_TOPIC_OR_PART), Said(1), Said(2)) == [0, 1, 2]


def test_one_that_stays_without_is_no_empty_one() -> None:
    with pytest.raises(KafkaUnreachable, match=r"t\.ledger"):
        read(Said(-1, KafkaError.UNKNOWN_TOPIC_OR_PART))


@pytest.mark.parametrize("code", [KafkaError._PARTITION_EOF, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_an_end_and_a_refusal_end_it(code: int) -> None:
    assert read(Said(0), Said(1, code)) == [0]
