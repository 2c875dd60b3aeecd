"""Child processes that run callables: as many as are wanted at once, kept for the next run for a while.

Each runs under a warden, so nothing of it outlasts it. One that has run often, has grown, has left threads
or processes running, or has answered with nonsense is not used again.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.service import Deadline, Loop
from dispatcher.work import frames
from dispatcher.work.handling import Cancel
from dispatcher.work.surroundings import LANG, PATH, python_path
from dispatcher.work.ward import Bell, Order, Unstartable, Ward, first_of

_CLOSING_S = 10.0
_HASTE_S = 10.0


@dataclass(frozen=True, slots=True)
class Upbringing:
    """What children live by.

    `environment` is what they see beside a few fixed names. One ends after `idle_seconds` without a run,
    after `runs` of them, or when it then holds more than `recycle_bytes`; it never gets more than
    `memory_bytes`. `grace` is what one that is to end gets for it.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    idle_seconds: float = 60.0
    runs: int = 500
    recycle_bytes: int = 512 * 1024 * 1024
    memory_bytes: int = 2 * 1024 * 1024 * 1024
    grace: float = 5.0


class Child:
    """One process. Raises Unstartable; one thread at a time uses it; to be closed."""

    def __init__(self, upbringing: Upbringing) -> None:
        self.runs = 0
        self.idle_since = 0.0
        self._grace = upbringing.grace
        self._channel, theirs = socket.socketpair()
        try:
            self._ward = Ward(_order(upbringing, theirs.fileno()), handing=theirs)
        except Unstartable:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._channel.settimeout(_HASTE_S)

    def run(self, question: dict[str, Any], cancel: Cancel, seconds: float | None) -> tuple[Outcome, bool]:
        """Ask one question; return what came of it, and whether the child can be asked again."""
        self.runs += 1
        deadline = None if seconds is None else Deadline(seconds)
        with Bell(cancel) as bell:
            try:
                frames.send(self._channel, question)
                answer = self._answer(bell, deadline)
            except frames.Lost as lost:
                return self._died(lost), False
        if answer is None:
            return self._ended(cancel, seconds), False
        try:
            output, more = self._ward.take()
        except frames.Lost:
            output, more = "", 1
        return _outcome(answer, output), not (answer.get("spent", True) or more)

    def is_well(self) -> bool:
        """Return whether it still waits for a question."""
        return first_of(Deadline(0), self._ward.control, self._channel) is None

    def close(self) -> None:
        """End it and all it started, at once."""
        self._channel.close()
        self._ward.close()

    def _answer(self, bell: Bell, deadline: Deadline | None) -> dict[str, Any] | None:
        """Wait for the answer; None: it is to end, or it is too late. Raises Lost."""
        inbox = frames.Inbox()
        while first_of(deadline, self._channel, bell) is self._channel:
            answer = inbox.take(self._channel)
            if answer is not None:
                return answer
        return None

    def _died(self, lost: frames.Lost) -> Outcome:
        end = self._ward.end(0)
        how = f"did not keep to its words ({lost})" if lost.nonsense else f"{end.text()} without an answer"
        return Failed(f"the process it ran in {how}", output=end.output)

    def _ended(self, cancel: Cancel, seconds: float | None) -> Outcome:
        output = self._ward.end(self._grace).output
        if cancel.is_set():
            return Cancelled(cancel.reason, output=output)
        return Failed(f"it took longer than {seconds:g} s", output=output)


class Children:
    """The children of one worker. Any thread may ask; none waits for another.

    There are as many as there are questions at once. At most `most` are kept.
    """

    def __init__(self, upbringing: Upbringing | None = None, *, most: int = 64) -> None:
        self._upbringing = upbringing or Upbringing()
        self._most = most
        self._lock = threading.Lock()
        self._all: set[Child] = set()
        self._idle: list[Child] = []
        self._closed = False
        self._loop = Loop("children", self._look, failed=_loud)
        self._looking = False

    def __len__(self) -> int:
        return len(self._all)

    def ask(self, question: dict[str, Any], cancel: Cancel, seconds: float | None) -> Outcome:
        """Run a question in a child that is free, or a new one."""
        try:
            child = self._taken() or self._new()
        except Unstartable as error:
            return Failed(f"the process to run it in {error}")
        fit = False
        try:
            outcome, fit = child.run(question, cancel, seconds)
        finally:
            self._give_back(child, fit=fit and child.runs < self._upbringing.runs)
        return outcome

    def close(self) -> None:
        """End all idle children and keep none any more; one that still runs something ends after that."""
        with self._lock:
            self._closed = True
            children, self._idle = list(self._idle), []
        self._loop.stop()
        self._drop(children)
        self._loop.join(Deadline(_CLOSING_S))

    def _taken(self) -> Child | None:
        """Return an idle child that is well: the one used last, so that the others may go."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                child = self._idle.pop()
            if child.is_well():
                return child
            self._drop([child])

    def _new(self) -> Child:
        child = Child(self._upbringing)
        with self._lock:
            self._all.add(child)
        return child

    def _give_back(self, child: Child, *, fit: bool) -> None:
        child.idle_since = time.monotonic()
        with self._lock:
            keep = fit and not self._closed and len(self._all) <= self._most
            if keep:
                self._idle.append(child)
                first, self._looking = not self._looking, True
        if not keep:
            self._drop([child])
        elif first:
            self._loop.start()
        else:
            self._loop.waiter.wake()

    def _look(self) -> float | None:
        """End what was idle for too long; return when to look again."""
        before = time.monotonic() - self._upbringing.idle_seconds
        with self._lock:
            old = [child for child in self._idle if child.idle_since <= before]
            self._idle = [child for child in self._idle if child.idle_since > before]
            oldest = min((child.idle_since for child in self._idle), default=None)
        self._drop(old)
        return None if oldest is None else max(0.001, oldest - before)

    def _drop(self, children: list[Child]) -> None:
        for child in children:
            child.close()
            with self._lock:
                self._all.discard(child)


def _outcome(answer: dict[str, Any], output: str) -> Outcome:
    if "failed" not in answer:
        return Succeeded(answer.get("result"), output=output)
    return Failed(
        str(answer["failed"]),
        retry_after_ms=answer.get("retryAfterMs"),
        final=bool(answer.get("final")),
        output=output,
    )


def _order(upbringing: Upbringing, channel: int) -> Order:
    """Return what a child is: this interpreter with the paths of this process, and nothing of its secrets."""
    return Order(
        [
            *(sys.executable, "-P", "-u", "-m", "dispatcher.work.child_main"),
            *(str(channel), str(upbringing.recycle_bytes)),
        ],
        {"PATH": PATH, "LANG": LANG, **upbringing.environment, "PYTHONPATH": python_path(*sys.path)},
        grace=0,
        memory=upbringing.memory_bytes,
    )


def _loud(thread: str, error: BaseException) -> None:
    structlog.get_logger().error("thread.failed", thread=thread, exc_info=error)
