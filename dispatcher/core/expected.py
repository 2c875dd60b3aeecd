"""What a shard is expected to have fired: its schedule held against the place that its ledger shows.

For those who read a ledger along and do not trust the thread that works on it. It knows triggers and delays,
not jobs, and computes little: what was once found to be due later than some place is looked at again only
when that instant is long past.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job
from dispatcher.core.ledger import Cursor
from dispatcher.core.trigger import Trigger

GRACE_MS = 60_000
"""So long after it was due a fire that nobody settled is an alarm: it is the grace of fires, unless set."""


class _Group:
    """The jobs of one trigger: their delays in order, and for each the last name that has it."""

    __slots__ = ("delays", "last", "trigger")

    def __init__(self, trigger: Trigger, last: dict[int, str]) -> None:
        self.trigger = trigger
        self.last = last
        self.delays = sorted(last)

    def due_after(self, cursor: Cursor, floor: Instant) -> Instant | None:
        """Return when the first fire planned after `floor` and not settled by `cursor` is due.

        Of delays that are longer than the period the one found may be later than the first by a period.
        """
        delays = self.delays
        planned = self.trigger.next_after(max(floor, cursor.due - delays[-1] - 1))
        while planned is not None:
            first = bisect_left(delays, cursor.due - planned)
            for delay in delays[first : first + 2]:
                if planned + delay > cursor.due or self.last[delay] > cursor.name:
                    return planned + delay
            planned = self.trigger.next_after(planned)
        return None


class Expected:
    """The fires of these jobs planned after `floor`, the instant of the change that put them in force.

    One owner at a time. The cursors it is asked with do not go back.
    """

    def __init__(self, jobs: Iterable[Job], floor: Instant) -> None:
        groups: dict[str, tuple[Trigger, dict[int, str]]] = {}
        for job in jobs:
            found = groups.get(job.trigger.digest)
            if found is None:
                groups[job.trigger.digest] = job.trigger, {job.delay_ms: job.name}
            elif job.name > found[1].get(job.delay_ms, ""):
                found[1][job.delay_ms] = job.name
        self._floor = floor
        self._groups = [_Group(*one) for one in groups.values()]
        self._heap: list[tuple[Instant, int]] = [(floor, index) for index in range(len(self._groups))]
        """No fire of a group that is not settled is due before the instant that stands with it."""
        heapify(self._heap)

    def overdue_since(self, cursor: Cursor, now: Instant, most: int) -> Instant | None:
        """Return when the first fire was due that ought to be settled by now and is not, None without one.

        At most `most` groups are looked at: what cannot be said after that is said later.
        """
        due = self.next_due(cursor, most, before=now - GRACE_MS)
        return due if due is not None and due < now - GRACE_MS else None

    def next_due(self, cursor: Cursor, most: int, before: Instant | None = None) -> Instant | None:
        """Return when the first fire not settled is due; None when there is none, or it is not known yet.

        With `before` one that is due later is not looked for: then None says that there is none before.
        """
        heap = self._heap
        while heap:
            bound, index = heap[0]
            if before is not None and bound >= before:
                return None
            if bound > cursor.due and bound > self._floor:
                return bound
            if most <= 0:
                return None
            most -= 1
            due = self._groups[index].due_after(cursor, self._floor)
            if due is None:
                heappop(heap)
                continue
            heapreplace(heap, (due, index))
            if due == bound:
                return due
        return None
