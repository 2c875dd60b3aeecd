"""The small parts that child processes stand on."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import nothing_left

from dispatcher.service import Deadline
from dispatcher.work import frames, reaping
from dispatcher.work.handling import Cancel
from dispatcher.work.kept import Kept
from dispatcher.work.ward import Bell, Order, Unstartable, Ward, first_of


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.settimeout(5)
    other.settimeout(5)
    with one, other:
        yield one, other


Pair = tuple[socket.socket, socket.socket]


def test_values_arrive_one_after_another(pair: Pair) -> None:
    for value in ({"a": 1}, {"b": "\N{BROKEN HEART}\0"}):
        frames.send(pair[0], value)
        assert frames.receive(pair[1]) == value


def test_large_values_arrive_in_pieces(pair: Pair) -> None:
    value = {"x": "y" * 3_000_000}
    thread = threading.Thread(target=frames.send, args=(pair[0], value))
    thread.start()
    assert frames.receive(pair[1]) == value
    thread.join()


@pytest.mark.parametrize(
    "said", [b"\xff\xff\xff\xff", b"\0\0\0\1x", b"\0\0\0\2[]", b"\0\0\0\2\xff\xfe", b"\0\0\0\x05[[[[["]
)
def test_nonsense_is_known_as_such(pair: Pair, said: bytes) -> None:
    pair[0].sendall(said)
    with pytest.raises(frames.Lost) as caught:
        frames.receive(pair[1])
    assert caught.value.nonsense


@pytest.mark.parametrize("said", [b"", b"\0\0", b"\0\0\0\x09{"])
def test_the_end_of_the_other_side_is_no_nonsense(pair: Pair, said: bytes) -> None:
    pair[0].sendall(said)
    pair[0].close()
    with pytest.raises(frames.Lost) as caught:
        frames.receive(pair[1])
    assert not caught.value.nonsense


def test_nobody_takes_what_is_said_to_the_dead(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(frames.Lost):
        frames.send(pair[0], {"x": "y" * 1_000_000})


@pytest.mark.parametrize(
    ("pieces", "most", "text"),
    [
        ([], 10, ""),
        ([b"0123456789"], 10, "0123456789"),
        ([b"0", b"123", b"456789"], 10, "0123456789"),
        ([b"0123456789a"], 10, "01234\n… 1 bytes are left out …\n6789a"),
        ([b"0123", b"4567", b"89abc"] * 100, 10, "01234\n… 1290 bytes are left out …\n89abc"),
        ([b"0123\xf0\x9f\x92\x94"], 8, "0123\N{BROKEN HEART}"),
        ([b"\xff\xff"], 2, "\n… some is left out …\n"),
    ],
)
def test_head_and_tail_are_kept(pieces: list[bytes], most: int, text: str) -> None:
    kept = Kept(most)
    for piece in pieces:
        kept.add(piece)
    assert kept.text() == text


def test_what_is_kept_stays_small() -> None:
    kept = Kept(1000)
    for _ in range(1000):
        kept.add(b"x" * 10_000)
    assert len(kept._head) + len(kept._tail) <= 4000


@pytest.mark.parametrize("told", [True, False], ids=["listed", "searched"])
def test_every_process_below_is_found(monkeypatch: pytest.MonkeyPatch, *, told: bool) -> None:
    if not told:
        monkeypatch.setattr(reaping, "_TOLD", Path("/nowhere"))
    with (
        nothing_left(),
        subprocess.Popen(
            ["/bin/sh", "-c", "sleep 1000 & echo $!; exec sleep 1000"], stdout=subprocess.PIPE
        ) as parent,
    ):
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert {parent.pid, child} <= set(reaping.below(os.getpid()))
        assert set(reaping.below(parent.pid)) == {child}
        assert list(reaping.below(child)) == []
        os.kill(child, 9)
        parent.kill()


def test_a_bell_rings_once_the_run_is_to_end() -> None:
    cancel = Cancel()
    with Bell(cancel) as bell:
        assert first_of(Deadline(0), bell) is None
        cancel.set("now")
        assert first_of(Deadline(5), bell) is bell
    with Bell(cancel) as late:
        assert first_of(Deadline(5), late) is late


def test_what_came_first_counts_before_the_bell(pair: Pair) -> None:
    cancel = Cancel()
    with Bell(cancel) as bell:
        cancel.set("now")
        pair[0].sendall(b"x")
        assert first_of(Deadline(5), pair[1], bell) is pair[1]


def test_a_directory_that_cannot_be_made_is_told() -> None:
    with nothing_left(), pytest.raises(Unstartable, match="its directory /nowhere/x cannot be made: No such"):
        Ward(Order(["/bin/true"], {}, directory="/nowhere/x"))


def test_an_interpreter_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with nothing_left(), pytest.raises(Unstartable, match="cannot be started: No such file"):
        Ward(Order(["/bin/true"], {}))


def test_a_stopped_warden_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dispatcher.work.ward._HASTE_S", 0.5)
    began = time.monotonic()
    with nothing_left(tmp_path):
        ward = Ward(Order(["/bin/sleep", "1000"], {}, directory=f"{tmp_path}/dispatcher-x"))
        os.kill(ward._warden.pid, 19)
        assert ward.end(0.1).text() == "could not be ended"
        ward.close()
    assert time.monotonic() - began < 10


def test_a_limit_of_years_is_waited_for_all_the_same() -> None:
    with Bell(Cancel()) as bell:
        late = threading.Timer(0.1, bell._ring)
        late.start()
        assert first_of(Deadline(315_360_000), bell) is bell
        late.join()
