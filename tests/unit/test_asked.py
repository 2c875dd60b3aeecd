"""What is asked of jobs and fires: triggers, retries, pauses, cancellations, each once and across crashes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from shard_world import TOPICS, World, job, with_limits

from dispatcher.core.batch import Batch
from dispatcher.core.command import Command, Parcel, named_retry_id, retry_id
from dispatcher.core.instant import from_text
from dispatcher.core.message import Outgoing, fire_in, job_of
from dispatcher.core.partitioner import murmur2

T0 = from_text("2026-11-20T12:00:30Z")
MINUTE = 60_000
HOUR = 60 * MINUTE
FIRST = "a@2026-11-20T12:01:00Z"


class Asking(World):
    """A world with a log of commands, which are handed over anew whenever the shard is taken."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.log: list[Command] = []

    def start(self, now: int) -> None:
        super().start(now)
        for offset, command in enumerate(self.log, 1):
            self.shard.take(command, offset)

    def ask(self, now: int, *commands: Command) -> None:
        """Have the shard get commands and do what there is to do."""
        for command in commands:
            self.log.append(command)
            self.shard.take(command, len(self.log))
        self.run(now)

    def answers(self) -> list[tuple[str, object]]:
        """Return (command, done or why not) of all answers."""
        kinds = ("command.obeyed", "command.refused")
        return [
            (data["command"], data.get("why", data.get("done")))
            for kind, _, data in self.events
            if kind in kinds
        ]

    def told(self, kind: str) -> list[tuple[str | None, str | None]]:
        """Return (fire, attempt) of every event of a type, by its headers."""
        found = []
        for batch in self.batches:
            for topic, _, _, _, headers in batch.outgoing:
                head = {name: value.decode() for name, value in headers or ()}
                if topic == TOPICS.events and head["ce_type"] == kind:
                    found.append((head.get("fire"), head.get("attempt")))
        return found


def started(*names: str, limits: dict[str, Any] | None = None, **fields: object) -> Asking:
    world = Asking(limits=with_limits(**(limits or {})))
    world.start(T0)
    world.offer([job(name, **fields) for name in names], revision="r1", seen=T0)
    world.run(T0)
    return world


def again(message: Outgoing, at: int, attempt: int = 2, origin: str = "pool", **changes: Any) -> Command:
    """Return the command of a pool that a message's run failed of."""
    topic, value, key, _, headers = message
    fire = fire_in(headers or ())
    assert fire is not None
    whole = Command(
        "retry", retry_id(fire, attempt), job=job_of(fire), fire=fire, attempt=attempt, at=at, origin=origin,
        parcel=Parcel(topic, key, value or b"", tuple(headers or ())),
    )  # fmt: skip
    return replace(whole, **changes)


def head_of(message: Outgoing) -> dict[str, str]:
    return {name: value.decode() for name, value in message[4] or ()}


# Triggers.


def test_a_triggered_job_fires_at_once_by_an_id_that_says_so() -> None:
    world = started("a", expiresAfterSeconds=5)
    world.ask(T0 + 7, Command("trigger", "by-hand", job="a"))
    assert world.fires == ["a!by-hand"]
    head = head_of(world.messages[0])
    assert (head["ce_time"], head["attempt"]) == ("2026-11-20T12:00:30.007Z", "1")
    assert head["not_after"] == "2026-11-20T12:00:35.007Z"
    assert (head["ce_subject"], head["revision"]) == ("a", "r1")
    assert world.answers() == [("trigger", True)]
    assert world.told("run.triggered") == [("a!by-hand", "1")]
    world.run_until(T0 + 7, T0 + MINUTE)
    assert world.fires == ["a!by-hand", FIRST]
    assert head_of(world.messages[1])["traceparent"] != head["traceparent"]
    assert world.messages[0][:4] == world.messages[1][:4], "the same message else, in the same place"


def test_a_trigger_goes_out_though_its_job_is_disabled_or_paused() -> None:
    world = started("a", "b", enabled=False)
    world.ask(T0, Command("pause", "p", job="b"))
    world.ask(T0, Command("trigger", "x", job="a"), Command("trigger", "x", job="b"))
    assert world.fires == ["a!x", "b!x"]


