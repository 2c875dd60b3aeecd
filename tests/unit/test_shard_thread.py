"""The shard's thread, step by step, on a log in memory: whatever fails, nothing is lost or doubled."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from memory_log import Commit, HandClock, MemoryBroker, MemoryDirectory, MemoryLog
from shard_world import IDENTITY, QUIET, TOPICS, job
from structlog.testing import capture_logs

from dispatcher.core.batch import Limits
from dispatcher.core.codec import CURSOR_KEY, decode, encode
from dispatcher.core.command import Command, encode_command
from dispatcher.core.instant import from_text
from dispatcher.core.job import Job
from dispatcher.core.ledger import Identity, Position
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.core.shard import Shard
from dispatcher.errors import (
    DispatcherError,
    KafkaUnreachable,
    LedgerBroken,
    LedgerNewer,
    LedgerUnfit,
    TransactionFailed,
)
from dispatcher.ports import LedgerRecord
from dispatcher.produce.host import ShardHost
from dispatcher.produce.shard_thread import ShardThread
from dispatcher.produce.wiring import Surroundings
from dispatcher.service import Deadline

T0 = from_text("2026-11-20T12:00:30Z")
MINUTE = 60_000
HOUR = 60 * MINUTE


def change_to(base: ShardBase | None, jobs: Iterable[Job], revision: str, seen: int) -> ChangeSet:
    """Return what the feed would bring."""
    assert base is not None
    old = {one.name: one for one in base.jobs}
    new = {one.name: one for one in jobs}
    removed = tuple(name for name in old if name not in new)
    return ChangeSet(
        shard=0, base=base.change, revision=revision, seen=seen, witnessed=True,
        added=tuple(one for name, one in new.items() if name not in old),
        changed=tuple(
            one for name, one in new.items() if name in old and old[name].definition != one.definition
        ),
        removed=removed, removed_in_all=len(removed), in_force_in_all=len(old),
    )  # fmt: skip


class Bench:
    """A shard thread whose steps the test takes; what is around it lies in memory."""

    def __init__(self, limits: Limits = QUIET) -> None:
        self.clock = HandClock(T0)
        self.broker = MemoryBroker(TOPICS, self.clock)
        self.directory = MemoryDirectory()
        self.limits = limits
        self.identity: Identity = IDENTITY
        self.recompares = 0
        self.listened: list[tuple[int, int | None]] = []
        self.ended: list[BaseException] = []
        self.waits: list[float | None] = []
        self.thread = self.another()

    def around(self) -> Surroundings:
        return Surroundings(
            topics=TOPICS, shards=1, instance="a", clock=self.clock, limits=self.limits,
            clock_limit_ms=HOUR, log=lambda _: MemoryLog(self.broker), directory=self.directory,
            identity=lambda: self.identity, recompare=self._recompare,
            listen=self._listen,
            failed=lambda _, error: self.ended.append(error),
        )  # fmt: skip

    def _listen(self, shard: int, offset: int | None) -> None:
        """Take note; no command waits for the shard."""
        self.listened.append((shard, offset))
        self.thread.post(Shard.commands_read)

    def _recompare(self) -> None:
        self.recompares += 1

    def another(self, copy: LedgerCopy | None = None) -> ShardThread:
        """Return a thread that begins from the ledger, as a new process would."""
        return ShardThread(0, self.around(), copy or LedgerCopy())

    def crash(self) -> None:
        """Forget the thread and begin anew."""
        self.thread = self.another()

    def step(self) -> float | None:
        wait = self.thread._step()
        self.waits.append(wait)
        return wait

    def rest(self, steps: int = 200) -> None:
        """Take steps, waiting out back-offs, until the shard waits for the clock or for something new."""
        for _ in range(steps):
            failures = self.thread._failures
            wait = self.step()
            if wait is None or (wait > 0 and self.thread._failures == 0):
                return
            if self.thread._failures > failures:
                self.clock.pass_(round((wait or 0) * 1000))
        raise AssertionError(f"no rest after {steps} steps: {self.waits[-20:]}")

    def looked(self) -> None:
        """Tell the shard that the file holds what is in force."""
        base = self.thread.base
        self.thread.post(partial(Shard.looked, revision=base.revision if base is not None else ""))

    def offer(self, *jobs: Job, revision: str = "r1") -> None:
        change = change_to(self.thread.base, jobs, revision, self.clock.now)
        self.thread.post(partial(Shard.offer, change=change))
        self.thread.post(partial(Shard.looked, revision=revision))

    def started(self, *jobs: Job) -> None:
        """Take the shard and bring these jobs into force."""
        self.rest()
        self.offer(*jobs)
        self.rest()
        assert self.thread.base is not None
        assert self.thread.base.revision == "r1"

    def minutes(self, count: int = 1) -> None:
        """Let whole minutes begin, one after the other, with the shard at work."""
        for _ in range(count):
            self.clock.pass_(MINUTE - self.clock.now % MINUTE)
            self.rest()

    def events(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Return (subject, data) of the committed events of a type."""
        found = []
        for topic, value, _, _, headers in self.broker.committed:
            head = dict(headers or ())
            if topic == TOPICS.events and head["ce_type"] == kind.encode():
                found.append((head.get("ce_subject", b"").decode(), json.loads(value or b"")))
        return found

    def skips(self) -> list[tuple[str, str, int]]:
        return [(job, data["reason"], data["count"]) for job, data in self.events("run.skipped")]

    def is_exact(self, *expected: str) -> None:
        """Fail unless exactly these fires were committed, each once."""
        assert Counter(self.broker.ids()) == Counter(expected)


