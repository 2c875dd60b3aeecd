"""What people tell a real installation from the command line, and what the shards make of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from broker.process import until
from broker.test_daemon_faults import Place, job, now, text
from broker.tools import committed

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
ONE = ("--shards", "1")
SECONDS = 60.0


@pytest.fixture
def place(kafka: str, prefix: str, tmp_path: Path) -> Place:
    place = Place(kafka, prefix, tmp_path, shards=1)
    place.install(*ONE)
    return place


def events(place: Place, kind: str) -> list[dict[str, Any]]:
    """Return the data of every event of a type."""
    found = [(dict(one.headers() or []), one.value()) for one in committed(place.bootstrap, topic_of(place))]
    return [json.loads(value or b"") for head, value in found if text(head["ce_type"]) == kind]


def topic_of(place: Place) -> str:
    return f"{place.prefix}.events"


def ran(place: Place) -> None:
    """Bring the schedule into force, let it fire, and end the dispatcher."""
    with place.daemon("a", *ONE) as daemon:
        daemon.says("schedule.applied", SECONDS)
        begun = now()
        until(lambda: place.fires_on(begun, "all"), "fires", SECONDS)
        assert daemon.terminate() == 0


def test_what_was_missed_is_given_up_by_the_next_start_before_any_of_it_is_sent(place: Place) -> None:
    place.schedule(job("all", catchUp="all"), job("latest"), job("none", catchUp="none"))
    ran(place)
    last = max(at for _, at in place.fires())
    until(lambda: now() > last + 5_000, "a few seconds", SECONDS)
    asked = now()
    given_up = place.command("missed", "--drop", "--yes", "--timeout", "3", *ONE)
    assert given_up.returncode == 1
    assert "shards 0 did not answer within 3 s; they will when a dispatcher runs" in given_up.stderr
    rows = [line.split("\t") for line in given_up.stdout.splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows[1:]] == [
        (name, "0", "dropped") for name in ("all", "latest", "none")
    ]
    with place.daemon("b", *ONE) as daemon:
        daemon.says("shard.taken", SECONDS)
        until(lambda: place.skipped("all", "latest", "none"), "the recorded skips", SECONDS)
        end = now()
        until(lambda: place.fires_on(end, "all", "latest", "none"), "fires after it", SECONDS)
        assert daemon.terminate() == 0
    shown = {row[0]: int(row[2]) for row in rows[1:]}
    recorded = {name: count for name, reason, count in place.skips() if reason == "dropped"}
    assert recorded == shown
    assert min(recorded.values()) >= 4
    assert [one for one in place.fires() if last < one[1] < asked] == []
    assert place.history().judge(end).clean
    assert [data["done"] for data in events(place, "command.obeyed")] == [True]


def test_a_running_dispatcher_that_missed_nothing_has_nothing_to_give_up(place: Place) -> None:
    place.schedule({"jobName": "daily", "cronTime": "0 0 * * *", "job": "noop"})
    with place.daemon("a", *ONE) as daemon:
        daemon.says("schedule.applied", SECONDS)
        told = place.command("missed", "--drop", "--yes", *ONE)
        assert (told.returncode, told.stdout) == (0, "nothing was missed\n"), told.stderr
        assert daemon.terminate() == 0


def test_a_drop_that_is_not_confirmed_drops_nothing(place: Place) -> None:
    place.schedule(job("all", catchUp="all"))
    ran(place)
    last = max(at for _, at in place.fires())
    until(lambda: now() > last + 2_000, "a second or two", SECONDS)
    told = place.command("missed", "--drop", *ONE)
    assert told.returncode == 1
    assert "missed fires?" in told.stderr
    assert committed(place.bootstrap, f"{place.prefix}.commands") == []
    later = place.command("missed", "--drop", "--at", "2999-01-01T00:00:00Z", "--yes", *ONE)
    assert later.returncode == 2


def test_only_the_file_that_was_meant_is_adopted(place: Place) -> None:
    jobs = [job(f"j{number}") for number in range(20)]
    place.schedule(*jobs)
    with place.daemon("a", *ONE) as daemon:
        daemon.says("schedule.applied", SECONDS)
        place.schedule(jobs[0])
        daemon.says("schedule.held", SECONDS)
        other = place.directory / "other.json"
        other.write_text('{"jobs": []}')
        refused = place.command("adopt", "--schedule", str(other), *ONE)
        assert refused.returncode == 1
        assert f"the command is for {hashlib.sha256(other.read_bytes()).hexdigest()}" in refused.stderr
        both = place.command("adopt", "--schedule", str(other), "--revision", "x", *ONE)
        assert both.returncode == 2
        adopted = place.command("adopt", "--json", *ONE)
        assert adopted.returncode == 0, adopted.stderr
        assert json.loads(adopted.stdout)["done"] == [0]
        until(lambda: daemon.text().count("schedule.applied") == 2, "the file in force", SECONDS)
        assert daemon.terminate() == 0
    assert [data["command"] for data in events(place, "command.refused")] == ["adopt"]


def test_a_word_that_waited_too_long_is_refused(place: Place) -> None:
    place.schedule(job("all", catchUp="all"))
    told = place.command("accept-clock", "--expires", "1s", "--timeout", "5", *ONE)
    assert told.returncode == 1
    assert "the command is kept until it expires" in told.stderr
    silent = place.command("adopt", "--timeout", "5", *ONE)
    assert "whether they hold a file is not known" in silent.stderr
    with place.daemon("a", *ONE) as daemon:
        daemon.says("shard.taken", SECONDS)
        until(lambda: bool(events(place, "command.refused")), "the answer", SECONDS)
        assert daemon.terminate() == 0
    [data] = events(place, "command.refused")
    assert data["command"] == "accept-clock"
    assert data["why"].startswith("it expired at ")
