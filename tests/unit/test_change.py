"""From a change set to facts and events, piece by piece."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from shard_world import TOPICS, World, job, with_limits

from dispatcher.core.batch import Batch, Rest
from dispatcher.core.change import (
    Held,
    Numbered,
    admit,
    applied_event,
    guarded,
    is_retimed,
    job_event,
    job_facts,
    owed,
    steps,
)
from dispatcher.core.changing import Changing
from dispatcher.core.command import Command
from dispatcher.core.instant import from_text, to_text
from dispatcher.core.ledger import Cursor, Revision
from dispatcher.core.message import MessageMaker
from dispatcher.core.record import JobRecord
from dispatcher.core.schedule import ChangeSet, RemovalGuard

T0 = from_text("2026-11-20T12:00:30Z")
MINUTE = 60_000
MAKER = MessageMaker(TOPICS, 0, lambda topic: None if topic == "gone" else 12)


def change(**fields: Any) -> ChangeSet:
    empty = ChangeSet(
        shard=0, base=1, revision="new", seen=T0, witnessed=False, added=(), changed=(), removed=(),
        removed_in_all=0, in_force_in_all=10,
    )  # fmt: skip
    return replace(empty, **fields)


def record(name: str, after: int = T0, number: int = 1, **fields: Any) -> JobRecord:
    return JobRecord(job(name, **fields), number, "old", after, after)


def known(**instances: str) -> dict[str, Revision]:
    return {name: Revision(name, T0, instance) for name, instance in instances.items()}


@pytest.mark.parametrize(
    ("fields", "revisions", "instance", "held"),
    [
        ({"witnessed": True, "revision": "old"}, known(old="a", cur="a"), "b", False),
        ({"revision": "new"}, known(old="a", cur="a"), "b", False),
        ({"revision": "cur"}, known(old="a", cur="a"), "b", False),
        ({"revision": "old"}, known(old="a", cur="b"), "b", False),
        ({"revision": "old"}, known(old="b", cur="a"), "b", True),
        ({"revision": "old"}, known(old="b"), "b", True),
    ],
    ids=["seen with its own eyes", "unknown", "in force", "roll-back on one machine", "relic", "forgotten"],
)  # fmt: skip
def test_only_a_relic_of_another_instance_is_stale(
    fields: dict[str, Any], revisions: dict[str, Revision], instance: str, *, held: bool
) -> None:
    found = admit(change(**fields), revisions, "cur", instance, now=T0, hold_ms=120_000)
    assert (found is not None) == held
    if found is not None:
        assert (found.reason, found.until) == ("stale", T0 + 120_000)
        assert "dispatcher adopt" in found.text


@pytest.mark.parametrize(
    ("removed", "in_force", "held"),
    [
        (4, 4, False), (5, 5, True), (5, 10, False), (5, 9, True), (6, 11, True), (500, 1_000, False),
        (0, 0, False),
    ],
)  # fmt: skip
def test_a_file_is_held_that_removes_more_than_half_and_at_least_five(
    removed: int, in_force: int, *, held: bool
) -> None:
    found = guarded(change(removed_in_all=removed, in_force_in_all=in_force), RemovalGuard())
    assert (found is not None) == held
    if found is not None:
        assert found.until is None
        assert f"{removed} of {in_force} jobs" in found.text


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_the_share_of_removals_is_a_setting(share: float) -> None:
    found = guarded(change(removed_in_all=10, in_force_in_all=10), RemovalGuard(share, 1))
    assert (found is not None) == (share < 1)


def test_the_steps_of_a_change_are_every_job_it_touches() -> None:
    one, two = job("one"), job("two")
    assert list(steps(change(added=(one,), changed=(two,), removed=("three",)))) == [
        ("one", one), ("two", two), ("three", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "retimed"),
    [
        ({"payload": 1}, False), ({"priority": 9}, False), ({"catchUp": "all"}, False),
        ({"topic": "x"}, False),
        ({"timezone": "UTC"}, False), ({"cronTime": "*/1 * * * *"}, False),
        ({"cronTime": "*/2 * * * *"}, True), ({"timezone": "Europe/Berlin"}, True),
        ({"jitterSeconds": 1}, True), ({"enabled": False}, True),
        ({"startAt": "2026-01-01T00:00:00Z"}, True), ({"endAt": "2030-01-01T00:00:00Z"}, True),
        ({"dst": {"gap": "skip"}}, False),
    ],
)  # fmt: skip
def test_only_what_moves_fires_is_a_new_trigger(fields: dict[str, Any], *, retimed: bool) -> None:
    assert is_retimed(job("a", **fields), record("a")) == retimed


def test_a_rule_for_clock_changes_is_part_of_the_trigger_where_clocks_change() -> None:
    fields: dict[str, Any] = {"cronTime": "30 2 * * *", "timezone": "Europe/Berlin"}
    assert is_retimed(job("a", **fields, dst={"gap": "skip"}), record("a", **fields))
    assert not is_retimed(job("a", **fields, dst={"gap": "run"}), record("a", **fields))


def test_a_new_job_and_a_removed_one_are_retimed() -> None:
    assert is_retimed(job("a"), None)
    assert is_retimed(None, record("a"))


def test_an_edit_of_the_payload_keeps_since_when_the_trigger_holds() -> None:
    old = record("a", T0 - MINUTE)
    numbered = Numbered(2, "new", T0, keep_old=False)
    [version] = job_facts("a", job("a", payload=1), old, numbered, retimed=False).versions
    assert (version.effective_from, version.timed_from) == (T0, T0 - MINUTE)
    [version] = job_facts("a", job("a", every="1s"), old, numbered, retimed=True).versions
    assert (version.effective_from, version.timed_from) == (T0, T0)


def test_older_versions_stay_while_they_are_needed() -> None:
    old = replace(record("a"), past=(record("a", number=0),))
    kept = job_facts("a", job("a", payload=1), old, Numbered(2, "new", None, keep_old=True), retimed=False)
    assert [one.change for one in kept.versions] == [2, 1, 0]
    alone = job_facts("a", job("a", payload=1), old, Numbered(2, "new", T0, keep_old=False), retimed=False)
    assert [one.change for one in alone.versions] == [2]


def test_a_removal_in_force_is_a_tombstone_and_one_being_brought_in_is_not() -> None:
    old = record("a")
    assert job_facts("a", None, old, Numbered(2, "new", T0, keep_old=True), retimed=True).versions == ()
    staged = job_facts("a", None, old, Numbered(2, "new", None, keep_old=True), retimed=True).versions
    assert [(one.change, one.definition is None) for one in staged] == [(2, True), (1, False)]


@pytest.mark.parametrize(
    ("new", "old", "kind", "members"),
    [
        (True, False, "job.added", {"definition"}),
        (True, True, "job.changed", {"definition", "previous"}),
        (False, True, "job.removed", {"previous"}),
    ],
)
def test_the_event_of_a_job_carries_old_and_new_and_its_validity(
    kind: str, members: set[str], *, new: bool, old: bool
) -> None:
    event = job_event(
        "a", job("a") if new else None, record("a") if old else None, Numbered(2, "r", T0, keep_old=False)
    )
    assert (event.type, event.id, event.subject) == (kind, f"{kind}/a/2", "a")
    assert {name for name, _ in event.definitions} == members
    assert event.data == {"change": 2, "revision": "r", "effectiveFrom": to_text(T0)}


def test_the_event_of_a_schedule_counts_all_and_names_a_hundred() -> None:
    jobs = tuple(job(f"j{number}") for number in range(150))
    names = tuple(f"gone{number}" for number in range(101))
    event = applied_event(
        change(added=jobs, removed=names), Numbered(3, "new", T0, keep_old=False), "old", 1, "host"
    )
    assert (event.type, event.id) == ("schedule.applied", "schedule.applied/1/3")
    assert event.data["added"]["count"] == 150
    assert event.data["added"]["names"] == [f"j{number}" for number in range(100)]
    assert (event.data["removed"]["count"], len(event.data["removed"]["names"])) == (101, 100)
    assert event.data["changed"] == {"count": 0, "names": []}
    assert (event.data["previous"], event.data["revision"]) == ("old", "new")


def test_an_old_version_owes_what_it_planned_in_time_and_is_due_behind_the_cursor() -> None:
    spread = record("a", T0, every="10s", jitterSeconds=55)
    delay = spread.job.delay_ms
    assert 30_000 < delay < 55_000
    cursor = Cursor(T0 + 20_000 + delay, "a")
    timers, skips = owed(spread, T0 + 50_000, cursor, MAKER, "old")
    assert [one.planned for one in timers] == [T0 + 30_000, T0 + 40_000, T0 + 50_000]
    assert [one.due for one in timers] == [one.planned + delay for one in timers]
    assert [one.grace_ms for one in timers] == [60_000, 60_000, None], "the latest always goes out"
    assert skips == []
    before = Cursor(T0 + 20_000 + delay, "A")
    assert owed(spread, T0 + 50_000, before, MAKER, "old")[0][0].planned == T0 + 20_000


def test_what_an_old_version_owes_keeps_its_grace_when_it_does_not_catch_up() -> None:
    spread = record("a", T0, every="10s", jitterSeconds=55, catchUp="none", misfireGraceSeconds=7)
    timers, _ = owed(spread, T0 + 10_000, Cursor(T0), MAKER, "old")
    assert [one.grace_ms for one in timers] == [7_000]


def test_what_an_old_version_owes_to_no_topic_is_a_skip() -> None:
    spread = record("a", T0, every="10s", jitterSeconds=55, topic="gone")
    timers, skips = owed(spread, T0 + 20_000, Cursor(T0), MAKER, "old")
    assert timers == []
    assert [(one.reason, one.count, one.until) for one in skips] == [
        ("unsendable: no topic 'gone'", 1, T0 + 10_000), ("unsendable: no topic 'gone'", 1, T0 + 20_000),
    ]  # fmt: skip


# What waits.


def in_force(*names: str) -> World:
    world = World()
    world.start(T0)
    world.offer(map(job, names), revision="r1", seen=T0)
    world.run(T0)
    return world


def test_a_held_change_is_replaced_by_the_next_file() -> None:
    world = in_force(*"abcdefgh")
    world.offer([job("a")], revision="r2", seen=T0)
    world.run(T0)
    assert world.shard.changing.held is not None
    world.offer(map(job, "abcdefghi"), revision="r3", seen=T0)
    world.run(T0)
    assert world.shard.changing.held is None
    assert len(world.shard.state.records) == 9


def test_a_word_for_one_held_file_is_none_for_the_next() -> None:
    world = in_force(*"abcdefgh")
    world.shard.take(Command("adopt", "early"), 1)
    world.run(T0)
    world.offer([job("a")], revision="r2", seen=T0)
    world.run(T0)
    assert len(world.shard.state.records) == 8, "nothing was held when it was said"


def test_a_stale_file_that_removes_most_jobs_needs_a_word_after_its_hold() -> None:
    world = in_force("a")
    world.offer(map(job, "abcdefgh"), revision="r2", seen=T0)
    world.run(T0)
    world.instance = "other"
    world.start(T0 + 1_000)
    world.offer([job("a")], revision="r1", seen=T0 + 1_000, witnessed=False)
    world.run(T0 + 1_000)
    world.run(T0 + 122_000)
    assert len(world.shard.state.records) == 8
    assert [data["reason"] for _, data in world.events_of("schedule.held")] == ["stale", "removal"]
    world.shard.take(Command("adopt", "x"), 1)
    world.run(T0 + 123_000)
    assert list(world.shard.state.records) == ["a"]


def test_nobody_is_woken_for_a_hold_whose_change_is_gone() -> None:
    changing = Changing(0, in_force("a").shard.state, MAKER, instance="a", limits=with_limits())
    waiting = change(revision="r0")
    changing.offer(waiting)
    changing.held = Held(waiting, "stale", "…", T0)
    assert changing.until() == T0
    changing.reset()
    assert changing.until() is None


def test_a_revision_number_is_never_used_twice_even_after_an_abandoned_change() -> None:
    world = World(limits=with_limits(piece=2))
    world.start(T0)
    world.offer(map(job, "abcde"), revision="r1", seen=T0)
    piece = world.shard.decide(T0)
    assert isinstance(piece, Batch)
    world.commit(piece, T0)
    world.start(T0 + 1)
    world.offer(map(job, "ab"), revision="r2", seen=T0 + 1)
    world.run(T0 + 1)
    numbers = [data["change"] for kind, _, data in world.events if kind in {"job.added", "schedule.applied"}]
    assert numbers == [1, 1, 2, 2, 2]


def test_fires_go_out_between_the_pieces_of_a_large_change() -> None:
    world = World(limits=with_limits(piece=2, batch=1))
    world.start(T0)
    world.offer([job("old", every="1s")], revision="r1", seen=T0)
    world.run(T0)
    names = [f"n{number}" for number in range(8)]
    world.offer([job("old", every="1s"), *map(job, names)], revision="r2", seen=T0 + 500)
    kinds = []
    now = T0 + 500
    while not isinstance(decision := world.shard.decide(now), Rest):
        kinds.append(decision.kind)
        world.commit(decision, now)
        now += 1_000
        assert len(kinds) < 50
        if kinds[-1] == "change":
            break
    assert kinds.count("change.piece") == 4
    assert "fires" in kinds[1:-1]


def test_the_value_of_an_event_is_json_with_its_definitions_as_members() -> None:
    world = in_force("a")
    [(_, data)] = world.events_of("job.added")
    assert json.loads(world.shard.state.records["a"].job.definition) == data["definition"]
