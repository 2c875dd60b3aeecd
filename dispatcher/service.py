"""One lifecycle for everything that runs: start, stop, join; one loop; one deadline for stopping."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol


class Service(Protocol):
    """Something that runs in the background."""

    def start(self) -> None:
        """Begin to run; returns when the service has begun."""
        ...

    def stop(self) -> None:
        """Ask the service to end. Never blocks, may be called often, from any thread, before start too."""
        ...

    def join(self, deadline: Deadline) -> bool:
        """Wait until the service has ended or the deadline has passed; return whether it has ended."""
        ...


class Deadline:
    """One budget of time shared by every step of a shutdown."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, never less than zero."""
        return max(0.0, self._end - time.monotonic())


class Waiter:
    """A wait that can be cut short. A wake that comes while nobody waits ends the next wait at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._event.set()

    def wait(self, seconds: float | None) -> None:
        """Wait for a wake, at most `seconds`; None waits for as long as it takes."""
        if seconds is None or seconds > 0:
            self._event.wait(seconds)
        self._event.clear()


class Motion:
    """Whether a thread moves on: its own thread says so, any other may look."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._due = math.inf

    def moved(self) -> None:
        """Note that the thread moves on: what it begins now is to come to an end."""
        self._due = self._seconds()

    def rests(self, seconds: float | None) -> None:
        """Note that the thread waits for so long, None: for as long as it takes."""
        self._due = math.inf if seconds is None else self._seconds() + seconds

    def still(self) -> float:
        """Return for how many seconds the thread has been at what it began, or has overslept."""
        return max(0.0, self._seconds() - self._due)


class Loop:
    """A thread that repeats one step until told to stop.

    `step` does one round and returns the seconds to wait before the next: 0 goes on at once, None waits
    for a wake. `close` runs in the same thread after the last step, whatever ended it. An exception in
    either ends the loop and is handed to `failed`. `motion` tells whether the steps come to an end; a long
    one with many parts says `moved` between them.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        close: Callable[[], None] = lambda: None,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.waiter = Waiter()
        self.motion = Motion()
        self._step = step
        self._close = close
        self._failed = failed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopping(self) -> bool:
        """Whether the loop was asked to end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the loop to end after its present step."""
        self._stopping.set()
        self.waiter.wake()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the thread's end; a loop that never started has ended."""
        if self._thread.ident is not None:
            self._thread.join(deadline.left())
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            try:
                while not self._stopping.is_set():
                    self.motion.moved()
                    wait = self._step()
                    if wait != 0 and not self._stopping.is_set():
                        self.motion.rests(wait)
                        self.waiter.wait(wait)
            finally:
                self.motion.rests(None)  # who ended it waits for that with a deadline
                self._close()
        except BaseException as error:  # noqa: BLE001 - the top of a thread: every end must be told to somebody
            self._failed(self._thread.name, error)
        finally:
            # Its owner's methods: a circle that would keep both until a collection, or for ever once frozen.
            del self._step, self._close, self._failed


class Looped:
    """A service that is one loop, which its constructor makes as `_loop`."""

    _loop: Loop

    def start(self) -> None:
        """Begin to run."""
        self._loop.start()

    def stop(self) -> None:
        """Ask for the end, after the present step. Never blocks, from any thread."""
        self._loop.stop()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end; return whether it has come."""
        return self._loop.join(deadline)

    @property
    def motion(self) -> Motion:
        """Whether the service moves on. Any thread may look."""
        return self._loop.motion