def at(name: str, minute: int) -> str:
    return f"{name}@2026-11-20T12:{minute:02d}:00Z"


# Commits whose outcome is in doubt.


@pytest.mark.parametrize("outcome", Commit)
@pytest.mark.parametrize("times", [1, 2, 5])
def test_whatever_becomes_of_a_commit_nothing_is_lost_or_doubled(outcome: Commit, times: int) -> None:
    bench = Bench()
    bench.started(job("a"), job("b"))
    bench.broker.commits.extend([outcome] * times)
    bench.minutes(2)
    bench.is_exact(at("a", 1), at("b", 1), at("a", 2), at("b", 2))


def test_a_suspect_commit_costs_the_producer_and_the_ledger_is_read_again() -> None:
    bench = Bench()
    bench.started(job("a"))
    epoch = bench.broker.epoch
    bench.broker.commits.append(Commit.SUSPECT)
    bench.minutes(1)
    assert bench.broker.epoch == epoch + 1
    bench.minutes(1)
    assert bench.broker.epoch == epoch + 1
    bench.is_exact(at("a", 1), at("a", 2))


def test_suspect_commits_in_a_row_are_an_alarm() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.broker.commits.extend(
        [Commit.SUSPECT, Commit.SUSPECT, Commit.SUSPECT, Commit.CLEAN, Commit.SUSPECT]
    )
    with capture_logs() as told:
        bench.minutes(5)
    levels = [entry["log_level"] for entry in told if entry["event"] == "commit.suspect"]
    assert levels == ["warning", "warning", "error", "warning"]


@pytest.mark.parametrize("unanswered", ["fencing", "asking", "reading"])
@pytest.mark.parametrize("outcome", [Commit.UNHEARD, Commit.LOST, Commit.SUSPECT])
@pytest.mark.parametrize("times", [1, 2, 5])
def test_nothing_is_decided_before_the_ledger_was_read_to_its_end(
    unanswered: str, outcome: Commit, times: int
) -> None:
    bench = Bench()
    bench.started(job("a"), job("b"))
    bench.broker.commits.append(outcome)
    getattr(bench.broker, unanswered).extend([KafkaUnreachable("nobody answers")] * times)
    bench.minutes(3)
    bench.is_exact(*(at(name, minute) for name in "ab" for minute in (1, 2, 3)))


@pytest.mark.parametrize("unanswered", ["fencing", "asking", "reading"])
@pytest.mark.parametrize("outcome", Commit)
@pytest.mark.parametrize("place", range(3))
def test_a_start_that_fails_anywhere_knows_all_that_was_in_force(
    unanswered: str, outcome: Commit, place: int
) -> None:
    bench = Bench()
    bench.started(job("a", catchUp="all"))
    bench.clock.pass_(5 * MINUTE)
    bench.crash()
    bench.broker.commits.extend([*[Commit.CLEAN] * place, outcome])
    getattr(bench.broker, unanswered).extend([None, KafkaUnreachable("nobody answers")])
    bench.rest()
    assert bench.thread.base is not None
    assert [one.name for one in bench.thread.base.jobs] == ["a"]
    bench.looked()
    bench.rest()
    bench.is_exact(*(at("a", minute) for minute in range(1, 6)))


