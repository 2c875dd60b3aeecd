"""An end by an error is told to the supervisor with its reason."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dispatcher.cli.supervision import in_turn, supervised
from dispatcher.errors import KafkaUnreachable


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    path = str(tmp_path / "notify")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(path)
    made.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    return made


def test_an_error_is_told_as_the_last_thing(supervisor: socket.socket) -> None:
    def fail() -> None:
        with supervised():
            assert "NOTIFY_SOCKET" not in os.environ
            raise KafkaUnreachable("no broker at host:9092 answered\nwithin 3 s")

    with supervisor:
        with pytest.raises(KafkaUnreachable):
            fail()
        told: list[list[str]] = []
        while not told or told[-1][0] != "STOPPING=1":
            told.append(supervisor.recv(4096).decode().split("\n"))
        assert told[-1] == ["STOPPING=1", "STATUS=failed: no broker at host:9092 answered; within 3 s"]


def test_a_good_end_needs_no_words(supervisor: socket.socket) -> None:
    with supervisor:
        with supervised() as herald:
            assert supervisor.recv(4096).startswith(b"EXTEND_TIMEOUT_USEC=")
            assert supervisor.recv(4096) == b"STATUS=starting"
        assert herald is not None
        supervisor.settimeout(0)
        with pytest.raises(BlockingIOError):
            supervisor.recv(4096)


def test_calls_are_made_in_turn() -> None:
    made: list[int] = []
    in_turn(lambda: made.append(1), lambda: made.append(2))()
    assert made == [1, 2]
