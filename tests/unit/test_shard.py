from __future__ import annotations

from collections import Counter

import pytest
from shard_world import World, job, with_limits

from dispatcher.core.batch import Batch, Rest
from dispatcher.core.command import Command
from dispatcher.core.instant import from_text

T0 = from_text("2026-11-20T12:00:30Z")
MINUTE = 60_000
HOUR = 60 * MINUTE


def started(*jobs: str, **fields: object) -> World:
    world = World()
    world.start(T0)
    world.offer([job(name, **fields) for name in jobs], revision="r1", seen=T0)
    world.run(T0)
    return world


def skips(world: World) -> list[tuple[str, str, int]]:
    return [(subject, data["reason"], data["count"]) for subject, data in world.events_of("run.skipped")]


def test_every_planned_minute_fires_once_and_in_order() -> None:
    world = started("b", "a")
    world.run_until(T0, T0 + 3 * MINUTE)
    assert world.fires == [
        "a@2026-11-20T12:01:00Z", "b@2026-11-20T12:01:00Z",
        "a@2026-11-20T12:02:00Z", "b@2026-11-20T12:02:00Z",
        "a@2026-11-20T12:03:00Z", "b@2026-11-20T12:03:00Z",
    ]  # fmt: skip


def test_nothing_fires_before_its_instant() -> None:
    world = started("a")
    assert world.run(T0 + 29_999) == Rest(T0 + 30_000)
    assert world.fires == []


def test_a_crash_after_the_commit_doubles_nothing() -> None:
    world = started("a", "b")
    decided = world.shard.decide(T0 + 30_000)
    assert isinstance(decided, Batch)
    world.write(decided)
    world.start(T0 + 31_000)
    world.looked()
    world.run_until(T0 + 31_000, T0 + MINUTE)
    assert world.fires == ["a@2026-11-20T12:01:00Z", "b@2026-11-20T12:01:00Z"]


def test_a_crash_before_the_commit_loses_nothing() -> None:
    world = started("a", "b")
    assert isinstance(world.shard.decide(T0 + 30_000), Batch)
    world.start(T0 + 31_000)
    world.looked()
    world.run(T0 + 31_000)
    assert sorted(world.fires) == ["a@2026-11-20T12:01:00Z", "b@2026-11-20T12:01:00Z"]


def test_a_batch_may_end_in_the_middle_of_an_instant() -> None:
    world = World(limits=with_limits(batch=2))
    world.start(T0)
    world.offer([job(name) for name in "abcde"], revision="r1", seen=T0)
    world.run(T0)
    decided = world.shard.decide(T0 + 30_000)
    assert isinstance(decided, Batch)
    world.commit(decided, T0 + 30_000)
    assert len(world.fires) == 2
    world.start(T0 + 31_000)
    world.looked()
    world.run(T0 + 31_000)
    assert sorted(world.fires) == [f"{name}@2026-11-20T12:01:00Z" for name in "abcde"]


@pytest.mark.parametrize(
    ("catch_up", "sent", "skipped"),
    [
        ("none", ["a@2026-11-20T15:00:00Z"], [("a", "missed", 179)]),
        ("latest", ["a@2026-11-20T15:00:00Z"], [("a", "coalesced", 179)]),
        ("all", None, []),
    ],
)
def test_three_hours_missed_are_settled_by_policy(
    catch_up: str, sent: list[str] | None, skipped: list[tuple[str, str, int]]
) -> None:
    world = started("a", catchUp=catch_up)
    back = T0 + 3 * HOUR - 29_000  # 15:00:01, one second after the 15:00 fire
    world.start(back)
    world.looked()
    world.run(back)
    assert skips(world) == skipped
    assert world.fires == sent if sent is not None else len(world.fires) == 180


def test_latest_sends_the_last_missed_fire_when_none_is_within_the_grace() -> None:
    world = started("a", cronTime="0 * * * *")
    back = T0 + 3 * HOUR  # 15:00:30
    world.start(back + 40 * MINUTE)
    world.looked()
    world.run(back + 40 * MINUTE)
    assert world.fires == ["a@2026-11-20T15:00:00Z"]
    assert skips(world) == [("a", "coalesced", 2)]


def test_a_fire_due_at_the_end_of_an_interval_is_fresh_and_no_skip_even_without_grace() -> None:
    world = started("a", catchUp="none", misfireGraceSeconds=0)
    back = T0 + 30_000 + 2 * MINUTE
    world.start(back)
    world.looked()
    world.run(back)
    assert world.fires == ["a@2026-11-20T12:03:00Z"]
    assert skips(world) == [("a", "missed", 2)]