def test_a_timer_sent_by_a_commit_nobody_heard_of_leaves_the_shard_at_rest() -> None:
    bench = Bench()
    spread = job("a", jitterSeconds=50)
    bench.started(spread)
    bench.clock.pass_(31_000)
    bench.offer(job("a", jitterSeconds=50, payload=1), revision="r2")
    bench.rest()
    bench.broker.commits.append(Commit.UNHEARD)
    bench.clock.pass_(spread.delay_ms)
    bench.rest()
    bench.is_exact(at("a", 1))
    assert (bench.waits[-1] or 0) > 1, "it sleeps until the next fire"


def test_an_event_that_waits_is_told_once_it_can_be() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.broker.commits.extend([Commit.LOST] * 2)
    bench.thread.post(partial(Shard.take, command=Command("adopt", "x"), next_offset=7))
    bench.rest()
    assert bench.broker.ids(b"command.obeyed") == ["command.obeyed/0/x"]


# Other owners.


def test_who_was_fenced_learns_what_the_other_did_and_goes_on_after_a_while() -> None:
    bench = Bench()
    bench.started(job("a"))
    first = bench.thread
    bench.crash()
    bench.rest()
    bench.minutes(1)
    second, bench.thread = bench.thread, first
    bench.clock.pass_(MINUTE)
    wait = bench.step()
    assert wait, "the rightful owner is not fenced at once"
    bench.rest()
    bench.is_exact(at("a", 1), at("a", 2))
    bench.thread = second
    bench.minutes(1)
    bench.is_exact(at("a", 1), at("a", 2), at("a", 3))


def test_failures_in_a_row_back_off_longer_and_longer() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.broker.fencing.extend([KafkaUnreachable("nobody answers")] * 12)
    bench.broker.commits.append(Commit.LOST)
    bench.clock.pass_(MINUTE)
    waits = [bench.step() or 0 for _ in range(10)]
    assert all(0 < wait <= 5 for wait in waits)
    assert waits[0] < 0.5
    assert waits[-1] > 2


# Messages that cannot be sent.


def is_of(name: str) -> Callable[[Any], bool]:
    return lambda outgoing: (
        dict(outgoing[4] or ()).get("ce_type") == b"dispatcher.fire" and outgoing[2] == name.encode()
    )


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("jobs", ["b", "abcdefg"])
def test_a_refused_message_becomes_a_recorded_skip_and_the_others_go_out(jobs: str, *, known: bool) -> None:
    bench = Bench()
    bench.started(*map(job, jobs))
    bench.broker.refuses, bench.broker.tells_index = is_of("b"), known
    bench.minutes(2)
    bench.is_exact(*(at(name, minute) for name in jobs if name != "b" for minute in (1, 2)))
    assert bench.skips() == [("b", "unsendable: too large", 1)] * 2


def test_many_refused_fires_of_one_instant_do_not_slow_their_shard_down() -> None:
    bench = Bench()
    bad = [f"b{number}" for number in range(40)]
    bench.started(*map(job, [*bad, "good"]))
    bench.broker.refuses = lambda outgoing: any(is_of(name)(outgoing) for name in bad)
    bench.minutes(1)
    assert bench.clock.now - T0 < 31_000
    bench.is_exact(at("good", 1))
    assert len(bench.skips()) == 40


def test_a_refused_timer_is_a_recorded_skip_with_the_same_words() -> None:
    bench = Bench()
    spread = job("b", jitterSeconds=50)
    bench.started(spread, job("a"))
    bench.clock.pass_(31_000)
    bench.rest()
    bench.offer(job("a"), revision="r2")
    bench.rest()
    bench.broker.refuses = is_of("b")
    bench.clock.pass_(spread.delay_ms)
    bench.rest()
    assert bench.skips() == [("b", "unsendable: too large", 1)]


