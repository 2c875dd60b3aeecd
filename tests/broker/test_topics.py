"""The plan of topics against a real cluster: what is created, what is found wrong, what is mended."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient

from broker.cluster import Cluster
from broker.tools import create, eventually, installed
from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import Connection
from dispatcher.kafka.directory import KafkaTopicDirectory
from dispatcher.kafka.topic_plan import topic_plan
from dispatcher.kafka.topics import KafkaTopics, wait_for_kafka
from dispatcher.ports import TopicFacts

pytestmark = pytest.mark.broker
NOWHERE = Connection("127.0.0.1:1")


def test_what_is_missing_is_told_created_and_then_as_it_must_be(kafka: str, prefix: str) -> None:
    topics, plan = KafkaTopics(Connection(kafka)), topic_plan(TopicNames(prefix), 4)
    faults = topics.check(plan)
    assert len(faults) == 9
    assert all(f"topic {prefix}." in fault and "is missing" in fault for fault in faults)
    ensured = topics.ensure(plan, 1)
    assert len(ensured.done) == 9
    assert ensured.left == ()
    assert topics.check(plan) == ()
    assert topics.ensure(plan, 1).done == ()


@pytest.mark.parametrize(
    ("topic", "partitions", "settings", "fault", "mended"),
    [
        ("shards", 3, {}, "has 3 partitions, must have exactly 4", False),
        ("ledger", 8, {"cleanup.policy": "compact"}, "has 8 partitions, must have exactly 4", False),
        ("jobs.low", 6, {}, "has 6 partitions, must have a multiple of 4", False),
        ("dead", 2, {}, "has 2 partitions, must have a multiple of 4", False),
        ("ledger", 4, {"cleanup.policy": "delete"}, "cleanup.policy is delete, must be compact", True),
        ("ledger", 4, {"segment.bytes": "1073741824"}, "must be at most 67108864", True),
        ("ledger", 4, {"delete.retention.ms": "1000"}, "is 1000, must be at least 86400000", True),
        ("ledger", 4, {}, "message.timestamp.type is CreateTime, must be LogAppendTime", True),
        ("commands", 4, {"cleanup.policy": "compact"}, "cleanup.policy is compact, must be delete", True),
        ("events", 4, {"retention.ms": "7200000"}, "is 7200000, must be at least 604800000", False),
        ("jobs.high", 12, {"retention.ms": "60000"}, "retention.ms is 60000, must be at least 3600000", True),
    ],
)  # fmt: skip
def test_a_topic_of_the_wrong_shape_is_told_and_mended_where_that_is_safe(
    kafka: str,
    prefix: str,
    topic: str,
    partitions: int,
    settings: dict[str, str],
    fault: str,
    mended: bool,  # noqa: FBT001 - a table
) -> None:
    create(kafka, f"{prefix}.{topic}", partitions, **settings)
    topics, plan = KafkaTopics(Connection(kafka)), topic_plan(TopicNames(prefix), 4)
    found = [each for each in topics.check(plan) if f"topic {prefix}.{topic}" in each and fault in each]
    left = [each for each in topics.ensure(plan, 1).left if fault in each]
    assert len(left) == (0 if mended else 1)
    assert len(found) == (0 if topic == "events" else 1), (
        "without job topics there is nothing to compare with"
    )
    assert len([each for each in topics.check(plan) if fault in each]) == len(left)


def test_more_partitions_in_a_multiple_of_the_shards_will_do(kafka: str, prefix: str) -> None:
    create(kafka, f"{prefix}.jobs.normal", 24)
    topics, plan = KafkaTopics(Connection(kafka)), topic_plan(TopicNames(prefix), 4)
    assert topics.ensure(plan, 1).left == ()
    assert topics.check(plan) == ()


def test_a_topic_made_again_has_another_identity(kafka: str, prefix: str) -> None:
    names = installed(kafka, prefix)
    topics = KafkaTopics(Connection(kafka))
    first = topics.identity([names.ledger, names.commands, "no-such-topic"])
    assert first.cluster
    assert set(first.topics) == {names.ledger, names.commands}
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_topics([names.ledger]).values():
        future.result()
    eventually(lambda: names.ledger not in topics.identity([names.ledger]).topics)
    create(kafka, names.ledger, 4)
    second = topics.identity([names.ledger, names.commands])
    assert second.cluster == first.cluster
    assert second.topics[names.commands] == first.topics[names.commands]
    assert second.topics[names.ledger] != first.topics[names.ledger]


def test_no_broker_is_told_within_the_time_given() -> None:
    topics, plan = KafkaTopics(NOWHERE, seconds=0.4), topic_plan(TopicNames("x"), 4)
    started = time.monotonic()
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:1"):
        topics.check(plan)
    with pytest.raises(KafkaUnreachable):
        topics.identity([])
    with pytest.raises(KafkaUnreachable):
        wait_for_kafka(NOWHERE, 0.4)
    assert time.monotonic() - started < 5


def test_the_directory_knows_partitions_and_limits_and_absent_topics(kafka: str, prefix: str) -> None:
    directory = KafkaTopicDirectory(Connection(kafka))
    assert directory.facts(f"{prefix}.own") is None
    create(kafka, f"{prefix}.own", 5, **{"max.message.bytes": "12345"})
    assert directory.facts(f"{prefix}.own") is None, "remembered for a while"

    def asked_again() -> TopicFacts | None:
        directory.forget()
        return directory.facts(f"{prefix}.own")

    assert eventually(asked_again) == TopicFacts(5, 12345)


def test_silence_never_passes_for_an_absent_topic(own_cluster: Cluster, prefix: str) -> None:
    create(own_cluster.bootstrap, prefix, 3)
    directory = KafkaTopicDirectory(Connection(own_cluster.bootstrap))
    known = directory.facts(prefix)
    assert known is not None
    own_cluster.pause()
    directory.forget()
    started = time.monotonic()
    assert directory.facts(prefix) == known, "what was known stands"
    with pytest.raises(KafkaUnreachable, match="topic other"):
        directory.facts("other")
    assert time.monotonic() - started < 4
    own_cluster.resume()
