"""Ownership as one thread sees it: shards come and go, one move at a time, by two words.

The group's word is liveness: `assigned`, `revoked`. The ledger's word saves the wait for the group: a process
that was just started takes at once what its instance had before. Neither is safety, fencing is; so a shard
held by the ledger's word alone ends when another replica fences it, which has the group's word or an
equal one, and is not fenced back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog

from dispatcher.heap import give_back
from dispatcher.service import Deadline, Loop, Looped

_GIVE_UP_SECONDS = 5.0
_LET_GO_SECONDS = 10.0
"""So long after the last move clients of Kafka have freed what they held."""


class Host(Protocol):
    """What starts and ends the threads of shards."""

    def take(self, shards: list[int]) -> None:
        """Start those that do not run yet."""
        ...

    def give_up(self, shards: list[int], deadline: Deadline) -> None:
        """End those that run."""
        ...

    def owned(self) -> list[int]:
        """Return those that run."""
        ...


class _Word(Enum):
    ASSIGNED = auto()
    REVOKED = auto()
    LOST = auto()
    OURS_BEFORE = auto()
    FENCED = auto()


class Ownership(Looped):
    """Performs what others only note: their threads must not wait for a transaction to end.

    `fenced` alone answers at once: whether the group's word stands behind a shard that was fenced.
    """

    def __init__(self, host: Host, *, failed: Callable[[str, BaseException], None]) -> None:
        self._host = host
        self._moves: SimpleQueue[tuple[_Word, list[int]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._assigned: set[int] = set()
        self._answered = False
        """Whether the group has spoken: then its word alone counts."""
        self._yielded: set[int] = set()
        """Shards that another replica took: only the group gives them back, whatever name that one bears."""
        self._moved = self._resting = False
        self._say = structlog.get_logger()
        self._loop = Loop("ownership", self._step, close=self._close, failed=failed)

    # What others note, from their threads. None of it blocks.

    def assigned(self, shards: list[int]) -> None:
        """Note that the group gives shards to this process; an empty list is an answer too."""
        with self._lock:
            self._answered = True
            self._assigned.update(shards)
        self._note(_Word.ASSIGNED, shards)

    def revoked(self, shards: list[int]) -> None:
        """Note that the group takes shards from this process, to give them to another."""
        with self._lock:
            self._assigned.difference_update(shards)
        self._note(_Word.REVOKED, shards)

    def lost(self, shards: list[int]) -> None:
        """Note that this process is a member no more: all its shards may be others' by now."""
        with self._lock:
            self._assigned.clear()
        self._note(_Word.LOST, shards)

    def ours_before(self, shard: int) -> None:
        """Note that the ledger names this instance as the last owner of a shard."""
        self._note(_Word.OURS_BEFORE, [shard])

    def fenced(self, shard: int) -> bool:
        """Note that a shard was fenced; return whether to take it back, which a shard of the group's does.

        Any other must do nothing more: it is about to be ended.
        """
        with self._lock:
            if shard in self._assigned:
                return True
        self._note(_Word.FENCED, [shard])
        return False

    def standing(self) -> tuple[bool, frozenset[int]]:
        """Return whether the group has spoken at all, and which shards it gives to this process."""
        with self._lock:
            return self._answered, frozenset(self._assigned)

    def _note(self, word: _Word, shards: list[int]) -> None:
        self._moves.put((word, shards))
        self._loop.waiter.wake()

    # What is done about it, in a thread of its own.

    def _step(self) -> float | None:
        try:
            word, shards = self._moves.get_nowait()
        except Empty:
            return self._rest()
        self._moved, self._resting = True, False
        match word:
            case _Word.ASSIGNED:
                self._say.info("shards.assigned", shards=sorted(shards))
                self._host.take(shards)
            case _Word.REVOKED:
                self._say.info("shards.revoked", shards=sorted(shards))
                self._give_up(shards)
            case _Word.LOST:
                self._say.warning("shards.lost", shards=sorted(shards), why="the group's session is over")
                self._give_up(self._host.owned())
            case _Word.OURS_BEFORE:
                self._claim(shards)
            case _Word.FENCED:
                self._yield(shards)
        return 0

    def _rest(self) -> float | None:
        """Have nothing to do; but some seconds after the last move, give back the memory it left free."""
        if self._moved:
            self._moved, self._resting = False, True
            return _LET_GO_SECONDS
        if self._resting:
            self._resting = False
            give_back()
        return None

    def _claim(self, shards: list[int]) -> None:
        """Take what was this instance's before, unless the group has spoken or another took it since."""
        if not self._answered and self._yielded.isdisjoint(shards):
            self._say.info("shards.claimed", shards=shards, why="the last owner was this instance")
            self._host.take(shards)

    def _yield(self, shards: list[int]) -> None:
        """End shards that another replica fenced; one the group gave us meanwhile begins anew."""
        self._give_up(shards)
        with self._lock:
            ours = self._assigned.intersection(shards)
        if ours:
            self._host.take(sorted(ours))
        else:
            self._yielded.update(shards)
            self._say.warning(
                "shards.yielded",
                shards=shards,
                why="another replica took them, and the group has not given them to this one",
                advice="if two replicas have the same name, give each a DISPATCHER_INSTANCE of its own",
            )

    def _give_up(self, shards: list[int]) -> None:
        self._host.give_up(shards, Deadline(_GIVE_UP_SECONDS))

    def _close(self) -> None:
        self._give_up(self._host.owned())