def test_refused_fires_of_the_backlog_are_recorded_skips_too() -> None:
    bench = Bench()
    bench.started(job("a", catchUp="all"), job("b", catchUp="all"))
    bench.clock.pass_(5 * MINUTE)
    bench.crash()
    bench.broker.refuses = is_of("b")
    bench.rest()
    bench.looked()
    bench.rest()
    bench.is_exact(*(at("a", minute) for minute in range(1, 6)))
    assert bench.skips() == [("b", "unsendable: too large", 1)] * 5


def test_an_event_that_is_refused_is_never_blamed_on_a_fire() -> None:
    bench = Bench()
    bench.directory.topics["gone"] = None
    bench.started(job("a"), job("b", topic="gone"))
    bench.broker.refuses = lambda outgoing: outgoing[0] == TOPICS.events
    bench.clock.pass_(30_000)
    for _ in range(10):
        bench.step()
    bench.broker.refuses = lambda _: False
    bench.rest()
    bench.is_exact(at("a", 1))
    assert [skip[0] for skip in bench.skips()] == ["b"]


def test_a_message_that_times_out_alone_is_blamed_after_a_probe_went_through() -> None:
    bench = Bench()
    bench.started(*map(job, "abcd"))
    bench.broker.stalls = is_of("b")
    bench.minutes(1)
    bench.is_exact(at("a", 1), at("c", 1), at("d", 1))
    [(name, reason, count)] = bench.skips()
    assert (name, count) == ("b", 1)
    assert "timed out" in reason
    probes = [one for one in bench.broker.transactions if len(one) == 1]
    assert probes, "a transaction of the position alone"


def test_a_message_is_not_blamed_when_nothing_goes_through() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.broker.stalls = lambda _: True
    bench.clock.pass_(30_000)
    for _ in range(12):
        bench.step()
    bench.broker.stalls = lambda _: False
    bench.rest()
    bench.is_exact(at("a", 1))
    assert bench.skips() == []


def test_a_topic_that_is_missing_makes_skips_until_it_is_there() -> None:
    bench = Bench()
    bench.directory.topics["orders"] = None
    bench.started(job("a", topic="orders"), job("b"))
    bench.minutes(1)
    del bench.directory.topics["orders"]
    bench.minutes(1)
    bench.is_exact(at("b", 1), at("a", 2), at("b", 2))
    [(name, reason, _)] = bench.skips()
    assert name == "a"
    assert "'orders'" in reason


def test_silence_about_a_topic_is_no_reason_for_a_skip() -> None:
    bench = Bench()
    bench.started(job("a", topic="orders"))
    bench.directory.unreachable = 4
    bench.minutes(2)
    bench.is_exact(at("a", 1), at("a", 2))
    assert bench.skips() == []


# Taking a shard.


@pytest.mark.parametrize("call", ["fencing", "asking"])
def test_a_shard_is_taken_once_kafka_answers(call: str) -> None:
    bench = Bench()
    getattr(bench.broker, call).extend([KafkaUnreachable("nobody answers")] * 4)
    waits = [bench.step() for _ in range(4)]
    assert all(waits)
    assert not bench.thread.taken
    bench.rest()
    assert bench.thread.taken


def test_a_copy_of_the_tail_spares_reading_and_loses_nothing() -> None:
    bench = Bench()
    bench.started(job("a"))
    copy = LedgerCopy()
    copy.take([(one.key, one.value) for one in bench.broker.ledger if one], len(bench.broker.ledger))
    bench.thread = bench.another(copy)
    bench.broker.reading.append(KafkaUnreachable("nothing is to be read"))
    bench.rest()
    bench.minutes(1)
    bench.is_exact(at("a", 1))


def test_a_ledger_whose_first_records_are_gone_ends_the_shard() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.broker.low = 1
    bench.thread = bench.another(LedgerCopy())
    with pytest.raises(LedgerBroken, match=r"begins at offset 1: .*were deleted"):
        bench.rest()


def test_an_image_from_before_a_ledger_that_begins_anew_is_dropped() -> None:
    bench = Bench()
    bench.started(job("a"))
    stale = LedgerCopy()
    stale.take([(b"job/gone", encode_job("gone"))], 0)
    bench.broker.low = 1
    last = [one for one in bench.broker.ledger if one is not None and one.key == CURSOR_KEY][-1]
    position = decode(last.key, last.value)
    assert isinstance(position, Position)
    _, value = encode(position._replace(first=1))
    bench.broker.ledger.append(last._replace(value=value, offset=len(bench.broker.ledger)))
    bench.thread = bench.another(stale)
    bench.rest()
    assert bench.thread.base is not None
    assert [one.name for one in bench.thread.base.jobs] == ["a"]


