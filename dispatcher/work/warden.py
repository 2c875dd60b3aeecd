"""The warden: a small process that runs one program and answers for everything below it.

Started as `python -m dispatcher.work.warden`, it gets an order on the socket that is its standard input,
runs the program in a session and an empty directory of its own, keeps what it writes, and tells how it
ended. It leaves nothing behind: what the program started ends with it, whatever group or session it is in.
When the worker goes away, and the socket with it, everything is killed at once.

    worker: order, then any of {"end": grace} and {"take": true}
    warden: {"started": pid} or {"unstartable": why}; {"output": text, "more": n} for a take;
            {"status": n, "output": text, "left": n} once, when nothing runs any more
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dispatcher.work import frames
from dispatcher.work.kept import Kept
from dispatcher.work.reaping import adopt_orphans, ask_to_end, below, kill_all, reap

_PIECE = 256 * 1024
_AGAIN_S = 0.05
_PIPES_FULL = 20
_OPEN_FILES = 1024
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)
"""Not for the warden: it ends when all below it has. Programs begin with none of them ignored."""


def main() -> None:
    """Carry out one order."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    control = socket.socket(fileno=os.dup(0))
    bind = adopt_orphans()
    try:
        order = frames.receive(control)
    except frames.Lost:
        return
    directory = Path(order["directory"])
    try:
        directory.mkdir(0o700)
    except OSError as error:
        _tell(control, {"unstartable": f"its directory {directory} cannot be made: {error.strerror}"})
        return
    try:
        _carry_out(order, directory, control, bind)
    except OSError as error:
        _tell(control, {"unstartable": str(error.strerror or error)})
    finally:
        _remove(directory)


def _carry_out(
    order: dict[str, Any], directory: Path, control: socket.socket, bind: Callable[[], None]
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    pid, why = _started(order, directory, writing, bind)
    os.close(writing)
    if why:
        _tell(control, {"unstartable": why})
        return
    _tell(control, {"started": pid})
    _tell(control, Warden(pid, control, reading, keep=order["keep"], grace=order["grace"]).watch())


class Warden:
    """Watches over a program until nothing of it runs any more. `grace` is what leftovers get to end."""

    def __init__(self, pid: int, control: socket.socket, output: int, *, keep: int, grace: float) -> None:
        self._pid = pid
        self._control = control
        self._output = output
        self._keep = keep
        self._kept = Kept(keep)
        self._grace = grace
        self._status: int | None = None
        self._left = 0
        self._kill_at: float | None = None
        self._poll = select.poll()
        for watched in (control.fileno(), output, _woken_by_children()):
            self._poll.register(watched, select.POLLIN)

    def watch(self) -> dict[str, Any]:
        """Return how it ended, once all has."""
        while self._reaped():
            self._press()
            for ready, _ in self._poll.poll(self._patience()):
                if ready == self._control.fileno():
                    self._obey()
                elif ready == self._output:
                    self._read()
                else:
                    os.read(ready, _PIECE)
        self._drain()
        return {"status": self._status, "output": self._kept.text(), "left": self._left}

    def _reaped(self) -> bool:
        """Take in what has ended; return whether anything is left."""
        ended = dict[int, int]()
        try:
            ended.update(reap())
        except ChildProcessError:
            return False
        finally:
            self._status = ended.get(self._pid, self._status)
        if self._pid in ended:
            self._left = sum(1 for _ in below(os.getpid()))
            self._end(self._grace)
        return True

    def _obey(self) -> None:
        try:
            said = frames.receive(self._control)
        except frames.Lost:
            self._poll.unregister(self._control.fileno())
            self._kill_at = time.monotonic()
            return
        if "end" in said:
            self._end(said["end"])
        elif "take" in said:
            self._drain()
            more = set(below(os.getpid())) - {self._pid}
            _tell(self._control, {"output": self._kept.text(), "more": len(more)})
            self._kept = Kept(self._keep)

    def _end(self, grace: float) -> None:
        """Ask all to end, once; what has not after the grace is killed. The nearest end counts."""
        at = time.monotonic() + grace
        if self._kill_at is None:
            ask_to_end(self._pid)
        self._kill_at = at if self._kill_at is None else min(at, self._kill_at)

    def _press(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            kill_all(self._pid)

    def _patience(self) -> float | None:
        """Return the milliseconds to wait for news."""
        if self._kill_at is None:
            return None
        return 1000 * max(_AGAIN_S, self._kill_at - time.monotonic())

    def _drain(self) -> None:
        """Read what was written so far; what somebody goes on writing meanwhile must not hold this up."""
        for _ in range(_PIPES_FULL):
            if not self._read():
                return

    def _read(self) -> bool:
        """Read what the program wrote; return whether there may be more."""
        try:
            data = os.read(self._output, _PIECE)
        except BlockingIOError:
            return False
        self._kept.add(data)
        if not data:
            with suppress(KeyError):
                self._poll.unregister(self._output)
        return bool(data)


def _woken_by_children() -> int:
    """Return what can be read whenever a child has ended."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return reading


def _started(
    order: dict[str, Any], directory: Path, output: int, bind: Callable[[], None]
) -> tuple[int, str]:
    """Start the program; return its process and, when it could not be started, why."""
    given = _input(order.get("input"), directory)
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            _become(order, directory, (given, output), bind)
        except BaseException as error:  # noqa: BLE001 - the copy of this process ends here, whatever happens
            told = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            os.write(writing, told.encode()[:1000])
        finally:
            os._exit(127)
    for done_with in (writing, given, *_passed(order)):
        os.close(done_with)
    with os.fdopen(reading, "rb") as failure:
        return pid, failure.read().decode(errors="replace")


def _become(
    order: dict[str, Any], directory: Path, streams: tuple[int, int], bind: Callable[[], None]
) -> None:
    """Turn this copy of the warden into the program: nothing of the worker's comes along."""
    os.setsid()
    bind()
    for number in (*_IGNORED, signal.SIGXFSZ, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    given, output = streams
    os.dup2(given, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard > _OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, hard))
    if memory := order.get("memory"):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    os.chdir(directory)
    homes = {name: str(directory) for name in order["homes"]}
    os.execve(order["argv"][0], order["argv"], {**order["environment"], **homes})  # noqa: S606 - no shell on purpose


def _passed(order: dict[str, Any]) -> tuple[int, ...]:
    """Return the one open file that the program gets beside its streams, if any."""
    return (order["pass"],) if order.get("pass") is not None else ()


def _input(text: str | None, directory: Path) -> int:
    """Return what the program reads: nothing, or a file without a name, so that nobody has to feed it."""
    if text is None:
        return os.open(os.devnull, os.O_RDONLY)
    path = directory / "input"
    given = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    data = text.encode()
    while data:
        data = data[os.write(given, data) :]
    os.lseek(given, 0, os.SEEK_SET)
    return given


def _tell(control: socket.socket, value: dict[str, Any]) -> None:
    with suppress(frames.Lost):
        frames.send(control, value)


def _remove(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        import shutil  # noqa: PLC0415 - takes as long as all the rest, and is seldom needed

        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
