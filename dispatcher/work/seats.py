"""Seats: threads that run handlers. They take runs from the waiting room and bring outcomes back."""

from __future__ import annotations

import threading
from itertools import count
from queue import SimpleQueue
from typing import Any

from dispatcher.clock import Clock
from dispatcher.core.outcome import Failed, Outcome
from dispatcher.core.run import Run
from dispatcher.service import Deadline
from dispatcher.work.handling import Cancel, Handler, Task
from dispatcher.work.held import Ended, Held
from dispatcher.work.waiting import WaitingRoom


def attempt(run: Run, handler: Handler, payload: Any, cancel: Cancel) -> Outcome:
    """Run a handler once. Whatever it raises is a failure: a handler must not end its worker."""
    limit = run.spec.timeout_ms
    task = Task(
        run.fire, run.attempt, run.job, run.planned, payload, cancel,
        None if limit is None else limit / 1000, run.traceparent, bool(run.redelivered),
    )  # fmt: skip
    try:
        return handler.run(task)
    except BaseException as error:  # noqa: BLE001 - handlers are others' code: every end becomes an outcome
        return Failed(f"{handler.name} raised {type(error).__name__}: {error}")


class Seats:
    """As many threads as are wanted. One owner changes their number; each ends by itself when it may.

    A seat that does not come back, because its handler does not, is written off and replaced.
    """

    def __init__(self, room: WaitingRoom, ended: SimpleQueue[Ended], clock: Clock) -> None:
        self._room = room
        self._ended = ended
        self._clock = clock
        self._names = count(1)
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._lost: set[Held] = set()
        """Runs whose seats are written off."""
        self.wanted = 0
        """How many seats there are to be."""

    def resize(self, wanted: int) -> None:
        """Have so many seats: more at once, fewer as they become free."""
        self.wanted = wanted
        with self._lock:
            there = len(self._threads) - len(self._lost)
        self._room.resize(wanted, max(0, there - wanted))
        for _ in range(wanted - there):
            thread = threading.Thread(target=self._work, name=f"seat-{next(self._names)}", daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def short(self) -> bool:
        """Return whether there are fewer than wanted: one that is going may have been counted as there."""
        with self._lock:
            return len(self._threads) - len(self._lost) < self.wanted

    def write_off(self, held: Held) -> None:
        """Learn that the seat of a run will not come back; another takes its place."""
        with self._lock:
            if held.seat_is_free:
                return
            self._lost.add(held)
            held.seat_is_free = True
        self._room.ended(held.lane)
        self.resize(self.wanted)

    def came_back(self, held: Held) -> None:
        """Learn that a run which was given up has ended: its seat is one too many, if it was written off."""
        with self._lock:
            if held not in self._lost:
                return
            self._lost.discard(held)
        self.resize(self.wanted)

    def join(self, deadline: Deadline) -> bool:
        """Wait for the threads' ends; the room must be closed."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(deadline.left())
        return not any(thread.is_alive() for thread in threads)

    def _work(self) -> None:
        try:
            while (held := self._room.take()) is not None:
                self._run(held)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _run(self, held: Held) -> None:
        reading = self._clock.read()
        not_after = held.run.not_after
        outcome: Outcome | None = None
        held.started_monotonic, held.started = reading.monotonic, reading.now
        if not_after is None or reading.now <= not_after:
            outcome = attempt(held.run, held.handler, held.payload, held.cancel)
        ended = max(reading.now, self._clock.read().now)
        with self._lock:
            free, held.seat_is_free = held.seat_is_free, True
        if not free:
            self._room.ended(held.lane)
        self._ended.put(Ended(held, outcome, reading.now, ended))