def test_a_trigger_has_no_use_for_jitter() -> None:
    world = started("a", jitterSeconds=3_000)
    world.ask(T0, Command("trigger", "x", job="a"))
    assert world.fires == ["a!x"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (Command("trigger", "x", job="b"), "no job 'b' is in force in this shard"),
        (Command("pause", "x", job="b"), "no job 'b' is in force in this shard"),
        (Command("resume", "x", job="b"), "no job 'b' is in force in this shard"),
        (Command("trigger", "x", job="a", expires=T0), "it expired at 2026-11-20T12:00:30Z"),
        (Command("trigger", "x", job="own"), "there is no topic 'gone' that this dispatcher may write"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(command: Command, why: str) -> None:
    world = started("a")
    world.offer([job("a"), job("own", topic="gone")], revision="r2", seen=T0)
    world.missing_topics.add("gone")
    world.run(T0)
    world.ask(T0, command)
    [(kind, told)] = world.answers()
    assert kind == command.type
    assert why in str(told)
    assert world.fires == []
    assert {key.partition(b"/")[0] for key in world.ledger}.isdisjoint({b"timer", b"paused", b"done"})


@pytest.mark.parametrize("crash", [False, True])
def test_a_repeated_trigger_fires_once_and_is_answered_again(*, crash: bool) -> None:
    world = started("a")
    asked = Command("trigger", "x", job="a")
    world.ask(T0, asked, asked)
    if crash:
        world.start(T0 + 1)
    world.ask(T0 + 5 * HOUR, asked)
    assert world.fires.count("a!x") == 1
    assert world.answers() == [("trigger", True)] * 3
    assert [data.get("repeated") for _, data in world.events_of("command.obeyed")] == [None, True, True]
    assert len(world.told("run.triggered")) == 1


def test_an_id_says_of_each_job_anew() -> None:
    world = started("a", "b")
    world.ask(T0, Command("trigger", "x", job="a"), Command("trigger", "x", job="b"))
    assert world.fires == ["a!x", "b!x"]


def test_what_was_done_is_forgotten_after_six_hours() -> None:
    world = started("a", at="2030-01-01T00:00:00Z")
    world.ask(T0, Command("trigger", "x", job="a"))
    world.run(T0 + 6 * HOUR - 1)
    assert b"done/a!x" in world.ledger
    world.run(T0 + 6 * HOUR)
    assert b"done/a!x" not in world.ledger
    assert world.shard.state.done == {}
    assert world.shard.state._done_by_age == []


def test_no_more_is_remembered_as_done_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.core.state._DONE_KEPT", 3)
    world = started("a", at="2030-01-01T00:00:00Z")
    for number in range(5):
        world.ask(T0 + number, Command("trigger", f"x{number}", job="a"))
    assert sorted(world.shard.state.done) == ["a!x2", "a!x3", "a!x4"]


# Retries.


def test_a_retry_goes_out_at_its_instant_as_the_message_it_was() -> None:
    world = started("a", headers={"own": "ö"})
    world.run_until(T0, T0 + 30_000)
    [first] = world.messages
    world.ask(T0 + 31_000, again(first, at=T0 + 40_000))
    assert world.run(T0 + 39_999).until == T0 + 40_000
    assert len(world.messages) == 1
    world.run(T0 + 40_000)
    second = world.messages[1]
    assert second[:4] == first[:4]
    assert head_of(second) == {**head_of(first), "attempt": "2"}
    assert world.answers() == []
    assert world.told("run.redriven") == []


def test_a_retry_that_a_user_asked_for_is_answered_and_told() -> None:
    world = started("a")
    world.run_until(T0, T0 + 30_000)
    world.ask(T0 + 31_000, again(world.messages[0], T0, 4, "user", id="7"))
    assert [head_of(one)["attempt"] for one in world.messages] == ["1", "4"]
    assert world.answers() == [("retry", True)]
    assert world.told("run.redriven") == [(FIRST, "4")]


@pytest.mark.parametrize("crash", [False, True])
def test_a_repeated_retry_goes_out_once(*, crash: bool) -> None:
    world = started("a")
    world.run_until(T0, T0 + 30_000)
    asked = again(world.messages[0], T0 + 40_000)
    other = replace(asked, id="another", origin="user")
    world.ask(T0 + 31_000, asked, asked, other)
    if crash:
        world.start(T0 + 32_000)
    world.ask(T0 + 33_000, asked, other)
    world.run(T0 + 41_000)
    world.ask(T0 + 50_000, asked)
    assert Counter(head_of(one)["attempt"] for one in world.messages)["2"] == 1
    assert [data["repeated"] for _, data in world.events_of("command.obeyed")] == [True, True]


@pytest.mark.parametrize("crash", [False, True])
def test_a_retry_by_an_id_of_the_clients_is_done_once_for_the_id_and_once_for_the_attempt(
    *, crash: bool
) -> None:
    world = started("a")
    world.run_until(T0, T0 + 30_000)
    first = world.messages[0]
    named = again(first, T0, origin="user", id=named_retry_id(FIRST, "x"))
    world.ask(T0 + 31_000, named)
    if crash:
        world.start(T0 + 32_000)
    world.ask(T0 + 33_000, named, replace(named, attempt=3), again(first, T0))
    world.ask(T0 + 34_000, again(first, T0, origin="user", id=named_retry_id(FIRST, "y")))
    assert [head_of(one)["attempt"] for one in world.messages] == ["1", "2"]
    assert world.answers() == [("retry", True)] * 4
    told = [(data.get("attempt"), data.get("repeated")) for _, data in world.events_of("command.obeyed")]
    assert told == [(2, None), (2, True), (None, True), (2, True)]
    assert world.told("run.redriven") == [(FIRST, "2")]
    world.ask(T0 + 35_000, again(first, T0, 3, "user", id=named_retry_id(FIRST, "y")))
    assert world.events_of("command.obeyed")[-1][1].keys() >= {"repeated"}, "its attempt was the second, too"
    world.ask(T0 + 36_000, again(first, T0, 3, "user", id=named_retry_id(FIRST, "z")))
    assert [head_of(one)["attempt"] for one in world.messages] == ["1", "2", "3"]


def test_an_id_of_the_clients_says_of_each_fire_anew() -> None:
    world = started("a")
    world.run_until(T0, T0 + 90_000)
    for one in world.messages[:2]:
        fire = fire_in(one[4] or ())
        world.ask(T0 + 91_000, again(one, T0, origin="user", id=named_retry_id(fire or "", "x")))
    assert [head_of(one)["attempt"] for one in world.messages] == ["1", "1", "2", "2"]


def test_a_retry_goes_out_though_its_job_is_paused_edited_or_gone() -> None:
    world = started("a", "b", "c", "d")
    world.run_until(T0, T0 + 30_000)
    messages = world.messages[:]
    assert len(messages) == 4
    world.ask(T0 + 31_000, Command("pause", "p", job="a"), *(again(one, T0 + 35_000) for one in messages))
    world.offer([job("a"), job("c", payload=1), job("d")], revision="r2", seen=T0 + 32_000)
    world.run(T0 + 32_000)
    world.run(T0 + 35_000)
    assert [one[:4] for one in world.messages[4:]] == [one[:4] for one in messages]


def test_any_bytes_come_out_as_they_went_in_across_a_crash() -> None:
    world = started("a")
    every = bytes(range(256))
    headers = (("ce_type", b"dispatcher.fire"), ("ce_id", b"a@x"), ("h", every), ("h", b""))
    parcels = [Parcel("own", key, every + b"\n\n", headers) for key in (every, None)]
    for number, parcel in enumerate(parcels, 2):
        asked = Command(
            "retry", retry_id("a@x", number), job="a", fire="a@x", attempt=number, at=T0 + 10, parcel=parcel,
            origin="pool",
        )  # fmt: skip
        world.ask(T0, asked)
    world.start(T0 + 5)
    world.run(T0 + 10)
    first, second = world.messages
    assert first[:3] == ("own", every + b"\n\n", every)
    assert second[:3] == ("own", every + b"\n\n", None)
    assert (first[3], second[3]) == (murmur2(every) % 12, murmur2(b"a@x") % 12)
    assert [one[4] for one in world.messages] == [
        [*headers, ("attempt", b"2")],
        [*headers, ("attempt", b"3")],
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"topic": "t.ledger"}, "there is no topic 't.ledger' that messages may be sent to"),
        ({"topic": "t"}, "there is no topic 't' that messages may be sent to"),
        ({"topic": "gone"}, "there is no topic 'gone' that messages may be sent to"),
        ({"headers": ()}, "its message is not that of the fire"),
        ({"headers": (("ce_type", b"dispatcher.fire"), ("ce_id", b"a@y"))}, "not that of the fire"),
        ({"headers": (("ce_type", b"other"), ("ce_id", FIRST.encode()))}, "not that of the fire"),
        ({"headers": (("ce_type", b"dispatcher.fire"), ("ce_id", b"\xff"))}, "not that of the fire"),
    ],
)
@pytest.mark.parametrize("origin", ["pool", "user"])
def test_a_retry_that_cannot_go_out_is_refused_and_of_the_pool_recorded(
    changes: dict[str, Any], why: str, origin: str
) -> None:
    world = started("a")
    world.missing_topics.add("gone")
    world.run_until(T0, T0 + 30_000)
    asked = again(world.messages[0], T0, origin=origin)
    assert asked.parcel is not None
    world.ask(T0 + 31_000, replace(asked, parcel=replace(asked.parcel, **changes)))
    assert len(world.messages) == 1
    [(_, told)] = world.answers()
    assert why in str(told)
    assert world.told("run.skipped") == ([(FIRST, "2")] if origin == "pool" else [])


