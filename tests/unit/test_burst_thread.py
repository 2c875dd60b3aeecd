"""Bursts in a shard's thread: written before their instant, committed at it, or given up for good reasons."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from memory_log import Commit
from shard_world import job, with_limits
from structlog.testing import capture_logs
from test_shard_thread import HOUR, MINUTE, T0, Bench, at, is_of

from dispatcher.core.batch import Limits
from dispatcher.core.codec import decode
from dispatcher.core.command import Command
from dispatcher.core.instant import Instant, from_text, to_text
from dispatcher.core.ledger import Position
from dispatcher.core.shard import Shard
from dispatcher.errors import TransactionFailed, Unsendable

ONE = from_text("2026-11-20T12:01:00Z")
BURST = "abcdef"


def staging(**changes: Any) -> Limits:
    """Return limits under which three fires of one instant are a burst."""
    return with_limits(**{"stage_ahead_ms": 2_000, "stage_from": 3, "stage_rate": 10, **changes})


class Staging(Bench):
    """A thread for which a few fires are a burst."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or staging())

    def go(self, until: Instant) -> None:
        """Let time pass from wait to wait."""
        while self.clock.now < until:
            wait = self.step()
            assert wait is not None
            self.clock.pass_(min(until - self.clock.now, round(wait * 1000)))

    def opened(self, *names: str) -> None:
        """Bring the jobs into force and go into the window of their first instant."""
        self.started(*map(job, names or BURST))
        self.go(ONE - 500)
        assert self.is_open

    @property
    def is_open(self) -> bool:
        return self.thread._staged is not None

    def position(self) -> Position:
        """Return the position that was committed last."""
        last = next(one for one in reversed(self.broker.ledger) if one is not None)
        found = decode(last.key, last.value)
        assert isinstance(found, Position)
        return found

    def landed(self) -> list[dict[str, Any]]:
        return [data for _, data in self.events("burst.landed")]


def all_at(minute: int, names: str = BURST) -> list[str]:
    return [at(name, minute) for name in names]


def test_a_burst_is_written_before_its_instant_and_committed_at_it() -> None:
    bench = Staging()
    bench.started(*map(job, BURST))
    bench.go(ONE - 1)
    assert [instant for instant, _ in bench.broker.stagings] == [ONE]
    bench.is_exact()
    bench.go(ONE)
    bench.step()
    bench.is_exact(*all_at(1))
    assert len(bench.broker.transactions[-1]) == len(BURST) + 1, "the fires and the cursor, nothing else"


def test_four_seconds_in_a_row_land_each_on_its_second() -> None:
    bench = Staging(staging(stage_rate=1_000))
    bench.started(*(job(name, every="1s") for name in BURST))
    first = T0 // 1_000 * 1_000 + 2_000
    bench.go(first - 900)
    bench.broker.transactions.clear()
    landed = []
    for second in range(first, first + 4_000, 1_000):
        bench.go(second - 1)
        before = len(bench.broker.ids())
        bench.go(second)
        bench.step()
        landed.append((before, len(bench.broker.ids()) - before))
    assert [count for _, count in landed] == [6] * 4
    assert [instant - first for instant, _ in bench.broker.stagings[-4:]] == [0, 1_000, 2_000, 3_000]


# What gives it up.


def test_a_change_that_touches_the_burst_comes_first_and_the_rest_is_staged_again() -> None:
    bench = Staging()
    bench.opened()
    epoch = bench.broker.epoch
    bench.offer(*(job(name, **({"payload": 1} if name == "b" else {})) for name in BURST), revision="r2")
    bench.step()
    assert not bench.is_open
    assert bench.broker.epoch == epoch + 1, "its producer was thrown away, and with it what was written"
    bench.go(ONE)
    assert len(bench.broker.stagings) == 2
    bench.is_exact()
    bench.step()
    bench.is_exact(*all_at(1))
    values = [value for topic, value, key, _, _ in bench.broker.committed if key == b"b" and "jobs" in topic]
    assert b'"payload":1' in (values[0] or b""), "the fire is the new version's"
    assert [data["effectiveFrom"] for _, data in bench.events("schedule.applied")][
        -1
    ] < "2026-11-20T12:01:00Z"


def test_a_change_that_touches_nothing_of_it_waits_for_the_commit() -> None:
    bench = Staging()
    bench.opened()
    bench.offer(*map(job, BURST), job("later", cronTime="5 * * * *"), revision="r2")
    bench.go(ONE)
    assert bench.is_open
    assert bench.thread.base is not None
    assert bench.thread.base.revision == "r1"
    bench.rest()
    bench.is_exact(*all_at(1))
    assert bench.thread.base.revision == "r2"
    assert len(bench.broker.stagings) == 1


