"""Ownership as one thread sees it: shards come and go in the order the group says, one move at a time."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue

import structlog

from dispatcher.produce.host import ShardHost
from dispatcher.service import Deadline, Loop

_GIVE_UP_SECONDS = 5.0


class Ownership:
    """Performs what the group's callbacks only note: they must not wait for a transaction to end."""

    def __init__(self, host: ShardHost, *, failed: Callable[[str, BaseException], None]) -> None:
        self._host = host
        self._moves: SimpleQueue[tuple[bool, list[int]]] = SimpleQueue()
        self._say = structlog.get_logger()
        self._loop = Loop("ownership", self._step, close=self._close, failed=failed)

    def start(self) -> None:
        """Begin to take and give up shards."""
        self._loop.start()

    def stop(self) -> None:
        """Ask for the end: every shard finishes its present transaction."""
        self._loop.stop()

    def join(self, deadline: Deadline) -> bool:
        """Wait until every shard has ended."""
        return self._loop.join(deadline)

    def assigned(self, shards: list[int]) -> None:
        """Note that shards are this process's now."""
        self._note(shards, ours=True)

    def revoked(self, shards: list[int]) -> None:
        """Note that shards are no longer this process's."""
        self._note(shards, ours=False)

    def _note(self, shards: list[int], *, ours: bool) -> None:
        self._moves.put((ours, shards))
        self._loop.waiter.wake()

    def _step(self) -> float | None:
        try:
            ours, shards = self._moves.get_nowait()
        except Empty:
            return None
        self._say.info("shards.assigned" if ours else "shards.revoked", shards=sorted(shards))
        if ours:
            self._host.take(shards)
        else:
            self._host.give_up(shards, Deadline(_GIVE_UP_SECONDS))
        return 0

    def _close(self) -> None:
        self._host.give_up(self._host.owned(), Deadline(_GIVE_UP_SECONDS))