def test_backlog_survives_a_crash_at_every_transaction() -> None:
    fields = {"every": "30s"}
    world = World(limits=with_limits(batch=7))
    world.start(T0)
    jobs = [job("all", catchUp="all", **fields), job("last", **fields), job("none", catchUp="none", **fields)]
    world.offer(jobs, revision="r1", seen=T0)
    world.run(T0)
    now = T0 + HOUR
    for _ in range(200):
        world.start(now)
        world.looked()
        decided = world.shard.decide(now)
        if isinstance(decided, Rest):
            break
        world.write(decided)
        now += 11
    assert max(Counter(world.fires).values()) == 1
    counts = Counter(fire.split("@")[0] for fire in world.fires)
    skipped = Counter({subject: count for subject, _, count in skips(world)})
    assert counts["all"] == 120
    assert counts["last"] + skipped["last"] == 120
    assert counts["none"] + skipped["none"] == 120
    assert len(skips(world)) == 2


def test_jitter_is_constant_and_the_old_version_owes_what_was_planned_before_the_edit() -> None:
    spread = job("a", jitterSeconds=50)
    assert 5_000 < spread.delay_ms < 50_000
    world = World()
    world.start(T0)
    world.offer([spread], revision="r1", seen=T0)
    world.run(T0)
    planned = T0 + 30_000
    assert world.run(planned) == Rest(planned + spread.delay_ms)
    world.offer([job("a", jitterSeconds=50, payload=1)], revision="r2", seen=planned + 100)
    world.run(planned + 100)
    world.run_until(planned + 100, planned + MINUTE + 55_000)
    assert world.fires == ["a@2026-11-20T12:01:00Z", "a@2026-11-20T12:02:00Z"]
    old, new = world.messages
    assert b"payload" not in (old[1] or b"")
    assert b"payload" in (new[1] or b"")


def test_a_removed_job_still_owes_what_it_planned_before() -> None:
    world = World()
    world.start(T0)
    spread = job("a", jitterSeconds=50)
    world.offer([spread], revision="r1", seen=T0)
    world.run(T0)
    world.offer([], revision="r2", seen=T0 + 31_000)
    world.run(T0 + 31_000)
    world.start(T0 + 32_000)
    world.run_until(T0 + 32_000, T0 + 5 * MINUTE)
    assert world.fires == ["a@2026-11-20T12:01:00Z"]


def test_a_fire_that_an_edit_left_as_a_timer_is_not_backlog_too() -> None:
    world = World()
    world.start(T0)
    world.offer([job("a", jitterSeconds=50)], revision="r1", seen=T0)
    world.run(T0)
    world.offer([job("a", jitterSeconds=50, payload=1)], revision="r2", seen=T0 + 31_000)
    world.run(T0 + 31_000)
    world.start(T0 + 85_000)
    world.looked()
    world.run(T0 + 85_000)
    assert world.fires == ["a@2026-11-20T12:01:00Z"]


def test_fires_planned_between_seen_and_applied_are_of_the_new_version() -> None:
    world = World()
    world.start(T0)
    world.offer([job("a")], revision="r1", seen=T0)
    world.run(T0)
    change = world.offer([job("a", payload="new")], revision="r2", seen=T0 + 29_000)
    assert change.changed
    decided = world.shard.decide(T0 + 29_500)
    assert isinstance(decided, Batch)
    world.commit(decided, T0 + 31_000)
    world.run(T0 + 31_000)
    assert [b"new" in (message[1] or b"") for message in world.messages] == [True]


def test_an_edit_of_the_payload_leaves_missed_fires_as_they_were() -> None:
    world = started("a", catchUp="all")
    back = T0 + 10 * MINUTE
    world.start(back)
    world.offer([job("a", catchUp="all", payload="new")], revision="r2", seen=back, witnessed=False)
    world.run(back)
    world.run_until(back, back + MINUTE)
    assert len(world.fires) == len(set(world.fires)) == 11
    assert [b"new" in (message[1] or b"") for message in world.messages] == [False] * 10 + [True]