def encode_job(name: str) -> bytes:
    bench = Bench()
    bench.started(job(name))
    found = [one for one in bench.broker.ledger if one is not None and one.key == f"job/{name}".encode()]
    assert found[0].value is not None
    return found[0].value


def other(**fields: Any) -> Identity:
    return replace(IDENTITY, **fields)


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (other(cluster="elsewhere"), "was written on cluster 'cluster', this is 'elsewhere'"),
        (other(shards=7), "was written for 1 shards, the settings say 7; set --shards 1"),
        (other(topics={"t.ledger": "new"}), "topic 't.ledger' is not the one .* re-created"),
    ],
)
def test_a_ledger_of_something_else_ends_the_shard_with_what_to_do(identity: Identity, text: str) -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.crash()
    bench.identity = identity
    before = len(bench.broker.ledger)
    with pytest.raises(LedgerUnfit, match=text):
        bench.step()
    assert len(bench.broker.ledger) == before, "nothing was written"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (b"cursor", b'{"v":3,"new":1}', "format 3, this dispatcher knows up to 2; upgrade"),
        (b"cursor", b"\x00\x01", "cannot be read"),
        (b"surprise/x", b'{"v":1}', "only a dispatcher may write there"),
    ],
)
def test_a_ledger_that_cannot_be_read_ends_the_shard(key: bytes, value: bytes, text: str) -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.broker.ledger.append(LedgerRecord(key, value, len(bench.broker.ledger), T0))
    bench.crash()
    with pytest.raises(LedgerUnfit, match=text):
        bench.step()


def test_a_ledger_shorter_than_what_was_read_of_it_ends_the_shard() -> None:
    bench = Bench()
    bench.started(job("a"))
    copy = LedgerCopy()
    copy.take([(one.key, one.value) for one in bench.broker.ledger if one], len(bench.broker.ledger) + 5)
    bench.thread = bench.another(copy)
    with pytest.raises(LedgerUnfit, match="truncated or re-created"):
        bench.step()


def test_a_ledger_truncated_while_it_runs_ends_the_shard() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.broker.ledger.clear()
    bench.broker.commits.append(Commit.LOST)
    bench.clock.pass_(MINUTE)
    with pytest.raises(LedgerUnfit, match="truncated or re-created while this dispatcher ran"):
        bench.rest()


def test_jobs_without_a_position_are_no_ledger() -> None:
    bench = Bench()
    bench.broker.ledger.append(LedgerRecord(b"job/a", encode_job("a"), 0, T0))
    with pytest.raises(LedgerUnfit, match="no position"):
        bench.step()


# Clocks.


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR])
def test_a_jump_of_the_wall_clock_holds_the_shard_until_it_is_accepted(jump: int) -> None:
    bench = Bench()
    bench.started(job("a", catchUp="none"))
    bench.clock.jump(jump)
    bench.minutes(3)
    bench.is_exact()
    bench.thread.post(partial(Shard.take, command=Command("accept-clock", "x"), next_offset=1))
    bench.rest()
    [(_, answer)] = bench.events("command.obeyed")
    assert (answer["command"], answer["done"]) == ("accept-clock", True)
    bench.minutes(3)
    fires = bench.broker.ids()
    assert len(fires) == len(set(fires))
    assert bool(fires) == (jump > 0), "a clock that went back fires nothing twice"


def test_a_jump_within_the_limit_holds_nothing() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.clock.jump(HOUR - 1)
    bench.rest()
    assert bench.broker.ids() or bench.skips()


@pytest.mark.parametrize("ahead", [2 * HOUR, -2 * HOUR])
def test_a_clock_apart_from_the_brokers_holds_the_shard_at_its_start(ahead: int) -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.clock.pass_(3 * MINUTE)
    bench.crash()
    bench.broker.ahead_ms = ahead
    bench.rest()
    bench.looked()
    bench.minutes(1)
    bench.is_exact()
    bench.thread.post(partial(Shard.take, command=Command("accept-clock", "x"), next_offset=1))
    bench.minutes(1)
    assert bench.broker.ids()


