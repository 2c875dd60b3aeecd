"""What may be passed through to the client library, and what every client is told."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from dispatcher.errors import InvalidSettings
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.properties import REFUSED, check_properties, masked

HERE = Connection("127.0.0.1:1", "me", {"log_level": "0"})


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u",
         "sasl.password": "p"},
        {"compression.type": "zstd", "client.rack": "a", "socket.keepalive.enable": "true"},
        {"fetch.max.bytes": "60000000"},
    ],
)  # fmt: skip
def test_properties_that_touch_no_promise_pass(properties: dict[str, str]) -> None:
    check_properties(properties)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("transactional.id", "x", "transactional.id cannot be set: the dispatcher names it itself"),
        ("transaction.timeout.ms", "1", "a hidden repetition of a commit"),
        ("acks", "1", "one committed record"),
        ("max.in.flight.requests.per.connection", "9", "one committed record"),
        ("isolation.level", "read_uncommitted", "one committed record"),
        ("retry.backoff.max.ms", "1", "a hidden repetition of a commit"),
        ("group.protocol", "consumer", "the dispatcher names it itself"),
        ("session.timeout.ms", "1", "hand-over"),
        ("auto.offset.reset", "latest", "from the ledger alone"),
        ("queue.buffering.max.messages", "1", "fit the queue"),
        ("plugin.library.paths", "evil", "load code"),
        ("test.mock.num.brokers", "1", "replaces the cluster by a mock"),
        ("error_cb", "x", "callbacks"),
        ("bootstrap.servers", "x", "setting bootstrap_servers"),
        ("sasl.pasword", "secret", "unknown to the client library; did you mean sasl.password?"),
        ("socket.keepalive.enable", "perhaps", "kafka property socket.keepalive.enable cannot be 'perhaps'"),
        ("ssl.ca.location", "/no/such/file", "ssl.ca.location"),
    ],
)  # fmt: skip
def test_a_property_that_cannot_be_used_is_told_with_the_reason(name: str, value: str, told: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        check_properties({name: value, **({"security.protocol": "ssl"} if name == "ssl.ca.location" else {})})
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidSettings) as refused:
        check_properties({"acks": "1", "nonsense": "1", "debug": "no such thing"})
    assert [line.split()[2] for line in str(refused.value).splitlines()] == ["acks", "nonsense", "debug"]


def test_every_reason_is_a_sentence_and_secrets_are_masked() -> None:
    assert all(reason and not reason.endswith(".") for reason in REFUSED.values())
    assert masked({"sasl.password": "p", "client.rack": "a"}) == {
        "sasl.password": "********",
        "client.rack": "a",
    }


@pytest.mark.parametrize(
    "settings",
    [config.shard_producer(HERE, "t"), config.plain_producer(HERE), config.reader(HERE),
     config.follower(HERE), config.member(HERE, "g"), config.admin(HERE)],
)  # fmt: skip
def test_the_library_takes_what_each_client_is_told(settings: dict[str, Any]) -> None:
    if "group.id" in settings:
        Consumer(settings).close()
    else:
        Producer(settings)


def test_nothing_passed_through_changes_what_the_promise_rests_on() -> None:
    loose = Connection(
        "b", properties={"retry.backoff.ms": "1", "acks": "0", "isolation.level": "read_uncommitted"}
    )
    told = config.shard_producer(loose, "t")
    assert (told["retry.backoff.ms"], told["acks"], told["bootstrap.servers"]) == (300, "all", "b")
    assert config.reader(loose)["isolation.level"] == "read_committed"
    assert pytest.approx(0.21) == config.SUSPECT_COMMIT_SECONDS
