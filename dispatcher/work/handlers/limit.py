"""How long a run may take, and waiting for what cannot be interrupted without exceeding it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from dispatcher.work.handling import Cancel, Task

T = TypeVar("T")


class Overdue(Exception):
    """The time of the run is over."""


class Ended(Exception):
    """Somebody asked for the end of the run."""


class Limit:
    """The end of a run: after so many seconds, or once its cancel is set."""

    def __init__(self, seconds: float, cancel: Cancel) -> None:
        self.seconds = seconds
        self.cancel = cancel
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, never less than zero."""
        return max(0.0, self._until - time.monotonic())

    def check(self) -> None:
        """Raise Ended or Overdue when the run is to go no further."""
        if self.cancel.is_set():
            raise Ended(self.cancel.reason)
        if self.left() <= 0:
            raise Overdue


def limit_of(task: Task, own: float | None, usual: float) -> Limit:
    """Return the limit of a run: the job's and the payload's, whichever is shorter; `usual` without both."""
    given = [seconds for seconds in (task.seconds, own) if seconds is not None]
    return Limit(min(given, default=usual), task.cancel)


class Aside(Generic[T]):
    """Something that blocks without limit, done in a thread that is left behind when the run has to end.

    What it still brings then goes to `drop`.
    """

    def __init__(self, do: Callable[[], T], drop: Callable[[T], None] = lambda _: None) -> None:
        self._do = do
        self._drop = drop
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._got: list[T] = []
        self._failure: BaseException | None = None
        self._left = False

    def get(self, limit: Limit) -> T:
        """Do it; return what it returns or raise what it raises. Raises Ended or Overdue as `check` does."""
        limit.check()
        threading.Thread(target=self._run, name="aside of a run", daemon=True).start()
        limit.cancel.then(self._changed.set)
        self._changed.wait(limit.left())
        with self._lock:
            if self._got:
                return self._got[0]
            if self._failure is not None:
                raise self._failure
            self._left = True
        limit.check()
        raise Overdue

    def _run(self) -> None:
        try:
            got = self._do()
        except BaseException as failure:  # noqa: BLE001 - the top of a thread: it belongs to who waits
            with self._lock:
                self._failure = failure
        else:
            with self._lock:
                self._got.append(got)
                left = self._left
            if left:
                self._drop(got)
        self._changed.set()
