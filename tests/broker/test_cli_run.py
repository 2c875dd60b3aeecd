"""`dispatcher run` as a process of its own on a real Kafka: starting, refusing, reloading, stopping."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.tools import installed

pytestmark = pytest.mark.broker
DISPATCHER = str(Path(sys.executable).with_name("dispatcher"))
SECONDS = 30.0


class Running:
    """A daemon, and its log as it is written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, event: str) -> dict[str, Any]:
        """Return the next event of this name; fail when it does not come or the daemon ends."""
        while True:
            line = self._lines.get(timeout=SECONDS)
            assert line is not None, f"ended without {event}: {self.seen}"
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == event:
                return self.seen[-1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)


def schedule(path: Path, *jobs: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"jobs": jobs}), encoding="utf-8")
    return path


def job(name: str, **fields: Any) -> dict[str, Any]:
    return {"jobName": name, "every": "1s", "job": "noop", **fields}


def words(bootstrap: str, prefix: str, path: Path) -> list[str]:
    settings = {"--bootstrap-servers": bootstrap, "--prefix": prefix, "--schedule": str(path)}
    return [word for pair in settings.items() for word in pair]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    command = [DISPATCHER, "run", "--instance", "test", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def refused(*arguments: str) -> tuple[int, str]:
    command = [DISPATCHER, "run", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=SECONDS, env=environment()
    )
    return done.returncode, done.stderr


def tail(bootstrap: str, prefix: str, count: int) -> list[dict[str, Any]]:
    command = [DISPATCHER, "tail", "--json", "--from", "beginning", "--count", str(count)]
    done = subprocess.run(
        [*command, "--bootstrap-servers", bootstrap, "--prefix", prefix],
        capture_output=True, text=True, check=True, timeout=SECONDS, env=environment(),
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fires_are_committed_and_a_signal_ends_it_well(
    kafka: str, prefix: str, tmp_path: Path, number: signal.Signals
) -> None:
    installed(kafka, prefix)
    path = schedule(tmp_path / "schedule.json", job("a"), job("b", priority=9))
    with running(*words(kafka, prefix, path)) as daemon:
        daemon.until("schedule.applied")
        found = tail(kafka, prefix, 6)
        assert {fire["job"] for fire in found} == {"a", "b"}
        assert len({fire["fire"] for fire in found}) == 6
        assert daemon.end(number) == 0


def test_an_edit_takes_force_while_it_runs(kafka: str, prefix: str, tmp_path: Path) -> None:
    installed(kafka, prefix)
    path = schedule(tmp_path / "schedule.json", job("a"))
    with running(*words(kafka, prefix, path)) as daemon:
        daemon.until("schedule.applied")
        path.write_text("{", encoding="utf-8")
        assert "schedule.json:1:2" in json.dumps(daemon.until("schedule.refused"))
        schedule(path, job("a"), job("new"))
        daemon.until("schedule.applied")
        assert any(fire["job"] == "new" for fire in tail(kafka, prefix, 8))
        assert daemon.end() == 0


def test_an_invalid_file_at_the_first_start_exits_with_3_and_all_problems(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    installed(kafka, prefix)
    path = schedule(tmp_path / "schedule.json", job("a", prio=1), job("b", timezone="Moon"))
    code, told = refused(*words(kafka, prefix, path))
    assert code == 3
    problems = [line for line in told.splitlines() if line.startswith(f"{path}:")]
    assert [name for line in problems for name in ('job "a"', 'job "b"') if name in line] == [
        'job "a"', 'job "b"',
    ]  # fmt: skip


def test_an_invalid_file_later_leaves_the_schedule_in_force(kafka: str, prefix: str, tmp_path: Path) -> None:
    installed(kafka, prefix)
    path = schedule(tmp_path / "schedule.json", job("a"))
    with running(*words(kafka, prefix, path)) as daemon:
        daemon.until("schedule.applied")
        tail(kafka, prefix, 1)
        assert daemon.end() == 0
    path.write_text("{", encoding="utf-8")
    with running(*words(kafka, prefix, path)) as daemon:
        daemon.until("schedule.refused")
        before = len(tail(kafka, prefix, 1))
        assert len(tail(kafka, prefix, before + 4)) == before + 4
        assert daemon.end() == 0


def test_missing_topics_exit_with_4_and_the_command_that_mends(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    path = schedule(tmp_path / "schedule.json", job("a"))
    code, told = refused(*words(kafka, prefix, path))
    assert code == 4
    assert f"mend with: dispatcher topics ensure --bootstrap-servers {kafka} --prefix {prefix}" in told


def test_kafka_that_does_not_answer_in_time_exits_with_4(tmp_path: Path) -> None:
    path = schedule(tmp_path / "schedule.json", job("a"))
    code, told = refused(*words("127.0.0.1:1", "none", path), "--wait-seconds", "1")
    assert code == 4
    assert told.splitlines()[-1].startswith("Error: no broker at 127.0.0.1:1 answered")
