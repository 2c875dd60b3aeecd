"""Every fire and every run has a line with its id, for those who ask for `debug`; nobody else pays for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from pool_world import TOPICS, PoolWorld, fire
from processes import eventually
from run_world import FIRE, delivery, read
from shard_world import World, job
from structlog.testing import capture_logs

from dispatcher.core.batch import Batch
from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames
from dispatcher.core.offsets import Past
from dispatcher.core.outcome import Failed, Succeeded
from dispatcher.core.run import Poison
from dispatcher.core.settling import Settler
from dispatcher.ports import End
from dispatcher.produce.telling import tell_committed
from dispatcher.work.telling import both, told_by

T = 1_795_140_000_000
SETTLER = Settler(TopicNames("d"), "w", 4, 12)


class Untouchable(list[Any]):
    """Fails whoever looks at it."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("nobody asked for these")


def fired() -> tuple[World, Batch]:
    world = World()
    world.start(T - 60_000)
    world.offer([job("a"), job("b")], revision="r1", seen=T - 60_000)
    world.run_until(T - 60_000, T)
    return world, next(batch for batch in world.batches if batch.fires)


def at(level: int) -> structlog.typing.FilteringBoundLogger:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    return structlog.get_logger().bind(shard=0)  # type: ignore[no-any-return]  # structlog's own type is Any


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_each_fire_of_a_transaction_has_a_line() -> None:
    world, batch = fired()
    with capture_logs() as lines:
        tell_committed(at(logging.DEBUG), batch, world.shard)
    told = [line for line in lines if line["event"] == "fire.committed"]
    assert [(line["fire"], line["job"], line["attempt"]) for line in told] == [
        ("a@2026-11-20T02:00:00Z", "a", 1),
        ("b@2026-11-20T02:00:00Z", "b", 1),
    ]
    assert {(line["topic"], line["kind"], line["log_level"]) for line in told} == {
        ("t.jobs.normal", "fires", "debug")
    }
    assert len(lines) == 3


def test_whoever_does_not_ask_for_them_does_not_pay_for_them() -> None:
    world, batch = fired()
    with capture_logs() as lines:
        tell_committed(at(logging.INFO), replace(batch, outgoing=Untouchable()), world.shard)
    assert lines == []


def test_the_end_of_a_run_has_a_line() -> None:
    run = read(delivery(attempt=b"2"), Past(1, known=True))
    end = End(run.delivery, SETTLER.ended(run, Failed("no", final=True), T, T + 7), "http", (T, T + 7))
    with capture_logs() as lines:
        told_by(at(logging.DEBUG))(end)
    (line,) = lines
    assert line == {
        "event": "run.ended", "log_level": "debug", "shard": 0,
        "fire": FIRE, "job": "nightly", "attempt": 3, "outcome": "dead", "handler": "http",
        "topic": "d.jobs.normal", "partition": 7, "offset": 42, "took": 7,
    }  # fmt: skip


def test_what_is_no_fire_has_a_line_that_says_where_it_lies() -> None:
    one = delivery(ce_type=b"other")
    with capture_logs() as lines:
        told_by(at(logging.DEBUG))(End(one, SETTLER.poisoned(Poison("why", one), 0, T), "", None))
    assert (lines[0]["fire"], lines[0]["outcome"], lines[0]["offset"]) == (None, "dead", 42)


def test_at_info_a_run_has_none() -> None:
    run = read(delivery())
    with capture_logs() as lines:
        told_by(at(logging.INFO))(End(run.delivery, SETTLER.ended(run, Succeeded(), T, T), "http", (T, T)))
    assert lines == []


def test_every_end_is_witnessed_once_whatever_ended_it() -> None:
    seen: list[End] = []
    other: list[End] = []
    place = (TOPICS.lane(Lane.NORMAL), 0)
    with PoolWorld() as world:
        world.desk._witness = both(seen.append, other.append)
        world.log.assign(place)
        world.log.deliver(fire("a", 0, job="noop"), fire("b", 1, job="raising"), fire("c", 2, job="absent"))
        assert eventually(lambda: world.log.offset(place) == 3)
    found = sorted((end.delivery.offset, end.settled.kind, end.handler, end.times is None) for end in seen)
    assert found == [(0, "succeeded", "noop", False), (1, "dead", "raising", False), (2, "dead", "", True)]
    assert other == seen
