"""Brokers of other machines: encrypted and known, or a setting says that it does not matter there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer

from dispatcher.cli.root import root
from dispatcher.errors import InvalidSettings
from dispatcher.kafka.properties import PASSED, REFUSED, check_properties, is_passed, refusal
from dispatcher.kafka.shielded import require_shielded

AFAR = "kafka.example.com:9092"
SSL = {"security.protocol": "SSL"}
SASL = {"security.protocol": "SASL_SSL"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the host."""
    for name in [name for name in os.environ if name.startswith("DISPATCHER_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "bootstrap",
    [AFAR, "10.0.0.1:9092", "kafka:9092", f"localhost:9092,{AFAR}", "PLAINTEXT://kafka:9092",
     "[2001:db8::1]:9092", "localhost.example.com:9092", "127.0.0.1.example.com:9092", "0x7f000001:9092"],
)  # fmt: skip
def test_brokers_of_other_machines_are_not_reached_in_the_clear(bootstrap: str) -> None:
    for properties in ({}, {"security.protocol": "plaintext"}, {"security.protocol": "SASL_PLAINTEXT"}):
        with pytest.raises(InvalidSettings) as refused:
            require_shielded(bootstrap, properties)
        assert "DISPATCHER_KAFKA_ALLOW_INSECURE=true" in str(refused.value)
        assert "security.protocol" in str(refused.value)
    require_shielded(bootstrap, SSL)
    require_shielded(bootstrap, SASL)


@pytest.mark.parametrize(
    "bootstrap",
    ["localhost:9092", "localhost", "127.0.0.1:9092", "127.9.9.9:1", "[::1]:9092", "PLAINTEXT://localhost:9092",
     "LOCALHOST.:9092", "kafka.localhost:9092", "localhost:9092,127.0.0.1:9093"],
)  # fmt: skip
def test_brokers_of_this_machine_are(bootstrap: str) -> None:
    require_shielded(bootstrap, {})
    require_shielded(bootstrap, {"enable.ssl.certificate.verification": "false", **SSL})


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({**SSL, "enable.ssl.certificate.verification": "false"}, "anybody could pass for the brokers"),
        ({**SASL, "enable.ssl.certificate.verification": "0"}, "anybody could pass for the brokers"),
        ({**SSL, "ssl.endpoint.identification.algorithm": "none"}, "leave it at https"),
        ({**SASL, "enable.sasl.oauthbearer.unsecure.jwt": "true"}, "such tokens anybody can make"),
        ({**SASL, "sasl.oauthbearer.token.endpoint.url": "http://id.example.com"}, "is not https"),
    ],
)
def test_what_would_undo_it_is_refused_too(properties: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        require_shielded(AFAR, properties)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "words", [("run",), ("work",), ("topics", "check"), ("tail",), ("pause", "x"), ("verify",)]
)
def test_every_command_refuses_with_3_and_the_setting_lets_it_pass(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISPATCHER_BOOTSTRAP_SERVERS", "kafka.invalid:9092")
    result = CliRunner().invoke(root, list(words))
    assert result.exit_code == 3
    assert "brokers kafka.invalid:9092: security.protocol is PLAINTEXT" in result.output
    monkeypatch.setenv("DISPATCHER_KAFKA_ALLOW_INSECURE", "true")
    monkeypatch.setenv("DISPATCHER_WAIT_SECONDS", "0.2")
    monkeypatch.setenv("DISPATCHER_LOCK_DIR", str(tmp_path))
    if words in {("topics", "check"), ("verify",)}:
        assert CliRunner().invoke(root, list(words)).exit_code == 4


@pytest.mark.parametrize(
    "name",
    [
        "consume.callback.max.messages",
        "statistics.interval.ms",
        "topic.blacklist",
        "enable.background.thread",
    ],
)
def test_a_property_that_is_in_no_list_is_refused(name: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        check_properties({name: "1"})
    assert name in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"), [("plugin.library.paths", "x"), ("sasl.kerberos.kinit.cmd", "touch /tmp/x"),
                        ("ssl.engine.location", "/x.so"), ("ssl.providers", "x")],
)  # fmt: skip
def test_what_would_load_code_or_run_a_command_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        check_properties({name: value})
    assert f"{name} cannot be set" in str(refused.value)


def test_the_two_lists_hold_no_nonsense() -> None:
    """Each pattern of what passes fits something that the library knows and no rule refuses."""
    for pattern in PASSED:
        name = pattern.removesuffix("*")
        assert is_passed(name)
        assert pattern.endswith("*") or refusal(name) is None
    assert not set(PASSED) & set(REFUSED)


def test_what_passes_reaches_the_library() -> None:
    good = {"client.rack": "a", "socket.keepalive.enable": "true", "compression.type": "zstd", **SSL}
    check_properties(good)
    Producer({**good, "bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    Consumer({**good, "bootstrap.servers": "127.0.0.1:1", "group.id": "x", "log_level": 0}).close()
