"""What a supervisor is told, in which order, and when it is told nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dispatcher.notify import Herald, Notifier, View, status
from dispatcher.service import Deadline

READY = View("owns all", ready=True)
STILL = "shard 1 has not moved for 61 s"


class Supervisor:
    """A socket as systemd has one."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(10)

    def next(self) -> list[str]:
        """Return the next message, once there is one."""
        return self._socket.recv(4096).decode().split("\n")

    def heard(self) -> list[list[str]]:
        """Return the messages that have come."""
        self._socket.setblocking(False)  # noqa: FBT003 - the library's own signature
        found = []
        try:
            while True:
                found.append(self.next())
        except BlockingIOError:
            self._socket.settimeout(10)
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def supervisor(path: str) -> Iterator[Supervisor]:
    made = Supervisor(path)
    yield made
    made.close()


class Bench:
    """A herald whose steps a test makes; time and process are in its hands."""

    def __init__(self, path: str, **environment: str) -> None:
        self.now = 100.0
        self.view = View("starting")
        self.through = False
        self.notifier = Notifier({"NOTIFY_SOCKET": path, **environment})
        self.herald = Herald(self.notifier, seconds=lambda: self.now)
        self.show()

    def show(self) -> None:
        self.herald.show(lambda: self.view, reloaded=lambda: self.through)

    def step(self, seconds: float = 0.0, **view: Any) -> None:
        """Let time pass and the process change, and have it looked at; all that waits is taken."""
        self.now += seconds
        self.view = replace(self.view, **view)
        self.show()
        while not self.herald._words.empty():
            self.herald._step()


@pytest.fixture
def bench(path: str, supervisor: Supervisor) -> Iterator[Bench]:
    made = Bench(path)
    yield made
    made.notifier.close()


@pytest.fixture
def watched(path: str, supervisor: Supervisor) -> Iterator[Bench]:
    """One of which a sign of life is wanted every 30 seconds."""
    made = Bench(path, WATCHDOG_USEC="30000000")
    yield made
    made.notifier.close()


def test_without_a_socket_nothing_runs_and_nothing_is_said() -> None:
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        notifier = Notifier(dict(environment))
        assert not notifier.listened_to
        assert not notifier.send("READY=1")
        herald = Herald(notifier)
        herald.start()
        herald.reloading()
        herald.ended("failed")
        herald.stop()
        assert herald.join(Deadline(0))
        notifier.close()


def test_an_abstract_name_is_a_socket_too() -> None:
    name = f"dispatcher-test-{os.getpid()}"
    supervisor = Supervisor("\0" + name)
    notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"})
    assert notifier.send("READY=1", "STATUS=so")
    assert supervisor.next() == ["READY=1", "STATUS=so"]
    notifier.close()
    supervisor.close()


def test_a_socket_that_goes_away_raises_nothing(bench: Bench, path: str, supervisor: Supervisor) -> None:
    supervisor.close()
    bench.step(ready=True)
    bench.herald.ended("failed")
    assert not bench.herald._ready  # it is tried again
    again = Supervisor(path + "2")
    Path(path).unlink()
    Path(path + "2").rename(path)
    bench.step(1)
    assert again.next()[0] == "READY=1"
    again.close()


