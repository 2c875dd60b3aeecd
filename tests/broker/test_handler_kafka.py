"""The `kafka` handler and its sender on a real broker."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from handler_world import FIRE, failed, run, succeeded

from broker.tools import committed, create
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import Connection
from dispatcher.kafka.sender import Sender
from dispatcher.work.handlers.kafka_produce import KafkaProduce

pytestmark = pytest.mark.broker


@pytest.fixture
def sender(kafka: str) -> Iterator[Sender]:
    made = Sender(Connection(kafka))
    yield made
    made.close()


def test_a_message_is_there_once_its_run_succeeded(kafka: str, prefix: str, sender: Sender) -> None:
    topic = create(kafka, f"{prefix}-out")
    handler = KafkaProduce(prefix, sender.send, sender.close)
    payload = {"topic": topic, "key": "k", "value": {"a": "ü"}, "headers": {"x": "y"}}
    succeeded(run(handler, payload, attempt=2))
    message = committed(kafka, topic)[0]
    assert (message.key(), message.value()) == (b"k", '{"a":"ü"}'.encode())
    headers: Any = message.headers()
    assert dict(headers) == {
        "x": b"y", "content-type": b"application/json", "fire": FIRE.encode(), "attempt": b"2"
    }  # fmt: skip


def test_null_is_sent_as_no_value(kafka: str, prefix: str, sender: Sender) -> None:
    topic = create(kafka, f"{prefix}-out")
    succeeded(run(KafkaProduce(prefix, sender.send), {"topic": topic, "key": "k", "value": None}))
    assert committed(kafka, topic)[0].value() is None


def test_many_threads_send_at_once(kafka: str, prefix: str, sender: Sender) -> None:
    topic = create(kafka, f"{prefix}-out")
    handler = KafkaProduce(prefix, sender.send)

    def some(number: int) -> None:
        for index in range(10):
            succeeded(run(handler, {"topic": topic, "value": f"{number}/{index}"}))

    threads = [threading.Thread(target=some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    got = [message.value() for message in committed(kafka, topic)]
    assert sorted(got) == sorted(f"{n}/{i}".encode() for n in range(8) for i in range(10))  # type: ignore[type-var]  # none is None


def test_a_topic_that_is_not_there_is_not_made(kafka: str, prefix: str, sender: Sender) -> None:
    outcome = failed(run(KafkaProduce(prefix, sender.send), {"topic": f"{prefix}-nix", "value": 1}))
    assert outcome.final
    assert f"{prefix}-nix" in outcome.reason


def test_a_message_that_is_too_large_is_refused_and_the_next_goes_out(
    kafka: str, prefix: str, sender: Sender
) -> None:
    topic = create(kafka, f"{prefix}-out", max_message_bytes="1000")
    handler = KafkaProduce(prefix, sender.send)
    noise = random.Random(1).randbytes(20_000).hex()  # nothing that lz4 makes small
    outcome = failed(run(handler, {"topic": topic, "value": noise}))
    assert outcome.final
    assert "MSG_SIZE_TOO_LARGE" in outcome.reason
    succeeded(run(handler, {"topic": topic, "value": "small"}))
    assert [message.value() for message in committed(kafka, topic)] == [b"small"]


def test_no_broker_ends_with_the_time_and_may_be_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    sender = Sender(Connection(f"127.0.0.1:{port}"))
    since = time.monotonic()
    with pytest.raises(KafkaUnreachable, match="may still arrive"):
        sender.send("out", None, b"x", [], 0.5)
    outcome = failed(run(KafkaProduce("d", sender.send), {"topic": "out", "value": 1, "timeoutSeconds": 0.5}))
    assert not outcome.final
    assert "may still arrive" in outcome.reason
    sender.close()
    sender.close()
    assert time.monotonic() - since < 10
