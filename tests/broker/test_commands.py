"""Commands on a real cluster: from which offset they are read, and what is told when it is not there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from broker.tools import committed as committed_in
from broker.tools import create, eventually, values
from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.commands import CommandHooks, CommandReader
from dispatcher.kafka.config import Connection
from dispatcher.kafka.live import CommandWriter
from dispatcher.service import Deadline

pytestmark = pytest.mark.broker


class Heard:
    """Everything a reader told, in order."""

    def __init__(self) -> None:
        self.told: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self.hooks = CommandHooks(
            deliver=lambda *what: self.told.put(("command", *what[:4])),
            lost=lambda *what: self.told.put(("lost", *what)),
            beyond=lambda *what: self.told.put(("beyond", *what)),
            read=self._read,
        )
        self.ends: SimpleQueue[tuple[int, int]] = SimpleQueue()
        """(shard, things told before) of every shard that was read to its end."""

    def _read(self, shard: int) -> None:
        self.ends.put((shard, self.told.qsize()))

    def next(self) -> tuple[Any, ...]:
        return self.told.get(timeout=15)


@pytest.fixture
def topics(kafka: str, prefix: str) -> TopicNames:
    names = TopicNames(prefix)
    create(kafka, names.commands, 3)
    return names


@pytest.fixture
def writer(kafka: str, topics: TopicNames) -> Iterator[CommandWriter]:
    writer = CommandWriter(Connection(kafka), topics.commands)
    yield writer
    writer.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def reader(kafka: str, topics: TopicNames, heard: Heard) -> Iterator[CommandReader]:
    failures: list[BaseException] = []
    reader = CommandReader(Connection(kafka), topics, heard.hooks, lambda _, error: failures.append(error))
    reader.start()
    yield reader
    started = time.monotonic()
    reader.stop()
    assert reader.join(Deadline(5))
    assert time.monotonic() - started < 1.5
    assert failures == []


def test_a_command_reaches_every_partition_it_was_written_to(
    kafka: str, topics: TopicNames, writer: CommandWriter
) -> None:
    writer.write(b"adopt", [0, 2], 10)
    assert [values(committed_in(kafka, topics.commands, number)) for number in range(3)] == [
        [b"adopt"],
        [],
        [b"adopt"],
    ]


def test_a_command_nobody_takes_is_told_in_time() -> None:
    writer = CommandWriter(Connection("127.0.0.1:1"), "commands")
    started = time.monotonic()
    with pytest.raises(KafkaUnreachable, match=r"no answer for \[0, 1\].*send it again"):
        writer.write(b"adopt", [0, 1], 0.5)
    writer.close()
    assert time.monotonic() - started < 3


def test_commands_come_from_the_attached_offset_on_and_tell_the_next_one(
    writer: CommandWriter, reader: CommandReader, heard: Heard
) -> None:
    for value in (b"0", b"1", b"2"):
        writer.write(value, [1], 10, key=b"k")
    reader.attach(1, 1)
    assert heard.next() == ("command", 1, 2, b"k", b"1")
    assert heard.next() == ("command", 1, 3, b"k", b"2")
    writer.write(b"3", [0, 1], 10)
    assert heard.next() == ("command", 1, 4, None, b"3"), "shard 0 is not attached"


def test_without_an_offset_reading_begins_at_the_present_end(
    writer: CommandWriter, reader: CommandReader, heard: Heard
) -> None:
    writer.write(b"old", [2], 10)
    reader.attach(2, None)
    eventually(lambda: 2 in reader._reading)
    writer.write(b"new", [2], 10)
    assert heard.next() == ("command", 2, 2, None, b"new")


def test_the_end_of_what_waited_is_told_once_and_after_all_of_it(
    writer: CommandWriter, reader: CommandReader, heard: Heard
) -> None:
    for value in (b"0", b"1", b"2"):
        writer.write(value, [1], 10)
    reader.attach(1, 0)
    assert heard.ends.get(timeout=15) == (1, 3)
    reader.attach(2, 0)
    assert heard.ends.get(timeout=15) == (2, 3), "nothing waited"
    writer.write(b"3", [1, 2], 10)
    eventually(lambda: heard.told.qsize() == 5)
    reader.detach(1)
    reader.attach(1, 4)
    assert heard.ends.get(timeout=15) == (1, 5), "each time it is attached, and no more"


def test_a_detached_shard_is_read_no_more_and_may_be_attached_again(
    writer: CommandWriter, reader: CommandReader, heard: Heard
) -> None:
    reader.attach(0, 0)
    writer.write(b"a", [0], 10)
    assert heard.next()[4] == b"a"
    reader.detach(0)
    eventually(lambda: 0 not in reader._reading)
    writer.write(b"b", [0], 10)
    reader.attach(1, 0)
    writer.write(b"c", [1], 10)
    assert heard.next() == ("command", 1, 1, None, b"c"), "b waits in the log"
    reader.attach(0, 1)
    assert heard.next() == ("command", 0, 2, None, b"b")


def test_commands_lost_to_retention_are_counted_and_the_rest_is_read(
    kafka: str, topics: TopicNames, writer: CommandWriter, reader: CommandReader, heard: Heard
) -> None:
    for value in (b"0", b"1", b"2", b"3"):
        writer.write(value, [1], 10)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(topics.commands, 1, 3)]).values():
        future.result()
    reader.attach(1, 1)
    assert heard.next() == ("lost", 1, 2)
    assert heard.next() == ("command", 1, 4, None, b"3")


def test_an_offset_beyond_the_end_refuses_the_shard_and_no_other(
    writer: CommandWriter, reader: CommandReader, heard: Heard
) -> None:
    writer.write(b"0", [0, 1], 10)
    reader.attach(0, 7)
    reader.attach(1, 0)
    assert heard.next() == ("beyond", 0, 7, 1)
    assert heard.next() == ("command", 1, 1, None, b"0")
    assert 0 not in reader._reading
