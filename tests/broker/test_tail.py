"""The warm copies of ledger partitions against fresh reads, and when they must not be trusted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from broker.cluster import Cluster
from broker.tools import committed, create, eventually, installed
from dispatcher.core.codec import decode, encode
from dispatcher.core.ledger import Cursor, Fact, Owner, Position, Timer, TimerGone
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.state import ShardState, fresh_position
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


def put(topics: TopicNames, fact: Fact) -> Outgoing:
    key, value = encode(fact)
    return (topics.ledger, value, key, SHARD, None)


def timer(name: str, due: int = 0) -> Timer:
    return Timer(name, "job", 0, due, 1, "topic", 0, b"key", b"{}", ())


def fresh(log: KafkaShardLog) -> tuple[ShardState, int]:
    ends = log.ends()
    latest = {record.key: record.value for record in log.read(ends.low, ends.high)}
    state = ShardState()
    state.restore(decode(key, value) for key, value in latest.items() if value is not None)
    return state, ends.high


def reached(tail: LedgerTail, offset: int) -> bool:
    with tail._lock:
        found = tail._copies[SHARD]
        return found.copy.next >= offset and found.copy.decoded


def handed_over(tail: LedgerTail) -> tuple[ShardState, int]:
    copy = tail.hand_over(SHARD)
    return copy.state(), copy.next


@pytest.mark.parametrize("warm", [True, False], ids=["read on", "read at once"])
def test_a_copy_equals_a_fresh_read_tombstones_and_aborted_records_included(
    kafka: str, topics: TopicNames, log: KafkaShardLog, tail: LedgerTail, *, warm: bool
) -> None:
    chance = random.Random(7)
    names = [f"k{chance.randrange(40)}" for _ in range(400)]
    records = [
        put(topics, TimerGone(name) if chance.random() < 0.3 else timer(name, number))
        for number, name in enumerate(names)
    ]
    log.commit([put(topics, fresh_position())])
    if warm:
        tail.follow(SHARD)
        eventually(lambda: reached(tail, 1))
    for begin in range(0, 400, 50):
        log.commit(records[begin : begin + 50])
    aborted = Producer({"bootstrap.servers": kafka, "transactional.id": topics.prefix})
    aborted.init_transactions(10)
    aborted.begin_transaction()
    _, never, key, _, _ = put(topics, timer("k1", 9_999))
    aborted.produce(topics.ledger, never, key, SHARD)
    aborted.flush(10)
    aborted.abort_transaction(10)
    state, end = fresh(log)
    assert 5 < len(state.timers) < 40
    tail.follow(SHARD)
    eventually(lambda: reached(tail, end))
    warmed, after = handed_over(tail)
    assert (warmed.timers, warmed.position, after) == (state.timers, state.position, end)


def test_a_copy_begun_anew_while_its_broker_is_frozen_is_whole(own_cluster: Cluster, prefix: str) -> None:
    topics = TopicNames(prefix)
    create(own_cluster.bootstrap, topics.ledger, 2, cleanup_policy="compact")
    connection = Connection(own_cluster.bootstrap)
    log = KafkaShardLog(connection, topics, SHARD)
    log.fence()
    for begin in range(0, 1_000, 250):
        log.commit([put(topics, timer(f"k{number}")) for number in range(begin, begin + 250)])
    end = log.ends().high
    log.close()
    tail = LedgerTail(connection, topics, unexpected)
    tail.follow(SHARD)
    tail.start()
    eventually(lambda: reached(tail, end))
    for frozen in (0.0, 0.1):
        away = threading.Timer(frozen, own_cluster.pause)
        away.start()
        tail.hand_over(SHARD)
        away.join()
        time.sleep(2.5)  # the broker's silence: what the library has asked meanwhile is to be answered late
        tail.follow(SHARD)
        time.sleep(1.5)
        own_cluster.resume()
        eventually(lambda: reached(tail, end))
        with tail._lock:
            assert len(tail._copies[SHARD].copy.state().timers) == 1_000
    tail.stop()
    assert tail.join(Deadline(10))


def test_a_copy_that_was_given_away_grows_no_more_and_may_be_followed_again(
    topics: TopicNames, log: KafkaShardLog, tail: LedgerTail
) -> None:
    first = log.commit([put(topics, timer("a"))])
    tail.follow(SHARD)
    eventually(lambda: reached(tail, first.offset + 2))
    state, after = handed_over(tail)
    assert (list(state.timers), after) == (["a"], first.offset + 2)
    other, begin = handed_over(tail)
    assert (other.timers, begin) == ({}, 0), "nobody's any more"
    log.commit([put(topics, TimerGone("a")), put(topics, timer("b"))])
    tail.follow(SHARD)
    end = log.ends().high
    eventually(lambda: reached(tail, end))
    again, after_again = handed_over(tail)
    assert (list(again.timers), after_again) == (["b"], end)
    assert list(state.timers) == ["a"]
    assert [record.key for record in log.read(after, end)] == [b"timer/a", b"timer/b"]


def test_a_record_that_cannot_be_read_is_nobodys_trouble_before_the_shard_is_taken(
    kafka: str, topics: TopicNames, log: KafkaShardLog
) -> None:
    told: list[int] = []
    tail = LedgerTail(Connection(kafka), topics, unexpected, caught_up=told.append)
    tail.start()
    newer = (topics.ledger, b'{"v":99}', b"timer/new", SHARD, None)
    for before in (False, True):
        tail.follow(SHARD)
        if before:
            log.commit([newer])
        eventually(lambda: len(told) == 1 + before)  # noqa: B023 - called at once
        log.commit([newer])
        with tail._lock:
            found = tail._copies[SHARD]
        eventually(lambda: found.unfit)  # noqa: B023 - called at once
        assert tail.owner_of(SHARD) is None
        assert tail.hand_over(SHARD).next == 0, "who takes the shard reads it anew, and is told"
    tail.follow(SHARD - 1)
    eventually(lambda: told[-1] == SHARD - 1)
    tail.stop()
    assert tail.join(Deadline(5))


def test_the_end_is_told_once_and_the_owner_is_who_last_took_the_shard(
    kafka: str, topics: TopicNames, log: KafkaShardLog
) -> None:
    told: list[int] = []
    tail = LedgerTail(Connection(kafka), topics, unexpected, caught_up=told.append)
    owners = [Owner("first", 5), Owner("second", 7)]
    assert tail.owner_of(SHARD) is None
    tail.start()
    log.commit([put(topics, owners[0])])
    tail.follow(SHARD)
    eventually(lambda: told == [SHARD])
    assert tail.owner_of(SHARD) == owners[0]
    log.commit([put(topics, owners[1])])
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
    last = log.commit([put(names, timer("new", n)) for n in range(5)])
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(names.ledger, SHARD, last.offset)]).values():
        future.result()
    tail = LedgerTail(Connection(kafka), names, unexpected)
    tail.follow(SHARD)
    behind = tail._assigned[SHARD] = tail._copies[SHARD]
    behind.copy.take([(b"timer/old", b"its tombstone is gone")], 1)
    tail._following.add(SHARD, 1)
    eventually(lambda: tail._step() == 0 and reached(tail, last.offset + 2))
    state, end = handed_over(tail)
    assert (list(state.timers), end) == (["new"], last.offset + 2)
    tail._following.close()
    log.close()


def test_a_copy_out_of_touch_for_half_the_life_of_a_tombstone_is_read_again(
    own_cluster: Cluster, prefix: str
) -> None:
    topics = installed(own_cluster.bootstrap, prefix, 2)
    log = KafkaShardLog(Connection(own_cluster.bootstrap), topics, SHARD)
    log.fence()
    end = log.commit([put(topics, timer("a"))]).offset + 2
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
    state, after = handed_over(tail)
    assert (list(state.timers), after) == (["a"], end)
    assert committed(own_cluster.bootstrap, topics.ledger, SHARD)[0].key() == b"timer/a"
    tail.stop()
    assert tail.join(Deadline(5))
    log.close()


@pytest.mark.parametrize("early", [True, False], ids=["before it was read", "after it was read"])
def test_where_a_shard_stands_is_known_on_when_its_copy_is_given_away(
    topics: TopicNames, log: KafkaShardLog, tail: LedgerTail, *, early: bool
) -> None:
    def at(due: int) -> Position:
        return fresh_position()._replace(cursor=Cursor(due))

    def stands_at(due: int) -> bool:
        position = tail.stands.position_of(SHARD)
        return position is not None and position.cursor.due == due

    log.commit([put(topics, timer(f"t{number}")) for number in range(300)] + [put(topics, at(1))])
    tail.follow(SHARD)
    if not early:
        eventually(lambda: stands_at(1))
    tail.hand_over(SHARD)
    eventually(lambda: stands_at(1))
    log.commit([put(topics, at(2))])
    eventually(lambda: stands_at(2))
    eventually(lambda: tail.stands.lags() == {SHARD: 0})
    tail.follow(SHARD)
    eventually(lambda: reached(tail, 303))
    assert stands_at(2), "reading it again from the beginning does not set it back"
