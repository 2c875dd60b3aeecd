"""How `dispatcher tail` shows records, whatever they hold; the broker is the client library's own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.cli.root import root
from dispatcher.core.message import TopicNames
from dispatcher.kafka.embedded import EmbeddedBroker

DEEP = b"[" * 100_000


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        broker.prepare(TopicNames("p"))
        yield broker.bootstrap


def tail(broker: str, *words: str) -> Result:
    return CliRunner().invoke(root, ["tail", "--bootstrap-servers", broker, "--prefix", "p", *words])


def test_a_value_nested_too_deep_is_shown_as_text(broker: str) -> None:
    producer = Producer({"bootstrap.servers": broker})
    producer.produce("p.events", DEEP, b"k", 0)
    assert producer.flush(10) == 0
    result = tail(broker, "--topic", "p.events", "--json", "--from", "beginning", "--count", "1")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["value"] == DEEP.decode()


def test_topics_that_are_missing_are_told_with_the_whole_command_that_creates_them(broker: str) -> None:
    result = tail(broker, "--prefix", "absent")
    assert result.exit_code == 4
    assert result.stderr.endswith(
        f"mend with: dispatcher topics ensure --bootstrap-servers {broker} --prefix absent\n"
    )


def test_a_topic_that_there_is_not_is_not_to_be_created(broker: str) -> None:
    result = tail(broker, "--topic", "nosuch")
    assert result.exit_code == 4
    assert "topic nosuch is missing" in result.stderr
    assert "topics ensure" not in result.stderr


def test_a_question_to_missing_topics_is_answered_with_the_command_that_creates_them(broker: str) -> None:
    words = ["adopt", "--bootstrap-servers", broker, "--prefix", "absent"]
    result = CliRunner().invoke(root, words)
    assert result.exit_code == 4
    assert f"topics ensure --bootstrap-servers {broker} --prefix absent" in result.stderr