@pytest.mark.parametrize(
    "letter",
    [
        partial(Shard.take, command=Command("adopt", "x"), next_offset=7),
        partial(Shard.take, command=None, next_offset=7),
        partial(Shard.looked, revision="r1"),
        partial(Shard.looked, revision=""),
    ],
)
def test_commands_and_looks_wait_for_the_commit_and_lose_nothing(letter: Any) -> None:
    bench = Staging()
    bench.opened()
    written = len(bench.broker.transactions)
    bench.thread.post(letter)
    bench.go(ONE)
    assert bench.is_open
    assert len(bench.broker.transactions) == written
    bench.rest()
    bench.is_exact(*all_at(1))
    if "command" in letter.keywords:
        assert bench.position().commands == 7


def test_a_crash_in_the_window_loses_and_doubles_nothing() -> None:
    for after in (0, 100, 600, 5_000):
        bench = Staging()
        bench.opened()
        dead = bench.thread
        bench.crash()
        bench.clock.pass_(after)
        bench.rest()
        bench.looked()
        bench.rest()
        bench.clock.pass_(2_000)
        dead._step()
        assert dead._staged is None
        bench.rest()
        bench.is_exact(*all_at(1))


def test_a_crash_right_after_the_commit_loses_and_doubles_nothing() -> None:
    bench = Staging()
    bench.opened()
    bench.broker.commits.append(Commit.UNHEARD)
    bench.go(ONE)
    assert bench.thread._staged is not None
    with pytest.raises(TransactionFailed):
        bench.thread._log.seal()
    bench.crash()
    bench.rest()
    bench.looked()
    bench.rest()
    bench.is_exact(*all_at(1))


@pytest.mark.parametrize("outcome", Commit)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_whatever_becomes_of_its_commit_nothing_is_lost_or_doubled(outcome: Commit, times: int) -> None:
    bench = Staging()
    bench.opened()
    epoch = bench.broker.epoch
    bench.broker.commits.extend([outcome] * times)
    bench.go(ONE)
    bench.rest()
    bench.minutes(1)
    bench.is_exact(*all_at(1), *all_at(2))
    assert (bench.broker.epoch > epoch) is (outcome is not Commit.CLEAN)


def test_a_stop_in_the_window_leaves_it_to_the_next_owner() -> None:
    bench = Staging()
    bench.opened()
    bench.thread._close()
    bench.is_exact()
    bench.crash()
    bench.rest()
    bench.looked()
    bench.go(ONE)
    bench.rest()
    bench.is_exact(*all_at(1))


def test_a_clock_set_back_far_gives_it_up_until_its_time_comes_again() -> None:
    bench = Staging()
    bench.opened()
    bench.clock.jump(-30_000)
    bench.go(ONE - 10_000)
    assert not bench.is_open
    bench.go(ONE)
    bench.is_exact()
    bench.rest()
    bench.is_exact(*all_at(1))
    assert len(bench.broker.stagings) == 2


def test_a_clock_set_back_a_little_lets_it_wait_for_its_instant() -> None:
    bench = Staging()
    bench.opened()
    bench.clock.jump(-300)
    bench.go(ONE - 1)
    assert bench.is_open
    bench.is_exact()
    bench.go(ONE)
    bench.rest()
    bench.is_exact(*all_at(1))
    assert len(bench.broker.stagings) == 1


def test_however_often_the_clock_is_set_back_it_waits_for_a_bounded_time() -> None:
    bench = Staging()
    bench.opened()
    began = bench.clock.monotonic
    while bench.is_open:
        bench.clock.pass_(400)
        bench.clock.jump(-400)
        bench.step()
        assert bench.clock.monotonic - began < 5_000
    bench.is_exact()


def test_a_clock_that_jumps_past_the_instant_lets_it_land() -> None:
    bench = Staging()
    bench.opened()
    bench.clock.jump(3_000)
    bench.rest()
    bench.is_exact(*all_at(1))


def test_a_clock_that_jumps_far_past_the_instant_makes_it_missed() -> None:
    bench = Staging()
    bench.started(*(job(name, catchUp="none", misfireGraceSeconds=5) for name in BURST))
    bench.go(ONE - 500)
    assert bench.is_open
    bench.clock.jump(20 * MINUTE - 20_000)
    bench.rest()
    bench.looked()
    bench.rest()
    bench.is_exact()
    assert sum(count for _, _, count in bench.skips()) == 6 * 20


