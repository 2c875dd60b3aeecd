"""The plumbing of the demo on the client library's mock cluster. It proves nothing about the promise."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.commands import CommandHooks, CommandReader
from dispatcher.kafka.embedded import PARTITIONS, EmbeddedBroker, EmbeddedDirectory, SoleMembership
from dispatcher.kafka.live import CommandWriter, FireReader, Seen
from dispatcher.kafka.membership import OwnershipHooks
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.tail import LedgerTail
from dispatcher.service import Deadline

pytestmark = pytest.mark.embedded
TOPICS = TopicNames("demo")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        broker.prepare(TOPICS)
        yield broker


def test_a_shard_writes_and_reads_its_ledger(broker: EmbeddedBroker) -> None:
    log = KafkaShardLog(broker.connection(), TOPICS, 3)
    log.fence()
    jobs = TOPICS.prefix + ".jobs.normal"
    reader = FireReader(broker.connection(), [jobs], since=0)
    committed = log.commit(
        [(jobs, b"v", b"job", 3, [("ce_id", b"1")]), (TOPICS.ledger, b"c", b"cursor", 3, None)]
    )
    ends = log.ends()
    assert [(one.key, one.value) for one in log.read(ends.low, ends.high)] == [(b"cursor", b"c")]
    assert ends.high > committed.offset
    found: list[Seen] = []
    deadline = Deadline(10)
    while not found and deadline.left():
        found.extend(reader.take(0.2))
    assert [(one.partition, one.value) for one in found] == [(3, b"v")]
    reader.close()
    log.close()


def test_a_tail_and_commands_work(broker: EmbeddedBroker) -> None:
    failures: list[BaseException] = []
    heard: SimpleQueue[bytes | None] = SimpleQueue()
    hooks = CommandHooks(lambda *what: heard.put(what[3]), lambda *_: None, lambda *_: None)
    commands = CommandReader(broker.connection(), TOPICS, hooks, lambda _, error: failures.append(error))
    tail = LedgerTail(broker.connection(), TOPICS, lambda _, error: failures.append(error))
    commands.start()
    tail.start()
    tail.follow(1)
    commands.attach(1, 0)
    writer = CommandWriter(broker.connection(), TOPICS.commands)
    writer.write(b"adopt", range(PARTITIONS), 10)
    assert heard.get(timeout=10) == b"adopt"
    for service in (commands, tail):
        service.stop()
        assert service.join(Deadline(5))
    writer.close()
    assert failures == []


def test_every_topic_is_there_and_an_ended_broker_is_told(broker: EmbeddedBroker) -> None:
    directory = EmbeddedDirectory(broker)
    facts = directory.facts("own.topic")
    assert facts is not None
    assert facts.partitions == PARTITIONS
    with EmbeddedBroker() as other:
        ended = EmbeddedDirectory(other)
    with pytest.raises(KafkaUnreachable):
        ended.facts("x")


def test_a_sole_member_owns_every_shard_until_it_stops_once() -> None:
    told: list[tuple[str, list[int]]] = []
    hooks = OwnershipHooks(
        lambda shards: told.append(("assigned", shards)),
        lambda shards: told.append(("revoked", shards)),
        lambda shards: told.append(("lost", shards)),
    )
    member = SoleMembership(2, hooks)
    member.start()
    member.stop()
    member.stop()
    assert member.join(Deadline(0))
    assert told == [("assigned", [0, 1]), ("revoked", [0, 1])]
    assert threading.active_count() >= 1
