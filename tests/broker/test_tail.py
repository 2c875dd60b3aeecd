"""The warm copies of ledger partitions against fresh reads, and when they must not be trusted."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from broker.cluster import Cluster
from broker.tools import committed, create, eventually, installed
from dispatcher.core.codec import encode
from dispatcher.core.ledger import Owner
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.kafka.config import Connection
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.tail import LedgerTail
from dispatcher.service import Deadline

pytestmark = pytest.mark.broker
SHARD = 1


def unexpected(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


@pytest.fixture
def topics(kafka: str, prefix: str) -> TopicNames:
    names = TopicNames(prefix)
    create(kafka, names.ledger, 2, cleanup_policy="compact")
    return names


@pytest.fixture
def log(kafka: str, topics: TopicNames) -> Iterator[KafkaShardLog]:
    log = KafkaShardLog(Connection(kafka), topics, SHARD)
    log.fence()
    yield log
    log.close()


@pytest.fixture
def tail(kafka: str, topics: TopicNames) -> Iterator[LedgerTail]:
    tail = LedgerTail(Connection(kafka), topics, unexpected)
    tail.start()
    yield tail
    tail.stop()
    assert tail.join(Deadline(5))


def put(topics: TopicNames, key: bytes, value: bytes | None) -> Outgoing:
    return (topics.ledger, value, key, SHARD, None)


def fresh(log: KafkaShardLog) -> tuple[dict[bytes, bytes], int]:
    ends = log.ends()
    image: dict[bytes, bytes] = {}
    for record in log.read(ends.low, ends.high):
        if record.value is None:
            image.pop(record.key, None)
        else:
            image[record.key] = record.value
    return image, ends.high


def reached(tail: LedgerTail, offset: int) -> bool:
    with tail._lock:
        return tail._copies[SHARD].next >= offset


def test_a_copy_equals_a_fresh_read_tombstones_and_aborted_records_included(
    kafka: str, topics: TopicNames, log: KafkaShardLog, tail: LedgerTail
) -> None:
    chance = random.Random(7)
    records = [
        put(topics, b"k%d" % chance.randrange(40), None if chance.random() < 0.3 else b"%d" % n)
        for n in range(400)
    ]
    tail.follow(SHARD)
    for begin in range(0, 400, 50):
        log.commit(records[begin : begin + 50])
    aborted = Producer({"bootstrap.servers": kafka, "transactional.id": topics.prefix})
    aborted.init_transactions(10)
    aborted.begin_transaction()
    aborted.produce(topics.ledger, b"never", b"k1", SHARD)
    aborted.flush(10)
    aborted.abort_transaction(10)
    image, end = fresh(log)
    assert 5 < len(image) < 40
    eventually(lambda: reached(tail, end))
    assert tail.hand_over(SHARD) == (image, end)


def test_a_copy_that_was_given_away_grows_no_more_and_may_be_followed_again(
    topics: TopicNames, log: KafkaShardLog, tail: LedgerTail
) -> None:
    first = log.commit([put(topics, b"a", b"1")])
    tail.follow(SHARD)
    eventually(lambda: reached(tail, first.offset + 2))
    image, after = tail.hand_over(SHARD)
    assert (image, after) == ({b"a": b"1"}, first.offset + 2)
    assert tail.hand_over(SHARD) == ({}, 0), "nobody's any more"
    log.commit([put(topics, b"a", None), put(topics, b"b", b"2")])
    tail.follow(SHARD)
    end = log.ends().high
    eventually(lambda: reached(tail, end))
    assert tail.hand_over(SHARD) == ({b"b": b"2"}, end)
    assert image == {b"a": b"1"}
    assert [record.key for record in log.read(after, end)] == [b"a", b"b"]


def test_the_end_is_told_once_and_the_owner_is_who_last_took_the_shard(
    kafka: str, topics: TopicNames, log: KafkaShardLog
) -> None:
    told: list[int] = []
    tail = LedgerTail(Connection(kafka), topics, unexpected, caught_up=told.append)
    owners = [Owner("first", 5), Owner("second", 7)]
    assert tail.owner_of(SHARD) is None
    tail.start()
    log.commit([put(topics, *encode(owners[0]))])
    tail.follow(SHARD)
    eventually(lambda: told == [SHARD])
    assert tail.owner_of(SHARD) == owners[0]
    log.commit([put(topics, *encode(owners[1]))])
    eventually(lambda: tail.owner_of(SHARD) == owners[1])
    end = log.ends().high
    eventually(lambda: reached(tail, end))
    tail.hand_over(SHARD)
    assert tail.owner_of(SHARD) is None, "nobody's copy any more"
    assert told == [SHARD]
    tail.follow(SHARD)
    eventually(lambda: told == [SHARD, SHARD])
    tail.stop()
    assert tail.join(Deadline(5))


def test_a_copy_below_the_start_of_the_log_is_read_again(kafka: str, prefix: str) -> None:
    names = TopicNames(prefix)
    create(kafka, names.ledger, 2)
    log = KafkaShardLog(Connection(kafka), names, SHARD)
    log.fence()
    last = log.commit([(names.ledger, b"%d" % n, b"new", SHARD, None) for n in range(5)])
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(names.ledger, SHARD, last.offset)]).values():
        future.result()
    tail = LedgerTail(Connection(kafka), names, unexpected)
    tail.follow(SHARD)
    behind = tail._assigned[SHARD] = tail._copies[SHARD]
    behind.image, behind.next = {b"old": b"its tombstone is gone"}, 1
    tail._following.add(SHARD, 1)
    eventually(lambda: tail._step() == 0 and reached(tail, last.offset + 2))
    assert tail.hand_over(SHARD) == ({b"new": b"4"}, last.offset + 2)
    tail._following.close()
    log.close()


def test_a_copy_out_of_touch_for_half_the_life_of_a_tombstone_is_read_again(
    own_cluster: Cluster, prefix: str
) -> None:
    topics = installed(own_cluster.bootstrap, prefix, 2)
    log = KafkaShardLog(Connection(own_cluster.bootstrap), topics, SHARD)
    log.fence()
    end = log.commit([put(topics, b"a", b"1")]).offset + 2
    tail = LedgerTail(Connection(own_cluster.bootstrap), topics, unexpected, delete_retention_ms=4000)
    tail.start()
    tail.follow(SHARD)
    eventually(lambda: reached(tail, end))
    copy = tail._copies[SHARD]
    confirmed = copy.sure
    eventually(lambda: copy.sure > confirmed, 10)
    own_cluster.pause()
    eventually(lambda: tail._copies[SHARD] is not copy, 20)
    own_cluster.resume()
    eventually(lambda: reached(tail, end), 20)
    assert tail.hand_over(SHARD) == ({b"a": b"1"}, end)
    assert committed(own_cluster.bootstrap, topics.ledger, SHARD)[0].value() == b"1"
    tail.stop()
    assert tail.join(Deadline(5))
    log.close()