@pytest.mark.parametrize(("entry", "reason"), [({"every": "30s"}, "retimed"), (None, "removed")])
def test_missed_fires_of_jobs_removed_or_retimed_meanwhile_are_skips(
    entry: dict[str, str] | None, reason: str
) -> None:
    world = started("a", "b", catchUp="all")
    back = T0 + 10 * MINUTE
    world.start(back)
    jobs = [job("b", catchUp="all")] + ([job("a", catchUp="all", **entry)] if entry else [])
    world.offer(jobs, revision="r2", seen=back, witnessed=False)
    world.run(back)
    assert skips(world) == [("a", reason, 10)]
    assert [fire for fire in world.fires if fire.startswith("a@")] == []
    assert len([fire for fire in world.fires if fire.startswith("b@")]) == 10


def test_a_large_change_goes_in_pieces_and_survives_a_crash_between_them() -> None:
    world = World(limits=with_limits(piece=3))
    world.start(T0)
    names = [f"j{number}" for number in range(8)]
    world.offer([job(name) for name in names], revision="r1", seen=T0)
    for _ in range(2):
        decided = world.shard.decide(T0)
        assert isinstance(decided, Batch)
        assert decided.kind == "change.piece"
        world.commit(decided, T0)
    world.start(T0 + 1_000)
    assert world.shard.state.records == {}
    world.offer([job(name) for name in names[:6]], revision="r2", seen=T0 + 1_000)
    world.run(T0 + 1_000)
    world.run_until(T0 + 1_000, T0 + 31_000)
    assert world.fires == [f"{name}@2026-11-20T12:01:00Z" for name in names[:6]]
    world.start(T0 + 32_000)
    assert sorted(world.shard.state.records) == names[:6]
    world.offer([], revision="r3", seen=T0 + 32_000)
    world.shard.take(Command("adopt", "1"), 1)
    world.run(T0 + 32_000)
    world.shard.take(Command("adopt", "2"), 2)
    world.run(T0 + 32_000)
    world.start(T0 + 33_000)
    assert world.shard.state.records == {}
    assert not [key for key in world.ledger if key.startswith(b"job/")]


def test_a_file_that_removes_most_jobs_waits_for_adopt() -> None:
    world = started(*(f"j{number}" for number in range(10)))
    world.offer([job("j1")], revision="r2", seen=T0 + 1_000)
    world.run(T0 + 1_000)
    assert len(world.shard.state.records) == 10
    assert [data["reason"] for _, data in world.events_of("schedule.held")] == ["removal"]
    world.shard.take(Command("adopt", "x"), 5)
    world.run(T0 + 2_000)
    assert list(world.shard.state.records) == ["j1"]
    assert world.shard.state.position is not None
    assert world.shard.state.position.commands == 5


def test_a_held_file_that_is_taken_back_is_never_adopted() -> None:
    world = started(*(f"j{number}" for number in range(10)))
    world.offer([job("j1")], revision="r2", seen=T0 + 1_000)
    world.run(T0 + 1_000)
    world.looked()
    world.shard.take(Command("adopt", "x"), 5)
    world.run(T0 + 2_000)
    assert len(world.shard.state.records) == 10
    assert [data["done"] for _, data in world.events_of("command.obeyed")] == [False]
    assert [data["reason"] for _, data in world.events_of("schedule.released")] == ["removal"]


def test_the_first_start_with_a_clock_far_ahead_leaves_nothing_in_the_future() -> None:
    world = World()
    world.start(T0 + 1_000 * HOUR)
    world.start(T0)
    world.offer([job("a")], revision="r1", seen=T0)
    world.run(T0)
    world.run_until(T0, T0 + 31_000)
    assert world.fires == ["a@2026-11-20T12:01:00Z"]


def test_a_stale_file_of_another_instance_is_held_then_takes_force() -> None:
    world = started("a")
    world.offer([job("a"), job("b")], revision="r2", seen=T0)
    world.run(T0)
    world.instance = "other"
    world.start(T0 + 1_000)
    world.offer([job("a")], revision="r1", seen=T0 + 1_000, witnessed=False)
    rest = world.run(T0 + 1_000)
    assert sorted(world.shard.state.records) == ["a", "b"]
    assert [data["reason"] for _, data in world.events_of("schedule.held")] == ["stale"]
    assert rest.until == T0 + 30_000
    world.run(T0 + 1_000 + 120_000)
    assert sorted(world.shard.state.records) == ["a"]


def test_a_roll_back_on_the_machine_that_applied_the_last_takes_force_at_once() -> None:
    world = started("a")
    world.offer([job("a"), job("b")], revision="r2", seen=T0)
    world.run(T0)
    world.start(T0 + 1_000)
    world.offer([job("a")], revision="r1", seen=T0 + 1_000, witnessed=False)
    world.run(T0 + 1_000)
    assert sorted(world.shard.state.records) == ["a"]


