"""`python -m torture.effecting work …`: a worker whose handler leaves a line in a file each time it runs.

What it does follows from fire and attempt alone, so that the judge knows it too.
"""

from __future__ import annotations

import importlib
import os
import zlib
from typing import Any

from dispatcher.cli import main
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.work.handling import Handler, Payload, Task
from dispatcher.work.intake import Handlers

EFFECTS = "TORTURE_EFFECTS"
ATTEMPTS = 3


class Nothing(Payload):
    """Takes nothing."""


def takes_ms(fire: str, attempt: int) -> int:
    """Return how long an attempt takes: most are short, some outlast a few commits."""
    draw = zlib.crc32(f"{fire}#{attempt}".encode())
    return draw % 60 if draw % 8 else 900 + draw % 400


def fails(fire: str, attempt: int) -> bool:
    """Return whether an attempt fails; one fire in sixteen fails each time."""
    return zlib.crc32(fire.encode()) % 16 == 0 or zlib.crc32(f"{attempt}#{fire}".encode()) % 5 == 0


class Effect:
    """Writes one line for each time it is run, in one write that appends."""

    name = "effect"
    instant = False
    payload: type[Payload] = Nothing

    def __init__(self, file: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def run(self, task: Task) -> Outcome:
        os.write(self._file, f"{task.fire}\t{task.attempt}\t{int(task.redelivered)}\n".encode())
        if task.cancel.wait(takes_ms(task.fire, task.attempt) / 1000):
            return Cancelled(task.cancel.reason)
        return Failed("as it was to") if fails(task.fire, task.attempt) else Succeeded()

    def close(self) -> None:
        os.close(self._file)


class WithEffect:
    """The real handlers and one more."""

    def __init__(self, others: Handlers, effect: Effect) -> None:
        self._others, self._effect = others, effect

    def find(self, name: str) -> Handler | None:
        return self._effect if name == Effect.name else self._others.find(name)

    def why_not(self, name: str) -> str:
        return self._others.why_not(name)

    def read(self, handler: Handler, payload: Any) -> Payload:
        return Nothing() if handler is self._effect else self._others.read(handler, payload)

    def close(self) -> None:
        self._others.close()
        self._effect.close()


def arm() -> None:
    """Have the worker's command build its handlers here."""
    module = importlib.import_module("dispatcher.cli.work")
    real = module.registry
    file = os.environ.pop(EFFECTS)
    setattr(module, "registry", lambda means: WithEffect(real(means), Effect(file)))  # noqa: B010 - mypy


if __name__ == "__main__":
    arm()
    main()
