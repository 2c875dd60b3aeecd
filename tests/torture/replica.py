"""One dispatcher process of a torture run: started, killed, frozen, stopped, again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from broker.starting import start

_TESTS = str(Path(__file__).resolve().parents[1])


class Replica:
    """A replica with a name of its own; `arguments` are those of `dispatcher run`."""

    def __init__(
        self, name: str, directory: Path, arguments: tuple[str, ...], variables: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = [
            *(sys.executable, "-X", "faulthandler", "-m", "torture.failing", "run"),
            *(*arguments, "--instance", name),
        ]
        paths = [_TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._variables = {
            "DISPATCHER_LOG_FORMAT": "json",
            "PYTHONPATH": os.pathsep.join(paths),
            **variables,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.ends: list[int] = []
        """Exit codes of the processes that ended without being asked to, a failpoint included."""
        self.stuck = 0
        """How often SIGTERM did not end the process in time."""

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start the process; one that is there already, or ended by itself, is reaped first."""
        if self.running:
            return
        inherited = {name: one for name, one in os.environ.items() if not name.startswith("DISPATCHER_")}
        with self.log.open("ab") as log:
            self._process = start(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.log.parent,
                env={**inherited, **self._variables, **(variables or {})},
            )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether the process is there, frozen or not; one that ended by itself is noted."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self.ends.append(code)
            self._process = None
        return self._process is not None

    def died(self, seconds: float) -> bool:
        """Wait for the process to end by itself; return whether it did so by SIGKILL."""
        if self._process is None:
            return False
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if code != -signal.SIGKILL:
            self.ends.append(code)
        self._process = None
        return code == -signal.SIGKILL

    @property
    def frozen(self) -> bool:
        """Whether the process is stopped (SIGSTOP)."""
        if self._process is None:
            return False
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self._end(signal.SIGKILL, 10)

    def terminate(self, seconds: float = 20) -> int:
        """SIGTERM; return the exit code. One that does not end in time says where it is, and is killed."""
        code = self._end(signal.SIGTERM, seconds)
        self.stuck += code == -signal.SIGABRT
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to a process that may be gone."""
        if self._process is not None:
            self._process.send_signal(number)

    def says(self, text: str) -> int:
        """Return how often the log holds a text."""
        return self.log.read_text(errors="replace").count(text) if self.log.exists() else 0

    def _end(self, number: signal.Signals, seconds: float) -> int:
        if not self.running or self._process is None:
            return 0
        self._process.send_signal(number)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)
            code = self._process.wait(10)
        self._process = None
        return code
