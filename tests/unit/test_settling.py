from __future__ import annotations

import json
from typing import Any

import pytest
from run_world import FIRE, delivery, read

from dispatcher.core.command import decode_command
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.core.run import Delivery, Poison, Retry, RunReader
from dispatcher.core.settling import LONGEST_WAIT_MS, Settled, Settler, wait_before

TOPICS = TopicNames("d")
NOW = 1_800_000_000_000


def settler() -> Settler:
    return Settler(TOPICS, "w1", shards=4, dead_partitions=12)


def ended(outcome: Outcome, attempts: int = 3, **headers: bytes) -> Settled:
    entry = {"jobName": "nightly", "job": "noop", "retry": {"attempts": attempts}}
    run = read(delivery(json.dumps(entry).encode(), **headers))
    return settler().ended(run, outcome, NOW, NOW + 250)


def facts(one: Outgoing) -> dict[str, Any]:
    assert one[1] is not None
    found: dict[str, Any] = json.loads(one[1])
    return found


def headers(one: Outgoing) -> dict[str, bytes]:
    return dict(one[4] or ())


def test_success_leaves_one_event() -> None:
    done = ended(Succeeded({"rows": 3}, "all well"))
    assert done.kind == "succeeded"
    (event,) = done.outgoing
    assert (event[0], event[2], event[3]) == ("d.events", b"nightly", 3)
    told = headers(event)
    assert told["ce_type"] == b"run.succeeded"
    assert told["ce_id"] == f"run.succeeded/{FIRE}/1".encode()
    assert (told["fire"], told["attempt"], told["ce_source"]) == (FIRE.encode(), b"1", b"/d/workers/w1")
    value = facts(event)
    assert value["result"] == {"rows": 3}
    assert value["output"] == "all well"
    assert (value["topic"], value["partition"], value["offset"]) == ("d.jobs.normal", 7, 42)
    assert value["redelivered"] is False
    assert value["v"] == 1


def test_a_failure_is_a_command_to_fire_it_again_and_an_event() -> None:
    failed = ended(Failed("no luck"))
    assert failed.kind == "retrying"
    event, asked = failed.outgoing
    assert facts(event)["reason"] == "no luck"
    assert (asked[0], asked[3]) == ("d.commands", 3)
    command = decode_command(asked[1])
    assert (command.type, command.fire, command.attempt, command.origin) == ("retry", FIRE, 2, "pool")
    assert command.at is not None
    assert 500 <= command.at - (NOW + 250) <= 1_000
    assert command.parcel is not None
    one = delivery()
    assert (command.parcel.topic, command.parcel.key) == (one.topic, one.key)
    assert dict(command.parcel.headers)["ce_id"] == FIRE.encode()


def test_the_last_failure_is_a_dead_letter_whole_and_with_its_reason() -> None:
    dead = ended(Failed("no luck"), attempt=b"3")
    assert dead.kind == "dead"
    event, letter = dead.outgoing
    assert headers(event)["ce_type"] == b"run.dead"
    assert letter[0] == "d.dead"
    told = headers(letter)
    assert (told["dead_reason"], told["dead_attempts"]) == (b"no luck", b"3")
    assert told["ce_id"] == FIRE.encode()


def test_a_final_failure_is_not_tried_again() -> None:
    assert ended(Failed("never", final=True)).kind == "dead"


def test_a_cancelled_run_is_neither_tried_again_nor_dead() -> None:
    assert ended(Cancelled("asked")).kind == "cancelled"


def test_poison_is_dead_once_with_what_can_be_told_of_it() -> None:
    one = Delivery("d.jobs.low", 5, 9, 0, b"\xff", b"junk", [("x", None)])
    poison = RunReader(4).read(one)
    assert isinstance(poison, Poison)
    event, letter = settler().poisoned(poison, 2, NOW).outgoing
    assert "fire" not in headers(event)
    assert headers(event)["ce_id"] == b"run.dead/d.jobs.low/5/9/1"
    assert letter[1:3] == (b"junk", b"\xff")
    assert "UTF-8" in facts(event)["reason"]


@pytest.mark.parametrize("result", [float("nan"), {1, 2}, "x" * 100_000, {"a": "y" * 100_000}])
def test_whatever_a_handler_returns_the_event_is_json(result: Any) -> None:
    (event,) = ended(Succeeded(result)).outgoing
    assert facts(event)["result"]


def test_waits_double_up_to_their_cap_and_are_spread_over_their_second_half() -> None:
    retry = Retry(100, delay_ms=1_000, max_delay_ms=60_000)
    for attempt, full in ((1, 1_000), (2, 2_000), (5, 16_000), (7, 60_000), (100, 60_000)):
        waits = {wait_before(retry, f"job-{number}@x", attempt) for number in range(200)}
        assert min(waits) >= full // 2
        assert max(waits) <= full
        assert len(waits) > 50


def test_fixed_waits_are_what_they_say() -> None:
    retry = Retry(9, fixed=True, delay_ms=1_000, max_delay_ms=10)
    assert wait_before(retry, "a", 1) == wait_before(retry, "b", 9) == 1_000


def test_the_same_decision_is_made_again() -> None:
    assert wait_before(Retry(), "a", 2) == wait_before(Retry(), "a", 2)


def test_whoever_was_asked_may_want_to_be_left_alone_for_longer_but_not_for_ever() -> None:
    assert wait_before(Retry(), "a", 1, 30_000) == 30_000
    assert wait_before(Retry(), "a", 1, 1) >= 500
    assert wait_before(Retry(), "a", 1, 1 << 60) == LONGEST_WAIT_MS


@pytest.mark.parametrize("odd", [{"ce_subject": b"a\nb"}, {"ce_subject": b"x" * 201}, {"x" * 201: b"1"}])
def test_what_no_shard_could_fire_again_is_dead_and_not_forgotten(odd: dict[str, bytes]) -> None:
    failed = ended(Failed("no luck"), 3, **odd)
    assert failed.kind == "dead"
    assert facts(failed.outgoing[0])["reason"].startswith("no luck; it cannot be tried again: ")
