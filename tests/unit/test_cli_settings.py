from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.cli.root import root
from dispatcher.cli.topics import mend_command
from dispatcher.settings import load


def run(*words: str) -> Result:
    return CliRunner().invoke(root, words)


def test_every_setting_is_shown_with_its_value_and_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "dispatcher.toml"
    config.write_text("poll_seconds = 2\n[kafka]\nsecurity.protocol = 'SSL'\n", encoding="utf-8")
    monkeypatch.setenv("DISPATCHER_SHARDS", "3")
    result = run("settings", "--config", str(config), "--prefix", "mine")
    rows = {row[0]: tuple(row[1:]) for row in (line.split("\t") for line in result.stdout.splitlines())}
    assert rows["prefix"] == ("mine", "flag --prefix")
    assert rows["shards"] == ("3", "environment variable DISPATCHER_SHARDS")
    assert rows["poll_seconds"] == ("2.0", f"file {config}")
    assert rows["kafka.security.protocol"] == ("SSL", f"file {config}")
    assert rows["stop_seconds"] == ("10.0", "default")
    assert rows["wait_seconds"] == ("", "default")


def test_a_machine_reads_the_settings_as_json() -> None:
    shown = json.loads(run("settings", "--json", "--kafka", "client.rack=a=b").stdout)
    assert shown["shards"] == {"value": 4, "origin": "default"}
    assert shown["wait_seconds"] == {"value": None, "origin": "default"}
    assert shown["kafka.client.rack"] == {"value": "a=b", "origin": "flag --kafka"}


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_KAFKA__SASL_PASSWORD", "hunter2")
    for words in (["settings"], ["settings", "--json"]):
        result = run(*words)
        assert "********" in result.stdout
        assert "hunter2" not in result.output


def test_a_misspelt_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_SHARD", "8")
    monkeypatch.setenv("DISPATCHER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("DISPATCHER_TEST_BOOTSTRAP", "localhost:9092")
    result = run("settings")
    assert result.exit_code == 0
    assert result.stderr == (
        "Warning: environment variable DISPATCHER_SHARD is not used; did you mean DISPATCHER_SHARDS?\n"
    )


def test_kafka_that_does_not_answer_exits_with_4() -> None:
    result = run("topics", "check", "--bootstrap-servers", "localhost:1", "--wait-seconds", "1")
    assert result.exit_code == 4
    assert "localhost:1" in result.stderr


@pytest.mark.parametrize("command", ["adopt", "accept-clock"])
def test_without_kafka_a_question_takes_no_longer_than_its_timeout(command: str) -> None:
    start = time.monotonic()
    result = run(command, "--bootstrap-servers", "localhost:1", "--timeout", "0.5")
    assert result.exit_code == 4
    assert "localhost:1" in result.stderr
    assert time.monotonic() - start < 4
    assert len(result.stderr.splitlines()) < 10


def test_the_command_that_mends_spells_out_what_is_no_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "my settings.toml"
    config.write_text("shards = 6\n", encoding="utf-8")
    monkeypatch.setenv("DISPATCHER_PREFIX", "mine")
    flags = {"bootstrap_servers": "a:9092", "kafka": {"sasl.password": "hunter2"}}
    assert mend_command(load(flags, config)) == (
        f"dispatcher topics ensure --config '{config}' --bootstrap-servers a:9092 --prefix mine --shards 6"
    )
