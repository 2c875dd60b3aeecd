"""Which fires are staged, when that begins, what goes into it, and which changes it must not outlive."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from shard_world import IDENTITY, TOPICS, World, job, with_limits

from dispatcher.core.batch import Batch, Rest
from dispatcher.core.burst import begins, fitting, strayed
from dispatcher.core.instant import Instant, from_text
from dispatcher.core.ledger import Cursor, Timer
from dispatcher.core.message import Outgoing
from dispatcher.core.plan import Plan

T0 = from_text("2026-11-20T12:00:30Z")
ONE = from_text("2026-11-20T12:01:00Z")
TWO = ONE + 60_000
USUAL = with_limits(stage_ahead_ms=2_000)


def burst_world(*names: str, **limits: Any) -> World:
    """Return a world in which three fires of an instant are a burst, staged for `count / 10` s and 250 ms."""
    world = World(
        limits=with_limits(**{"stage_ahead_ms": 2_000, "stage_from": 3, "stage_rate": 10, **limits})
    )
    world.start(T0)
    world.looked()
    world.offer(map(job, names or "abcdef"), revision="r1", seen=T0)
    world.run(T0)
    return world


def staged(world: World, now: Instant) -> Batch:
    """Return what is staged at `now`."""
    decision = world.shard.decide(now)
    assert isinstance(decision, Batch)
    assert decision.at is not None
    return decision


def until(world: World, now: Instant) -> Instant | None:
    decision = world.shard.decide(now)
    assert isinstance(decision, Rest)
    return decision.until


@pytest.mark.parametrize(
    ("count", "ahead"),
    [(999, None), (1_000, 466), (15_000, 1_400), (35_000, 2_000), (1_000_000, 2_000)],
)
def test_a_staging_begins_as_late_as_its_size_allows(count: int, ahead: int | None) -> None:
    assert begins(ONE, count, USUAL) == (None if ahead is None else ONE - ahead)


def test_nothing_is_staged_when_it_is_turned_off() -> None:
    assert begins(ONE, 1_000_000, replace(USUAL, stage_ahead_ms=0)) is None


def test_the_plan_tells_how_many_fires_share_the_next_instant() -> None:
    world = burst_world()
    plan = Plan(Cursor(T0), world.shard.state.records.values())
    plan.add(replace(world.shard.state.records["a"], job=job("z", cronTime="* * * * *", jitterSeconds=9)))
    assert plan.together() == 6
    plan.ready(ONE, 4)
    plan.settle(4)
    assert plan.together() == 2
    plan.settle(2)
    assert plan.together() == 1
    assert Plan(Cursor(T0)).together() == 0


def test_the_shard_wakes_to_make_messages_then_to_stage_then_to_send() -> None:
    world = burst_world()
    assert until(world, T0) == ONE - 5_000
    assert until(world, ONE - 5_000) == ONE - 1_000
    assert staged(world, ONE - 1_000).at == ONE


def test_few_fires_wait_for_their_instant() -> None:
    world = burst_world("a", "b")
    assert until(world, ONE - 5_000) == ONE
    assert until(world, ONE - 100) == ONE


def test_only_the_fires_of_one_instant_and_the_cursor_go_in() -> None:
    world = burst_world()
    batch = staged(world, ONE - 500)
    assert [one[0] for one in batch.outgoing] == [TOPICS.prefix + ".jobs.normal"] * 6 + [TOPICS.ledger]
    assert batch.fires == batch.settled == 6
    assert batch.facts[-1].cursor == Cursor(ONE, "f")  # type: ignore[union-attr] # the last is the position


def test_more_than_one_transaction_is_to_hold_follows_unstaged() -> None:
    world = burst_world(stage_most=4, batch=1)
    batch = staged(world, ONE - 500)
    assert batch.fires == 4, "beyond the limit of a batch, up to that of a staging"
    world.commit(batch, ONE)
    world.run(ONE)
    assert sorted(world.fires) == [f"{name}@2026-11-20T12:01:00Z" for name in "abcdef"]
    assert [one.at for one in world.batches if one.fires] == [ONE, None, None]


@pytest.mark.parametrize(("most", "fit"), [(5, 1), (10, 1), (25, 2), (30, 3), (99, 3)])
def test_large_values_make_a_staging_smaller_but_never_empty(most: int, fit: int) -> None:
    message: Outgoing = ("t", b"x" * 10, b"", 0, None)
    assert fitting([message] * 3, most) == fit
    assert fitting([message, None, message, message], 20) == 3


def test_a_timer_due_before_or_with_a_burst_comes_first() -> None:
    for due in (ONE - 100, ONE, ONE + 1):
        world = burst_world()
        timer = Timer("x", "x", due, due, 1, "t.jobs.normal", 0, b"x", b"{}", (("ce_id", b"x"),))
        world.shard.state.apply(timer)
        world.shard.firing.timer(timer)
        decision = world.shard.decide(ONE - 500)
        assert isinstance(decision, Batch if due > ONE else Rest)
        world.run(max(due, ONE))
        assert len(world.fires) == 7


def test_nothing_is_staged_while_a_culprit_is_looked_for() -> None:
    world = burst_world()
    world.shard.firing.halve()
    assert until(world, ONE - 500) == ONE
    world.run(ONE)
    assert isinstance(world.shard.decide(TWO - 500), Batch), "the next may be again"


def test_an_instant_whose_staging_failed_is_sent_from_the_instant_on() -> None:
    world = burst_world()
    world.shard.firing.never_stage(ONE)
    assert until(world, ONE - 500) == ONE
    world.run(ONE)
    assert staged(world, TWO - 500).at == TWO


def test_nothing_is_staged_once_its_instant_has_come() -> None:
    world = burst_world()
    decision = world.shard.decide(ONE)
    assert isinstance(decision, Batch)
    assert decision.at is None


def test_a_shard_held_by_its_clock_stages_nothing() -> None:
    world = burst_world()
    world.shard.clock_hold = "the clock jumped"
    assert until(world, ONE - 500) is None


def test_backlog_has_its_turn_before_the_next_burst_whatever_goes_out_between() -> None:
    world = burst_world(batch=2)
    world.offer([job(name, every="1s") for name in "abcdef"], revision="r2", seen=T0 + 1)
    world.run(T0 + 1)
    world.start(T0 + 600_001)
    world.looked()
    world.commit(staged(world, T0 + 600_200), T0 + 602_000)
    kinds = []
    for _ in range(4):
        decision = world.shard.decide(T0 + 602_200)
        assert isinstance(decision, Batch)
        kinds.append(decision.kind)
        world.commit(decision, decision.at or T0 + 602_200)
    assert kinds == ["fires"] * 3 + ["backlog"]


def test_backlog_waits_for_one_burst_but_not_for_the_next() -> None:
    world = burst_world(batch=2)
    world.offer([job(name, every="1s") for name in "abcdef"], revision="r2", seen=T0 + 1)
    world.run(T0 + 1)
    second = T0 + 600_000
    world.start(second + 1)
    world.looked()
    kinds = []
    for _ in range(6):
        decision = world.shard.decide(second + 200)
        assert isinstance(decision, Batch)
        kinds.append(decision.kind)
        second = decision.at or second
        world.commit(decision, second)
    assert kinds == ["burst", "backlog"] * 3


# Fires that must not stop the readers of other shards.


def test_fires_that_may_share_partitions_with_other_shards_follow_as_timers() -> None:
    world = World(limits=with_limits(stage_ahead_ms=2_000, stage_from=3, stage_rate=10))
    world.identity = replace(IDENTITY, shards=4)
    world.start(T0)
    world.looked()
    jobs = [
        *map(job, "abc"),
        job("k", key="mine"),
        job("n", key="mine", catchUp="none", misfireGraceSeconds=7),
        job("t", topic="twelve"),
    ]
    world.offer(jobs, revision="r1", seen=T0)
    world.run(T0)
    batch = staged(world, ONE - 500)
    assert batch.fires == 4
    timers = [fact for fact in batch.facts if isinstance(fact, Timer)]
    assert [(one.id, one.due, one.grace_ms) for one in timers] == [
        ("k@2026-11-20T12:01:00Z", ONE, None),
        ("n@2026-11-20T12:01:00Z", ONE, 7_000),
    ]
    world.commit(batch, ONE)
    assert len(world.fires) == 4
    world.run(ONE)
    assert len(world.fires) == len(set(world.fires)) == 6


def test_an_own_topic_whose_partitions_are_no_multiple_of_the_shards_is_never_staged() -> None:
    world = World(limits=with_limits(stage_ahead_ms=2_000, stage_from=3, stage_rate=10))
    world.identity = replace(IDENTITY, shards=5)
    world.start(T0)
    world.looked()
    world.offer([*map(job, "abc"), job("t", topic="twelve")], revision="r1", seen=T0)
    world.run(T0)
    assert [fact.job for fact in staged(world, ONE - 500).facts if isinstance(fact, Timer)] == ["t"]


def test_an_instant_with_too_many_of_them_is_not_staged() -> None:
    world = World(limits=with_limits(stage_ahead_ms=2_000, stage_from=3, stage_rate=10, batch=3))
    world.start(T0)
    world.looked()
    world.offer([job(name, key="mine") for name in "abcd"], revision="r1", seen=T0)
    world.run(T0)
    assert until(world, ONE - 500) == ONE
    world.run(ONE)
    assert len(world.fires) == 4


def test_a_fire_without_a_topic_is_a_recorded_skip_of_a_staging_too() -> None:
    world = burst_world("a", "b", "c")
    world.offer([*map(job, "abc"), job("d", topic="gone")], revision="r2", seen=T0 + 1)
    world.run(T0 + 1)
    world.missing_topics.add("gone")
    batch = staged(world, ONE - 500)
    assert (batch.fires, batch.skips) == (3, 1)
    world.commit(batch, ONE)
    assert [data["count"] for _, data in world.events_of("run.skipped")] == [1]


# What is told of it.


def test_a_landing_is_told_with_what_is_written_next_and_nothing_is_written_for_it() -> None:
    world = burst_world()
    world.commit(staged(world, ONE - 500), ONE + 3)
    assert isinstance(world.shard.decide(ONE + 3), Rest)
    assert world.events_of("burst.landed") == []
    world.commit(world.shard.probe(ONE + 4), ONE + 4)
    assert world.events_of("burst.landed") == []
    world.commit(staged(world, TWO - 400), TWO)
    assert len(world.events_of("burst.landed")) == 1, "bursts alone tell of one another"
    world.looked()
    world.offer(map(job, "ab"), revision="r2", seen=TWO + 2)
    world.run(TWO + 2)
    assert [data for _, data in world.events_of("burst.landed")] == [
        {
            "v": 1, "due": "2026-11-20T12:01:00Z", "fires": 6,
            "stagedAt": "2026-11-20T12:00:59.500Z", "committedAt": "2026-11-20T12:01:00.003Z",
        },
        {
            "v": 1, "due": "2026-11-20T12:02:00Z", "fires": 6,
            "stagedAt": "2026-11-20T12:01:59.600Z", "committedAt": "2026-11-20T12:02:00Z",
        },
    ]  # fmt: skip
    world.offer(map(job, "abc"), revision="r3", seen=TWO + 3)
    world.run(TWO + 3)
    assert len(world.events_of("burst.landed")) == 2


# Which changes have to come before it.


LATER = "5 * * * *"
CHANGES: list[tuple[str, str, dict[str, Any] | None, Instant, bool]] = [
    ("another payload of a fire", "a", {"payload": 1}, ONE - 400, True),
    ("the same, seen by a clock that was set back since", "a", {"payload": 1}, ONE, True),
    ("another payload of a job due later", "later", {"cronTime": LATER, "payload": 1}, ONE - 400, False),
    ("a job that is due at the instant", "new", {}, ONE - 400, True),
    ("a job that is due before it", "new", {"every": "1s"}, ONE - 1_400, True),
    ("a job planned by then and due later", "new", {"jitterSeconds": 50}, ONE - 400, True),
    ("a job that is due later", "new", {"cronTime": "2 * * * *"}, ONE - 400, False),
    ("a job that is not enabled", "new", {"enabled": False}, ONE - 400, False),
    ("a job re-timed away", "a", {"cronTime": LATER}, ONE - 400, True),
    ("a job re-timed to it", "later", {"cronTime": "1 * * * *"}, ONE - 400, True),
    ("a job re-timed elsewhere", "later", {"cronTime": "6 * * * *"}, ONE - 400, False),
    ("a job that is gone", "a", None, ONE - 400, True),
    ("a job due later that is gone", "later", None, ONE - 400, False),
]


@pytest.mark.parametrize(
    ("name", "fields", "seen", "disturbs"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_a_change_comes_first_just_when_it_makes_a_difference_to_a_fire(
    name: str, fields: dict[str, Any] | None, seen: Instant, *, disturbs: bool
) -> None:
    """What the rule says is held against both ways: the change applied before the instant, and after it."""
    outcomes = []
    for first in (True, False):
        world, jobs = with_later()
        batch = staged(world, ONE - 500)
        jobs.pop(name, None)
        world.offer(
            [*jobs.values(), *([] if fields is None else [job(name, **fields)])], revision="r2", seen=seen
        )
        assert world.shard.disturbs(ONE, ONE - 300) is disturbs
        if first:
            world.run(ONE - 300)
        else:
            world.commit(batch, ONE)
        for now in range(ONE, ONE + 660_000, 1_000):
            world.run(now)
        outcomes.append(sorted((ce_id(one), one[1] or b"") for one in world.messages))
    assert (outcomes[0] != outcomes[1]) is disturbs


def ce_id(message: Outgoing) -> bytes:
    return dict(message[4] or ())["ce_id"]


def with_later() -> tuple[World, dict[str, Any]]:
    jobs = {name: job(name) for name in "abcdef"} | {"later": job("later", cronTime="5 * * * *")}
    world = burst_world()
    world.offer(jobs.values(), revision="r1b", seen=T0 + 1)
    world.run(T0 + 1)
    return world, jobs


def test_a_change_against_what_is_no_longer_in_force_comes_first_whatever_it_is() -> None:
    world, jobs = with_later()
    staged(world, ONE - 500)
    change = world.offer([*jobs.values(), job("new", cronTime=LATER)], revision="r2", seen=ONE - 400)
    assert not world.shard.disturbs(ONE, ONE - 300)
    world.shard.offer(replace(change, base=change.base - 1))
    assert world.shard.disturbs(ONE, ONE - 300)


def test_a_large_change_comes_first_whatever_it_is() -> None:
    world = burst_world(piece=2)
    world.run(T0)
    staged(world, ONE - 500)
    jobs = [*map(job, "abcdef"), *(job(f"new{n}", cronTime="5 * * * *") for n in range(3))]
    world.offer(jobs, revision="r2", seen=ONE - 400)
    assert world.shard.disturbs(ONE, ONE - 300)


def test_a_change_that_is_held_disturbs_nothing_and_stops_no_staging() -> None:
    world = burst_world()
    world.offer([], revision="r2", seen=ONE - 1_000)
    world.run(ONE - 1_000)
    assert world.shard.changing.held is not None
    assert staged(world, ONE - 500).fires == 6
    assert not world.shard.disturbs(ONE, ONE - 300)


def test_nothing_is_staged_that_the_end_of_a_hold_would_overtake() -> None:
    world = burst_world(stale_hold_ms=20_000)
    world.offer(map(job, "abcde"), revision="r2", seen=T0 + 1)
    world.run(T0 + 1)
    world.instance = "b"
    world.start(T0 + 2)
    world.looked()
    world.offer(map(job, "abcdef"), revision="r1", seen=ONE - 19_000, witnessed=False)
    world.run(ONE - 19_000)
    assert world.shard.changing.held is not None
    assert isinstance(world.shard.decide(ONE - 500), Batch)
    world.shard.changing.held = replace(world.shard.changing.held, until=ONE)
    assert isinstance(world.shard.decide(ONE - 500), Rest)


# The clock.


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (ONE - 2_001, "set back"),
        (ONE - 2_000, None),
        (ONE, None),
        (ONE + 10_000, None),
        (ONE + 10_001, "missed"),
    ],
)
def test_a_clock_that_strays_too_far_spoils_a_staging(now: Instant, why: str | None) -> None:
    found = strayed(ONE, now, USUAL)
    assert found is None if why is None else why in (found or "")


def test_a_landing_is_json_that_a_checker_reads() -> None:
    world = burst_world()
    world.commit(staged(world, ONE - 500), ONE)
    world.looked()
    world.offer(map(job, "ab"), revision="r2", seen=ONE + 2)
    world.run(ONE + 2)
    [event] = [one for one in world.batches[-1].outgoing if (one[2] or b"") == b"burst.landed"]
    assert dict(event[4] or ())["ce_id"] == b"burst.landed/0/2026-11-20T12:01:00Z"
    assert from_text(json.loads(event[1] or b"")["committedAt"]) == ONE
