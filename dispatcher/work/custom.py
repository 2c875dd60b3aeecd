"""What handlers of your own are written with. Nothing else of the dispatcher needs to be known.

A handler is one function, offered as an entry point of the group `dispatcher.handlers`; the entry point's
name is what stands in `job`:

    from dispatcher.work.custom import CustomRun, Fail, Retry

    def handle(run: CustomRun) -> object | None:
        ...

What it returns must be JSON and becomes the result in `run.succeeded`. An exception is a failed attempt,
which is tried again as the job's `retry` says. A pydantic model in `handle.payload` checks the payload first.

It runs in a process of its own, which runs others after it, and which is ended when it takes too long.
A fire may be run more than once: `fire` is the same each time, so let it make the work idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class CustomRun:
    """One attempt at a fire. `planned` is aware, in UTC; `payload` is JSON, or an instance of the model.

    `seconds` is how long the attempt may take, None when there is no limit.
    """

    fire: str
    attempt: int
    job: str
    planned: datetime
    payload: Any
    seconds: float | None = None


class Retry(Exception):
    """Raise it to fail with a reason and, perhaps, say when the next attempt makes sense.

    Whether there is one, the job's `retry` says.
    """

    def __init__(self, reason: str, *, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


class Fail(Exception):
    """Raise it to fail for good: another attempt would fail the same way."""
