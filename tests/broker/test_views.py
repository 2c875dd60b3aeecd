"""What a running dispatcher tells of itself over HTTP, and what the command line tells without its help."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.process import Dispatcher, until
from broker.test_daemon_faults import Place, job

ONE = ("--shards", "1")
HERE = ("--address", "127.0.0.1:0")
SECONDS = 60.0


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


class Views:
    """The views of a process whose log says where they are."""

    def __init__(self, log: str) -> None:
        served = next(line for line in log.splitlines() if "views.served" in line)
        self._base = f"http://127.0.0.1:{json.loads(served)['port']}"

    def code(self, path: str) -> int:
        return ask(self._base + path)[0]

    def json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask(self._base + path)[1])
        return found

    def knows_the_next_fire(self) -> bool:
        return self.json("/status")["shards"][0].get("nextDue") is not None

    def metric(self, series: str) -> float | None:
        for line in ask(f"{self._base}/metrics")[1].splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return None


def views(process: Dispatcher) -> Views:
    process.says("views.served", SECONDS)
    return Views(process.text())


@pytest.mark.broker
def test_replicas_tell_how_they_are_and_how_the_installation_is(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    place = Place(kafka, prefix, tmp_path, shards=1)
    place.install(*ONE)
    place.schedule(job("a"), job("b", enabled=False))
    with (
        place.daemon("first", *ONE, *HERE, "--metrics-per-job", "a") as first,
        place.daemon("second", *ONE, *HERE) as second,
    ):
        pair = [views(first), views(second)]
        until(lambda: all(one.code("/ready") == 200 for one in pair), "both to be ready", SECONDS)
        owner, standby = sorted(pair, key=lambda one: one.metric("dispatcher_shards_owned") != 1)
        assert [one.metric("dispatcher_shards_owned") for one in (owner, standby)] == [1, 0]
        until(lambda: (owner.metric("dispatcher_fires_total") or 0) >= 2, "fires", SECONDS)
        for one in pair:
            assert one.json("/health") == {"alive": True, "healthy": True, "reasons": []}
            until(one.knows_the_next_fire, "the next fire", SECONDS)
            (shard,) = one.json("/status")["shards"]
            assert shard["owner"] == owner.json("/status")["instance"]
            assert shard["cursorAgeSeconds"] < 30
            assert one.metric('dispatcher_overdue_seconds{shard="0"}') == 0
            assert one.metric('dispatcher_ledger_tail_lag{shard="0"}') is not None
        until(lambda: owner.json("/status")["shards"][0]["producerEpoch"] is not None, "its epoch", SECONDS)
        assert owner.metric('dispatcher_jobs{state="disabled"}') == 1
        assert owner.metric('dispatcher_lateness_seconds_count{kind="fresh"}') is not None
        assert_the_command_line_knows(place)
        assert_refusals_are_told(place, owner)
        assert [process.terminate() for process in (first, second)] == [0, 0]
    until(lambda: nobody_is_there(place), "the members to be gone", SECONDS)


def nobody_is_there(place: Place) -> bool:
    gone = place.command("status", *ONE)
    return gone.returncode == 1 and "No dispatcher is in the group" in gone.stderr


def assert_refusals_are_told(place: Place, owner: Views) -> None:
    whole = place.file.read_text()
    place.file.write_text('{"jobs": [{"jobName": "a", "password": "hunter2"}]}')
    until(lambda: "refused" in owner.json("/status")["schedule"], "the refusal", SECONDS)
    refused = owner.json("/status")["schedule"]["refused"]
    assert refused["count"] == len(refused["problems"]) > 0
    assert "hunter2" not in json.dumps(owner.json("/status"))
    assert (owner.metric("dispatcher_reload_refused_since_seconds") or 0) > 1_700_000_000
    table = place.command("status", *ONE).stdout.splitlines()
    assert table[0].split("\t") == [
        "SHARD", "OWNER", "SINCE, UTC", "REVISION", "JOBS", "AGE", "NEXT FIRE, UTC", "STATE"
    ]  # fmt: skip
    assert table[1].split("\t")[-1] == "well"
    assert [line.split("\t")[:2] for line in table[4:6]] == [
        ["dispatcher", "first"],
        ["dispatcher", "second"],
    ]
    assert table[-1].strip() == refused["problems"][-1]
    place.file.write_text(whole)
    until(
        lambda: owner.metric("dispatcher_reload_refused_since_seconds") == 0, "the file to be well", SECONDS
    )
    assert owner.metric("dispatcher_reloads_refused_total") == 1


def assert_the_command_line_knows(place: Place) -> None:
    done = place.command("status", "--json", *ONE)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["well"], told["troubles"], told["workers"]) == (True, [], [])
    assert [one["instance"] for one in told["replicas"]] == ["first", "second"]
    (shard,) = told["shards"]
    assert (shard["jobs"], shard["overdueSeconds"]) == (2, 0)
    assert shard["owner"]["instance"] in ("first", "second")


@contextmanager
def nobody() -> Iterator[str]:
    """Yield an address at which nobody answers."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("command", ["run", "work"])
def test_a_process_that_waits_for_kafka_is_well_and_not_ready(tmp_path: Path, command: str) -> None:
    flag = "--address" if command == "run" else "--work-address"
    log = tmp_path / "log"
    with nobody() as bootstrap, log.open("wb") as stderr:
        words = [sys.executable, "-m", "dispatcher", command, "--bootstrap-servers", bootstrap]
        process = subprocess.Popen([*words, flag, "127.0.0.1:0", "--log-format", "json"], stderr=stderr)
        try:
            until(lambda: "views.served" in log.read_text(), "views", SECONDS)
            here = Views(log.read_text())
            assert (here.code("/health"), here.code("/ready"), here.code("/status")) == (200, 503, 200)
            assert "Kafka has not answered yet" in here.json("/ready")["reasons"][0]
            assert here.metric(f"dispatcher_{'' if command == 'run' else 'worker_'}ready") == 0
            assert here.code("/wanted") == (404 if command == "run" else 503)
            assert here.metric("process_open_fds") is not None
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def test_an_address_that_cannot_be_had_ends_a_start_with_3(tmp_path: Path) -> None:
    with nobody() as address:
        words = [sys.executable, "-m", "dispatcher", "run", "--bootstrap-servers", "localhost:1"]
        done = subprocess.run(
            [*words, "--address", address], capture_output=True, text=True, check=False, cwd=tmp_path
        )
    assert done.returncode == 3
    assert f"Error: address {address}: cannot be listened on: Address already in use" in done.stderr