def test_a_clock_that_was_set_right_again_still_waits_for_a_word() -> None:
    bench = Bench()
    bench.started(job("a"))
    bench.clock.jump(2 * HOUR)
    bench.rest()
    bench.clock.jump(-2 * HOUR)
    bench.minutes(1)
    bench.is_exact()
    bench.thread.post(partial(Shard.take, command=Command("accept-clock", "x"), next_offset=1))
    bench.minutes(1)
    bench.is_exact(at("a", 1), at("a", 2))


# Changes.


def test_the_base_is_hidden_while_a_change_is_brought_in_pieces() -> None:
    bench = Bench(replace(QUIET, piece=2))
    bench.rest()
    bench.offer(*map(job, "abcde"))
    bases = []
    for _ in range(4):
        bench.step()
        bases.append(bench.thread.base and len(bench.thread.base.jobs))
    assert bases == [None, None, None, 5]


def test_a_change_in_pieces_asks_for_another_look_and_so_does_one_that_no_longer_fits() -> None:
    bench = Bench(replace(QUIET, piece=2))
    bench.rest()
    before, stale = bench.recompares, bench.thread.base
    bench.offer(*map(job, "abc"))
    bench.rest()
    assert bench.recompares == before + 1
    late = change_to(stale, [job("d")], "r2", bench.clock.now)
    bench.thread.post(partial(Shard.offer, change=late))
    bench.rest()
    assert bench.recompares == before + 2
    assert bench.thread.base is not None
    assert sorted(one.name for one in bench.thread.base.jobs) == list("abc")


@pytest.mark.parametrize("outcome", [Commit.LOST, Commit.UNHEARD])
@pytest.mark.parametrize("place", range(4))
def test_a_change_in_pieces_that_fails_anywhere_is_asked_for_again_and_comes_whole(
    outcome: Commit, place: int
) -> None:
    bench = Bench(replace(QUIET, piece=2))
    bench.rest()
    bench.broker.commits.extend([*[Commit.CLEAN] * place, outcome])
    before = bench.recompares
    bench.offer(*map(job, "abcde"))
    bench.rest()
    assert bench.recompares > before
    if bench.thread.base is not None and bench.thread.base.revision != "r1":
        bench.offer(*map(job, "abcde"))
        bench.rest()
    bench.minutes(1)
    bench.is_exact(*(at(name, 1) for name in "abcde"))
    bench.crash()
    bench.rest()
    assert bench.thread.base is not None
    assert sorted(one.name for one in bench.thread.base.jobs) == list("abcde")


def test_adopt_lets_a_held_file_take_force() -> None:
    bench = Bench()
    bench.started(*map(job, "abcdefgh"))
    bench.offer(job("a"), revision="r2")
    bench.rest()
    assert [data["reason"] for _, data in bench.events("schedule.held")] == ["removal"]
    bench.thread.post(partial(Shard.take, command=Command("adopt", "x"), next_offset=3))
    bench.rest()
    assert bench.thread.base is not None
    assert (bench.thread.base.revision, len(bench.thread.base.jobs)) == ("r2", 1)


def test_a_held_file_survives_a_failed_commit_and_keeps_no_shard_awake() -> None:
    bench = Bench()
    bench.started(*map(job, "abcdefgh"))
    change = change_to(bench.thread.base, [job("a")], "r0", bench.clock.now)
    bench.thread.post(partial(Shard.offer, change=change))
    bench.rest()
    bench.broker.commits.append(Commit.LOST)
    bench.minutes(4)
    assert (bench.waits[-1] or 0) > 1
    bench.offer(job("a"), revision="r0")
    bench.rest()
    assert len(bench.thread.base.jobs if bench.thread.base else ()) == 8
    assert len(bench.events("schedule.held")) == 1, "it is told once"


# Commands, through the host.


class Hosted(Bench):
    """A bench whose thread belongs to a host."""

    def __init__(self) -> None:
        super().__init__()
        self.released: list[int] = []
        self.hopeless: list[DispatcherError] = []
        self.host = ShardHost(
            self.around(), copy=lambda _: LedgerCopy(), release=self.released.append,
            hopeless=self.hopeless.append,
        )  # fmt: skip
        self.host._threads[0] = self.thread


