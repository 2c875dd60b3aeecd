from __future__ import annotations

import json

import pytest
from run_world import ENTRY, FIRE, delivery, poison, read

from dispatcher.core.instant import from_text
from dispatcher.core.job import Lane
from dispatcher.core.offsets import Past
from dispatcher.core.run import MAX_VALUE_BYTES, Delivery, Retry, Run, RunReader


def test_a_message_of_the_dispatcher_is_a_run() -> None:
    run = read(delivery(not_after=b"2026-11-20T03:00:00Z", traceparent=b"00-1-2-01"))
    assert (run.fire, run.job, run.attempt, run.shard) == (FIRE, "nightly", 1, 3)
    assert run.planned == from_text("2026-11-20T02:00:00Z")
    assert run.not_after == from_text("2026-11-20T03:00:00Z")
    assert run.traceparent == "00-1-2-01"
    assert run.spec.retry == Retry(1)
    assert (run.spec.handler, run.spec.lane, run.spec.overlap) == ("noop", Lane.NORMAL, "allow")


@pytest.mark.parametrize(
    ("past", "maybe", "attempt", "redelivered"),
    [
        (Past(), False, 2, False), (Past(), True, 2, "maybe"), (Past(3, known=True), True, 5, True),
        (Past(known=True), False, 2, True), (Past(known=True), True, 2, True),
    ],
)  # fmt: skip
def test_lives_that_did_not_let_go_count_as_attempts_and_all_are_told_of(
    past: Past, attempt: int, redelivered: object, *, maybe: bool
) -> None:
    run = read(delivery(attempt=b"2"), past, maybe=maybe)
    assert (run.attempt, run.begun, run.redelivered) == (attempt, past.begun, redelivered)


def test_the_original_words_of_the_schedule_are_understood() -> None:
    value = json.dumps({"jobName": "nightly", "taskName": "EchoTask", "taskParams": {"a": 1}}).encode()
    spec = read(delivery(value)).spec
    assert (spec.handler, spec.payload) == ("EchoTask", {"a": 1})


def test_how_it_is_to_be_retried_is_read() -> None:
    backoff = {"type": "fixed", "delayMs": 5, "maxDelayMs": 6}
    entry = {**ENTRY, "retry": {"attempts": 4, "backoff": backoff}, "timeoutSeconds": 1.5, "priority": 9}
    spec = read(delivery(json.dumps(entry).encode())).spec
    assert spec.retry == Retry(4, fixed=True, delay_ms=5, max_delay_ms=6)
    assert (spec.timeout_ms, spec.lane) == (1_500, Lane.CRITICAL)


def test_a_shard_that_is_not_told_or_not_there_is_worked_out() -> None:
    assert read(delivery(shard=b"99")).shard == read(delivery(shard=None)).shard


def test_definitions_are_read_once() -> None:
    reader = RunReader(4)
    first, second = reader.read(delivery()), reader.read(delivery(attempt=b"2"))
    assert isinstance(first, Run)
    assert isinstance(second, Run)
    assert first.spec is second.spec


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (delivery(value=None), "it has no value"),
        (delivery(value=b"{"), "not JSON"),
        (delivery(value=b"[1]"), "no JSON object"),
        (delivery(value=b"[" * 100_000), "not JSON"),
        (delivery(value=b'{"job": 7}'), "names nothing to run"),
        (delivery(value=b" " * (MAX_VALUE_BYTES + 1)), "more than"),
        (delivery(value=b'{"job": "noop", "overlap": "never"}'), "overlap"),
        (delivery(value=b'{"job": "noop", "retry": 7}'), "retry"),
        (delivery(value=b'{"job": "noop", "retry": {"attempts": 0}}'), "attempts"),
        (delivery(value=b'{"job": "noop", "timeoutSeconds": -1}'), "timeoutSeconds"),
        (delivery(value=b'{"job": "noop", "timeoutSeconds": 1e999}'), "timeoutSeconds"),
        (delivery(value=b'{"job": "noop", "timeoutSeconds": 1%s}' % (b"0" * 400)), "timeoutSeconds"),
        (delivery(value=b'{"job": "noop", "retry": {"backoff": {"delayMs": 1%s}}}' % (b"0" * 18)), "delays"),
        (delivery(value=b'{"job": "%s"}' % (b"x" * 1_001)), "1001 characters"),
        (delivery(ce_type=b"other"), "no fire"),
        (delivery(ce_specversion=b"2.0"), "no fire"),
        (Delivery("d.jobs.low", 0, 0, 0, None, b"{}", []), "no fire"),
        (delivery(ce_id=b""), "ce_id"),
        (delivery(ce_id=b"x" * 601), "ce_id"),
        (delivery(ce_time=b"yesterday"), "header"),
        (delivery(attempt=b"many"), "header"),
        (delivery(attempt=b"0"), "attempt"),
        (delivery(key=b"\xff"), "UTF-8"),
        (delivery(extra=b"\xff"), "UTF-8"),
    ],
)
def test_what_is_no_run_says_why(one: Delivery, why: str) -> None:
    assert why in poison(one)
