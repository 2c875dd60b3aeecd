"""Sharing out the shards: two members split them, and one takes over when the other leaves or dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from broker.tools import create, eventually
from dispatcher.core.message import TopicNames
from dispatcher.errors import InvalidSettings
from dispatcher.kafka.config import Connection
from dispatcher.kafka.membership import Membership, OwnershipHooks
from dispatcher.service import Deadline

pytestmark = pytest.mark.broker
SHARDS = {0, 1, 2, 3}


class Member:
    """A replica that only remembers what it owns."""

    def __init__(self, bootstrap: str, topics: TopicNames, name: str) -> None:
        self.owned: set[int] = set()
        self.failures: list[BaseException] = []
        hooks = OwnershipHooks(self.owned.update, self.owned.difference_update, self.owned.difference_update)
        self.membership = Membership(
            Connection(bootstrap, name), topics, hooks, lambda _, error: self.failures.append(error)
        )
        self.membership.start()

    def leave(self) -> float:
        started = time.monotonic()
        self.membership.stop()
        assert self.membership.join(Deadline(10))
        assert self.failures == []
        return time.monotonic() - started


@pytest.fixture
def topics(kafka: str, prefix: str) -> TopicNames:
    names = TopicNames(prefix)
    create(kafka, names.shards, len(SHARDS))
    return names


@pytest.fixture
def first(kafka: str, topics: TopicNames) -> Iterator[Member]:
    member = Member(kafka, topics, "first")
    yield member
    member.leave()


def test_one_member_owns_every_shard(first: Member) -> None:
    eventually(lambda: first.owned == SHARDS)


def test_two_members_split_the_shards_and_the_last_takes_over(
    kafka: str, topics: TopicNames, first: Member
) -> None:
    eventually(lambda: first.owned == SHARDS)
    second = Member(kafka, topics, "second")
    eventually(lambda: len(second.owned) == 2)
    eventually(lambda: first.owned == SHARDS - second.owned)
    took = second.leave()
    assert second.owned == set(), "revoked on the way out"
    assert took < 2
    eventually(lambda: first.owned == SHARDS, 5)


def spread(members: list[Member]) -> list[int] | None:
    """Return how many shards each member owns, None while one is owned twice or by nobody."""
    owned = [shard for member in members for shard in member.owned.copy()]
    return sorted(len(member.owned) for member in members) if sorted(owned) == sorted(SHARDS) else None


def test_shards_spread_evenly_over_members_that_come_and_go(
    kafka: str, topics: TopicNames, first: Member
) -> None:
    second, third = Member(kafka, topics, "second"), Member(kafka, topics, "third")
    members = [first, second, third]
    eventually(lambda: spread(members) == [1, 1, 2])
    second.leave()
    members.remove(second)
    eventually(lambda: spread(members) == [2, 2])
    members.append(Member(kafka, topics, "fourth"))
    eventually(lambda: spread(members) == [1, 1, 2])
    for member in members[1:]:
        member.leave()
    eventually(lambda: first.owned == SHARDS)


def test_brokers_that_answer_end_the_silence_and_absent_ones_do_not(
    kafka: str, topics: TopicNames, first: Member
) -> None:
    lost = Member("127.0.0.1:1", topics, "lost")
    eventually(lambda: first.owned == SHARDS and lost.membership.silence() > 3)
    eventually(lambda: first.membership.silence() < 2)
    lost.leave()


def test_a_session_that_brokers_refuse_is_told_by_its_setting(kafka: str, topics: TopicNames) -> None:
    failures: list[BaseException] = []
    hooks = OwnershipHooks(lambda _: None, lambda _: None, lambda _: None)
    membership = Membership(
        Connection(kafka), topics, hooks, lambda _, error: failures.append(error), session_ms=2_000_000
    )
    membership.start()
    eventually(lambda: failures)
    assert isinstance(failures[0], InvalidSettings)
    assert "session_seconds is 2000" in str(failures[0])
    assert membership.join(Deadline(10))


def test_leaving_is_bounded_with_no_broker_in_reach() -> None:
    member = Member("127.0.0.1:1", TopicNames("nowhere"), "lost")
    eventually(lambda: member.membership._consumer is not None)
    assert member.leave() < 6
    assert not [thread for thread in threading.enumerate() if thread.name == "membership"]
