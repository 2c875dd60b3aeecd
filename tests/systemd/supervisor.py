"""A supervisor as systemd is one, as far as its socket goes: it starts a process and hears what that says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.starting import start

SECONDS = 30.0
Message = dict[str, str]


class Supervised:
    """One process with a notification socket; what it said so far is in `heard`, as it came."""

    def __init__(
        self, folder: Path, *arguments: str, script: Path | None = None, watchdog: float = 2
    ) -> None:
        self.heard: list[tuple[float, Message]] = []
        self.log = folder / "log"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = folder / "notify"
        self._socket.bind(str(self._path))
        self._changed = threading.Condition()
        self._watchdog = watchdog
        entry = ["-m", "dispatcher"] if script is None else [str(script)]
        self._command = [sys.executable, *entry, *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._taken = 0

    def __enter__(self) -> Self:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("DISPATCHER_")}
        environment |= {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": str(round(self._watchdog * 1e6))}
        threading.Thread(target=self._hear, daemon=True).start()
        with self.log.open("wb") as log:
            self._process = start(self._command, stdout=log, stderr=log, env=environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code, once there is one."""
        assert self._process is not None
        return self._process.wait(SECONDS)

    def until(self, wanted: Callable[[Message], bool], what: str, seconds: float = SECONDS) -> Message:
        """Return the next message of a kind; those before it count as taken."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                while self._taken < len(self.heard):
                    message = self.heard[self._taken][1]
                    self._taken += 1
                    if wanted(message):
                        return message
                left = deadline - time.monotonic()
                assert self._changed.wait(max(0.0, left)), f"no {what}: {self.heard}\n{self._end_of_log()}"

    def next(self, name: str, seconds: float = SECONDS) -> Message:
        """Return the next message with an assignment to this name."""
        return self.until(lambda message: name in message, name, seconds)

    def said(self, name: str) -> list[str]:
        """Return what was assigned to a name so far."""
        with self._changed:
            return [message[name] for _, message in self.heard if name in message]

    def last(self, name: str) -> float:
        """Return when a message with this name last came, in monotonic seconds."""
        with self._changed:
            return max(at for at, message in self.heard if name in message)

    def _hear(self) -> None:
        while data := self._socket.recv(8192):
            pairs: Sequence[tuple[str, str, str]] = [
                line.partition("=") for line in data.decode().split("\n")
            ]
            with self._changed:
                self.heard.append((time.monotonic(), {name: value for name, _, value in pairs}))
                self._changed.notify_all()
        self._socket.close()

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]