def test_the_offset_of_commands_lies_in_the_ledger_and_is_where_listening_begins() -> None:
    bench = Hosted()
    bench.started(job("a"))
    bench.host.command(0, 41, encode_command(Command("adopt", "x")))
    bench.rest()
    bench.crash()
    bench.rest()
    assert bench.listened == [(0, 0), (0, 41)]
    position = [decode(*one) for one in ledger_of(bench) if one[0] == b"cursor"][-1]
    assert isinstance(position, Position)
    assert position.commands == 41


def test_commands_asked_while_nobody_ran_are_read_though_there_never_was_one() -> None:
    bench = Hosted()
    bench.started(job("a"))
    bench.crash()
    bench.rest()
    assert bench.listened == [(0, 0), (0, 0)], "from the end they would be lost without a word"


def ledger_of(bench: Bench) -> list[tuple[bytes, bytes | None]]:
    return [(one.key, one.value) for one in bench.broker.ledger if one is not None]


@pytest.mark.parametrize("value", [None, b"", b"{}", b'{"v":1,"type":"explode","id":"x"}', b"[" * 100_000])
def test_a_record_that_is_no_command_becomes_an_event_and_is_left_behind(value: bytes | None) -> None:
    bench = Hosted()
    bench.started(job("a"))
    bench.host.command(0, 9, value)
    bench.rest()
    [(_, data)] = bench.events("command.refused")
    assert data["offset"] == 8
    bench.crash()
    bench.rest()
    assert bench.listened[-1] == (0, 9)


def test_lost_commands_are_counted() -> None:
    bench = Hosted()
    bench.started(job("a"))
    bench.host.commands_lost(0, 12)
    bench.rest()
    assert [data["count"] for _, data in bench.events("commands.lost")] == [12]


def test_a_refused_file_is_hopeless_only_without_a_schedule_in_force() -> None:
    bench = Hosted()
    bench.rest()
    bench.host.refused("r0", DispatcherError("bad"))
    assert len(bench.hopeless) == 1
    bench.offer(job("a"))
    bench.rest()
    bench.host.refused("r2", DispatcherError("bad\nworse"))
    bench.rest()
    assert len(bench.hopeless) == 1
    assert [data["problems"] for _, data in bench.events("schedule.refused")] == [["bad", "worse"]]


# As a real thread.


def test_a_started_thread_takes_its_shard_and_ends_when_told() -> None:
    bench = Bench()
    taken = threading.Event()
    bench.thread._around = replace(bench.around(), recompare=taken.set)
    bench.thread.start()
    assert taken.wait(10)
    bench.thread.stop()
    assert bench.thread.join(Deadline(10))
    assert bench.ended == []
    assert bench.thread.base is None


def test_a_ledger_that_is_unfit_is_told_to_who_waits_for_it() -> None:
    bench = Bench()
    bench.broker.ledger.append(LedgerRecord(*encode_owner(), 0, T0))
    bench.thread.start()
    assert bench.thread.join(Deadline(10))
    assert [type(error) for error in bench.ended] == [LedgerNewer]


def encode_owner() -> tuple[bytes, bytes]:
    return b"owner", b'{"v":99}'


def test_a_failed_transaction_is_not_the_end_of_a_thread() -> None:
    bench = Bench()
    taken = threading.Event()
    bench.thread = ShardThread(0, replace(bench.around(), recompare=taken.set), LedgerCopy())
    bench.broker.fencing.append(TransactionFailed("not now"))
    bench.thread.start()
    assert taken.wait(10)
    bench.thread.stop()
    assert bench.thread.join(Deadline(10))
    assert bench.ended == []


def test_what_was_garbage_when_a_change_came_into_force_does_not_stay() -> None:
    class Circle:
        itself: Circle

    bench = Bench()
    bench.started(job("a"))
    gc.disable()
    try:
        circle = Circle()
        circle.itself = circle
        left = weakref.ref(circle)
        del circle
        bench.offer(job("a"), job("b"), revision="r2")
        bench.rest()
        assert left() is None, "frozen with what is in force, no collection finds it"
    finally:
        gc.enable()
