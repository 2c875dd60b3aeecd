"""The image that `.ci/image` built, and containers of it: its own entry point, environment and user."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

SECONDS = 30.0
_NONE: Mapping[str, str] = MappingProxyType({})
_NOWHERE: Mapping[Path, str] = MappingProxyType({})
_SANDBOX = Path(__file__).with_name("sandbox.py")


@dataclass(frozen=True)
class Image:
    """An image, laid out in a directory."""

    root: Path
    facts: dict[str, Any]

    @classmethod
    def built(cls) -> Self | None:
        """Return the image that the environment names, or None."""
        place, facts = os.environ.get("DISPATCHER_IMAGE_ROOT"), os.environ.get("DISPATCHER_IMAGE_FACTS")
        return cls(Path(place), json.loads(Path(facts).read_text())) if place and facts else None

    @property
    def config(self) -> dict[str, Any]:
        """What an engine knows about running it."""
        config: dict[str, Any] = self.facts["Docker"]["config"]
        return config

    def command(
        self, *arguments: str, entry: list[str] | None = None, mounts: Mapping[Path, str]
    ) -> list[str]:
        """Return the command that runs a container; `mounts` are read-only, places here to places in it."""
        pairs = [f"{source}:{target}" for source, target in mounts.items()]
        entry = self.config["Entrypoint"] if entry is None else entry
        return [
            sys.executable,
            str(_SANDBOX),
            str(self.root),
            self.config["User"],
            *pairs,
            "--",
            *entry,
            *arguments,
        ]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the image's variables, and what the one who runs it says."""
        return {**dict(line.split("=", 1) for line in self.config["Env"]), **more}

    def run(
        self,
        *arguments: str,
        settings: Mapping[str, str] = _NONE,
        mounts: Mapping[Path, str] = _NOWHERE,
        entry: list[str] | None = None,
    ) -> str:
        """Run a container to its end and return what it printed."""
        done = subprocess.run(
            self.command(*arguments, entry=entry, mounts=mounts), env=self.environment(settings),
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}"
        return done.stdout

    @contextmanager
    def running(
        self, *arguments: str, settings: Mapping[str, str] = _NONE, mounts: Mapping[Path, str] = _NOWHERE
    ) -> Iterator[Container]:
        """Run a container while the context lasts."""
        process = subprocess.Popen(
            self.command(*arguments, mounts=mounts), env=self.environment(settings),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        container = Container(process)
        try:
            yield container
        except BaseException as error:
            container.kill()
            error.add_note(f"{arguments} said:\n{container.text()[-3000:]}")
            raise
        finally:
            container.kill()


class Container:
    """A running container, its output line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.began = time.monotonic()
        self._process = process
        self._seen: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, text: str) -> float:
        """Wait for a line that holds a text; return how long after the start it came."""
        while text not in (line := self._next(text)):
            self._seen.append(line)
        self._seen.append(line)
        return time.monotonic() - self.began

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        return self._process.wait(SECONDS)

    def text(self) -> str:
        """Return what was said up to now."""
        while not self._lines.empty():
            self._seen.append(self._lines.get() or "")
        return "".join(self._seen)

    def kill(self) -> None:
        """End it by force, if it has not ended."""
        self._process.kill()
        self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _next(self, text: str) -> str:
        try:
            line = self._lines.get(timeout=SECONDS)
        except queue.Empty:
            line = None
        assert line is not None, f"{text!r} was not said"
        return line

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)
