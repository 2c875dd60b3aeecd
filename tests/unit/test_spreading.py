"""What is staged is handed over in slices, one partition after the other, over the time there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dispatcher.core.burst import spare
from dispatcher.core.message import Outgoing
from dispatcher.kafka.config import Connection
from dispatcher.kafka.transaction import Means, Patience, Transactor

PARTITIONS = 3
COUNT = 3_000


@dataclass
class Producer:
    """A producer in memory with a clock of its own: what takes time says so, and a poll may end early."""

    now: float = 0.0
    sent: list[tuple[float, int, bytes]] = field(default_factory=list)
    held: bool = False
    alone: list[bool] = field(default_factory=list)
    refuses: bytes = b""

    def begin_transaction(self) -> None:
        """Begin."""

    def produce(self, _topic: str, value: bytes, _key: bytes, partition: int, *_rest: Any) -> None:
        if value == self.refuses:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large"))
        self.sent.append((self.now, partition, value))
        self.alone.append(self.held)

    def poll(self, seconds: float) -> int:
        """Let time pass; a delivery report that comes ends the wait before its time."""
        assert not self.held, "nobody waits with the turn"
        self.now += max(0.001, seconds / 2)
        return 1

    def flush(self, _seconds: float) -> int:
        return 0


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def transactor(producer: Producer) -> Transactor:
    class Turn:
        def __enter__(self) -> None:
            producer.held = True

        def __exit__(self, *_: object) -> None:
            producer.held = False

    means = Means(producer=lambda _: producer, seconds=lambda: producer.now, turn=Turn())  # type: ignore[arg-type, return-value] # stands for the library's
    return Transactor(Connection("nowhere"), "id", Patience(), means)


def records() -> list[Outgoing]:
    fires = [("jobs", b"%d" % number, b"k", number % PARTITIONS, None) for number in range(COUNT)]
    return [*fires, ("ledger", b"cursor", b"cursor", 0, None)]


def test_records_are_spread_over_the_time_there_is(producer: Producer, transactor: Transactor) -> None:
    assert transactor.stage(records(), over=1.5) is None
    times = [at for at, _, _ in producer.sent]
    assert 1.0 < times[-1] <= 1.5
    assert times[len(times) // 2] == pytest.approx(0.75, abs=0.2)


def test_records_of_a_partition_go_together_in_order(producer: Producer, transactor: Transactor) -> None:
    assert transactor.stage(records(), over=0.0) is None
    expected = [
        *(b"%d" % number for part in range(PARTITIONS) for number in range(part, COUNT, PARTITIONS)),
        b"cursor",
    ]
    assert [value for _, _, value in producer.sent] == expected


def test_they_are_handed_over_in_the_turn_of_the_process(producer: Producer, transactor: Transactor) -> None:
    assert transactor.stage(records(), over=1.0) is None
    assert all(producer.alone), "two stagings at once take the interpreter from what is due"


def test_a_refused_record_is_named_by_its_place(producer: Producer, transactor: Transactor) -> None:
    producer.refuses = b"1700"
    fault = transactor.stage(records(), over=0.0)
    assert fault is not None
    assert fault.index == 1_700
    assert not producer.held


def test_what_is_not_staged_goes_out_as_it_stands_and_at_once(
    producer: Producer, transactor: Transactor
) -> None:
    assert transactor.stage(records()) is None
    assert [value for _, _, value in producer.sent] == [one[1] for one in records()]
    assert producer.now == 0.0


def test_there_is_time_until_shortly_before_the_instant() -> None:
    assert spare(10_000, 8_000) == 1.6
    assert spare(10_000, 9_900) == 0.0
    assert spare(10_000, 10_500) == 0.0
