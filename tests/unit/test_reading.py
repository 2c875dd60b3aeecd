"""Reading a partition up to its end where the end was reached before."""

from __future__ import annotations

from typing import Never

import pytest
from confluent_kafka import TopicPartition

from dispatcher.kafka.config import Connection
from dispatcher.kafka.reading import read_partition


@pytest.mark.parametrize("start", [7, 8])
def test_who_read_along_makes_no_client_to_read_nothing(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: object) -> Never:
        raise AssertionError("a client costs time, threads and memory")

    monkeypatch.setattr("dispatcher.kafka.reading.made", made)
    place = TopicPartition("ledger", 0, start)
    assert list(read_partition(Connection("nowhere:1"), place, 7, 1.0)) == []
