"""A shard after an outage: what goes out, what is skipped, how fast, and what somebody may say about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from shard_world import World, job, with_limits

from dispatcher.core.batch import Batch, Rest
from dispatcher.core.command import Command
from dispatcher.core.instant import from_text
from dispatcher.core.pace import Pace

T0 = from_text("2026-11-20T12:00:30Z")
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
OUTAGES = {"3 hours": 3 * HOUR, "31 days": 31 * DAY}
Planned = Counter[tuple[str, int]]


def running(*jobs: Any, now: int = T0, **limits: Any) -> World:
    """Return a world with these jobs in force."""
    world = World(limits=with_limits(**limits))
    world.start(now)
    world.offer(jobs, revision="r1", seen=now)
    world.run(now)
    return world


def back(world: World, now: int) -> World:
    """Start the world's shard again and let it look at the file."""
    world.start(now)
    world.looked()
    return world


def sent(world: World) -> Planned:
    """Return how often each planned instant of each job was sent."""
    return Counter((fire.split("@")[0], from_text(fire.split("@")[1])) for fire in world.fires)


def skipped(world: World, period: int) -> dict[str, Planned]:
    """Return how often each planned instant of each job was skipped, by reason; all have one period."""
    found: dict[str, Planned] = {}
    for name, data in world.events_of("run.skipped"):
        after, until = from_text(data["after"]), from_text(data["until"])
        instants = range((after // period + 1) * period, until + 1, period)
        assert len(instants) == data["count"]
        found.setdefault(data["reason"], Counter()).update((name, one) for one in instants)
    return found


def due(start: int, end: int, period: int) -> range:
    """Return the planned instants after `start` and before `end`."""
    return range((start // period + 1) * period, end, period)


# Policies.


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("grace", [0, 60, 600, 40 * 86_400])
@pytest.mark.parametrize("period", [MINUTE, 7 * MINUTE, HOUR])
def test_an_outage_is_settled_by_policy_and_grace(outage: int, grace: int, period: int) -> None:
    fields = {"every": f"{period // SECOND}s", "misfireGraceSeconds": grace}
    jobs = [job(policy, catchUp=policy, **fields) for policy in ("none", "latest", "all")]
    end = T0 + outage
    world = back(running(*jobs), end)
    world.run(end)
    missed = list(due(T0, end, period))
    within = [one for one in missed if one > end - max(1, grace * SECOND)]
    expected = {"none": within, "latest": within or missed[-1:], "all": missed}
    assert sent(world) == Counter((name, one) for name, all_of in expected.items() for one in all_of)
    gone = skipped(world, period)
    reasons = {"none": "missed", "latest": "coalesced"}
    for name, reason in reasons.items():
        rest = sorted(set(missed) - set(expected[name]))
        assert gone.pop(reason, Counter()) == Counter((name, one) for one in rest)
    assert gone == {}
    assert len(world.events_of("run.skipped")) == sum(len(expected[name]) < len(missed) for name in reasons)


@pytest.mark.parametrize(("outage", "most"), [(3 * HOUR, 7), (31 * DAY, 1_000), (31 * DAY, 44_640)])
def test_all_sends_the_latest_up_to_the_cap_and_tells_the_others(outage: int, most: int) -> None:
    world = running(job("a", catchUp="all"), job("b", catchUp="all", every="1h"), catch_up_most=most)
    end = T0 + outage
    back(world, end).run(end)
    expected = {"a": list(due(T0, end, MINUTE)), "b": list(due(T0, end, HOUR))}
    assert sent(world) == Counter((name, one) for name, all_of in expected.items() for one in all_of[-most:])
    counts = {name: data["count"] for name, data in world.events_of("run.skipped")}
    over = {name: len(all_of) - most for name, all_of in expected.items() if len(all_of) > most}
    assert counts == over
    assert {data["reason"] for _, data in world.events_of("run.skipped")} <= {"capped"}


@pytest.mark.parametrize("other", [0, 1, 5, 100_000])
def test_another_cap_in_the_middle_of_an_interval_changes_nothing_in_it(other: int) -> None:
    end = T0 + 3 * HOUR
    world = back(running(job("a", catchUp="all"), batch=4, catch_up_most=50), end)
    for _ in range(6):
        decided = world.shard.decide(end)
        assert isinstance(decided, Batch)
        world.commit(decided, end)
    assert 0 < len(world.fires) < 50
    world.limits = with_limits(batch=4, catch_up_most=other)
    back(world, end + SECOND).run(end + SECOND)
    assert sent(world) == Counter(("a", one) for one in list(due(T0, end, MINUTE))[-50:])
    assert [data["count"] for _, data in world.events_of("run.skipped")] == [130]


def many() -> Iterator[Any]:
    """Yield two hundred jobs of every policy."""
    for number in range(200):
        policy = ("none", "latest", "all")[number % 3]
        yield job(f"j{number:03d}", every="6h", catchUp=policy, jitterSeconds=number % 4 * 50)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("heard", [True, False], ids=["after the commit", "before the commit"])
def test_crashes_in_the_middle_of_a_month_lose_double_and_repeat_nothing(every: int, *, heard: bool) -> None:
    jobs = list(many())
    world = running(*jobs, batch=300, catch_up_most=100)
    now = end = T0 + 31 * DAY
    back(world, now)
    transactions = 0
    while not isinstance(decided := world.shard.decide(now), Rest):
        transactions += 1
        if transactions % every:
            world.commit(decided, now)
            continue
        if heard or transactions % (2 * every):
            world.write(decided)
        now += 11
        back(world, now)
    check_month(world, jobs, end, 100)
    assert transactions > 20


def check_month(world: World, jobs: list[Any], end: int, most: int) -> None:
    """Check what became of each missed fire of jobs that are due every six hours."""
    done, gone = sent(world), skipped(world, 6 * HOUR)
    assert max(done.values()) == 1
    assert max(max(one.values()) for one in gone.values()) == 1
    reasons = {"none": "missed", "latest": "coalesced", "all": "capped"}
    for one in jobs:
        missed = {planned for planned in due(T0, end, 6 * HOUR) if planned + one.delay_ms < end}
        policy = one.policy.catch_up.value
        kept = {"none": 0, "latest": 1, "all": most}[policy]
        late = end - one.policy.grace_ms
        latest = list(due(T0, end, 6 * HOUR)) if policy == "all" else sorted(missed)
        expected = missed & set(latest[-kept:]) if kept else set()
        expected |= {planned for planned in missed if planned + one.delay_ms > late}
        assert {at for name, at in done if name == one.name and at in missed} == expected
        assert {at for name, at in gone[reasons[policy]] if name == one.name} == missed - expected


# The rate.


def paced(world: World, start: int, end: int) -> list[tuple[int, Batch]]:
    """Let the clock go from rest to rest; return when each batch was committed."""
    now, batches = start, []
    while now <= end:
        decided = world.shard.decide(now)
        if isinstance(decided, Batch):
            world.commit(decided, now)
            batches.append((now, decided))
            continue
        if decided.until is None or decided.until > end:
            break
        assert decided.until > now, "it spins"
        now = decided.until
    return batches


@pytest.mark.parametrize("rate", [1, 7, 50, 1_000])
@pytest.mark.parametrize("batch", [1, 30, 400])
def test_never_more_backlog_than_the_rate_and_one_second_goes_out_in_any_window(
    rate: int, batch: int
) -> None:
    jobs = [
        job(f"{policy}{number}", every="10s", catchUp=policy)
        for policy in ("latest", "all")
        for number in range(5)
    ]
    world = running(*jobs, batch=batch, catch_up_rate=rate)
    end = T0 + HOUR
    batches = paced(back(world, end), end, end + 30 * SECOND)
    backlog = [(at, one.fires) for at, one in batches if one.kind == "backlog" and one.fires]
    for first in range(len(backlog)):
        total = 0
        for at, fires in backlog[first:]:
            total += fires
            assert total <= rate + rate * (at - backlog[first][0]) / 1000
    total = sum(fires for _, fires in backlog)
    everything = 5 * 359 + 5 * 5
    assert total >= min(everything, rate * 30 - rate // 10 - 1), "nor much less"


def test_fresh_fires_are_not_delayed_by_backlog() -> None:
    jobs = [job(f"old{number}", every="60s", catchUp="all") for number in range(20)]
    world = running(*jobs, job("fresh", every="1s", catchUp="none"), batch=100, catch_up_rate=100)
    end = T0 + 12 * HOUR
    batches = paced(back(world, end), end, end + 20 * SECOND)
    fires = [(at, one) for at, one in batches if one.kind == "fires"]
    assert [at for at, _ in fires] == list(range(end, end + 20 * SECOND + 1, SECOND))
    assert sum(one.fires for _, one in batches if one.kind == "backlog") > 1_900


def test_what_is_within_its_grace_does_not_wait_behind_all() -> None:
    jobs = [job("old", every="1s", catchUp="all"), job("new", catchUp="none", misfireGraceSeconds=120)]
    world = running(*jobs, batch=100, catch_up_rate=100)
    end = T0 + 12 * HOUR
    paced(back(world, end), end, end)
    assert [fire for fire in world.fires if fire.startswith("new")] == [
        "new@2026-11-20T23:59:00Z", "new@2026-11-21T00:00:00Z",
    ]  # fmt: skip
    again = end + 3 * MINUTE
    paced(back(world, again), again, again)
    assert [fire for fire in world.fires if fire.startswith("new")][2:] == [
        "new@2026-11-21T00:02:00Z", "new@2026-11-21T00:03:00Z",
    ], "nor behind what an earlier outage left"  # fmt: skip


def test_skips_cost_nothing_of_the_budget() -> None:
    jobs = [job(f"j{number:03d}", every="1s", catchUp="none", misfireGraceSeconds=0) for number in range(500)]
    world = running(*jobs, batch=50, catch_up_rate=1)
    end = T0 + HOUR + 500
    back(world, end).run(end)
    assert len(world.events_of("run.skipped")) == 500


def test_a_pace_knows_time_going_back() -> None:
    pace = Pace(10)
    assert pace.available(5_000, 99) == 10
    pace.take(10)
    assert (pace.available(5_000, 99), pace.ready(5_000, 99)) == (0, 5_100)
    assert (pace.available(1_000, 99), pace.ready(1_000, 99)) == (0, 1_100), "nothing is gained, nothing lost"
    assert pace.available(1_300, 99) == 3
    assert pace.available(99_000, 99) == 10, "no more than a second's"
    assert (Pace(0).available(0, 99), Pace(0).ready(7, 99)) == (99, 7)


def test_a_pace_waits_for_what_is_worth_a_transaction() -> None:
    pace = Pace(1_000)
    pace.take(pace.available(0, 1_000))
    assert [pace.available(now, 1_000) for now in (1, 50, 99, 100)] == [0, 0, 0, 100]
    assert pace.ready(40, 7) == 40, "unless there is room for less"


# Giving up.


def drop(until: int, ident: str = "d") -> Command:
    return Command("drop-missed", ident, until=until)


def test_a_backlog_given_up_while_nobody_ran_is_skipped_whole() -> None:
    jobs = list(many())
    world = running(*jobs, batch=30)
    end = T0 + 31 * DAY
    world.start(end)
    world.shard.await_commands(end)
    world.looked()
    assert isinstance(world.shard.decide(end), Rest), "the commands are not read yet"
    world.shard.take(drop(end), 1)
    world.shard.commands_read()
    world.run(end)
    assert world.fires == []
    [reason] = (gone := skipped(world, 6 * HOUR))
    assert reason == "dropped"
    assert gone[reason] == Counter(
        (one.name, at) for one in jobs for at in due(T0, end, 6 * HOUR) if at + one.delay_ms < end
    )
    assert len(world.events_of("run.skipped")) == 200
    assert len([batch for batch in world.batches if batch.skips]) > 5
    assert [data["done"] for _, data in world.events_of("command.obeyed")] == [True]


def test_backlog_waits_for_the_commands_no_longer_than_it_may() -> None:
    world = running(job("a", catchUp="all"), first_look_ms=5_000)
    end = T0 + HOUR
    world.start(end)
    world.shard.await_commands(end)
    world.looked()
    assert world.run(end) == Rest(end + 5_000)
    assert world.fires == []
    world.run(end + 5_000)
    assert len(world.fires) == 60


@pytest.mark.parametrize("before", range(0, 14, 2))
@pytest.mark.parametrize("crash", [True, False], ids=["crash", "no crash"])
def test_what_is_given_up_in_the_middle_ends_there(before: int, *, crash: bool) -> None:
    """Whatever was settled before, each fire is sent or skipped once; the later outage is caught up on."""
    jobs = [
        job(f"{policy}{number}", catchUp=policy, misfireGraceSeconds=300, jitterSeconds=number * 100)
        for policy in ("none", "latest", "all")
        for number in range(3)
    ]
    world = running(*jobs, batch=9, catch_up_most=40)
    until, end = T0 + 2 * HOUR, T0 + 3 * HOUR
    back(world, end)
    for _ in range(before):
        decided = world.shard.decide(end)
        assert isinstance(decided, Batch)
        world.commit(decided, end)
    world.shard.take(drop(until), 1)
    now = end
    while not isinstance(decided := world.shard.decide(now), Rest):
        world.write(decided)
        if crash:
            now += 1
            back(world, now)
        else:
            world.shard.remember(decided, now)
    everything = sent(world)
    for gone in skipped(world, MINUTE).values():
        everything += gone
    assert everything == Counter(
        (one.name, at) for one in jobs for at in due(T0, end, MINUTE) if at + one.delay_ms < end
    )
    dropped = skipped(world, MINUTE).get("dropped", Counter())
    assert max((at for _, at in dropped), default=0) < until
    late = {at for name, at in sent(world) if name == "all0"}
    assert late >= set(list(due(T0, end, MINUTE))[-40:]) & set(due(until - 1, end, MINUTE))


def test_a_second_word_while_the_first_is_obeyed_is_obeyed_after_it() -> None:
    jobs = [job(f"j{number}", catchUp="all") for number in range(10)]
    world = running(*jobs, batch=3)
    end = T0 + 3 * HOUR
    back(world, end)
    world.shard.take(drop(T0 + HOUR, "one"), 1)
    for _ in range(2):
        decided = world.shard.decide(end)
        assert isinstance(decided, Batch)
        world.commit(decided, end)
    world.shard.take(drop(T0 + HOUR, "three"), 2)
    world.shard.take(drop(T0 + 2 * HOUR, "two"), 3)
    world.run(end)
    assert [data["done"] for _, data in world.events_of("command.obeyed")] == [True, False, True]
    assert skipped(world, MINUTE) == {
        "dropped": Counter((one.name, at) for one in jobs for at in due(T0, T0 + 2 * HOUR, MINUTE))
    }
    assert sent(world) == Counter(
        (one.name, at) for one in jobs for at in due(T0 + 2 * HOUR - 1, end, MINUTE)
    )


def test_a_word_that_may_or_may_not_be_committed_is_obeyed_once() -> None:
    world = running(job("a", catchUp="all"))
    end = T0 + HOUR
    back(world, end)
    world.shard.take(drop(end), 1)
    decided = world.shard.decide(end)
    assert isinstance(decided, Batch)
    world.shard.retry()
    world.run(end)
    assert world.fires == []
    assert [data["count"] for _, data in world.events_of("run.skipped")] == [60]
    assert len(world.events_of("command.obeyed")) == 1


def test_fires_of_a_clock_that_holds_the_shard_are_given_up_once_it_is_accepted() -> None:
    world = running(job("a", catchUp="all"))
    now = T0 + 5 * HOUR
    world.shard.clock_hold = "it jumped"
    world.shard.take(drop(now), 1)
    world.shard.take(Command("ask-held", "q"), 2)
    assert world.run(now) == Rest(None)
    assert world.shard.state.position is not None
    assert world.shard.state.position.commands is None, "it is not forgotten by a crash"
    world.shard.take(Command("accept-clock", "late", expires=now), 3)
    assert world.run(now) == Rest(None)
    world.shard.take(Command("accept-clock", "y", expires=now + 1), 4)
    world.run(now)
    assert world.fires == []
    assert skipped(world, MINUTE) == {"dropped": Counter(("a", at) for at in due(T0, now, MINUTE))}
    assert world.shard.state.position.commands == 4


def test_only_what_is_missed_is_given_up() -> None:
    world = running(job("a", catchUp="all"))
    world.run_until(T0, T0 + 5 * MINUTE)
    world.shard.take(drop(T0 + 50 * MINUTE), 1)
    world.run_until(T0 + 5 * MINUTE, T0 + 10 * MINUTE)
    assert len(world.fires) == 10
    assert [data["done"] for _, data in world.events_of("command.obeyed")] == [False]


# Commands.


def held() -> World:
    """Return a world whose shard holds revision r2."""
    world = running(*(job(f"j{number}") for number in range(10)))
    world.offer([job("j1")], revision="r2", seen=T0)
    world.run(T0)
    assert [data["reason"] for _, data in world.events_of("schedule.held")] == ["removal"]
    return world


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (Command("adopt", "x", "r9"), "the file that is held has revision r2, the command is for r9"),
        (Command("adopt", "x", "r2", expires=T0), "it expired at 2026-11-20T12:00:30Z, this shard's clock"),
        (Command("accept-clock", "x", expires=T0 - 1), "it expired at "),
    ],
)
def test_a_command_for_something_else_or_too_late_is_refused(command: Command, why: str) -> None:
    world = held()
    world.shard.take(command, 1)
    world.run(T0)
    [(_, told)] = world.events_of("command.refused")
    assert told["command"] == command.type
    assert told["why"].startswith(why)
    assert world.events_of("command.obeyed") == []
    assert len(world.shard.state.records) == 10


def test_the_file_that_was_asked_for_is_adopted() -> None:
    world = held()
    world.shard.take(Command("ask-held", "q"), 1)
    world.run(T0)
    [(_, told)] = world.events_of("command.obeyed")
    assert (told["done"], told["held"]["revision"]) == (True, "r2")
    assert len(world.shard.state.records) == 10
    world.shard.take(Command("adopt", "a", told["held"]["revision"], expires=T0 + 1), 2)
    world.run(T0)
    assert list(world.shard.state.records) == ["j1"]


def test_a_repeated_command_is_answered_once() -> None:
    world = held()
    for offset in (1, 2):
        world.shard.take(Command("adopt", "x"), offset)
    world.run(T0)
    world.shard.take(Command("adopt", "x"), 3)
    world.run(T0)
    assert len(world.events_of("command.obeyed")) == 1
    assert world.shard.state.position is not None
    assert world.shard.state.position.commands == 3


def test_a_command_that_comes_again_from_an_earlier_read_moves_nothing_back() -> None:
    world = held()
    for offset in (1, 2):
        world.shard.take(Command("ask-held", f"c{offset}"), offset)
    world.run(T0)
    world.shard.take(Command("ask-held", "c1"), 1)
    world.run(T0)
    assert world.shard.state.position is not None
    assert world.shard.state.position.commands == 2