def test_a_retry_that_brokers_refuse_is_recorded_as_an_attempt_and_not_as_a_fire_of_the_plan() -> None:
    world = started("a")
    world.run_until(T0, T0 + 30_000)
    world.ask(T0 + 31_000, again(world.messages[0], T0 + 35_000))
    world.shard.firing.refuse(FIRST, "too large")
    world.run(T0 + 35_000)
    assert world.told("run.skipped") == [(FIRST, "2")]
    assert world.events_of("run.skipped") == [("a", {"v": 1, "reason": "unsendable: too large", "count": 1})]
    assert len(world.messages) == 1


def test_a_trigger_that_brokers_refuse_is_recorded_by_its_own_id() -> None:
    world = started("a")
    world.shard.firing.refuse("a!x", "too large")
    world.ask(T0, Command("trigger", "x", job="a"))
    assert (world.fires, world.told("run.skipped")) == ([], [("a!x", "1")])


# Pauses.


def test_planned_fires_of_a_paused_job_are_recorded_skips_until_it_is_resumed() -> None:
    world = started("a", "b")
    world.ask(T0, Command("pause", "1", job="a"), Command("pause", "2", job="a"))
    world.run_until(T0, T0 + MINUTE)
    world.start(T0 + MINUTE + 100)
    world.looked()
    world.run_until(T0 + MINUTE + 100, T0 + 2 * MINUTE)
    assert [fire[0] for fire in world.fires] == ["b", "b"]
    assert [(subject, data["reason"], data["count"]) for subject, data in world.events_of("run.skipped")] == [
        ("a", "paused", 1), ("a", "paused", 1),
    ]  # fmt: skip
    assert world.told("run.skipped") == [(FIRST, None), ("a@2026-11-20T12:02:00Z", None)]
    world.ask(T0 + 2 * MINUTE, Command("resume", "3", job="a"), Command("resume", "4", job="a"))
    world.run_until(T0 + 2 * MINUTE, T0 + 3 * MINUTE)
    assert [fire[0] for fire in world.fires] == ["b", "b", "a", "b"]
    assert world.answers() == [("pause", True), ("pause", False), ("resume", True), ("resume", False)]
    assert b"paused/a" not in world.ledger


