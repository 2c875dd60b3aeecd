"""What was decided and is not committed yet: records and progress, partition by partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing
from dispatcher.core.offsets import Progress
from dispatcher.ports import Place

_CLOSED = "~"
"""Ends the notes of a partition that was let go of in order: what they do not tell of was never begun. An
instant may follow, in milliseconds: what was sent up to it a life before that one may have begun."""
_SKEW_MS = 1_000
_NO_DOUBT = -1


class Page:
    """One partition: how far it is, and the records that go with that.

    Other lives may have begun, unnoted, records that were sent up to `doubt`. Notes that the life before
    `closed` have to be written anew before anything is begun: else a life that ends at once would leave them
    standing.
    """

    def __init__(self, progress: Progress, doubt: Instant, *, closed: bool) -> None:
        self.progress = progress
        self.outgoing: list[Outgoing] = []
        self.closed = False
        self.opened = not closed
        self._doubt = doubt

    def may_have_begun(self, sent: Instant) -> bool:
        """Return whether another life may have begun a record that was sent then, unnoted."""
        return sent <= self._doubt

    def notes(self, notes: str) -> str:
        """Return what is committed of some notes: closed ones say what stays in doubt."""
        if not self.closed:
            return notes
        return f"{notes}{_CLOSED}{'' if self._doubt == _NO_DOUBT else self._doubt}"

    def is_to_be_written(self) -> bool:
        """Return whether there is anything of it to commit."""
        return bool(self.outgoing) or self.progress.dirty or self.closed or not self.opened


class Book:
    """The pages of the partitions that are this worker's. The consumer thread's own.

    Progress runs ahead of what is committed, so all of it is written in one transaction or none.
    """

    def __init__(self) -> None:
        self._pages: dict[Place, Page] = {}
        self.size = 0
        """Records that wait to be written."""
        self._written: list[tuple[Page, int]] = []

    def open(self, place: Place, offset: int, metadata: str, now: Instant) -> None:
        """Begin a partition's page, by the notes of the life before."""
        notes, closed, doubt = metadata.partition(_CLOSED)
        told = int(doubt) if doubt.isdecimal() else _NO_DOUBT
        until = told if closed else now + _SKEW_MS
        self._pages[place] = Page(Progress(offset, notes), until, closed=bool(closed))

    def close(self, places: Iterable[Place]) -> None:
        """Have the next commit say that nothing of some partitions runs but what is noted as begun."""
        for place in places:
            page = self._pages.get(place)
            if page is not None:
                page.closed = True

    def tear_out(self, places: Iterable[Place]) -> None:
        """Forget partitions and all that was decided of them: it will be decided elsewhere."""
        for place in places:
            page = self._pages.pop(place, None)
            self.size -= 0 if page is None else len(page.outgoing)

    def __contains__(self, place: Place) -> bool:
        return place in self._pages

    def __iter__(self) -> Iterator[Place]:
        return iter(tuple(self._pages))

    def page(self, place: Place) -> Page | None:
        """Return a partition's page; None when it is not this worker's."""
        return self._pages.get(place)

    def settle(self, place: Place, offset: int, outgoing: Sequence[Outgoing]) -> bool:
        """Note what a delivery leaves; return whether its partition still is this worker's."""
        page = self._pages.get(place)
        if page is None:
            return False
        page.progress.done(offset)
        page.outgoing += outgoing
        self.size += len(outgoing)
        return True

    def note_begun(self, place: Place, offset: int, outgoing: Outgoing | None = None) -> None:
        """Note that a delivery was begun and goes on, with the record that tells of it, if one does."""
        page = self._pages.get(place)
        if page is None:
            return
        page.progress.begun(offset)
        if outgoing is not None:
            page.outgoing.append(outgoing)
            self.size += 1

    def note_handed_back(self, place: Place, offset: int, *, ended: bool) -> None:
        """Note that a delivery that was begun is let go of in order; what is not noted was never begun."""
        page = self._pages.get(place)
        if page is not None:
            page.progress.handed_back(offset, ended=ended)

    def reached(self, positions: Mapping[Place, tuple[int, int]]) -> None:
        """Note the positions of the reader, which step over what is no record."""
        for place, (position, _) in positions.items():
            page = self._pages.get(place)
            if page is not None:
                page.progress.reached(position)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to write."""
        return self.size > 0 or any(page.is_to_be_written() for page in self._pages.values())

    def content(self) -> tuple[list[Outgoing], dict[Place, tuple[int, str]]]:
        """Return all there is to write: the records, and the offsets of the partitions they belong to."""
        outgoing: list[Outgoing] = []
        offsets: dict[Place, tuple[int, str]] = {}
        self._written = []
        for place, page in self._pages.items():
            if page.is_to_be_written():
                outgoing += page.outgoing
                offset, notes = page.progress.commit()
                offsets[place] = (offset, page.notes(notes))
                self._written.append((page, len(page.outgoing)))
        return outgoing, offsets

    def committed(self) -> None:
        """Learn that the content last given is committed."""
        for page, count in self._written:
            del page.outgoing[:count]
            page.progress.committed()
            page.closed, page.opened = False, True
        self._written = []
        self.size = sum(len(page.outgoing) for page in self._pages.values())
