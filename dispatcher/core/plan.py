"""The ordered upcoming fires of one shard.

Jobs that share a trigger and a delay form a group, and only groups wait in the heap: the cost grows with
distinct triggers and due fires, not with jobs. Fires come out in the total order (due instant, job name).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from operator import attrgetter, itemgetter

from dispatcher.core.instant import Instant
from dispatcher.core.ledger import Cursor
from dispatcher.core.record import JobRecord
from dispatcher.core.trigger import Trigger

Fire = tuple[Instant, str, Instant, JobRecord]
"""A planned fire: due instant, job name, planned instant, record. It sorts by the total order."""

Floor = Callable[[JobRecord], Instant]
"""Gives the planned instant after which a record's fires count."""

_TIDY_AT = 10_000

in_force: Floor = attrgetter("effective_from")


class _Group:
    """Jobs with one trigger and one delay; `due` is the earliest due instant not yet pulled."""

    __slots__ = ("delay", "due", "key", "members", "trigger")

    def __init__(self, key: tuple[str, int], trigger: Trigger) -> None:
        self.key = key
        self.trigger = trigger
        self.delay = key[1]
        self.members: dict[str, JobRecord] = {}
        self.due: Instant | None = None


class Plan:
    """The fires after a cursor, of the records added, each after its floor.

    Fires are pulled in order into a list that is ready to be sent; `settle` moves the cursor past them
    once they are committed.
    """

    def __init__(self, cursor: Cursor, records: Iterable[JobRecord] = (), *, floor: Floor = in_force) -> None:
        self.cursor = cursor
        self._floor = floor
        self._groups: dict[tuple[str, int], _Group] = {}
        self._heap: list[tuple[Instant, int, _Group]] = []
        self._ready: list[Fire] = []
        self._at = 0
        self._pulled: list[tuple[_Group, Instant]] = []
        self._add_all(records)

    def add(self, record: JobRecord) -> None:
        """Plan a record, in place of one of the same name, trigger and delay if there is one."""
        job = record.job
        key = (job.trigger.digest, job.delay_ms)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key, job.trigger)
        group.members[job.name] = record
        due = self._first_due(group, self._floor(record))
        if due is not None and (group.due is None or due < group.due):
            self._wait(group, due)

    def _add_all(self, records: Iterable[JobRecord]) -> None:
        """Plan many records of different names at once: each group is computed once."""
        groups, floor = self._groups, self._floor
        earliest: dict[tuple[str, int], Instant] = {}
        for record in records:
            job = record.job
            key = (job.trigger.digest, job.delay_ms)
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group(key, job.trigger)
                earliest[key] = floor(record)
            elif (at := floor(record)) < earliest[key]:
                earliest[key] = at
            group.members[job.name] = record
        for key, at in earliest.items():
            due = self._first_due(groups[key], at)
            if due is not None:
                self._wait(groups[key], due)

    def discard(self, record: JobRecord) -> None:
        """Take a record out of the plan; one that is not in it changes nothing."""
        group = self._groups.get((record.job.trigger.digest, record.job.delay_ms))
        if group is None:
            return
        group.members.pop(record.name, None)
        if not group.members:
            group.due = None
            del self._groups[group.key]

    def next_due(self) -> Instant | None:
        """Return the earliest due instant that is not settled, or None when nothing is planned."""
        if self._at < len(self._ready):
            return self._ready[self._at][0]
        return self._next_group_due()

    def together(self) -> int:
        """Return how many unsettled fires are due at the next due instant."""
        due = self.next_due()
        if due is None:
            return 0
        if self._at == len(self._ready):
            self._pull(due)
        return bisect_right(self._ready, due, lo=self._at, key=itemgetter(0)) - self._at

    def ready(self, until: Instant, most: int) -> list[Fire]:
        """Return, in order, at most `most` unsettled fires due at or before `until`."""
        while len(self._ready) - self._at < most:
            due = self._next_group_due()
            if due is None or due > until:
                break
            self._pull(due)
        fires = self._ready[self._at : self._at + most]
        while fires and fires[-1][0] > until:
            fires.pop()
        return fires

    def settle(self, count: int) -> None:
        """Move the cursor past the next `count` ready fires: they are committed."""
        if not count:
            return
        self._at += count
        due, name, _, _ = self._ready[self._at - 1]
        self.cursor = Cursor(due, name)
        if self._at == len(self._ready):
            self._ready, self._at, self._pulled = [], 0, []
        elif self._at >= _TIDY_AT:
            del self._ready[: self._at]
            self._at = 0
            self._pulled = [pulled for pulled in self._pulled if pulled[1] >= due]

    def skip_to(self, cursor: Cursor) -> None:
        """Move the cursor forward past fires that are settled elsewhere."""
        self.put_back()
        self.cursor = cursor
        for group in list(self._groups.values()):
            if group.due is not None and group.due < cursor.due:
                due = self._first_due(group, cursor.due - group.delay - 1)
                group.due = None
                if due is not None:
                    self._wait(group, due)

    def put_back(self) -> None:
        """Undo all pulling beyond the cursor; needed before records change."""
        for group, due in reversed(self._pulled):
            if group.members and due >= self.cursor.due and (group.due is None or due < group.due):
                self._wait(group, due)
        self._ready, self._at, self._pulled = [], 0, []

    def _first_due(self, group: _Group, floor: Instant) -> Instant | None:
        """Return the first due instant of the group after a floor, none before the cursor's."""
        planned = group.trigger.next_after(max(floor, self.cursor.due - group.delay - 1))
        return None if planned is None else planned + group.delay

    def _wait(self, group: _Group, due: Instant) -> None:
        group.due = due
        heappush(self._heap, (due, id(group), group))

    def _next_group_due(self) -> Instant | None:
        while self._heap:
            due, _, group = self._heap[0]
            if group.due == due and group.members:
                return due
            heappop(self._heap)
        return None

    def _pull(self, due: Instant) -> None:
        """Bring every fire due at one instant into the ready list."""
        fires: list[Fire] = []
        while self._next_group_due() == due:
            group = heappop(self._heap)[2]
            self._pulled.append((group, due))
            fires += self._fires(group, due)
            following = group.trigger.next_after(due - group.delay)
            group.due = None
            if following is not None:
                self._wait(group, following + group.delay)
        fires.sort(key=_order)
        self._ready += fires

    def _fires(self, group: _Group, due: Instant) -> list[Fire]:
        planned, floor, after = due - group.delay, self._floor, self.cursor
        if due > after.due:
            return [(due, name, planned, one) for name, one in group.members.items() if planned > floor(one)]
        return [
            (due, name, planned, one)
            for name, one in group.members.items()
            if planned > floor(one) and (due, name) > (after.due, after.name)
        ]


def _order(fire: Fire) -> str:
    return fire[1]