def test_a_pause_and_its_end_in_one_transaction_are_none() -> None:
    world = started("a")
    world.ask(
        T0, Command("pause", "1", job="a"), Command("resume", "2", job="a"), Command("pause", "3", job="a"),
        Command("resume", "4", job="a"),
    )  # fmt: skip
    assert world.answers() == [("pause", True), ("resume", True)] * 2
    world.run_until(T0, T0 + MINUTE)
    assert world.fires == [FIRST]


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_missed_fires_of_a_paused_job_never_go_out(catch_up: str) -> None:
    world = started("a", "b", catchUp=catch_up)
    world.ask(T0, Command("pause", "1", job="a"))
    world.run_until(T0, T0 + 30_000)
    world.start(T0 + 30_000 + 10 * MINUTE)
    world.looked()
    world.run_until(T0 + 30_000 + 10 * MINUTE, T0 + 30_500 + 10 * MINUTE)
    assert [fire for fire in world.fires if fire.startswith("a")] == []
    settled = sum(data["count"] for subject, data in world.events_of("run.skipped") if subject == "a")
    assert settled == 11


def test_what_the_plan_left_as_a_timer_is_skipped_when_its_job_is_paused() -> None:
    world = started("a", every="60s", jitterSeconds=50)
    world.run(T0 + 30_000)
    world.offer([job("a", every="60s", jitterSeconds=50, payload=1)], revision="r2", seen=T0 + 30_001)
    world.run(T0 + 30_001)
    assert len(world.shard.state.timers) == 1
    world.ask(T0 + 30_002, Command("pause", "1", job="a"))
    world.run_until(T0 + 30_002, T0 + 85_000)
    assert world.fires == []
    assert world.told("run.skipped") == [(FIRST, None)]


