from __future__ import annotations

from pathlib import Path

import pytest
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.errors import InvalidSettings
from dispatcher.settings import load
from dispatcher.settings.credentials import LARGEST_BYTES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


def refusal() -> str:
    with pytest.raises(InvalidSettings) as refused:
        load({})
    return str(refused.value)


def test_each_file_is_a_secret(folder: Path) -> None:
    (folder / "kafka.sasl.password").write_text("hunter2\n", encoding="utf-8")
    (folder / "sql.reports").write_text("postgresql://u:hunter3@db/reports\r\n", encoding="utf-8")
    in_force = load({})
    assert in_force.settings.kafka == {"sasl.password": "hunter2"}
    assert in_force.settings.sql == {"reports": "postgresql://u:hunter3@db/reports"}
    rows = {row.name: (row.value, row.origin) for row in in_force.rows()}
    assert rows["kafka.sasl.password"] == ("********", "credential kafka.sasl.password")
    assert rows["sql.reports"] == ("********", "credential sql.reports")
    assert "hunter" not in repr(in_force)


def test_a_unit_that_loads_a_directory_puts_its_name_before(folder: Path) -> None:
    (folder / "dispatcher_kafka.ssl.key.pem").write_text("-----BEGIN\nkey\n-----END\n", encoding="utf-8")
    assert load({}).settings.kafka == {"ssl.key.pem": "-----BEGIN\nkey\n-----END"}


def test_a_credential_beats_the_file_and_the_environment_beats_it(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path_factory.mktemp("etc") / "dispatcher.toml"
    path.write_text('[kafka]\n"sasl.password" = "f"\n"sasl.username" = "f"\n"client.rack" = "f"\n')
    (folder / "kafka.sasl.password").write_text("c")
    (folder / "kafka.sasl.username").write_text("c")
    monkeypatch.setenv("DISPATCHER_KAFKA__SASL_PASSWORD", "e")
    assert load({}, path).settings.kafka == {
        "sasl.password": "e", "sasl.username": "c", "client.rack": "f",
    }  # fmt: skip


def test_what_has_another_name_is_not_opened(folder: Path) -> None:
    (folder / "other").write_bytes(b"\xff")
    (folder / "kafka").write_bytes(b"\xff")
    (folder / "kafka.").write_bytes(b"\xff")
    (folder / "http.token").write_bytes(b"\xff")
    (folder / "..data").mkdir()
    (folder / "kafka.client.rack").symlink_to(folder / "absent")
    assert load({}).origins == {}


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"hunter2\xff", "is not UTF-8 text"), (b"\n", "is empty"), (b"x" * (LARGEST_BYTES + 1), "is larger")],
)
def test_what_is_no_secret_is_refused_by_name(folder: Path, content: bytes, why: str) -> None:
    (folder / "kafka.sasl.password").write_bytes(content)
    text = refusal()
    assert text.startswith(f"credential {folder / 'kafka.sasl.password'}: {why}")
    assert "hunter2" not in text


def test_a_directory_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "absent"))
    assert refusal().endswith("which CREDENTIALS_DIRECTORY names, cannot be read: No such file or directory")


def test_without_a_directory_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "")
    assert load({}).origins == {}