def test_no_child_speaks_for_the_process(path: str, supervisor: Supervisor) -> None:
    del supervisor
    environment = {
        "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/",
    }  # fmt: skip
    Notifier(environment).close()
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("limit", "process", "seconds"),
    [
        ("2000000", "", 2.0),
        ("2000000", "ours", 2.0),
        ("2000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_the_watchdog_of_another_process_is_none_of_ours(
    limit: str, process: str, seconds: float | None
) -> None:
    process = str(os.getpid()) if process == "ours" else process
    notifier = Notifier({"NOTIFY_SOCKET": "/absent", "WATCHDOG_USEC": limit, "WATCHDOG_PID": process})
    assert notifier.watchdog_seconds == seconds
    notifier.close()


def test_ready_is_said_once_and_only_when_it_is_so(bench: Bench, supervisor: Supervisor) -> None:
    bench.step()
    assert supervisor.heard() == [["EXTEND_TIMEOUT_USEC=60000000"], ["STATUS=starting"]]
    bench.step(words="takes shards")
    assert supervisor.heard() == [["STATUS=takes shards"]]
    bench.step(words="owns all", ready=True)
    assert supervisor.heard() == [["READY=1", "STATUS=owns all"]]
    bench.step(60, ready=False)
    bench.step(60, ready=True)
    assert supervisor.heard() == []


def test_a_long_start_asks_for_more_time_while_it_moves(bench: Bench, supervisor: Supervisor) -> None:
    bench.step()
    supervisor.heard()
    bench.step(14)
    assert supervisor.heard() == []
    bench.step(1)
    assert supervisor.heard() == [["EXTEND_TIMEOUT_USEC=60000000"]]
    bench.step(60, still=(STILL,))
    assert supervisor.heard() == [[f"STATUS=stands still: {STILL}"]]
    bench.step(60)
    assert supervisor.heard() == []
    bench.step(still=(), ready=True)
    bench.step(60)
    assert supervisor.heard() == [["READY=1", "STATUS=starting"]]


def test_words_are_told_when_they_change_and_not_too_often(bench: Bench, supervisor: Supervisor) -> None:
    bench.step(ready=True)
    supervisor.heard()
    bench.step(4.9, words="1 waits")
    assert supervisor.heard() == []
    bench.step(0.1, words="2 wait")
    bench.step(20)
    assert supervisor.heard() == [["STATUS=2 wait"]]


def test_a_sign_of_life_comes_twice_in_each_limit_while_all_moves(
    watched: Bench, supervisor: Supervisor
) -> None:
    bench = watched
    bench.step(ready=True)
    supervisor.heard()
    bench.step(14.9)
    assert supervisor.heard() == []
    bench.step(0.1)
    assert supervisor.heard() == [["WATCHDOG=1"]]
    with capture_logs() as told:
        bench.step(15, still=(STILL,))
        bench.step(60, still=("shard 1 has not moved for 121 s",))
        assert [line for one in supervisor.heard() for line in one if line == "WATCHDOG=1"] == []
        bench.step(still=())
    assert ["WATCHDOG=1"] in supervisor.heard()
    assert [(line["event"], line.get("reasons")) for line in told] == [
        ("process.still", [STILL]), ("process.moves", None),
    ]  # fmt: skip


def test_a_look_that_fails_is_no_sign_of_life_and_no_end(watched: Bench, supervisor: Supervisor) -> None:
    def fail() -> View:
        raise RuntimeError("dictionary changed size during iteration")

    with capture_logs() as told:
        watched.herald.show(fail)
        while not watched.herald._words.empty():
            watched.herald._step()
    assert {(line["event"], line["error"]) for line in told} == {
        ("process.unseen", "RuntimeError: dictionary changed size during iteration")
    }
    assert ["WATCHDOG=1"] not in supervisor.heard()
    watched.step(ready=True)
    assert ["WATCHDOG=1"] in supervisor.heard()


def test_a_reload_is_told_with_its_begin_and_its_end(bench: Bench, supervisor: Supervisor) -> None:
    bench.step(ready=True)
    supervisor.heard()
    bench.herald.reloading()
    bench.step(words="reload refused: line 1")
    begin, *more = supervisor.heard()
    assert more == []
    assert begin[0] == "RELOADING=1"
    assert begin[1].startswith("MONOTONIC_USEC=")
    assert begin[1].removeprefix("MONOTONIC_USEC=").isdecimal()
    assert begin[2] == "STATUS=reloading"
    bench.through = True
    bench.step()
    bench.step()
    assert supervisor.heard() == [["READY=1", "STATUS=reload refused: line 1"]]


def test_a_reload_that_takes_long_ends_for_the_supervisor(bench: Bench, supervisor: Supervisor) -> None:
    bench.step(ready=True)
    bench.herald.reloading()
    bench.step()
    supervisor.heard()
    bench.step(9.9)
    assert supervisor.heard() == []
    bench.step(0.1)
    assert supervisor.heard() == [["READY=1", "STATUS=starting"]]


def test_a_reload_before_ready_is_part_of_the_start(bench: Bench, supervisor: Supervisor) -> None:
    bench.herald.reloading()
    bench.step()
    assert supervisor.heard() == [["EXTEND_TIMEOUT_USEC=60000000"], ["STATUS=starting"]]


def test_an_end_is_told_once_and_nothing_counts_as_still_then(watched: Bench, supervisor: Supervisor) -> None:
    bench = watched
    bench.herald.show(lambda: View("starting"), end_seconds=10)
    bench.step(ready=True)
    supervisor.heard()
    bench.herald.stopping()
    bench.herald.stopping()
    bench.herald.reloading()
    bench.step()
    assert supervisor.heard() == [["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000", "STATUS=stopping"]]
    bench.step(15, still=(STILL,))
    assert supervisor.heard() == [["STATUS=stopping"], ["WATCHDOG=1"]]
    bench.herald.ended("failed: no\nbroker")
    assert supervisor.heard() == [["STOPPING=1", "STATUS=failed: no; broker"]]


def test_a_status_is_one_line_of_bounded_length() -> None:
    assert status("a:\n\n  b\tc \r\n d") == "STATUS=a:; b c; d"
    assert len(status("x" * 5000)) == 1007
    assert status("\ud800").startswith("STATUS=")


def test_a_herald_runs_by_itself(path: str, supervisor: Supervisor) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path})
    herald = Herald(notifier)
    herald.start()
    assert supervisor.next() == ["EXTEND_TIMEOUT_USEC=60000000"]
    assert supervisor.next() == ["STATUS=starting"]
    herald.show(lambda: READY)
    assert supervisor.next() == ["READY=1", "STATUS=owns all"]
    herald.stop()
    assert herald.join(Deadline(5))
    notifier.close()
