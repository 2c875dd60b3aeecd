"""A program under a warden, seen from the worker: start it, wait for news, have it ended, learn how it was.

One thread uses a ward. It never waits without a limit for what the program may hold back.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from dispatcher.service import Deadline
from dispatcher.work import frames
from dispatcher.work.handling import Cancel
from dispatcher.work.surroundings import HOMES, python_path

MOST_KEPT = 64 * 1024
_LONGEST_POLL_MS = 86_400_000
_HASTE_S = 5.0
"""How long a warden may take over what needs no waiting."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a warden is to run. The first of `argv` is the program's absolute path.

    `input` is what it reads. It runs in `directory`, made for it alone, which `homes` name in its
    environment. `keep` is how many bytes of its output are kept, `memory` how many it may have of its own,
    `grace` how many seconds what it leaves behind gets to end.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    input: str | None = None
    keep: int = MOST_KEPT
    grace: float = 5.0
    memory: int | None = None
    directory: str = field(default_factory=lambda: f"{tempfile.gettempdir()}/dispatcher-{uuid4().hex}")
    homes: tuple[str, ...] = HOMES


@dataclass(frozen=True, slots=True)
class End:
    """How a program ended: its exit status or the signal that ended it, and what is kept of its output.

    `left` is how many processes it left behind, which were ended. Neither status nor signal: it could not
    be learned, for the reason in `lost`.
    """

    code: int | None = None
    signal: int | None = None
    output: str = ""
    left: int = 0
    lost: str = ""

    def text(self) -> str:
        """Say in words how it ended."""
        if self.signal is not None:
            with suppress(ValueError):
                return f"was ended by signal {self.signal} ({signal.Signals(self.signal).name})"
            return f"was ended by signal {self.signal}"
        return self.lost if self.code is None else f"ended with status {self.code}"


class Unstartable(Exception):
    """The program, or the warden, cannot be started; the text says why."""


class Bell:
    """Rings when a run is to end: something to wait for beside what can be read."""

    def __init__(self, cancel: Cancel) -> None:
        self._there, self._here = socket.socketpair()
        self._there.settimeout(0)
        cancel.then(self._ring)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._here.close()
        self._there.close()

    def fileno(self) -> int:
        """Return what can be read once it has rung."""
        return self._here.fileno()

    def _ring(self) -> None:
        with suppress(OSError):  # nobody listens any more
            self._there.send(b"!")


def first_of(deadline: Deadline | None, *watched: Bell | socket.socket) -> Bell | socket.socket | None:
    """Wait for the first that can be read, the earlier named if there are several; None: it is too late."""
    poll = select.poll()
    for one in watched:
        poll.register(one.fileno(), select.POLLIN)
    while True:
        left = None if deadline is None else 1000 * deadline.left()
        ready = dict(poll.poll(left and min(left, _LONGEST_POLL_MS)))
        if ready or (left is not None and left <= _LONGEST_POLL_MS):
            break
    return next((one for one in watched if one.fileno() in ready), None)


class Ward:
    """A program that runs under its own warden. Raises Unstartable; to be closed."""

    def __init__(self, order: Order, *, handing: socket.socket | None = None) -> None:
        self._end: End | None = None
        self._pid: int | None = None
        self._directory = order.directory
        self.control, theirs = socket.socketpair()
        passed = () if handing is None else (handing.fileno(),)
        try:
            self._warden = _warden(theirs, passed)
        except OSError as error:
            self.control.close()
            raise Unstartable(f"cannot be started: {error.strerror or error}") from error
        finally:
            theirs.close()
        self.control.settimeout(_HASTE_S)
        try:
            frames.send(self.control, {**asdict(order), "pass": passed[0] if passed else None})
            answer = frames.receive(self.control)
        except frames.Lost as lost:
            self.close()
            raise Unstartable(f"cannot be started: its warden failed: {lost}") from lost
        self._pid = answer.get("started")
        if self._pid is None:
            self.close()
            raise Unstartable(f"cannot be started: {answer.get('unstartable')}")

    def wait(self, bell: Bell, deadline: Deadline | None) -> End | None:
        """Wait until it has ended by itself; None: it is told to end, or it is too late."""
        return self.ended() if first_of(deadline, self.control, bell) is self.control else None

    def end(self, grace: float) -> End:
        """Have it ended: asked first, killed after the grace. Returns soon after that, whatever it does."""
        if self._end is not None:
            return self._end
        with suppress(frames.Lost):
            frames.send(self.control, {"end": grace})
        if first_of(Deadline(grace + _HASTE_S), self.control) is None:
            self._end = End(lost="could not be ended")
            return self._end
        return self.ended()

    def ended(self) -> End:
        """Return how it ended, which is there to be read."""
        if self._end is None:
            self._end = self._told()
        return self._end

    def take(self) -> tuple[str, int]:
        """Return what it wrote since the last time, and how many processes run beside it. Raises Lost."""
        frames.send(self.control, {"take": True})
        said = frames.receive(self.control)
        if "status" in said:
            self._end = _end_of(said)
            raise frames.Lost(self._end.text())
        return str(said["output"]), int(said["more"])

    def close(self) -> None:
        """Kill whatever still runs of it, and let go of the warden."""
        self.control.close()
        try:
            failed = self._warden.wait(_HASTE_S)
        except subprocess.TimeoutExpired:
            self._warden.kill()
            failed = self._warden.wait()
        if failed:
            self._clean_up()

    def _clean_up(self) -> None:
        """Do as much of the warden's work as can be done without it: it was killed itself."""
        if self._pid is not None:
            with suppress(OSError):
                os.killpg(self._pid, signal.SIGKILL)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _told(self) -> End:
        try:
            said = frames.receive(self.control)
        except frames.Lost:
            return End(lost="was lost: its warden did not tell how it ended")
        return _end_of(said)


def _end_of(said: dict[str, Any]) -> End:
    status = said["status"]
    if os.WIFSIGNALED(status):
        return End(signal=os.WTERMSIG(status), output=said["output"], left=said["left"])
    return End(os.WEXITSTATUS(status), output=said["output"], left=said["left"])


def _warden(control: socket.socket, passed: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a warden: without site packages, and with nothing in its environment that others may read."""
    return subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-m", "dispatcher.work.warden"],
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        env={"PYTHONPATH": python_path()},
        cwd="/",
        pass_fds=passed,
        start_new_session=True,
    )
