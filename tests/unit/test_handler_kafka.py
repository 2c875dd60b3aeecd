"""What the `kafka` handler sends, and what it makes of what comes of it, without a broker."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from handler_world import FIRE, cancelled_meanwhile, failed, run, succeeded
from pydantic import ValidationError

from dispatcher.errors import Fenced, KafkaUnreachable, Unsendable
from dispatcher.work.handlers.kafka_produce import Headers, KafkaPayload, KafkaProduce


class Sent:
    """Takes messages in place of a producer, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.messages: list[tuple[str, bytes | None, bytes | None, dict[str, bytes]]] = []
        self.seconds = 0.0
        self._error = error

    def __call__(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, seconds: float
    ) -> None:
        self.seconds = seconds
        self.messages.append((topic, key, value, dict(headers)))
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("value", "sent", "kind"),
    [
        ("text ü", "text ü".encode(), None),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'.encode(), b"application/json"),
        (False, b"false", b"application/json"),
        (None, None, None),
        ("", b"", None),
        ("{{7*7}}", b"{{7*7}}", None),
    ],
)
def test_a_value_goes_out_as_text_or_json(value: Any, sent: bytes | None, kind: bytes | None) -> None:
    send = Sent()
    result = succeeded(run(KafkaProduce("dispatcher", send), {"topic": "out", "key": "k", "value": value}))
    assert result == {"topic": "out"}
    topic, key, got, headers = send.messages[0]
    assert (topic, key, got) == ("out", b"k", sent)
    assert headers.get("content-type") == kind


def test_the_fire_the_attempt_and_the_trace_are_told() -> None:
    send = Sent()
    payload = {"topic": "out", "value": 1, "headers": {"a": "ü", "Content-Type": "x/y"}}
    succeeded(run(KafkaProduce("dispatcher", send), payload, attempt=3, traceparent="00-a-b-01"))
    assert send.messages[0][1] is None
    assert send.messages[0][3] == {
        "a": "ü".encode(), "Content-Type": b"x/y", "fire": FIRE.encode(), "attempt": b"3",
        "traceparent": b"00-a-b-01",
    }  # fmt: skip


@pytest.mark.parametrize("topic", ["mine", "mine.jobs.high", "mine.commands", "mine.ledger", "mine.x"])
def test_topics_of_the_installation_are_out_of_bounds(topic: str) -> None:
    send = Sent()
    outcome = failed(run(KafkaProduce("mine", send), {"topic": topic, "value": 1}))
    assert outcome.final
    assert "own" in outcome.reason
    assert send.messages == []
    succeeded(run(KafkaProduce("mine", send), {"topic": "mine-too", "value": 1}))


@pytest.mark.parametrize(
    ("error", "final"),
    [(Unsendable("too large"), True), (KafkaUnreachable("silence"), False), (Fenced("x"), False)],
)
def test_a_refusal_is_final_and_silence_is_not(error: Exception, *, final: bool) -> None:
    outcome = failed(run(KafkaProduce("d", Sent(error)), {"topic": "out", "value": 1}))
    assert outcome.reason == str(error)
    assert outcome.final is final


def test_the_shorter_limit_counts() -> None:
    send = Sent()
    payload = {"topic": "out", "value": 1, "timeoutSeconds": 5}
    succeeded(run(KafkaProduce("d", send), payload, seconds=900.0))
    assert 4 < send.seconds <= 5


def test_a_send_that_hangs_is_left_behind_by_time_and_by_cancel() -> None:
    released, reached = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        reached.set()
        released.wait(30)

    handler = KafkaProduce("d", hang)
    outcome = failed(run(handler, {"topic": "out", "value": 1, "timeoutSeconds": 0.2}))
    assert outcome.reason == "not acknowledged within 0.2 s; it may still arrive"
    reached.clear()
    cancelled_meanwhile(handler, {"topic": "out", "value": 1}, reached.is_set)
    released.set()


def test_half_a_character_is_told() -> None:
    send = Sent()
    for payload in ({"value": "\ud800"}, {"value": ["\ud800"]}):
        assert "half a character" in failed(run(KafkaProduce("d", send), {"topic": "out", **payload})).reason
    assert send.messages == []


def test_closing_lets_go_of_the_producer() -> None:
    closed = threading.Event()
    KafkaProduce("d", Sent(), closed.set).close()
    assert closed.is_set()


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"topic": "out"},
        {"value": 1},
        {"topic": "a b", "value": 1},
        {"topic": "", "value": 1},
        {"topic": ".", "value": 1},
        {"topic": "..", "value": 1},
        {"topic": "x" * 250, "value": 1},
        {"topic": "out\n", "value": 1},
        {"topic": "out", "value": 1, "key": ""},
        {"topic": "out", "value": 1, "key": 1},
        {"topic": "out", "value": 1, "headers": {"fire": "x"}},
        {"topic": "out", "value": 1, "headers": {"a": 1}},
        {"topic": "out", "value": 1, "headers": {"a b": "x"}},
        {"topic": "out", "value": 1, "partition": 1},
        {"topic": "out", "value": 1, "timeoutSeconds": 0},
    ],
    ids=str,
)
def test_a_payload_that_is_not_understood_is_refused(payload: Any) -> None:
    with pytest.raises(ValidationError):
        KafkaPayload.model_validate(payload)