def test_a_job_of_an_unknown_topic_becomes_a_recorded_skip_and_others_go_on() -> None:
    world = World()
    world.missing_topics.add("gone")
    world.start(T0)
    world.offer([job("a", topic="gone"), job("b")], revision="r1", seen=T0)
    world.run(T0)
    world.run_until(T0, T0 + 31_000)
    assert world.fires == ["b@2026-11-20T12:01:00Z"]
    [(name, reason, count)] = skips(world)
    assert (name, count) == ("a", 1)
    assert "'gone'" in reason


def test_a_refused_fire_becomes_a_recorded_skip() -> None:
    world = started("a", "b")
    world.shard.firing.refuse("a@2026-11-20T12:01:00Z", "too large")
    world.run_until(T0, T0 + 31_000)
    assert world.fires == ["b@2026-11-20T12:01:00Z"]
    assert skips(world) == [("a", "unsendable: too large", 1)]


def test_a_clock_that_went_back_fires_nothing_twice() -> None:
    world = started("a")
    world.run_until(T0, T0 + 2 * MINUTE)
    world.start(T0)
    world.run_until(T0, T0 + 2 * MINUTE)
    assert len(world.fires) == len(set(world.fires)) == 2


def test_new_rules_of_time_are_a_change_of_their_own() -> None:
    world = started("a")
    world.identity = type(world.identity)("cluster", {"t.ledger": "id"}, 1, "2027a", "croniter 7")
    world.start(T0 + 1_000)
    kind, data = world.events[-1][0], world.events[-1][2]
    assert (kind, data["rules"]["before"]["tzdata"], data["rules"]["after"]["tzdata"]) == (
        "schedule.applied", "2026f", "2027a",
    )  # fmt: skip
    world.run_until(T0 + 1_000, T0 + 31_000)
    assert world.fires == ["a@2026-11-20T12:01:00Z"]


def test_an_idle_shard_beats_and_its_cursor_moves() -> None:
    world = World(limits=with_limits(heartbeat_ms=10_000))
    world.start(T0)
    world.run_until(T0, T0 + 45_000)
    assert [batch.kind for batch in world.batches].count("heartbeat") == 4
    assert world.shard.state.cursor().due == T0 + 40_000


@pytest.mark.parametrize("back", [1_000, 20_000])
def test_an_edit_after_the_clock_stepped_back_plans_nothing_again(back: int) -> None:
    world = World()
    world.start(T0)
    world.offer([job("a", every="10s", jitterSeconds=300, payload=0)], revision="r0", seen=T0)
    edited = T0 + 600_500
    world.run_until(T0, edited)
    world.offer([job("a", every="10s", jitterSeconds=300, payload=1)], revision="r1", seen=edited)
    world.run(edited)
    stepped = edited - back
    world.offer([job("a", every="10s", jitterSeconds=300, payload=2)], revision="r2", seen=stepped)
    world.run(stepped)
    world.run_until(stepped, T0 + 1_300_000)
    assert [fire for fire, times in Counter(world.fires).items() if times > 1] == []
    assert len(world.fires) == (1_300_000 - job("a", jitterSeconds=300).delay_ms) // 10_000


def test_of_late_fires_an_edit_left_behind_only_the_latest_goes_out() -> None:
    world = World()
    world.start(T0)
    spread = {"every": "10s", "jitterSeconds": 300}
    world.offer([job("a", **spread)], revision="r0", seen=T0)
    world.run(T0)
    world.run_until(T0, T0 + 60_000)
    world.offer([job("a", **spread, payload=1)], revision="r1", seen=T0 + 60_000)
    world.run(T0 + 60_000)
    owed = [timer.id for timer in world.shard.state.timers.values()]
    assert len(owed) == 6
    sent = len(world.fires)
    back = T0 + 24 * HOUR
    world.start(back)
    world.looked()
    world.run(back)
    assert [fire for fire in world.fires[sent:] if fire in owed] == [owed[-1]]
    assert len([skip for skip in skips(world) if skip == ("a", "missed", 1)]) == 5


def test_a_replica_that_saw_an_older_file_long_ago_does_not_roll_back() -> None:
    world = started("a")
    world.offer([job("a"), job("b")], revision="r2", seen=T0 + 5_000)
    world.run(T0 + 5_000)
    world.instance = "other"
    world.start(T0 + 6_000)
    world.offer([job("a")], revision="r1", seen=T0, witnessed=True)
    world.run(T0 + 6_000)
    assert sorted(world.shard.state.records) == ["a", "b"]
