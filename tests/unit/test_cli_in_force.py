"""`dispatcher next --in-force`: what the ledger says of fires to come; it is one in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from settings_world import no_settings_of_the_host  # noqa: F401 - a fixture that works by being here
from shard_world import job
from test_cli_missed import NOW, Place, place  # noqa: F401 - a fixture

from dispatcher.cli.root import root
from dispatcher.core.instant import to_text
from dispatcher.core.ledger import Cursor, Fact, JobVersions, Paused, Position, Timer, Version
from dispatcher.core.message import fire_id

IN_FORCE = Position(Cursor(NOW), "r1", 1)


def in_force(name: str, **fields: object) -> JobVersions:
    made = job(name, every="60s", **fields)
    return JobVersions(name, (Version(1, "r1", made.definition, made.trigger.digest, 0, 0),))


def timer(ident: str, name: str, due: int, attempt: int = 1, fire: str = "") -> Timer:
    headers = (("ce_type", b"dispatcher.fire"), ("ce_id", (fire or ident).encode()))
    return Timer(ident, name, NOW, due, attempt, "t", 0, b"k", b"v", headers)


def upcoming(world: Place, *words: str) -> Result:
    common = ["--bootstrap-servers", "localhost:1", "--shards", "1", "--from", to_text(NOW)]
    return CliRunner().invoke(root, ["next", "--in-force", *common, *words])


def shown(world: Place, *facts: Fact, words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    world.holds(IN_FORCE, *facts)
    result = upcoming(world, "--json", *words)
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_what_waits_in_the_ledger_is_shown_among_the_fires_planned(place: Place) -> None:  # noqa: F811
    fire = fire_id("a", NOW)
    rows = shown(
        place, in_force("a"), timer(f"{fire}#3", "a", NOW + 90_000, 3, fire), timer("a!x", "a", NOW - 5),
        timer(fire, "gone", NOW + 1), words=("--count", "5"),
    )  # fmt: skip
    assert [(row["fire"], row["attempt"], row["note"], row["due"]) for row in rows] == [
        ("a!x", 1, "asked for", to_text(NOW - 5)),
        (fire, 1, "asked for", to_text(NOW + 1)),
        (fire_id("a", NOW + 60_000), 1, None, to_text(NOW + 60_000)),
        (fire, 3, "retry, attempt 3", to_text(NOW + 90_000)),
        (fire_id("a", NOW + 120_000), 1, None, to_text(NOW + 120_000)),
    ]


def test_planned_fires_of_paused_jobs_are_marked_and_what_was_asked_for_is_not(place: Place) -> None:  # noqa: F811
    kept = fire_id("a", NOW)
    rows = shown(
        place, in_force("a"), Paused("a", NOW - 1_000), timer(kept, "a", NOW + 1), timer("a!x", "a", NOW + 2),
        words=("--count", "3"),
    )  # fmt: skip
    since = f"skipped: paused since {to_text(NOW - 1_000)}"
    assert [(row["fire"], row["paused"], row["note"]) for row in rows] == [
        (kept, True, since),
        ("a!x", False, "asked for"),
        (fire_id("a", NOW + 60_000), True, since),
    ]
    assert since in upcoming(place).stdout


def test_one_job_is_asked_for_also_when_only_a_timer_of_it_is_left(place: Place) -> None:  # noqa: F811
    left = fire_id("b", NOW)
    rows = shown(place, in_force("a"), timer(left, "b", NOW + 1), words=("b",))
    assert [(row["fire"], row["note"]) for row in rows] == [(left, "planned before an edit")]
    assert [row["job"] for row in shown(place, words=("a", "--count", "2"))] == ["a", "a"]


def test_a_job_that_is_not_in_force_is_told(place: Place) -> None:  # noqa: F811
    place.holds(IN_FORCE, in_force("nightly"))
    result = upcoming(place, "nigthly")
    assert result.exit_code == 2
    assert "the schedule in force has no job 'nigthly': did you mean 'nightly'?" in result.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("trigger", "a", "--id", "a b"), "`id` must be 1 to 200 letters"),
        (("pause", "a\nb"), "`job` must be a job's name"),
        (("cancel", ""), "`fire` must be a fire's id"),
    ],
)
def test_what_no_shard_would_read_is_not_asked(words: tuple[str, ...], why: str) -> None:
    result = CliRunner().invoke(root, [*words, "--bootstrap-servers", "127.0.0.1:1"])
    assert result.exit_code == 2, result.output
    assert why in result.output.replace("\n", " ")
