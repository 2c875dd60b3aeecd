"""Who asks for the offsets at an instant does not take an error of a partition for its emptiness."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import history, live
from dispatcher.kafka.config import Connection
from dispatcher.kafka.history import Extent, HistoryReader
from dispatcher.kafka.live import FireReader

UNKNOWN = KafkaError._UNKNOWN_PARTITION


class Hesitant:
    """A consumer's edge: of two partitions one is not known for some questions."""

    def __init__(self, answers: list[list[TopicPartition] | KafkaException]) -> None:
        self.answers = answers
        self.assigned: list[TopicPartition] = []

    def list_topics(self, topic: str, **_: Any) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None, 1: None})})

    def offsets_for_times(self, _: list[TopicPartition], **__: Any) -> list[TopicPartition]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, KafkaException):
            raise answer
        return answer

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def poll(self, _: float) -> None: ...

    def close(self) -> None: ...


def found(error: int | None = None) -> list[TopicPartition]:
    partitions = [TopicPartition("t", 0, 17), TopicPartition("t", 1, -1)]
    if error is None:
        return partitions
    wrong = SimpleNamespace(topic="t", partition=1, offset=-1001, error=KafkaError(error))
    return [partitions[0], wrong]  # type: ignore[list-item]  # the library alone can make one with an error


def read(monkeypatch: pytest.MonkeyPatch, consumer: Hesitant, seconds: float) -> FireReader:
    monkeypatch.setattr(live, "Consumer", lambda _: consumer)
    return FireReader(Connection("nowhere:9092"), ["t"], since=1_000, seconds=seconds)


@pytest.mark.parametrize("first", [KafkaException(KafkaError(UNKNOWN)), found(UNKNOWN)])
def test_a_partition_that_is_not_known_yet_is_asked_about_again(
    monkeypatch: pytest.MonkeyPatch, first: list[TopicPartition] | KafkaException
) -> None:
    consumer = Hesitant([first, found()])
    read(monkeypatch, consumer, 10)
    assert [(each.partition, each.offset) for each in consumer.assigned] == [(0, 17), (1, OFFSET_END)]


def test_one_that_stays_unknown_is_told_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Hesitant([KafkaException(KafkaError(UNKNOWN))])
    with pytest.raises(KafkaUnreachable, match="_UNKNOWN_PARTITION"):
        read(monkeypatch, consumer, 0.0)
    assert consumer.assigned == []


def test_history_takes_an_error_of_one_partition_for_no_emptiness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "Consumer", lambda _: Hesitant([found(UNKNOWN)]))
    with pytest.raises(KafkaUnreachable, match="_UNKNOWN_PARTITION"):
        HistoryReader(Connection("nowhere:9092"), 1.0).since(
            {("t", 0): Extent(0, 20), ("t", 1): Extent(0, 9)}, 5
        )