def test_the_pause_of_a_job_that_is_removed_ends_with_it() -> None:
    world = started("a", "b", "c")
    world.ask(T0, Command("pause", "1", job="a"))
    world.offer([job("b"), job("c")], revision="r2", seen=T0)
    world.run(T0)
    assert b"paused/a" not in world.ledger
    assert world.shard.state.paused == {}
    world.offer([job("a"), job("b"), job("c")], revision="r3", seen=T0)
    world.run(T0)
    world.run_until(T0, T0 + MINUTE)
    assert FIRST in world.fires


def test_a_paused_job_in_a_staged_burst_is_a_skip_of_it() -> None:
    world = started("a", "b", limits={"stage_ahead_ms": 2_000, "stage_from": 1})
    world.ask(T0, Command("pause", "1", job="a"))
    world.shard.prepare(T0 + 29_500)
    staged = world.shard.decide(T0 + 29_800)
    assert isinstance(staged, Batch)
    assert staged.at == T0 + 30_000
    world.commit(staged, T0 + 30_000)
    assert world.fires == ["b@2026-11-20T12:01:00Z"]
    assert world.told("run.skipped") == [(FIRST, None)]


# Cancellations.


def test_a_cancelled_fire_has_none_of_its_timers_left() -> None:
    world = started("a")
    world.run_until(T0, T0 + 30_000)
    first = world.messages[0]
    world.ask(T0 + 31_000, again(first, T0 + 40_000), again(first, T0 + 50_000, 3))
    world.ask(T0 + 32_000, Command("cancel", "c", fire=FIRST), Command("cancel", "d", fire=FIRST))
    assert world.answers() == [("cancel", True), ("cancel", False)]
    assert world.told("run.cancelled") == [(FIRST, "2"), (FIRST, "3")]
    world.start(T0 + 33_000)
    world.run_until(T0 + 33_000, T0 + 55_000)
    assert len(world.messages) == 1


def test_a_trigger_that_is_cancelled_at_once_never_fires_again() -> None:
    world = started("a")
    asked = Command("trigger", "x", job="a")
    world.ask(T0, asked, Command("cancel", "c", fire="a!x"), asked)
    assert world.fires == []
    assert world.answers() == [("trigger", True), ("cancel", True), ("trigger", True)]
    assert world.told("run.cancelled") == [("a!x", "1")]


def test_a_fire_of_the_plan_that_is_cancelled_is_a_recorded_skip_too() -> None:
    world = started("a", every="60s", jitterSeconds=50)
    world.run(T0 + 30_000)
    world.offer([], revision="r2", seen=T0 + 30_001)
    world.run(T0 + 30_001)
    world.ask(T0 + 30_002, Command("cancel", "c", fire=FIRST))
    assert world.told("run.cancelled") == [(FIRST, "1")]
    assert [(subject, data["reason"]) for subject, data in world.events_of("run.skipped")] == [
        ("a", "cancelled")
    ]
    world.run_until(T0 + 30_002, T0 + 90_000)
    assert world.fires == []


