"""Looking at fires as they come: from the end, from an instant, from the beginning, committed ones only."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from broker.tools import create, eventually
from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable, TopicsUnfit
from dispatcher.kafka.config import Connection
from dispatcher.kafka.live import FireReader, Seen
from dispatcher.kafka.shard_log import KafkaShardLog

pytestmark = pytest.mark.broker


def drained(reader: FireReader, least: int) -> list[Seen]:
    found: list[Seen] = []

    def enough() -> bool:
        found.extend(reader.take(0.2))
        return len(found) >= least and reader.at_end

    eventually(enough)
    return found


@pytest.fixture
def topics(kafka: str, prefix: str) -> TopicNames:
    names = TopicNames(prefix)
    create(kafka, names.ledger, 1)
    create(kafka, "a" + prefix, 3)
    create(kafka, "b" + prefix, 1)
    return names


def test_fires_are_seen_from_the_end_from_an_instant_and_from_the_beginning(
    kafka: str, topics: TopicNames
) -> None:
    a, b, connection = "a" + topics.prefix, "b" + topics.prefix, Connection(kafka)
    log = KafkaShardLog(connection, topics, 0)
    log.fence()
    first = log.commit(
        [(a, b"1", b"k", 0, [("ce_id", b"x")]), (b, b"2", None, 0, None), (topics.ledger, b"", b"", 0, None)]
    )
    reader = FireReader(connection, [a, b])
    eventually(lambda: not reader.take(0.1) and reader.at_end)
    torn = Producer({"bootstrap.servers": kafka, "transactional.id": topics.prefix + "torn"})
    torn.init_transactions(10)
    torn.begin_transaction()
    torn.produce(a, b"torn", b"k", 1)
    torn.flush(10)
    torn.abort_transaction(10)
    log.commit([(a, b"3", b"k", 2, None), (topics.ledger, b"", b"", 0, None)])
    assert [(one.topic, one.partition, one.value) for one in drained(reader, 1)] == [(a, 2, b"3")]
    reader.close()
    every = FireReader(connection, [a, b], since=0)
    seen = drained(every, 3)
    assert sorted(one.value or b"" for one in seen) == [b"1", b"2", b"3"]
    one = next(one for one in seen if one.value == b"1")
    assert one._replace(timestamp=0) == Seen(a, 0, 0, 0, b"k", b"1", [("ce_id", b"x")])
    every.close()
    later = next(one for one in seen if one.value == b"3").timestamp
    since = FireReader(connection, [a, b], since=later)
    assert [one.value for one in drained(since, 1)] == [b"3"]
    since.close()
    log.close()
    assert first.suspect is None


def test_a_missing_topic_and_an_absent_broker_are_told(kafka: str, topics: TopicNames) -> None:
    with pytest.raises(TopicsUnfit, match="topic none" + topics.prefix):
        FireReader(Connection(kafka), ["none" + topics.prefix])
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:1"):
        FireReader(Connection("127.0.0.1:1"), ["x"], seconds=0.5)
