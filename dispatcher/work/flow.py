"""Which partitions are to wait: of topics of which enough is held, and those that cannot be noted further."""

from __future__ import annotations

from collections.abc import Collection

from dispatcher.ports import Place
from dispatcher.work.desk import Desk

_LEAST_HELD = 200
_PER_SEAT = 4
_MOST_BYTES = 64 * 1024 * 1024


class Flow:
    """Remembers which partitions wait. The consumer thread's own."""

    def __init__(self, most_records: int = 20_000) -> None:
        self._most_records = most_records
        self._waiting: set[Place] = set()
        self._full: set[str] = set()

    def steer(self, desk: Desk, seats: int) -> tuple[list[Place], list[Place]]:
        """Return the partitions that are to wait from now on, and those that may go on."""
        stuffed = desk.book.size >= self._most_records or desk.held_bytes > _MOST_BYTES
        self._note_full(desk, max(_LEAST_HELD, _PER_SEAT * seats))
        to_wait = {place for place in desk.book if stuffed or self._is_to_wait(desk, place)}
        hold, go_on = sorted(to_wait - self._waiting), sorted(self._waiting - to_wait)
        self._waiting = to_wait
        return hold, go_on

    def note(self, places: Collection[Place]) -> None:
        """Note partitions that wait already."""
        self._waiting.update(places)

    def forget(self, places: Collection[Place]) -> None:
        """Forget partitions that went to another worker."""
        self._waiting.difference_update(places)

    def _note_full(self, desk: Desk, most: int) -> None:
        """Note topics full from `most` held runs on, until there is half of that: they must not flutter."""
        for topic, count in desk.by_topic.items():
            if count >= most:
                self._full.add(topic)
            elif count <= most // 2:
                self._full.discard(topic)

    def _is_to_wait(self, desk: Desk, place: Place) -> bool:
        page = desk.book.page(place)
        if page is not None and not (page.opened and page.progress.room()):
            return True
        return place[0] in self._full
