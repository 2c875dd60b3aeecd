"""Triggers, retries, pauses and cancellations on a real installation, through kill -9."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from broker.process import until
from broker.test_daemon_faults import Place, job, now, text
from broker.tools import committed
from dispatcher.core.command import Command, Parcel, encode_command, retry_id
from dispatcher.core.instant import to_text
from dispatcher.core.partitioner import murmur2
from dispatcher.kafka.config import Connection
from dispatcher.kafka.live import CommandWriter

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]
SECONDS = 60.0
SHARDS = 2
MANY = ("--shards", str(SHARDS))


@pytest.fixture
def place(kafka: str, prefix: str, tmp_path: Path) -> Place:
    place = Place(kafka, prefix, tmp_path, shards=SHARDS)
    place.install(*MANY)
    return place


def word(place: Place, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command that asks something, with its answer as JSON."""
    told = place.command(*words, "--json", *MANY)
    assert told.returncode == code, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def runs(place: Place) -> Counter[tuple[str, int]]:
    """Return (fire, attempt) of every committed message."""
    found: Counter[tuple[str, int]] = Counter()
    for partition in range(12):
        for one in committed(place.bootstrap, f"{place.prefix}.jobs.normal", partition):
            head = dict(one.headers() or [])
            found[text(head["ce_id"]), int(text(head["attempt"]))] += 1
    return found


def told(place: Place, kind: str) -> Counter[tuple[str, int]]:
    """Return (fire, attempt) of every event of a type about a run."""
    found: Counter[tuple[str, int]] = Counter()
    for shard in range(SHARDS):
        for one in committed(place.bootstrap, f"{place.prefix}.events", shard):
            head = dict(one.headers() or [])
            if text(head["ce_type"]) == kind and "attempt" in head:
                found[text(head["fire"]), int(text(head["attempt"]))] += 1
    return found


def retry(place: Place, fire: str, attempt: int, at: int) -> Command:
    """Return what a worker writes whose run of a committed fire failed."""
    for partition in range(12):
        for one in committed(place.bootstrap, f"{place.prefix}.jobs.normal", partition):
            head = {name: text(value).encode() for name, value in dict(one.headers() or []).items()}
            if head["ce_id"].decode() == fire:
                parcel = Parcel(
                    f"{place.prefix}.jobs.normal", one.key(), one.value() or b"", (*head.items(),)
                )
                return Command(
                    "retry", retry_id(fire, attempt), job=fire.partition("!")[0], fire=fire, attempt=attempt,
                    at=at, parcel=parcel, origin="pool",
                )  # fmt: skip
    raise AssertionError(f"{fire} was never committed")


def write(place: Place, command: Command, times: int = 1) -> None:
    writer = CommandWriter(Connection(place.bootstrap), f"{place.prefix}.commands")
    for _ in range(times):
        writer.write(encode_command(command), [murmur2((command.job or "").encode()) % SHARDS], 10)
    writer.close()


def test_what_is_asked_of_jobs_is_done_once_through_kills(place: Place) -> None:
    daily = {"cronTime": "0 0 1 1 *", "job": "noop"}
    jobs: list[dict[str, Any]] = [
        {"jobName": "rare", **daily},
        {"jobName": "off", "enabled": False, **daily},
        job("often"),
    ]
    place.schedule(*jobs)
    flags = MANY
    with place.daemon("a", *flags) as daemon:
        daemon.says("schedule.applied", SECONDS)
        assert word(place, "trigger", "rare", "--id", "one")["fire"] == "rare!one"
        assert word(place, "trigger", "off", "--id", "one")["fire"] == "off!one"
        assert word(place, "pause", "often")["done"] is True
        until(lambda: runs(place)["rare!one", 1] == runs(place)["off!one", 1] == 1, "the triggers", SECONDS)
        paused = now()
        until(lambda: ("often", "paused", 1) in place.skips(), "a paused fire", SECONDS)
        at = now() + 8_000
        write(place, retry(place, "rare!one", 2, at), times=3)
        write(place, retry(place, "off!one", 2, at + 3_600_000))
        until(lambda: "retry, attempt 2" in next_in_force(place, "off"), "a retry to come", SECONDS)
        daemon.kill()
    assert f"skipped: paused since {to_text(paused)[:10]}" in next_in_force(place, "often")
    with place.daemon("b", *flags) as daemon:
        daemon.says("shard.taken", SECONDS)
        again = word(place, "trigger", "rare", "--id", "one")
        assert (again["fire"], again["repeated"]) == ("rare!one", True)
        write(place, retry(place, "rare!one", 2, at))
        until(lambda: runs(place)["rare!one", 2] == 1, "the retry", SECONDS)
        assert now() >= at
        [end] = word(place, "cancel", "off!one")["cancelled"]
        assert end["attempt"] == 2
        resumed = now()
        assert word(place, "resume", "often")["done"] is True
        until(lambda: place.fires_on(resumed, "often"), "fires again", SECONDS)
        daemon.kill()
    with place.daemon("c", *flags) as daemon:
        daemon.says("shard.taken", SECONDS)
        assert word(place, "trigger", "rare", "--id", "two")["fire"] == "rare!two"
        until(lambda: runs(place)["rare!two", 1] == 1, "another trigger", SECONDS)
        assert daemon.terminate() == 0
    asked = {run: times for run, times in runs(place).items() if not run[0].startswith("often@")}
    assert asked == {("rare!one", 1): 1, ("off!one", 1): 1, ("rare!one", 2): 1, ("rare!two", 1): 1}
    assert told(place, "run.triggered") == {("rare!one", 1): 1, ("off!one", 1): 1, ("rare!two", 1): 1}
    assert told(place, "run.cancelled") == {("off!one", 2): 1}
    sent = [planned for name, planned in place.fires() if name == "often"]
    assert not [planned for planned in sent if paused <= planned < resumed - 1_000], "a paused job fired"
    assert max(Counter(run for run in runs(place).elements()).values()) == 1


def next_in_force(place: Place, name: str) -> str:
    told = place.command("next", name, "--in-force", "--count", "2", *MANY)
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_what_cannot_be_done_is_told_in_a_sentence(place: Place) -> None:
    place.schedule({"jobName": "rare", "cronTime": "0 0 1 1 *", "job": "noop"})
    silent = place.command("trigger", "rare", "--timeout", "1", "--expires", "2s", *MANY)
    assert silent.returncode == 1
    assert "did not answer within 1 s; it will when a dispatcher runs" in silent.stderr
    with place.daemon("a", *MANY) as daemon:
        daemon.says("schedule.applied", SECONDS)
        cases = [
            (("trigger", "nobody"), "no job 'nobody' is in force in this shard"),
            (("resume", "rare"), "resume: nothing to do, rare is not paused"),
            (("cancel", "rare!none", "--timeout", "3"), "cancel: nobody knew rare!none: nothing of it waits"),
        ]
        for words, why in cases:
            result = place.command(*words, *MANY)
            assert result.returncode == 1
            assert why in result.stderr
        plain = place.command("trigger", "rare", "--id", "x", *MANY)
        assert plain.stdout == "trigger: rare!x is fired\n", plain.stderr
        assert place.command("pause", "rare", *MANY).stdout == "pause: rare is paused\n"
        assert "pause: nothing to do, rare is paused already" in place.command("pause", "rare", *MANY).stderr
        assert place.command("resume", "rare", *MANY).stdout == "resume: rare fires again\n"
        assert daemon.terminate() == 0
    assert set(runs(place)) == {("rare!x", 1)}, "the trigger that waited too long was refused"
