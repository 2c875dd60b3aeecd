"""Ending a statement from outside, once its run has to end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dispatcher.work.handlers.limit import Limit

MARGIN_SECONDS = 0.3
"""What the database gets to end a statement by its own time limit, which tells more."""
_AGAIN_SECONDS = 0.25
_CUT_SECONDS = 1.5


class Watch:
    """While it lasts, a thread ends what goes on: by asking, again and again, and at last by the connection.

    Asking once is not enough: between two statements there is nothing to end.
    """

    def __init__(self, limit: Limit, interrupt: Callable[[], None], cut: Callable[[], None]) -> None:
        self._limit = limit
        self._interrupt = interrupt
        self._cut = cut
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self._limit.cancel.then(self._woken.set)
        threading.Thread(target=self._run, name="watch of a statement", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:  # nothing is cut any more: its number may soon be another connection's
            self._done.set()
        self._woken.set()

    def _run(self) -> None:
        self._woken.wait(self._limit.left() + MARGIN_SECONDS)
        until = time.monotonic() + _CUT_SECONDS
        while not self._done.is_set():
            with contextlib.suppress(Exception):  # it may end this moment, or nobody may be there to ask
                if time.monotonic() < until:
                    self._interrupt()
                else:
                    self._end()
            self._done.wait(_AGAIN_SECONDS)

    def _end(self) -> None:
        with self._lock:
            if not self._done.is_set():
                self._cut()
