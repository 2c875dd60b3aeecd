"""A clock that cannot be right holds a shard, at its start and while it runs, until somebody decides."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from shard_world import job, with_limits
from structlog.testing import capture_logs
from test_shard_thread import HOUR, MINUTE, T0, Bench

from dispatcher.core.command import Command
from dispatcher.core.instant import to_text
from dispatcher.core.shard import Shard

DAY = 24 * HOUR
JUMPS = [HOUR + MINUTE, 400 * DAY, -HOUR - MINUTE]


def say(bench: Bench, kind: Command, offset: int) -> None:
    """Have a command reach the shard."""
    bench.thread.post(partial(Shard.take, command=kind, next_offset=offset))
    bench.rest()


def jumped(bench: Bench, jump: int, *, running: bool) -> None:
    """Have the clock jump while the shard runs, or while it is down; the broker's stays right."""
    if running:
        bench.clock.jump(jump)
    else:
        bench.crash()
        bench.clock.pass_(3 * MINUTE)
        bench.clock.jump(jump)
    bench.broker.ahead_ms = -jump
    bench.rest()
    bench.looked()
    bench.rest()


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "at its start"])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_is_told_and_nothing_is_settled_by_the_wrong_clock(jump: int, *, running: bool) -> None:
    bench = Bench()
    bench.started(job("a", catchUp="all"))
    with capture_logs() as told:
        jumped(bench, jump, running=running)
        bench.minutes(3)
    assert [entry["log_level"] for entry in told if entry["event"] == "clock.held"] == ["error"]
    bench.is_exact()
    bench.clock.jump(-jump)
    bench.broker.ahead_ms = 0
    bench.minutes(2)
    bench.is_exact()
    say(bench, Command("accept-clock", "x"), 1)
    bench.minutes(1)
    last = bench.clock.now - bench.clock.now % MINUTE
    first = T0 + MINUTE // 2
    bench.is_exact(*(f"a@{to_text(at)}" for at in range(first, last + 1, MINUTE)))


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "at its start"])
def test_a_jump_of_years_that_is_accepted_is_bounded_by_the_cap(*, running: bool) -> None:
    bench = Bench(with_limits(catch_up_most=100, behind_ms=10_000))
    bench.started(job("a", catchUp="all"), job("b"), job("c", catchUp="none", misfireGraceSeconds=0))
    jumped(bench, 400 * DAY, running=running)
    end = bench.clock.now
    say(bench, Command("accept-clock", "x"), 1)
    missed = (end - 1) // MINUTE - T0 // MINUTE
    assert {(name, reason): count for name, reason, count in bench.skips()} == {
        ("a", "capped"): missed - 100, ("b", "coalesced"): missed - 1, ("c", "missed"): missed,
    }  # fmt: skip
    assert len(bench.broker.ids()) == len(set(bench.broker.ids())) == 101
    assert len(bench.broker.transactions) < 20


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "at its start"])
def test_what_a_jump_makes_missed_may_be_given_up_with_the_word_that_accepts_it(*, running: bool) -> None:
    bench = Bench()
    bench.started(job("a", catchUp="all"))
    jumped(bench, 5 * HOUR, running=running)
    end = bench.clock.now
    say(bench, Command("drop-missed", "d", until=end), 1)
    assert bench.events("command.obeyed") == []
    say(bench, Command("accept-clock", "x"), 2)
    bench.is_exact()
    assert bench.skips() == [("a", "dropped", (end - 1) // MINUTE - T0 // MINUTE)]
    assert [data["done"] for _, data in bench.events("command.obeyed")] == [True, True]


@pytest.mark.parametrize("jump", [HOUR + MINUTE, 400 * DAY])
def test_an_edit_that_a_wrong_clock_saw_takes_force_once_the_clock_is_right(jump: int) -> None:
    bench = Bench()
    bench.started(job("a"))
    jumped(bench, jump, running=True)
    bench.offer(job("new"), revision="r2")
    bench.rest()
    bench.clock.jump(-jump)
    bench.broker.ahead_ms = 0
    say(bench, Command("accept-clock", "x"), 1)
    bench.minutes(1)
    bench.is_exact("new@2026-11-20T12:01:00Z")


def test_new_rules_of_time_at_a_start_with_a_wrong_clock_keep_no_later_edit_from_taking_force() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.identity = replace(bench.identity, tzdata="2027a")
    jumped(bench, 400 * DAY, running=False)
    bench.clock.jump(-400 * DAY)
    bench.broker.ahead_ms = 0
    say(bench, Command("accept-clock", "x"), 1)
    bench.offer(job("new"), revision="r2")
    bench.rest()
    bench.minutes(1)
    assert bench.broker.ids()[-1] == "new@2026-11-20T12:04:00Z"
