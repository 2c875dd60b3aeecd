from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.errors import InvalidSettings
from dispatcher.settings import InForce, Settings, env_name, flag_name, load


def toml(folder: Path, text: str) -> Path:
    path = folder / "dispatcher.toml"
    path.write_text(text, encoding="utf-8")
    return path


def shown(in_force: InForce) -> dict[str, tuple[object, str]]:
    return {row.name: (row.value, row.origin) for row in in_force.rows()}


def refusal(flags: dict[str, Any], config: Path | None = None) -> str:
    with pytest.raises(InvalidSettings) as refused:
        load(flags, config)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bootstrap_servers", None),
        ("schedule", Path("schedule/schedule.json")),
        ("prefix", "dispatcher"),
        ("shards", 4),
        ("instance", socket.gethostname()),
        ("session_seconds", 6),
        ("lock_dir", None),
        ("max_file_bytes", 64 * 1024 * 1024),
        ("poll_seconds", 5),
        ("removal_share", 0.5),
        ("removal_least", 5),
        ("stale_hold_seconds", 120),
        ("clock_jump_limit_seconds", 3600),
        ("catch_up_per_second", 1000),
        ("catch_up_most", 100_000),
        ("batch_messages", 2000),
        ("stage_ahead_seconds", 2),
        ("heartbeat_seconds", 300),
        ("wait_seconds", None),
        ("stop_seconds", 10),
        ("partitions_jobs", 12),
        ("replication", None),
        ("log_level", "info"),
        ("log_format", "auto"),
        ("kafka", {}),
    ],
)
def test_without_any_source_the_default_holds(name: str, value: object) -> None:
    in_force = load({})
    assert getattr(in_force.settings, name) == value
    assert in_force.origins == {}


def test_a_flag_beats_the_environment_which_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path, 'prefix = "of-file"\nshards = 2\npoll_seconds = 7\n')
    monkeypatch.setenv("DISPATCHER_PREFIX", "of-environment")
    monkeypatch.setenv("DISPATCHER_SHARDS", "3")
    rows = shown(load({"prefix": "of-flag"}, path))
    assert rows["prefix"] == ("of-flag", "flag --prefix")
    assert rows["shards"] == (3, "environment variable DISPATCHER_SHARDS")
    assert rows["poll_seconds"] == (7.0, f"file {path}")
    assert rows["removal_least"] == (5, "default")


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(tmp_path, "shards = 6\n")
    monkeypatch.setenv("DISPATCHER_CONFIG", str(path))
    assert shown(load({}))["shards"] == (6, f"file {path}")


def test_the_flag_for_the_file_beats_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_CONFIG", str(tmp_path / "absent.toml"))
    assert load({}, toml(tmp_path, "shards = 6\n")).settings.shards == 6


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_SHARDS", "")
    assert shown(load({}))["shards"] == (4, "default")


def test_sizes_may_have_units() -> None:
    assert load({"max_file_bytes": "300MiB"}).settings.max_file_bytes == 300 * 1024 * 1024


def test_brokers_lose_their_blanks() -> None:
    brokers = "a:9092, SSL://b.example:9093 ,[::1]:9092,c"
    assert (
        load({"bootstrap_servers": brokers}).settings.brokers() == "a:9092,SSL://b.example:9093,[::1]:9092,c"
    )


