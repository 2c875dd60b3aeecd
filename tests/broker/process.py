"""The dispatcher as its users run it: a process of its own, started by the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class Dispatcher:
    """One `dispatcher run`; its log goes to a file. The process group dies with `kill`."""

    def __init__(self, bootstrap: str, prefix: str, schedule: Path, log: Path, *flags: str) -> None:
        self.log = log
        self._command = [
            *(sys.executable, "-m", "dispatcher", "run", "--bootstrap-servers", bootstrap),
            *("--prefix", prefix, "--schedule", str(schedule), *flags),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.alive():
            self.kill()

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        """Return whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            environment = {**os.environ, "DISPATCHER_LOG_FORMAT": "json"}
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment, cwd=self.log.parent
            )

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def terminate(self, seconds: float = 15) -> int:
        """SIGTERM; return the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Return the exit code, once there is one."""
        assert self._process is not None
        return self._process.wait(seconds)

    def says(self, text: str, seconds: float = 30, *, after: int = 0) -> None:
        """Wait until the log holds a text behind a position."""
        until(lambda: text in self.text()[after:], f"{text!r} in the log:\n{self.text()[-3000:]}", seconds)

    def text(self) -> str:
        """Return the log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for a condition, or fail saying what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def ensure_topics(bootstrap: str, prefix: str, *flags: str) -> None:
    """Create the topics of an installation by the command line."""
    command = [
        sys.executable,
        "-m",
        "dispatcher",
        "topics",
        "ensure",
        "--bootstrap-servers",
        bootstrap,
        "--prefix",
        prefix,
    ]
    subprocess.run([*command, *flags], check=True, capture_output=True)
