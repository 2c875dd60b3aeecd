"""What the tail makes of what its consumer says: a copy is whole up to where it stands, or stands nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.core.codec import encode
from dispatcher.core.ledger import Timer
from dispatcher.core.message import TopicNames
from dispatcher.kafka import tail as tailing
from dispatcher.kafka.config import Connection
from dispatcher.kafka.tail import LedgerTail
from dispatcher.ports import LogEnds
from dispatcher.service import Deadline


class Record:
    """A record of shard 0: a timer whose due instant is what it said last."""

    def __init__(self, offset: int, name: str, due: int) -> None:
        timer = Timer(name, "job", 0, due, 1, "topic", 0, b"key", b"{}", ())
        self._offset, (self._key, self._value) = offset, encode(timer)

    def error(self) -> None: ...

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes | None:
        return self._value


class Scripted:
    """The consumer's edge: what it is asked to read, and what it says."""

    def __init__(self, *_: object) -> None:
        self.ends: list[LogEnds | None] = []
        self.said: list[list[Record]] = []
        self.stands = -1_001
        self.added: list[int] = []
        self.asked = 0

    def committed_ends(self, _: int) -> LogEnds | None:
        self.asked += 1
        return self.ends.pop(0) if self.ends else None

    def take(self) -> list[Record]:
        return self.said.pop(0) if self.said else []

    def add(self, _: int, offset: int) -> None:
        self.added.append(offset)

    def position(self, _: int) -> int:
        return self.stands

    def remove(self, _: int) -> None: ...

    def lag(self, _: int) -> int:
        return 0

    def close(self) -> None: ...


@pytest.fixture
def tail(monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerTail]:
    monkeypatch.setattr(tailing, "Following", Scripted)
    tail = LedgerTail(Connection("nowhere:9092"), TopicNames("t"), lambda *_: None)
    tail.follow(0)
    yield tail
    tail.start()
    tail.stop()
    assert tail.join(Deadline(5))


def edge(tail: LedgerTail) -> Any:
    return tail._following


def test_reading_begins_at_the_offset_that_brokers_tell(tail: LedgerTail) -> None:
    edge(tail).ends = [LogEnds(7, 9)]
    edge(tail).said = [[Record(7, "a", 1), Record(8, "b", 1)]]
    tail._step()
    assert edge(tail).added == [7]
    copy = tail.hand_over(0)
    assert (copy.next, set(copy.state().timers)) == (9, {"a", "b"})


def test_where_brokers_tell_nothing_nothing_is_read_and_they_are_not_asked_all_the_time(
    tail: LedgerTail, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail._step()
    tail._step()
    assert (edge(tail).asked, edge(tail).added) == (1, [])
    monkeypatch.setattr(tail, "_next_aim", 0.0)
    edge(tail).ends = [LogEnds(0, 1)]
    tail._step()
    assert edge(tail).added == [0]


def test_a_place_that_the_consumer_kept_from_before_makes_no_copy_whole(tail: LedgerTail) -> None:
    edge(tail).ends = [LogEnds(0, 9)]
    edge(tail).stands = 9
    tail._step()
    assert tail.hand_over(0).next == 0


def test_a_record_that_comes_once_more_does_not_undo_later_ones(tail: LedgerTail) -> None:
    edge(tail).ends = [LogEnds(0, 2)]
    edge(tail).said = [[Record(0, "a", 1), Record(1, "a", 2)], [Record(0, "a", 1)]]
    tail._step()
    tail._step()
    copy = tail.hand_over(0)
    assert (copy.next, copy.state().timers["a"].due) == (2, 2)


def test_of_a_partition_that_was_given_away_the_last_records_are_read(tail: LedgerTail) -> None:
    edge(tail).ends = [LogEnds(0, 1), LogEnds(0, 1_000)]
    tail._step()
    tail.hand_over(0)
    tail._step()
    assert edge(tail).added == [0, 900]
