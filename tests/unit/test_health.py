"""Health: what speaks against a replica's being well, and that a change is told once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from pool_world import TOPICS, PoolWorld
from structlog.testing import capture_logs

from dispatcher.core.health import Health
from dispatcher.core.job import Lane
from dispatcher.produce.health import GroupWord, Standing, judge, judge_ready
from dispatcher.produce.health_watch import HealthWatch
from dispatcher.work.health import Pulse, judge_worker, judge_worker_ready

NOW = 1_000_000
PAUSE = threading.Event()


def shard(number: int, silent: int, *, taken: bool = True) -> Standing:
    return Standing(number, taken, NOW - silent)


@pytest.mark.parametrize(
    ("shards", "silence", "reasons"),
    [
        ((), 0, ()),
        ((shard(0, 15_000), shard(1, 0)), 10_000, ()),
        ((shard(0, 15_001),), 0, ("shard 0 could not commit for 15 s",)),
        ((shard(0, 20_000, taken=False),), 0, ("shard 0 could not be taken for 20 s",)),
        ((), 10_001, ("no broker has answered the membership for 10 s",)),
        (
            (shard(1, 40_000), shard(2, 0), shard(3, 50_000, taken=False)), 12_000,
            ("no broker has answered the membership for 12 s", "shard 1 could not commit for 40 s",
             "shard 3 could not be taken for 50 s"),
        ),
    ],
)  # fmt: skip
def test_a_replica_is_well_while_kafka_answers_and_every_shard_is_sure(
    shards: tuple[Standing, ...], silence: float, reasons: tuple[str, ...]
) -> None:
    assert judge(shards, silence, NOW) == Health(reasons)
    assert judge(shards, silence, NOW).healthy == (not reasons)


def test_each_change_is_told_once() -> None:
    bad, worse, good = Health(("a",)), Health(("a", "b")), Health()
    looks = [good, good, bad, bad, worse, good, good, worse]
    watch = HealthWatch(lambda: looks.pop(0), failed=lambda _, error: pytest.fail(str(error)))
    with capture_logs() as told:
        for _ in range(8):
            watch._step()
    assert [(entry["event"], entry.get("reasons")) for entry in told] == [
        ("health.lost", ["a"]), ("health.back", None), ("health.lost", ["a", "b"]),
    ]  # fmt: skip


# Readiness.


def told(*assigned: int, answered: bool = True, silence: float = 0) -> GroupWord:
    return GroupWord(answered, frozenset(assigned), silence)


def owned(number: int, *, taken: bool = True, revision: str = "r") -> Standing:
    return Standing(number, taken, NOW, revision)


@pytest.mark.parametrize(
    ("shards", "member", "in_force", "reasons"),
    [
        ((), told(), True, ()),
        ((owned(0), owned(1)), told(0, 1), True, ()),
        ((owned(2),), told(answered=False), True, ()),
        ((), told(answered=False), True, ("the group has not answered yet which shards are this replica's",)),
        ((), told(), False, ("no schedule is in force yet in any ledger that was read",)),
        ((owned(0), owned(1, taken=False)), told(0, 1, 3), True, ("shards 1, 3 not taken yet",)),
        ((owned(0, revision=""),), told(0), False, ("no schedule is in force yet in shard 0",)),
        ((owned(0),), told(0, silence=10_001), True, ("no broker has answered the membership for 10 s",)),
    ],
)
def test_a_replica_is_ready_that_has_taken_its_shards_or_clearly_stands_by(
    shards: tuple[Standing, ...], member: GroupWord, reasons: tuple[str, ...], *, in_force: bool
) -> None:
    assert judge_ready(shards, member, in_force=in_force) == Health(reasons)


NOT_MEMBER = "the group has not answered yet which partitions are this worker's"


@pytest.mark.parametrize(
    ("pulse", "health", "more"),
    [
        (Pulse(NOW, NOW, member=True), (), ()),
        (Pulse(NOW, NOW, member=False), (), (NOT_MEMBER,)),
        (Pulse(NOW - 30_000, NOW - 31_000, member=True), ("no broker has answered for 31 s",), ()),
        (Pulse(NOW - 30_001, NOW - 50_000, member=True), ("the pool has stood still for 30 s",), ()),
        (Pulse(NOW, NOW - 15_001, member=False), ("no broker has answered for 15 s",), (NOT_MEMBER,)),
    ],
)
def test_a_worker_is_well_while_it_goes_round_and_ready_once_its_group_has_answered(
    pulse: Pulse, health: tuple[str, ...], more: tuple[str, ...]
) -> None:
    assert judge_worker(pulse, NOW) == Health(health)
    assert judge_worker_ready(pulse, NOW) == Health((*health, *more))


def within(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        PAUSE.wait(0.005)


def test_a_pool_shows_that_it_goes_round_and_what_its_group_said() -> None:
    world, place = PoolWorld(), (TOPICS.lane(Lane.NORMAL), 0)
    begun = world.pool.pulse
    assert not begun.member
    world.log.assign(place)
    world.clock.ahead = 5_000
    with world:
        within(lambda: world.pool.pulse.member)
        assert world.pool.pulse.at >= begun.at + 5_000
        world.log.revoke(place, lost=True)
        within(lambda: not world.pool.pulse.member)
