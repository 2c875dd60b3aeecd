from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from freezegun import freeze_time
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here

from dispatcher.cli.root import root

NIGHTLY = {"jobName": "nightly", "cronTime": "30 2 * * *", "timezone": "Europe/Berlin", "job": "noop"}
HOURLY = {"jobName": "hourly", "every": "1h", "job": "noop"}
SPREAD = {"jobName": "spread", "every": "1h", "job": "noop", "jitterSeconds": 600}
ONCE = {"jobName": "once", "at": "2026-12-24T18:00:00+01:00", "job": "noop"}


def write(path: Path, *jobs: dict[str, Any]) -> str:
    path.write_text(json.dumps({"jobs": jobs}), encoding="utf-8")
    return str(path)


def run(*words: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(root, words, input=stdin)


def lines(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


class TestValidate:
    def test_a_valid_file_is_told_with_its_jobs_and_revision(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", NIGHTLY, HOURLY)
        result = run("validate", file)
        assert result.exit_code == 0
        assert result.stdout.startswith(f"{file}: valid, 2 jobs, revision ")

    def test_without_a_file_the_schedule_of_the_settings_is_checked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write(tmp_path / "s.json", NIGHTLY)
        monkeypatch.setenv("DISPATCHER_SCHEDULE", file)
        assert file in run("validate").stdout

    def test_all_problems_of_all_files_are_told_with_their_places(self, tmp_path: Path) -> None:
        first = write(tmp_path / "a.json", {**NIGHTLY, "cronTime": "61 2 * * *", "timezone": "Europe/Berln"})
        second = write(tmp_path / "b.json", HOURLY, HOURLY)
        result = run("validate", first, second, str(tmp_path / "absent.json"))
        told = result.stderr.splitlines()
        assert result.exit_code == 3
        assert sum(line.startswith(f"{first}:1:") and 'job "nightly"' in line for line in told) == 2
        assert sum(line.startswith(f"{second}:1:") for line in told) == 1
        assert told[-1] == f"{tmp_path / 'absent.json'}: does not exist"

    def test_one_refused_file_does_not_hide_a_valid_one(self, tmp_path: Path) -> None:
        good, bad = write(tmp_path / "a.json", HOURLY), write(tmp_path / "b.json", {"jobName": "x"})
        result = run("validate", bad, good)
        assert result.exit_code == 3
        assert f"{good}: valid" in result.stdout

    def test_a_machine_reads_the_problems_as_json(self, tmp_path: Path) -> None:
        good, bad = write(tmp_path / "a.json", HOURLY), write(tmp_path / "b.json", {**HOURLY, "prio": 1})
        result = run("validate", "--json", good, bad, str(tmp_path / "absent.json"))
        assert result.exit_code == 3
        first, second, third = json.loads(result.stdout)
        assert (first["file"], first["valid"], first["jobs"], first["problems"]) == (good, True, 1, [])
        (problem,) = second["problems"]
        assert (problem["line"], problem["job"]) == (1, "hourly")
        assert "prio" in problem["what"]
        assert third["unreadable"].endswith("does not exist")

    def test_standard_input_is_a_file_too(self) -> None:
        result = run("validate", "-", stdin='{"jobs": [}')
        assert result.exit_code == 3
        assert result.stderr.startswith("<stdin>:1:11: ")
        assert run("validate", "-", stdin='{"jobs": []}').stdout.startswith("<stdin>: valid, 0 jobs")

    @pytest.mark.parametrize("text", ['{"jobs": []}', '{"jobs": [}', '{"jobs": []}' + " " * 100])
    def test_standard_input_has_one_name(self, text: str) -> None:
        (verdict,) = json.loads(run("validate", "--json", "--max-file-bytes", "50", "-", stdin=text).stdout)
        assert verdict["file"] == "<stdin>"

    def test_too_large_a_file_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", HOURLY)
        assert run("validate", "--max-file-bytes", "10", file).exit_code == 3
        result = run("validate", "--max-file-bytes", "10", "-", stdin="x" * 100)
        assert result.exit_code == 3
        assert "more than the 10 bytes" in result.stderr

    def test_what_a_file_holds_cannot_command_the_terminal(self, tmp_path: Path) -> None:
        file = tmp_path / "s.json"
        file.write_text('{"jobs": [{"jobName": "a\\u001b[2J", "x\\u001b[31m": 1}]}', encoding="utf-8")
        result = run("validate", str(file))
        assert result.exit_code == 3
        assert "\x1b" not in result.stderr


class TestNext:
    def test_a_job_is_shown_in_local_time_and_utc(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", NIGHTLY, HOURLY)
        shown = lines(
            run("next", "nightly", "--schedule", file, "--count", "2", "--from", "2026-11-20T12:00:00Z")
        )
        assert shown[1:] == [
            ["nightly", "2026-11-21 02:30:00+01:00", "2026-11-21T01:30:00Z", "2026-11-21T01:30:00Z", ""],
            ["nightly", "2026-11-22 02:30:00+01:00", "2026-11-22T01:30:00Z", "2026-11-22T01:30:00Z", ""],
        ]

    def test_without_a_job_the_fires_of_all_are_merged_by_their_due_time(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", NIGHTLY, HOURLY, SPREAD)
        shown = lines(run("next", "--schedule", file, "--count", "5", "--from", "2026-11-21T00:59:59Z"))
        assert [row[0] for row in shown[1:]] == ["hourly", "spread", "nightly", "hourly", "spread"]

    def test_changes_of_the_clock_are_explained(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", NIGHTLY)
        shown = lines(run("next", "--schedule", file, "--count", "1", "--from", "2027-03-27T12:00:00Z"))
        assert shown[1][:3] == ["nightly", "2027-03-28 03:00:00+02:00", "2027-03-28T01:00:00Z"]
        assert "02:30" in shown[1][4]

    def test_jitter_shows_in_the_due_time(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", SPREAD)
        (fire,) = json.loads(
            run("next", "--json", "--schedule", file, "--count", "1", "--from", "2026-11-20T12:05:00Z").stdout
        )
        assert fire["planned"] in {"2026-11-20T12:00:00Z", "2026-11-20T13:00:00Z"}
        assert fire["planned"] < fire["due"]
        assert fire["fire"] == f"spread@{fire['planned']}"

    def test_a_fire_still_delayed_by_its_jitter_is_yet_to_come(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", SPREAD)
        (fire,) = json.loads(
            run("next", "--json", "--schedule", file, "--count", "1", "--from", "2026-11-20T12:00:00Z").stdout
        )
        assert fire["planned"] == "2026-11-20T12:00:00Z"

    @freeze_time("2026-11-20T12:00:00Z")
    def test_the_fires_begin_now(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", HOURLY)
        assert lines(run("next", "--schedule", file, "--count", "1"))[1][2] == "2026-11-20T13:00:00Z"

    def test_jobs_end(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", ONCE, {**HOURLY, "enabled": False})
        assert len(lines(run("next", "--schedule", file, "--from", "2026-11-20T12:00:00Z"))) == 2
        result = run("next", "--schedule", file, "--from", "2027-01-01T00:00:00Z")
        assert result.exit_code == 0
        assert result.stderr == "No job fires after 2027-01-01T00:00:00Z.\n"

    def test_an_unknown_job_is_refused_with_a_guess(self, tmp_path: Path) -> None:
        result = run("next", "nigthly", "--schedule", write(tmp_path / "s.json", NIGHTLY))
        assert result.exit_code == 2
        assert "did you mean 'nightly'?" in result.stderr


class TestDiff:
    FROM = ("--from", "2026-11-20T12:00:00Z")

    def facts(self, tmp_path: Path, old: list[Any], new: list[Any], *words: str) -> dict[str, Any]:
        files = write(tmp_path / "old.json", *old), write(tmp_path / "new.json", *new)
        result = run("diff", *files, "--json", *self.FROM, *words)
        assert result.exit_code == 0, result.output
        return {job.pop("job"): job for job in json.loads(result.stdout)["jobs"]}

    def test_jobs_that_come_and_go_bring_and_take_their_fires(self, tmp_path: Path) -> None:
        facts = self.facts(tmp_path, [NIGHTLY], [HOURLY], "--for", "2d")
        assert facts["nightly"]["change"] == "removed"
        assert (facts["nightly"]["gained"], facts["nightly"]["lost"]) == (0, 2)
        assert facts["nightly"]["first"] == {"old": "2026-11-21T01:30:00Z", "new": None}
        assert facts["hourly"]["change"] == "added"
        assert (facts["hourly"]["gained"], facts["hourly"]["lost"]) == (48, 0)
        assert facts["hourly"]["first"] == {"old": None, "new": "2026-11-20T13:00:00Z"}

    def test_a_job_at_another_time_has_its_fires_moved(self, tmp_path: Path) -> None:
        later = {**NIGHTLY, "cronTime": "45 2 * * *"}
        facts = self.facts(tmp_path, [NIGHTLY, HOURLY], [later, HOURLY])
        assert list(facts) == ["nightly"]
        assert facts["nightly"]["fields"] == [{"field": "cronTime", "old": "30 2 * * *", "new": "45 2 * * *"}]
        assert {name: facts["nightly"][name] for name in ("gained", "lost", "moved")} == {
            "gained": 0,
            "lost": 0,
            "moved": 7,
        }
        assert facts["nightly"]["first"] == {"old": "2026-11-21T01:30:00Z", "new": "2026-11-21T01:45:00Z"}

    def test_a_job_that_fires_more_often_gains_fires(self, tmp_path: Path) -> None:
        facts = self.facts(tmp_path, [HOURLY], [{**HOURLY, "every": "30m"}], "--for", "1d")
        assert (facts["hourly"]["gained"], facts["hourly"]["lost"], facts["hourly"]["moved"]) == (24, 0, 0)

    def test_what_changes_only_the_message_changes_no_fire(self, tmp_path: Path) -> None:
        facts = self.facts(tmp_path, [HOURLY], [{**HOURLY, "priority": 9}])
        assert facts["hourly"]["fields"] == [{"field": "priority", "old": None, "new": 9}]
        assert facts["hourly"]["first"] is None

    def test_another_spelling_of_the_same_time_changes_no_fire(self, tmp_path: Path) -> None:
        assert self.facts(tmp_path, [HOURLY], [{**HOURLY, "every": "60 minutes"}])["hourly"]["first"] is None

    def test_equal_schedules_are_told_so(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", HOURLY)
        assert run("diff", file, file).stdout == "The two schedules hold the same jobs.\n"

    def test_a_person_reads_jobs_then_fires(self, tmp_path: Path) -> None:
        old, new = (
            write(tmp_path / "a.json", NIGHTLY),
            write(tmp_path / "b.json", {**NIGHTLY, "cronTime": "0 3 * * *"}),
        )
        text = run("diff", old, new, *self.FROM).stdout
        assert 'changed nightly: cronTime "30 2 * * *" → "0 3 * * *"' in text
        assert "nightly\t0\t0\t7\t2026-11-21T01:30:00Z\t2026-11-21T02:00:00Z" in text

    def test_one_side_may_be_standard_input(self, tmp_path: Path) -> None:
        file = write(tmp_path / "s.json", HOURLY)
        result = run("diff", "-", file, stdin=json.dumps({"jobs": []}))
        assert "added   hourly" in result.stdout

    def test_values_cannot_command_the_terminal(self, tmp_path: Path) -> None:
        old = write(tmp_path / "a.json", HOURLY)
        new = write(
            tmp_path / "b.json", {**HOURLY, "payload": {"x": "\x9b2J\u202e"}, "description": "\x1b[2J"}
        )
        text = run("diff", old, new).stdout
        assert all(line.isprintable() for line in text.split("\n"))

    def test_an_invalid_side_is_told(self, tmp_path: Path) -> None:
        result = run("diff", write(tmp_path / "a.json", HOURLY), write(tmp_path / "b.json", {"jobName": "x"}))
        assert result.exit_code == 3
        assert "b.json:1:" in result.stderr


@pytest.mark.parametrize(
    "words", [("next", "--schedule", "{}"), ("diff", "{}", "{}")], ids=lambda words: words[0]
)
def test_the_place_of_every_problem_begins_its_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = write(tmp_path / "s.json", {"jobName": "x", "prio": 1})
    told = run(*(word.format(file) for word in words)).stderr.splitlines()
    assert len(told) > 1
    assert all(line.startswith(f"{file}:1:") for line in told)


def test_the_schema_is_json_schema() -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "jobs" in schema["properties"]
