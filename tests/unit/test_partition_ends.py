"""Asking for a partition's ends: one client for all questions, and no old belief about who leads."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import offsets
from dispatcher.kafka.config import Connection
from dispatcher.kafka.offsets import PartitionEnds
from dispatcher.ports import LogEnds

LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no stub


class Brokers:
    """Answers as brokers do; counts the clients, and keeps what was asked in order."""

    def __init__(self) -> None:
        self.clients = 0
        self.asked: list[object] = []
        self.failing: list[int] = []

    def __call__(self, _settings: object) -> Brokers:
        self.clients += 1
        return self

    def list_topics(self, topic: str, timeout: float) -> None:
        del timeout
        self.asked.append(topic)
        if self.failing:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def list_offsets(self, wanted: dict[TopicPartition, Any], **how: object) -> dict[TopicPartition, Any]:
        assert how["isolation_level"] is IsolationLevel.READ_UNCOMMITTED
        ((partition, spec),) = wanted.items()
        answer: Future[object] = Future()
        self.asked.append((partition.topic, partition.partition))
        if self.failing:
            answer.set_exception(KafkaException(KafkaError(self.failing.pop())))
        else:
            answer.set_result(SimpleNamespace(offset=7 if spec is LATEST else 3))
        return {partition: answer}

    def poll(self, _seconds: float) -> None:
        """Nothing to wait for."""


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    found = Brokers()
    monkeypatch.setattr(offsets, "AdminClient", found)
    return found


def test_one_client_asks_for_all_shards(brokers: Brokers) -> None:
    ends = PartitionEnds(Connection("nowhere:1"))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda shard: ends.of("ledger", shard, 5.0), range(16)))
    assert found == [LogEnds(3, 7)] * 16
    assert brokers.clients == 1


def test_who_leads_is_looked_up_before_each_question(brokers: Brokers) -> None:
    brokers.failing = [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.OFFSET_NOT_AVAILABLE]
    ends = PartitionEnds(Connection("nowhere:1"))
    assert ends.of("ledger", 1, 5.0) == LogEnds(3, 7)
    brokers.asked.clear()
    assert ends.of("ledger", 2, 5.0) == LogEnds(3, 7)
    assert brokers.asked == ["ledger", ("ledger", 2), ("ledger", 2)]


def test_brokers_that_never_answer_are_told_of(brokers: Brokers) -> None:
    brokers.failing = [KafkaError._TIMED_OUT] * 1_000_000
    with pytest.raises(KafkaUnreachable, match=r"ledger-1: its ends are not to be had: .*[Tt]imed out"):
        PartitionEnds(Connection("nowhere:1")).of("ledger", 1, 0.01)
