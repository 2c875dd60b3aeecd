"""Readers learn who leads before they are given partitions, and wait for that once at the most."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import following, reading
from dispatcher.kafka.config import Connection
from dispatcher.kafka.following import Following
from dispatcher.kafka.reading import look_for_leaders, read_partition


class Client:
    """Keeps what it is told to do, in order; no broker answers it when it is `alone`."""

    def __init__(self, *_: object, alone: bool = False) -> None:
        self.done: list[str] = []
        self._alone = alone

    def list_topics(self, topic: str, timeout: float) -> None:
        assert timeout <= 1
        self.done.append(f"look {topic}")
        if self._alone:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def assign(self, _: object) -> None:
        self.done.append("assign")
        raise KafkaUnreachable("that is enough")

    def incremental_assign(self, _: object) -> None:
        self.done.append("assign")

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        self.done.append("ends")
        return 0, 1

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    found = Client()
    for module in (following, reading):
        monkeypatch.setattr(module, "Consumer", lambda *_: found)
    return found


def test_a_follower_looks_once_before_whatever_it_does_first(client: Client) -> None:
    follower = Following(Connection("nowhere:1"), "t")
    follower.committed_ends(0)
    follower.add(0, 0)
    assert client.done == ["look t", "ends", "assign"]


def test_a_reader_looks_before_it_is_given_its_partition(client: Client) -> None:
    with pytest.raises(KafkaUnreachable, match="enough"):
        list(read_partition(Connection("nowhere:1"), TopicPartition("t", 0, 0), 1, 1.0))
    assert client.done == ["look t", "assign"]


def test_where_no_broker_answers_no_second_topic_is_waited_for() -> None:
    alone: Any = Client(alone=True)
    look_for_leaders(alone, ["a", "b", "c"])
    assert alone.done == ["look a"]
