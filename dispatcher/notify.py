"""Telling a supervisor how the process is, by systemd's notification protocol.

`Notifier` sends datagrams to the socket that `$NOTIFY_SOCKET` names. `Herald` decides what to send:
`READY=1` once, `STATUS=` in words, `WATCHDOG=1` while what matters moves, `EXTEND_TIMEOUT_USEC=` while a long
start goes on, `RELOADING=1` and `READY=1` around a reload, `STOPPING=1`. Without a socket nothing is sent and
no thread runs; whatever becomes of the socket, nothing here raises.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from queue import Empty, SimpleQueue

import structlog

from dispatcher.service import Loop, Looped

LOOK_SECONDS = 1.0
RELOAD_LOOK_SECONDS = 0.05
RELOAD_SECONDS = 10.0
"""How long a reload may take before the supervisor is told to go on; it goes on all the same."""
EXTENDED_SECONDS = 60.0
EXTEND_EVERY_SECONDS = 15.0
END_SPARE_SECONDS = 20.0
"""What an end may take beyond what it is meant to: clients are let go of with limits of their own."""
STATUS_EVERY_SECONDS = 5.0
_LONGEST_STATUS = 1000
_SEND_SECONDS = 0.5


class Notifier:
    """Sends to a supervisor, if there is one.

    It takes its variables out of the environment: no child of this process may speak for it.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = _address(environment.pop("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog_seconds(
            environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        )
        """How soon the supervisor wants a sign of life each time; None: it does not."""
        self._socket = _socket() if self._address else None

    @property
    def listened_to(self) -> bool:
        """Whether there is anybody to tell."""
        return self._socket is not None

    def send(self, *assignments: str) -> bool:
        """Send assignments in one datagram, in time or not at all; return whether it was sent."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(assignments).encode(errors="replace"), self._address)
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None


def _address(name: str) -> str:
    """Return the address of a socket by its path or abstract name, empty for anything else."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _socket() -> socket.socket | None:
    try:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    except OSError:
        return None
    made.settimeout(_SEND_SECONDS)
    return made


def _watchdog_seconds(microseconds: str, process: str) -> float | None:
    """Return the limit that a supervisor has set for this process, None when for none or another."""
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if process and process != str(os.getpid()):
        return None
    return int(microseconds) / 1e6


def status(text: str) -> str:
    """Return the assignment of a status: one line, not too long."""
    line = "; ".join(filter(None, (" ".join(part.split()) for part in text.splitlines())))
    return "STATUS=" + (line if len(line) <= _LONGEST_STATUS else line[: _LONGEST_STATUS - 1] + "…")


def _extend(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"


@dataclass(frozen=True, slots=True)
class View:
    """A process as its supervisor is to see it: in words, whether ready, and what stands still."""

    words: str
    ready: bool = False
    still: tuple[str, ...] = ()


class _Word(Enum):
    LOOK = auto()
    RELOADING = auto()
    STOPPING = auto()


class Herald(Looped):
    """A service that looks at the process now and then and tells its supervisor. Runs first and ends last."""

    def __init__(self, notifier: Notifier, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._seconds = seconds
        self._look: Callable[[], View] = lambda: View("starting")
        self._reloaded: Callable[[], bool] = lambda: True
        self._words: SimpleQueue[_Word] = SimpleQueue()
        self._end_seconds = 0.0
        self._ready = self._stopping = False
        self._reload_until: float | None = None
        self._told, self._told_at = "", float("-inf")
        self._extended_at = self._alive_at = float("-inf")
        self._still: tuple[str, ...] = ()
        self._say = structlog.get_logger()
        self._loop = Loop("herald", self._step, failed=self._failed)

    def start(self) -> None:
        """Begin to tell, if there is anybody to tell."""
        if self._notifier.listened_to:
            self._loop.start()

    def stop(self) -> None:
        """Ask for the end."""
        self._loop.stop()
        self._words.put(_Word.LOOK)

    def show(
        self,
        look: Callable[[], View],
        *,
        reloaded: Callable[[], bool] = lambda: True,
        end_seconds: float | None = None,
    ) -> None:
        """Have the process looked at by `look` from now on; `reloaded` says whether a reload is through.

        `end_seconds` is how long a stop may take; None: as long as was said before.
        """
        self._look, self._reloaded = look, reloaded
        self._end_seconds = self._end_seconds if end_seconds is None else end_seconds
        self._words.put(_Word.LOOK)

    def reloading(self) -> None:
        """Tell that a reload begins. Never blocks, from any thread; the queue takes it even amid a signal."""
        self._words.put(_Word.RELOADING)

    def stopping(self) -> None:
        """Tell that the end has begun; the same holds as for `reloading`."""
        self._words.put(_Word.STOPPING)

    def ended(self, why: str) -> None:
        """Tell by what the process ends, at once: nothing is looked at any more."""
        self._notifier.send("STOPPING=1", status(why))

    # One step of the loop.

    def _step(self) -> float:
        word = self._next_word()
        if self._loop.stopping:
            return 0.0
        if word is _Word.STOPPING and not self._stopping:
            self._stopping = True
            limit = _extend(self._end_seconds + END_SPARE_SECONDS)
            self._notifier.send("STOPPING=1", limit, status("stopping"))
        if word is _Word.RELOADING and self._ready and not self._stopping:
            self._begin_reload()
        try:
            through = self._reload_is_through()  # asked before the look, which then tells what came of it
            view = self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may show all
            self._say.error("process.unseen", error=f"{type(error).__name__}: {error}")
            return 0.0
        self._tell(view, through=through)
        return 0.0

    def _next_word(self) -> _Word | None:
        limits = [LOOK_SECONDS]
        if self._reload_until is not None:
            limits.append(RELOAD_LOOK_SECONDS)
        if self._notifier.watchdog_seconds is not None:
            limits.append(self._notifier.watchdog_seconds / 4)
        try:
            return self._words.get(timeout=min(limits))
        except Empty:
            return None

    def _begin_reload(self) -> None:
        """Tell of the beginning; systemd wants to know when it was, to tell this reload from others."""
        self._reload_until = self._seconds() + RELOAD_SECONDS
        self._notifier.send(
            "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", status("reloading")
        )

    def _reload_is_through(self) -> bool:
        until = self._reload_until
        return until is not None and (self._reloaded() or self._seconds() >= until)

    def _tell(self, view: View, *, through: bool) -> None:
        now = self._seconds()
        self._tell_still(view.still)
        words = f"stands still: {'; '.join(view.still)}" if view.still else view.words
        if self._stopping:
            words = "stopping"
        elif through or (view.ready and not self._ready):
            self._ready = self._notifier.send("READY=1", status(words)) or self._ready
            self._reload_until = None
            self._told, self._told_at = words, now
        elif not self._ready and not view.still and now - self._extended_at >= EXTEND_EVERY_SECONDS:
            self._extended_at = now
            self._notifier.send(_extend(EXTENDED_SECONDS))
        self._tell_words(words, now)
        self._tell_alive(view, now)

    def _tell_words(self, words: str, now: float) -> None:
        """Tell the words when they are others, and not too often: each is a message to all who listen."""
        often = self._ready and now - self._told_at < STATUS_EVERY_SECONDS
        if words != self._told and self._reload_until is None and not often:
            self._told, self._told_at = words, now
            self._notifier.send(status(words))

    def _tell_alive(self, view: View, now: float) -> None:
        """Send a sign of life twice in each limit, unless something stands still; an end has a limit."""
        limit = self._notifier.watchdog_seconds
        if limit is not None and (self._stopping or not view.still) and now - self._alive_at >= limit / 2:
            self._alive_at = now
            self._notifier.send("WATCHDOG=1")

    def _tell_still(self, still: Iterable[str]) -> None:
        """Log once what stands still, and that it moves again: the supervisor may be about to end all."""
        names = tuple(one.partition(" has ")[0] for one in still)
        if names == self._still:
            return
        self._still = names
        if names:
            self._say.error("process.still", reasons=list(still))
        else:
            self._say.info("process.moves")

    def _failed(self, thread: str, error: BaseException) -> None:
        self._say.critical("thread.failed", thread=thread, exc_info=error)
