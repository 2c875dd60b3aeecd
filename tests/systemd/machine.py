"""A machine that systemd runs: a container of systemd-nspawn on a root file system, on this network."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

SECONDS = 60.0
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Failed(Exception):
    """Something is not as it must be."""


class Machine:
    """Boots a root file system; commands run in it as root, and end when it does."""

    def __init__(self, root: Path, source: Path) -> None:
        self.root = root
        self._log = root.with_name("machine.log")
        self._bind = f"--bind-ro={source}:/src"
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        for path in (Path("/etc/resolv.conf"), Path("/etc/hosts"), _CERTIFICATES):
            if path.exists():
                shutil.copy(path, root / path.relative_to("/"))

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
                    *("--machine=dispatcher-try", "--resolv-conf=off", self._bind, "-D", str(self.root)),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._init = self._until(self._find_init, "an init")
        self.until(lambda: self.ask("systemctl", "is-system-running") in {"running", "degraded"}, "a boot")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self.run("systemctl", "poweroff")
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, whatever comes of it."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-p", "--"]
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def ask(self, *command: str) -> str:
        """Return what a command prints."""
        return self.run(*command).stdout.strip()

    def do(self, *command: str) -> str:
        """Run a command that must succeed; return what it prints."""
        done = self.run(*command)
        if done.returncode != 0:
            raise Failed(
                f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}{self.journal()}"
            )
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.ask("systemctl", "show", unit, "--value", "-p", name)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Wait for a condition."""
        self._until(condition, what, seconds)

    def journal(self, lines: int = 40) -> str:
        """Return the end of the machine's journal."""
        return self.ask("journalctl", "--no-pager", "-n", str(lines))

    def path(self, name: str) -> Path:
        """Return where a file of the machine lies here."""
        return self.root / name.lstrip("/")

    def _until(self, ask: Callable[[], int], what: str, seconds: float = SECONDS) -> int:
        end = time.monotonic() + seconds
        while not (answer := ask()):
            if time.monotonic() > end:
                raise Failed(f"not within {seconds:g} s: {what}\n{self.journal() if self._init else ''}")
            time.sleep(0.1)
        return answer

    def _find_init(self) -> int:
        """Return the machine's first process by its number here."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise Failed(f"systemd-nspawn ended:\n{self._log.read_text(errors='replace')}")
        for number in _children(self._process.pid):
            text = Path(f"/proc/{number}/status").read_text(encoding="utf-8")
            if any(line.split()[-1:] == ["1"] for line in text.splitlines() if line.startswith("NSpid:")):
                return number
        return 0


def _children(number: int) -> Sequence[int]:
    try:
        text = Path(f"/proc/{number}/task/{number}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    return [int(word) for word in text.split()]
