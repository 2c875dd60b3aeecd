"""The worker's log against a real Apache Kafka: deliveries, outcomes with offsets, doubtful commits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from broker.tools import committed, eventually, installed, values
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.run import Delivery
from dispatcher.errors import Fenced, Unsendable
from dispatcher.kafka import work_log
from dispatcher.kafka.config import WORK_FETCH_BYTES, Connection
from dispatcher.kafka.work_log import KafkaWorkLog, WorkPlan, group_of_workers
from dispatcher.ports import Place

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


class Hooks:
    """Notes what the log tells."""

    def __init__(self) -> None:
        self.places: dict[Place, tuple[int, str]] = {}
        self.gone: list[Place] = []

    def assigned(self, places: Mapping[Place, tuple[int, str]]) -> None:
        self.places.update(places)

    def revoked(self, places: Sequence[Place]) -> None:
        self.gone += places
        for place in places:
            self.places.pop(place)

    def lost(self, places: Sequence[Place]) -> None:
        self.revoked(places)


@pytest.fixture
def topics(kafka: str, prefix: str) -> TopicNames:
    return installed(kafka, prefix)


class Member:
    """A log with its hooks, and all that was delivered to it."""

    def __init__(self, kafka: str, topics: TopicNames, name: str = "w1") -> None:
        self.hooks = Hooks()
        lanes = (f"{topics.prefix}.jobs.normal",)
        self.log = KafkaWorkLog(Connection(kafka), topics, WorkPlan(lanes, name), self.hooks)
        self.seen: list[Delivery] = []

    def take(self) -> list[Delivery]:
        self.seen += self.log.take(0.1)
        return self.seen

    def close(self) -> None:
        self.log.close()


@pytest.fixture
def member(kafka: str, topics: TopicNames) -> Iterator[Member]:
    with closing(Member(kafka, topics)) as member:
        yield member


def lane(topics: TopicNames) -> str:
    return f"{topics.prefix}.jobs.normal"


def send(kafka: str, topics: TopicNames, count: int, partition: int = 0, large: bytes = b"") -> None:
    producer = Producer(
        {"bootstrap.servers": kafka, "transactional.id": f"tests-{topics.prefix}-{partition}"}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for number in range(count):
        producer.produce(lane(topics), b"%d" % number + large, b"key", partition)
    producer.commit_transaction(20)


def event(topics: TopicNames, value: bytes) -> Outgoing:
    return (topics.events, value, b"job", 1, [("ce_id", b"x")])


def offsets(kafka: str, topics: TopicNames, partition: int = 0) -> tuple[int, str]:
    asking = Consumer({
        "bootstrap.servers": kafka, "group.id": group_of_workers(topics), "isolation.level": "read_committed",
    })  # fmt: skip
    with closing(asking):
        (found,) = asking.committed([TopicPartition(lane(topics), partition)], timeout=20)
        return found.offset, found.metadata or ""


def test_outcomes_and_offsets_are_committed_together(kafka: str, topics: TopicNames, member: Member) -> None:
    send(kafka, topics, 3)
    assert [each.value for each in eventually(lambda: len(member.take()) == 3 and member.seen)] == [
        b"0", b"1", b"2",
    ]  # fmt: skip
    place = (lane(topics), 0)
    assert member.log.commit([event(topics, b"done")], {place: (2, "a1")})
    assert values(committed(kafka, topics.events, 1)) == [b"done"]
    offset, metadata = offsets(kafka, topics)
    assert offset == 2
    assert metadata.startswith("a1|")


def test_records_larger_than_what_is_fetched_at_once_come_all_the_same(
    kafka: str, topics: TopicNames, member: Member
) -> None:
    large = os.urandom(900_000)
    assert len(large) > 10 * WORK_FETCH_BYTES
    send(kafka, topics, 3, large=large)
    seen = eventually(lambda: len(member.take()) == 3 and member.seen)
    assert [each.value for each in seen] == [b"%d" % number + large for number in range(3)]


def test_another_life_begins_where_the_last_one_ended_with_its_notes(kafka: str, topics: TopicNames) -> None:
    send(kafka, topics, 3)
    place = (lane(topics), 0)
    with closing(Member(kafka, topics)) as first:
        eventually(lambda: len(first.take()) == 3)
        assert first.log.commit([event(topics, b"x")], {place: (1, "notes")})
    with closing(Member(kafka, topics)) as second:
        eventually(lambda: len(second.take()) == 2)
        assert second.hooks.places[place] == (1, "notes")
        assert [each.offset for each in second.seen] == [1, 2]


def test_a_drained_partition_has_no_lag(kafka: str, topics: TopicNames, member: Member) -> None:
    send(kafka, topics, 3)
    place = (lane(topics), 0)
    eventually(lambda: len(member.take()) == 3)
    eventually(lambda: member.take() and member.log.positions()[place][0] == 4)  # the marker is stepped over
    position, end = member.log.positions()[place]
    assert (position, end) == (4, 4)


def test_a_slow_commit_costs_the_producer_and_the_group_says_what_became_of_it(
    kafka: str, topics: TopicNames, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, topics, 3)
    eventually(lambda: len(member.take()) == 3)
    place = (lane(topics), 0)
    monkeypatch.setattr(work_log, "SUSPECT_COMMIT_SECONDS", -1.0)
    assert member.log.commit([event(topics, b"one")], {place: (1, "")})
    assert member.log.commit([event(topics, b"two")], {place: (2, "")})
    assert values(committed(kafka, topics.events, 1)) == [b"one", b"two"]


def test_what_was_not_committed_is_told_and_leaves_nothing(
    kafka: str, topics: TopicNames, member: Member
) -> None:
    send(kafka, topics, 3)
    eventually(lambda: len(member.take()) == 3)
    place = (lane(topics), 0)
    with closing(Member(kafka, topics)) as twin:  # the same name: it fences the first one
        assert member.log.commit([event(topics, b"mine")], {place: (1, "")})
        eventually(lambda: (member.take(), twin.take()) and twin.hooks.places, 30)
        theirs = next(iter(twin.hooks.places))
        assert twin.log.commit([event(topics, b"theirs")], {theirs: (0, "t")})
        assert not _commits(member, event(topics, b"fenced"), place)
    assert b"fenced" not in values(committed(kafka, topics.events, 1))


def _commits(member: Member, outgoing: Outgoing, place: Place) -> bool:
    try:
        return member.log.commit([outgoing], {place: (2, "")})
    except Fenced:
        return False


def test_a_record_that_cannot_be_sent_is_told_and_nothing_is_committed(
    kafka: str, topics: TopicNames, member: Member
) -> None:
    send(kafka, topics, 1)
    eventually(lambda: len(member.take()) == 1)
    place = (lane(topics), 0)
    nowhere = (f"{topics.prefix}.gone", b"x", None, 0, None)
    with pytest.raises(Unsendable):
        member.log.commit([event(topics, b"y"), nowhere], {place: (1, "")})
    assert values(committed(kafka, topics.events, 1)) == []
    assert member.log.commit([event(topics, b"z")], {place: (1, "")})


def test_partitions_on_hold_deliver_nothing_until_they_go_on(
    kafka: str, topics: TopicNames, member: Member
) -> None:
    eventually(lambda: member.take() is not None and len(member.hooks.places) == 12)
    member.log.hold([(lane(topics), 0)])
    send(kafka, topics, 2, 0)
    send(kafka, topics, 2, 1)
    eventually(lambda: len([one for one in member.take() if one.partition == 1]) == 2)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        member.take()
    assert [one for one in member.seen if one.partition == 0] == []
    member.log.go_on([(lane(topics), 0)])
    eventually(lambda: len([one for one in member.take() if one.partition == 0]) == 2)


def test_two_members_share_the_partitions_and_say_what_goes(
    kafka: str, topics: TopicNames, member: Member
) -> None:
    eventually(lambda: member.take() is not None and len(member.hooks.places) == 12)
    with closing(Member(kafka, topics, "w2")) as other:
        eventually(
            lambda: (
                (member.take(), other.take()) and len(member.hooks.places) == len(other.hooks.places) == 6
            ),
            30,
        )
        assert sorted(member.hooks.gone) == sorted(other.hooks.places)
    eventually(lambda: member.take() is not None and len(member.hooks.places) == 12, 30)
