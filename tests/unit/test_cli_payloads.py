from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.cli.root import root

HOURLY = {"cronTime": "@hourly"}


def validate(*words: str) -> Result:
    return CliRunner().invoke(root, ["validate", *words])


def written(path: Path, *jobs: dict[str, Any], **more: Any) -> str:
    entries = [{"jobName": f"job-{number}", **HOURLY, **job} for number, job in enumerate(jobs)]
    path.write_text(json.dumps({**more, "jobs": entries}, indent=1), encoding="utf-8")
    return str(path)


def place(file: str, text: str) -> str:
    """Return the line and column at which a text stands first."""
    before = Path(file).read_text().partition(text)[0]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_wrong_payloads_are_told_with_their_places(tmp_path: Path) -> None:
    file = written(
        tmp_path / "s.json",
        {"job": "shell", "payload": {"command": ["echo", 17], "colour": "red"}},
        {"job": "noop"},
        {"taskName": "shell", "taskParams": {"command": "echo hi"}},
        {"job": "python"},
    )
    result = validate(file)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{file}: valid, 4 jobs, revision ")
    first, second, third, fourth = result.stderr.splitlines()
    assert first == (
        f'{file}:{place(file, "17")}: job "job-0": payload: `command[1]`: input should be a valid string'
    )
    assert second.startswith(f'{file}:{place(file, chr(34) + "colour")}: job "job-0": payload: `colour`: ')
    assert third.startswith(f'{file}:{place(file, chr(34) + "echo hi")}: job "job-2": payload: `command`: ')
    assert fourth.endswith('job "job-3": payload: `callable`: it is missing')


def test_a_payload_of_the_defaults_is_shown_at_the_job(tmp_path: Path) -> None:
    file = written(tmp_path / "s.json", {"job": "shell"}, defaults={"payload": {"cmd": "x"}})
    told = validate(file).stderr
    assert told.count(f'{file}:8:3: job "job-0": payload: ') == 2


def test_payloads_of_others_are_their_own(tmp_path: Path) -> None:
    file = written(
        tmp_path / "s.json",
        {"job": "shell", "payload": 1, "topic": "elsewhere"},
        {"job": "my-own", "payload": {"x": 1}},
        {"job": "EchoTask", "payload": [1]},
        {"job": "LogTask"},
    )
    result = validate(file)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_machine_reads_them_as_json(tmp_path: Path) -> None:
    file = written(tmp_path / "s.json", {"job": "shell", "payload": {"command": []}})
    result = validate("--json", file)
    assert result.exit_code == 3
    (verdict,) = json.loads(result.stdout)
    assert verdict["valid"]
    assert verdict["problems"] == []
    (problem,) = verdict["payloads"]
    assert (problem["line"], problem["job"]) == (8, "job-0")


def test_what_a_payload_holds_cannot_command_the_terminal(tmp_path: Path) -> None:
    file = written(tmp_path / "s.json", {"job": "shell", "payload": {"command": ["x"], "\x1b[31m": 1}})
    result = validate(file)
    assert result.exit_code == 3
    assert "\x1b" not in result.stderr


def test_many_jobs_are_checked_fast(tmp_path: Path) -> None:
    jobs = [{"job": "shell", "payload": {"command": ["x", "y"]}} for _ in range(10_000)]
    file = written(tmp_path / "s.json", *jobs, {"job": "shell", "payload": 1})
    began = time.monotonic()
    assert len(validate(file).stderr.splitlines()) == 1
    assert time.monotonic() - began < 20
