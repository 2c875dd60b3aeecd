"""Places in the dispatcher where a test may have it die, and the one it is to die at."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

POINTS = (
    "before-begin",
    "after-begin",
    "after-fire-produced",
    "after-ledger-produced",
    "after-flush",
    "commit-sent",
    "commit-acked",
    "during-fence",
    "during-replay",
    "during-change",
    "before-flip",
    "after-flip",
    "during-assignment",
    "during-revocation",
    "staged",
    "sealing",
)
"""Where a process can be killed, in the order of a shard's life; docs of each are in `failing`."""

WHERE, HITS, CLOCK, LIMITS = (
    "DISPATCHER_FAILPOINT",
    "DISPATCHER_TORTURE_HITS",
    "DISPATCHER_TORTURE_CLOCK",
    "DISPATCHER_TORTURE_LIMITS",
)
"""Variables: `point:n[:stop]`; a file that learns of hits; one with milliseconds; limits as JSON."""


class Failpoint:
    """The one point a process is to die at, when it is reached for the n-th time; none if it has no name."""

    def __init__(
        self, name: str = "", nth: int = 1, hits: str = "", end: signal.Signals = signal.SIGKILL
    ) -> None:
        self.name = name
        self._left = nth
        self._hits = hits
        self._end: signal.Signals | None = end
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        """Die here if this is the place and the time."""
        if self.comes(name):
            self.die(name)

    @contextmanager
    def during(self, name: str, most: float, late: str | None = None) -> Iterator[None]:
        """Die within `most` seconds, at the end of the context at the latest, called `late` then."""
        if not self.comes(name):
            yield
            return
        threading.Thread(target=self._die_after, args=(name, random.random() * most), daemon=True).start()
        yield
        self.die(late or name)

    def soon(self, name: str, most: float) -> None:
        """Die within `most` seconds, wherever the process is by then."""
        if self.comes(name):
            threading.Thread(target=self._die_after, args=(name, random.random() * most), daemon=True).start()

    def comes(self, name: str) -> bool:
        """Return whether a place was reached as often as it takes; true only once."""
        if name != self.name:
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0

    def die(self, name: str) -> None:
        """Note the hit and end as by `kill -9`; or freeze, once, until somebody lets the process go on."""
        with self._lock:
            end, self._end = self._end, None
            if end is not None:
                descriptor = os.open(self._hits, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{name}\n".encode())
                os.close(descriptor)
                os.kill(os.getpid(), end)

    def _die_after(self, name: str, seconds: float) -> None:
        time.sleep(seconds)
        self.die(name)


def failpoint(text: str, hits: str) -> Failpoint:
    """Read `point:n`, or `point:n:stop` for SIGSTOP instead of SIGKILL.

    Raises ValueError for a name that is no point: a test must not arm what is not there.
    """
    if not text:
        return Failpoint()
    name, nth, end = f"{text}:1:kill".split(":")[:3] if ":" not in text else f"{text}:kill".split(":")[:3]
    if name not in POINTS:
        raise ValueError(f"{name!r} is no failpoint; they are {', '.join(POINTS)}")
    return Failpoint(name, int(nth), hits, signal.SIGSTOP if end == "stop" else signal.SIGKILL)
