"""What a handler is: the contract between the pool and everything that runs.

A handler gets a `Task` and returns an `Outcome`. It must end soon after `Task.cancel` is set or
`Task.seconds` are over; the pool counts a run that does not as failed, but a thread cannot be ended from
outside. What cannot promise that runs in a process of its own (`shell`, `python`, custom handlers).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from dispatcher.core.instant import Instant
from dispatcher.core.outcome import Outcome


class Payload(BaseModel):
    """Base of the models of payloads: unknown fields are refused, values are not bent into other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Cancel:
    """A word that a run is to end. Any thread may say it; the handler waits for it or is called back."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []
        self.reason = ""

    def set(self, reason: str) -> None:
        """Say that the run is to end, and why. The first reason counts."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def is_set(self) -> bool:
        """Return whether the run is to end."""
        return self._event.is_set()

    def wait(self, seconds: float | None) -> bool:
        """Wait until the run is to end, at most so long; return whether it is."""
        return self._event.wait(seconds)

    def then(self, call: Callable[[], None]) -> None:
        """Have something called once the run is to end; at once when it is already. It must not block."""
        with self._lock:
            if not self._event.is_set():
                self._calls.append(call)
                return
        call()


class Task(NamedTuple):
    """One attempt, as a handler gets it.

    `fire` is the same for every attempt and delivery: the key to be idempotent with. `payload` is an instance
    of the handler's model. `seconds` is the limit of the attempt, None when there is none. `redelivered`
    means that another life of a worker may have begun this very attempt before.
    """

    fire: str
    attempt: int
    job: str
    planned: Instant
    payload: Any
    cancel: Cancel
    seconds: float | None = None
    traceparent: str = ""
    redelivered: bool = False


class Handler(Protocol):
    """Something that runs can do, by the name that stands in `job`.

    `instant` handlers never wait for anything: they run where they are read, without a seat.
    """

    name: str
    instant: bool
    payload: type[Payload]

    def run(self, task: Task) -> Outcome:
        """Do it, once. Whatever it raises counts as a failure that may be tried again."""
        ...

    def close(self) -> None:
        """Let go of connections and processes; no run is going on any more."""
        ...