def test_missing_brokers_are_asked_for_with_flag_variable_and_file() -> None:
    with pytest.raises(InvalidSettings) as refused:
        load({}).settings.brokers()
    text = str(refused.value)
    assert "--bootstrap-servers" in text
    assert "DISPATCHER_BOOTSTRAP_SERVERS" in text
    assert "settings file" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shards", "0"),
        ("shards", "1025"),
        ("shards", "two"),
        ("shards", "2.5"),
        ("prefix", "a b"),
        ("prefix", "x" * 181),
        ("prefix", ""),
        ("prefix", "-a"),
        ("instance", "two words"),
        ("instance", "a\n"),
        ("instance", ""),
        ("bootstrap_servers", "http://kafka:9092/"),
        ("bootstrap_servers", "a:9092,,b:9092"),
        ("bootstrap_servers", "a:port"),
        ("max_file_bytes", "much"),
        ("max_file_bytes", "0"),
        ("poll_seconds", "0"),
        ("poll_seconds", "inf"),
        ("removal_share", "1.5"),
        ("removal_share", "nan"),
        ("removal_least", "0"),
        ("stale_hold_seconds", "-1"),
        ("clock_jump_limit_seconds", "0"),
        ("catch_up_per_second", "-1"),
        ("catch_up_most", "many"),
        ("batch_messages", "10001"),
        ("stage_ahead_seconds", "2.1"),
        ("heartbeat_seconds", "0"),
        ("wait_seconds", "-1"),
        ("stop_seconds", "0"),
        ("replication", "0"),
        ("log_level", "loud"),
        ("log_format", "xml"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_value_origin_and_an_example(name: str, value: str) -> None:
    text = refusal({name: value})
    assert text.startswith(f"{name} is {value!r} (flag {flag_name(name)}): ")
    assert "; give e.g. " in text


def test_all_faults_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(tmp_path, 'removal_share = 7\nlog_level = "loud"\n')
    monkeypatch.setenv("DISPATCHER_SHARDS", "x")
    text = refusal({"prefix": "a b"}, path)
    assert len(text.splitlines()) == 4
    assert f"removal_share is 7 (file {path})" in text
    assert "shards is 'x' (environment variable DISPATCHER_SHARDS)" in text


def test_partitions_must_be_a_multiple_of_the_shards() -> None:
    assert "partitions_jobs is 12, no multiple of shards, which is 5" in refusal({"shards": 5})


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("bootstrap_server", "did you mean 'bootstrap_servers'?"),
        ("poll-seconds", "did you mean 'poll_seconds'?"),
        ("zzz", "`dispatcher settings`"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused_with_advice(tmp_path: Path, key: str, advice: str) -> None:
    path = toml(tmp_path, f"{key} = 1\n")
    text = refusal({}, path)
    assert text.startswith(f"{path}: unknown setting {key!r}: ")
    assert advice in text


@pytest.mark.parametrize("text", ["shards = ", "[kafka", "shards = 1\nshards = 2", "\ufeff\ufeff"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    assert "is not TOML" in refusal({}, toml(tmp_path, text))


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'prefix = "\xe4"')
    assert "is not TOML" in refusal({}, path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal({}, tmp_path / "absent.toml")


def test_properties_come_from_all_sources_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(
        tmp_path,
        '[kafka]\n"security.protocol" = "SSL"\nssl.ca.location = "/ca"\n'
        "socket.keepalive.enable = true\nlog_level = 3\n",
    )
    monkeypatch.setenv("DISPATCHER_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("DISPATCHER_KAFKA__SASL_MECHANISM", "PLAIN")
    in_force = load({"kafka": {"sasl.mechanism": "SCRAM-SHA-256"}}, path)
    assert in_force.settings.kafka == {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/ca",
        "socket.keepalive.enable": "true",
        "log_level": "3",
        "sasl.mechanism": "SCRAM-SHA-256",
    }
    rows = shown(in_force)
    assert rows["kafka.security.protocol"][1] == "environment variable DISPATCHER_KAFKA__SECURITY_PROTOCOL"
    assert rows["kafka.sasl.mechanism"] == ("SCRAM-SHA-256", "flag --kafka")
    assert rows["kafka.ssl.ca.location"] == ("/ca", f"file {path}")


def test_a_variable_may_hold_all_properties_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_KAFKA", '{"client.rack": "a"}')
    assert load({}).settings.kafka == {"client.rack": "a"}


@pytest.mark.parametrize("name", ["metrics_per_job", "work_topics", "shell_allow", "python_allow"])
def test_a_variable_may_hold_a_list(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(env_name(name), "/bin/one, two,")
    assert getattr(load({}).settings, name) == ("/bin/one", "two")
    monkeypatch.delenv(env_name(name))
    assert getattr(load({name: "one,two"}).settings, name) == ("one", "two")
    assert getattr(load({}, toml(tmp_path, f'{name} = ["one", "two"]\n')).settings, name) == ("one", "two")


def test_a_variable_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_KAFKA", "sasl.password=hunter2")
    text = refusal({})
    assert "DISPATCHER_KAFKA__SECURITY_PROTOCOL" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "sasl.username",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    ],
)
def test_secrets_are_masked(name: str) -> None:
    in_force = load({"kafka": {name: "hunter2"}})
    assert in_force.settings.kafka[name] == "hunter2"
    assert shown(in_force)[f"kafka.{name}"] == ("********", "flag --kafka")
    assert "hunter2" not in repr(in_force)


def test_a_refused_secret_is_not_shown(tmp_path: Path) -> None:
    path = toml(tmp_path, '[kafka]\n"sasl.password" = ["hunter2"]\n')
    text = refusal({}, path)
    assert "kafka.sasl.password is a secret" in text
    assert "hunter2" not in text


def test_a_table_where_text_belongs_is_refused(tmp_path: Path) -> None:
    assert "kafka is 3" in refusal({}, toml(tmp_path, "kafka = 3\n"))
    assert "prefix is {'a': 1}" in refusal({}, toml(tmp_path, "prefix.a = 1\n"))


def test_every_setting_has_a_sentence_and_an_example() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.examples, name


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load({}).settings.shards = 8