def test_a_retry_asked_for_anew_after_its_cancellation_keeps_its_own_instant() -> None:
    world = started("a", at="2030-01-01T00:00:00Z")
    world.ask(T0, Command("trigger", "x", job="a"))
    first = world.messages[0]
    world.ask(T0, again(first, T0 + 8 * HOUR), again(first, T0 + 8 * HOUR, 9))
    world.run(T0 + 7 * HOUR)  # nobody knows the ids any more
    world.ask(T0 + 7 * HOUR, Command("cancel", "c", fire="a!x"), again(first, T0 + 9 * HOUR))
    world.run(T0 + 9 * HOUR - 1)
    assert len(world.messages) == 1
    world.run(T0 + 9 * HOUR)
    assert [head_of(one)["attempt"] for one in world.messages] == ["1", "2"]


# Crashes, many at once, clocks.


def test_what_is_obeyed_is_in_the_transaction_of_its_offset() -> None:
    world = started("a")
    world.run_until(T0, T0 + 30_000)
    world.log = [
        Command("trigger", "x", job="a"),
        again(world.messages[0], T0 + 31_000),
        Command("pause", "p", job="a"),
    ]
    for lost in (True, False):
        world.start(T0 + 31_000)
        decided = world.shard.decide(T0 + 31_000)
        assert isinstance(decided, Batch)
        assert decided.kind == "asked"
        if not lost:
            world.write(decided)
    world.start(T0 + 32_000)
    world.run(T0 + 32_000)
    assert world.fires == [FIRST, "a!x", FIRST]
    assert world.answers() == [("trigger", True), ("pause", True)]


def test_a_transaction_that_failed_is_decided_anew() -> None:
    world = started("a")
    world.log.append(Command("trigger", "x", job="a"))
    world.shard.take(world.log[0], 1)
    assert isinstance(world.shard.decide(T0), Batch)
    world.shard.retry()
    world.run(T0)
    assert (world.fires, world.answers()) == (["a!x"], [("trigger", True)])


def test_many_retries_are_obeyed_in_batches_and_fires_go_out_in_between() -> None:
    world = started("a", "b", limits={"batch": 500})
    world.run_until(T0, T0 + 30_000)
    message = world.messages[0]
    many = [again(message, T0 + 2 * MINUTE, attempt) for attempt in range(2, 10_002)]
    begun = time.process_time()
    world.ask(T0 + 30_000 + MINUTE, *many, Command("cancel", "none", fire="a!none"))
    kinds = [batch.kind for batch in world.batches]
    at = kinds.index("asked")
    assert kinds[at : at + 4] == ["asked", "fires", "asked", "asked"], "what is due waits for one batch"
    assert kinds.count("asked") == 21
    assert len(world.shard.state.timers) == 10_000
    world.run(T0 + 2 * MINUTE)
    assert len({head_of(one)["attempt"] for one in world.messages}) == 10_001
    assert time.process_time() - begun < 20


def test_a_transaction_takes_no_more_bytes_than_a_burst() -> None:
    world = started("a", limits={"stage_bytes": 1_000})
    world.run_until(T0, T0 + 30_000)
    big = again(world.messages[0], T0 + HOUR)
    assert big.parcel is not None
    parcel = replace(big.parcel, value=b"x" * 700)
    world.ask(T0 + 31_000, *(replace(big, id=f"{n}", attempt=n, parcel=parcel) for n in range(2, 5)))
    assert [batch.kind for batch in world.batches].count("asked") == 3


@pytest.mark.parametrize("kind", ["trigger", "pause", "cancel"])
def test_while_the_clock_holds_the_shard_what_is_asked_of_jobs_waits_for_it(kind: Any) -> None:
    world = started("a", limits={"batch": 1})
    world.shard.clock_hold = "it jumped"
    asked = Command(kind, "x", job="a", fire="a!y")
    world.ask(T0, Command("ask-held", "first"), asked)
    assert world.answers() == [("ask-held", False)]
    world.ask(T0, Command("accept-clock", "y"))
    assert world.answers() == [("ask-held", False), (kind, kind != "cancel"), ("accept-clock", True)]
