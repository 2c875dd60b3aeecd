"""Batches of a command line: what is not known to be committed is looked for, and written again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from dispatcher.core.message import Outgoing
from dispatcher.errors import KafkaUnreachable, TransactionFailed, Unsendable
from dispatcher.kafka.config import SUSPECT_COMMIT_SECONDS, Config, Connection
from dispatcher.kafka.together import TogetherWriter
from dispatcher.kafka.transaction import Means, Patience

BATCH: list[Outgoing] = [("t", b"1", None, 0, None), ("t", b"2", None, 0, None)]
PATIENCE = Patience(fence=0.01, send=0.01, commit=0.01, stall=0.01)


class Report:
    """What a delivery report carries."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


class World:
    """A cluster of one partition, and how its next commits go."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.made = 0
        self.now = 0.0
        self.commits: list[Callable[[Written], None]] = []
        self.refuses = b""
        self.down = False

    def writer(self) -> TogetherWriter:
        def make(_: Config) -> Producer:
            self.made += 1
            return cast("Producer", Written(self))

        means = Means(producer=make, seconds=lambda: self.now)
        return TogetherWriter(Connection("b:1"), "t-cli-1", "t", PATIENCE, means)


class Written:
    """A producer of the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.staged: list[bytes] = []

    def list_topics(self, *_: Any) -> None:
        pass

    def init_transactions(self, _: float) -> None:
        if self._world.down:
            self._world.now += 1
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "nobody", retriable=True))

    def begin_transaction(self) -> None:
        self.staged = []

    def produce(self, _: str, value: bytes, *more: Any) -> None:
        callback = more[2]
        self.staged.append(value)
        if callback is None:
            return
        if value == self._world.refuses:
            callback(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Report(-1))
        else:
            callback(None, Report(len(self._world.log) + len(self.staged) - 1))

    def flush(self, _: float) -> int:
        return 0

    def commit_transaction(self, _: float) -> None:
        how = self._world.commits.pop(0) if self._world.commits else land
        how(self)

    def land(self) -> None:
        self._world.log += self.staged

    def late(self) -> None:
        self._world.now += SUSPECT_COMMIT_SECONDS

    def abort_transaction(self, *_: Any) -> None:
        pass

    def poll(self, _: float) -> int:
        return 0

    def purge(self, *_: Any, **__: Any) -> None:
        pass


def land(producer: Written) -> None:
    producer.land()


def land_late(producer: Written) -> None:
    producer.land()
    producer.late()


def vanish_late(producer: Written) -> None:
    """Say late that a commit was done which a broker had aborted."""
    producer.late()


def fail(_: Written) -> None:
    raise KafkaException(KafkaError(KafkaError.UNKNOWN_PRODUCER_ID))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def read(_: Connection, start: Any, until: int, __: float) -> list[list[Report]]:
        return [[Report(at) for at in range(start.offset, until) if at < len(world.log)]]

    monkeypatch.setattr("dispatcher.kafka.together.read_partition", read)
    return world


def test_a_clean_commit_is_done_once_and_its_producer_kept(world: World) -> None:
    writer = world.writer()
    writer.write(BATCH)
    writer.write(BATCH)
    writer.close()
    assert (world.log, world.made) == ([b"1", b"2"] * 2, 1)


def test_a_suspect_commit_that_was_done_is_not_done_again(world: World) -> None:
    world.commits = [land_late]
    world.writer().write(BATCH)
    assert (world.log, world.made) == ([b"1", b"2"], 2), "a new producer stands before the look"


@pytest.mark.parametrize("how", [vanish_late, fail])
def test_a_commit_that_came_to_nothing_is_done_again(world: World, how: Callable[[Written], None]) -> None:
    world.commits = [how]
    world.writer().write(BATCH)
    assert world.log == [b"1", b"2"]


def test_one_that_never_succeeds_is_told(world: World) -> None:
    world.commits = [fail] * 5
    with pytest.raises(TransactionFailed, match="t-cli-1: commit failed"):
        world.writer().write(BATCH)
    assert world.log == []


def test_a_record_that_cannot_be_sent_is_named(world: World) -> None:
    world.refuses = b"2"
    with pytest.raises(Unsendable) as refused:
        world.writer().write(BATCH)
    assert refused.value.index == 1
    assert world.log == []


def test_without_a_coordinator_that_is_said(world: World) -> None:
    world.down = True
    with pytest.raises(KafkaUnreachable, match="no transaction coordinator answered"):
        world.writer().write(BATCH)
