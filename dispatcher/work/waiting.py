"""What waits for a seat: a queue for each lane, and the rule by which free seats choose among them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping

from dispatcher.core.job import Lane
from dispatcher.core.lanes import Shares, Turn
from dispatcher.work.held import Held


class WaitingRoom:
    """Runs that wait, by lane. The consumer thread puts them in, seats take them out, at any time."""

    def __init__(self, shares: Shares, seats: int) -> None:
        self._turn = Turn(shares)
        self._seats = seats
        self._queues: dict[Lane, deque[Held]] = {lane: deque() for lane in Lane}
        self._busy: Counter[Lane] = Counter()
        self._changed = threading.Condition()
        self._closed = False
        self._surplus = 0

    def put(self, held: Held) -> None:
        """Let a run wait."""
        with self._changed:
            self._queues[held.lane].append(held)
            self._changed.notify()

    def take(self) -> Held | None:
        """Return the run that the calling seat is to run, once there is one; None when the seat is to go."""
        with self._changed:
            while True:
                if self._closed:
                    return None
                if self._surplus:
                    self._surplus -= 1
                    return None
                lane = self._turn.choose(self._counts(), self._busy, self._seats)
                if lane is not None:
                    self._busy[lane] += 1
                    return self._queues[lane].popleft()
                self._changed.wait()

    def ended(self, lane: Lane) -> None:
        """Note that a seat is free again."""
        with self._changed:
            self._busy[lane] -= 1
            self._changed.notify()

    def remove(self, held: Held) -> bool:
        """Take out a run that waits; return whether it did."""
        with self._changed:
            try:
                self._queues[held.lane].remove(held)
            except ValueError:
                return False
            return True

    def clear(self) -> list[Held]:
        """Take out all that wait, and return them."""
        with self._changed:
            found = [held for queue in self._queues.values() for held in queue]
            for queue in self._queues.values():
                queue.clear()
            return found

    def resize(self, seats: int, surplus: int = 0) -> None:
        """Learn how many seats there are from now on, and how many of those waiting are to go."""
        with self._changed:
            self._seats = seats
            self._surplus = surplus
            self._changed.notify_all()

    def close(self) -> None:
        """Send every seat away that asks for work."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def counts(self) -> dict[Lane, int]:
        """Return how many runs wait in each lane."""
        with self._changed:
            return self._counts()

    def busy(self) -> Mapping[Lane, int]:
        """Return how many seats run something of each lane."""
        with self._changed:
            return {lane: self._busy[lane] for lane in Lane}

    def _counts(self) -> dict[Lane, int]:
        return {lane: len(queue) for lane, queue in self._queues.items()}