def test_a_clock_that_jumps_beyond_the_limit_holds_the_shard_and_gives_it_up() -> None:
    for jump in (2 * HOUR, -2 * HOUR):
        bench = Staging()
        bench.opened()
        bench.clock.jump(jump)
        with capture_logs() as told:
            bench.step()
        assert [one["event"] for one in told][:2] == ["clock.held", "burst.given_up"]
        bench.is_exact()
        bench.clock.jump(-jump)
        bench.thread.post(partial(Shard.take, command=Command("accept-clock", "x"), next_offset=1))
        bench.rest()
        bench.go(ONE)
        bench.rest()
        bench.is_exact(*all_at(1))


def test_a_clock_that_holds_the_shard_gives_it_up_however_near_the_instant_is() -> None:
    bench = Staging()
    bench.opened()
    bench.thread._around = replace(bench.around(), clock_limit_ms=1_000)
    bench.clock.jump(2_000)
    bench.rest()
    assert not bench.is_open
    bench.is_exact()


# A staging that fails.


@pytest.mark.parametrize(
    "error", [TransactionFailed("no answer"), Unsendable("too large"), Unsendable("too large", 2)], ids=repr
)
def test_a_staging_that_fails_leaves_its_fires_to_their_instant(error: TransactionFailed) -> None:
    bench = Staging()
    bench.started(*map(job, BURST))
    bench.broker.staging.append(error)
    bench.go(ONE - 1)
    assert not bench.is_open
    assert bench.broker.stagings == []
    bench.is_exact()
    bench.clock.pass_(1)
    bench.rest()
    sent = Counter(bench.broker.ids()) + Counter(at(name, 1) for name, _, _ in bench.skips())
    assert sent == Counter(all_at(1))


def test_a_message_that_cannot_be_sent_is_found_and_the_others_go_out() -> None:
    bench = Staging()
    bench.started(*map(job, BURST))
    bench.broker.refuses = is_of("c")
    bench.minutes(2)
    bench.is_exact(*all_at(1, "abdef"), *all_at(2, "abdef"))
    assert bench.skips() == [("c", "unsendable: too large", 1)] * 2


def test_who_was_fenced_while_it_waited_leaves_the_fires_to_the_other() -> None:
    bench = Staging()
    bench.opened()
    first = bench.thread
    bench.crash()
    bench.rest()
    bench.looked()
    second, bench.thread = bench.thread, first
    bench.clock.pass_(500)
    bench.step()
    bench.is_exact()
    bench.thread = second
    bench.rest()
    bench.is_exact(*all_at(1))


# What surrounds it.


def test_the_cap_leaves_the_rest_to_usual_batches_right_after() -> None:
    bench = Staging(staging(stage_most=4, batch=1))
    bench.started(*map(job, BURST))
    bench.go(ONE)
    bench.step()
    assert len(bench.broker.ids()) == 4
    bench.rest()
    bench.is_exact(*all_at(1))


def test_turned_off_nothing_is_staged() -> None:
    bench = Staging(staging(stage_ahead_ms=0))
    bench.started(*map(job, BURST))
    bench.minutes(2)
    assert bench.broker.stagings == []
    bench.is_exact(*all_at(1), *all_at(2))


def test_few_fires_are_not_staged() -> None:
    bench = Staging(staging(stage_from=7))
    bench.started(*map(job, BURST))
    bench.minutes(2)
    assert bench.broker.stagings == []


def test_what_was_missed_is_settled_between_bursts_of_every_second() -> None:
    bench = Staging(staging(batch=2, stage_rate=15))
    bench.started(*(job(name, every="1s", catchUp="all") for name in BURST))
    bench.go(T0 + 3_000)
    bench.clock.pass_(60_000)
    bench.crash()
    bench.rest()
    bench.looked()
    bench.go(T0 + 200_000)
    due = range(T0 + 1_000, bench.clock.now, 1_000)
    assert Counter(bench.broker.ids()) >= Counter(f"{name}@{to_text(one)}" for name in BURST for one in due)
    assert max(Counter(bench.broker.ids()).values()) == 1
    assert bench.position().backlog == ()


def test_a_landing_is_told_in_the_next_transaction() -> None:
    bench = Staging()
    bench.opened()
    bench.go(ONE)
    bench.clock.pass_(2)
    bench.rest()
    assert bench.landed() == []
    bench.thread.post(partial(Shard.take, command=Command("adopt", "x"), next_offset=7))
    bench.rest()
    [landed] = bench.landed()
    assert landed["due"] == "2026-11-20T12:01:00Z"
    assert landed["committedAt"] == "2026-11-20T12:01:00.002Z"
    assert landed["fires"] == 6
