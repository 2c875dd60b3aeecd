"""`dispatcher validate` warns of passwords that lie open in a schedule, and never shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.cli.root import root


def validated(tmp_path: Path, *words: str, **fields: Any) -> Result:
    file = tmp_path / "s.json"
    entry = {"jobName": "a", "cronTime": "* * * * *", "job": "mine", **fields}
    file.write_text(json.dumps({"jobs": [entry]}, indent=1))
    return CliRunner().invoke(root, ["validate", str(file), *words])


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"password": "hunter2"}, "payload.password"),
        ({"headers": {"Authorization": "hunter2"}}, "payload.headers.Authorization"),
        ({"calls": [{}, {"api_key": "hunter2"}]}, "payload.calls.1.api_key"),
        ({"clientSecret": "hunter2"}, "payload.clientSecret"),
    ],
)
def test_a_password_in_a_payload_is_warned_of_at_its_place(
    tmp_path: Path, payload: dict[str, Any], place: str
) -> None:
    result = validated(tmp_path, payload=payload)
    assert result.exit_code == 0
    line = next(line for line in result.stderr.splitlines() if line.startswith("Warning: "))
    assert f'job "a": `{place}` looks like a secret' in line
    assert line.startswith(f"Warning: {tmp_path / 's.json'}:")
    assert "hunter2" not in result.output


def test_the_original_words_and_headers_are_looked_at_too(tmp_path: Path) -> None:
    assert "taskParams.password" in validated(tmp_path, taskParams={"password": "x"}).stderr
    assert "headers.token" in validated(tmp_path, headers={"token": "x"}).stderr


@pytest.mark.parametrize(
    "payload", [{"password": ""}, {"password": None}, {"passes": "x"}, {"tokens": 3}, "password"]
)
def test_what_is_no_password_is_not(tmp_path: Path, payload: Any) -> None:
    assert "Warning" not in validated(tmp_path, payload=payload).stderr


def test_a_machine_is_told_too(tmp_path: Path) -> None:
    [told] = json.loads(validated(tmp_path, "--json", payload={"password": "x"}).stdout)
    assert [one["job"] for one in told["warnings"]] == ["a"]
    assert told["valid"] is True
