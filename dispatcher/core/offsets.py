"""What became of the deliveries of one partition, and what to commit of it.

Runs end out of order. What is committed is the lowest offset that is not decided; what is known of the
offsets beyond it travels in the metadata of the commit, so that another life of the partition does not run
again what is done, and knows what was begun by a worker that never told its end. A life that lets go of a
run in order is not counted, for the run is not to blame; that it was begun is told all the same.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

LIMIT_BYTES = 4_096
"""What brokers take as metadata unless told otherwise (`offset.metadata.max.bytes`)."""
MARK_BYTES = 96
"""What of it is left to whoever adds a mark of its own to the text."""
MOST_COUNTED = 9
"""Beginnings are counted up to here."""

_DONE, _WAITS, _ENDED, _LEFT = -1, 0, MOST_COUNTED + 1, MOST_COUNTED + 2
_LETTERS = "wABCDEFGHIhld"
"""The letter of each state: it waits, was begun once (A) to nine times (I), was handed back by all that
began it, the last of which saw it end (h) or left it running (l), is done (-1, the last)."""
_VERSION = "a"
_TEXT = re.compile(r"a(?:[0-9]{0,18}[wA-Ihld])+")
_RUN = re.compile(r"([0-9]*)([wA-Ihld])")
_FULL = 0.75

Piece = tuple[int, int]
"""So many offsets of one state: (state, length)."""


class Past(NamedTuple):
    """What other lives did with a record: how many began it and never let go, and whether any began it.

    `unended`: a run of such a life was not seen to end, and may be under way.
    """

    begun: int = 0
    known: bool = False
    unended: bool = False


_PASTS = (
    Past(),
    *(Past(count, known=True, unended=True) for count in range(1, MOST_COUNTED + 1)),
    Past(known=True),
    Past(known=True, unended=True),
)
"""By state."""


@dataclass(slots=True)
class _Delivered:
    """A record that is not decided. What lies between the record before and this one counts to this one.

    `told` is its state as other lives left it.
    """

    first: int
    state: int
    told: int


class Progress:
    """How far one partition is. Begins at the committed offset, with the committed metadata.

    Records come in order. What was never delivered and lies below a delivered one is no record: control
    records, compacted or aborted ones. A text that cannot be read, another tool's perhaps, tells nothing.
    """

    def __init__(self, start: int, metadata: str = "", limit: int = LIMIT_BYTES - MARK_BYTES) -> None:
        self._limit = limit
        self._begin(start)
        self._foretold.extend(_ends(start, _read(metadata)))
        self._given = self._committed = self._tell()

    def _begin(self, start: int) -> None:
        self._start = self._next = self._position = start
        self._open: dict[int, _Delivered] = {}
        self._firsts: dict[int, int] = {}
        """The offset of each undecided record by the first offset that counts to it."""
        self._order: deque[int] = deque()
        """Offsets in the order they came; those decided meanwhile go when they come to the front."""
        self._runs = [0, 0]
        """How many runs there are of delivered records that are undecided, and of those that are done."""
        self._span = 0
        """How many offsets count to undecided records."""
        self._foretold: deque[tuple[int, int]] = deque()
        """What another life knew of offsets that were not delivered in this one yet: (end, state)."""
        self._told: tuple[int, str] | None = None

    # What happens.

    def take(self, offset: int) -> Past | None:
        """Learn that a record was delivered; return what other lives did with it, None to skip it.

        It is to be skipped when it is done, or was delivered in this life already. An offset below the start
        can only be another log's, the topic was made anew: nothing that was known is true of it.
        """
        if offset < self._start:
            self._begin(offset)
        elif offset < self._next:
            return None
        first, self._next = self._next, offset + 1
        state = self._told_of(offset)
        self._runs[state == _DONE] += state != self._state_before(first)
        self._told = None
        if state == _DONE:
            return None
        self._span += self._next - first
        self._open[offset] = _Delivered(first, state, state)
        self._firsts[first] = offset
        self._order.append(offset)
        return _PASTS[state]

    def begun(self, offset: int) -> None:
        """Learn that a record is being run; once more makes no difference."""
        record = self._open.get(offset)
        if record is not None:
            self._turn(offset, record, min(MOST_COUNTED, _PASTS[record.told].begun + 1))

    def handed_back(self, offset: int, *, ended: bool) -> None:
        """Learn that a record that was begun is let go of in order: this life does not count.

        `ended` says whether its run was seen to end.
        """
        record = self._open.get(offset)
        if record is not None:
            counts = _PASTS[record.told].begun > 0
            self._turn(offset, record, record.told if counts else _ENDED if ended else _LEFT)

    def done(self, offset: int) -> None:
        """Learn that a record is decided."""
        record = self._open.get(offset)
        if record is not None:
            self._turn(offset, record, _DONE)
            self._span -= offset + 1 - record.first
            del self._open[offset], self._firsts[record.first]

    def reached(self, position: int) -> None:
        """Learn where the reader is: the next offset it delivers, beyond what is no record."""
        if position > self._position:
            self._position = position
            self._told = None

    # What is to be committed.

    def commit(self) -> tuple[int, str]:
        """Return the lowest offset that is not decided, or the reader's position, and what lies beyond."""
        self._given = self._tell()
        return self._given

    def committed(self) -> None:
        """Learn that what `commit` returned last is committed."""
        self._committed = self._given

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return self._tell() != self._committed

    def room(self) -> bool:
        """Return whether more may be delivered: the text may take three quarters of what it can.

        With nothing undecided there is always room, else what another life left could shut the partition.
        """
        return not self._open or self._longest() <= self._limit * _FULL

    def _longest(self) -> float:
        """Return a length that the text does not exceed, from how many runs there are and what they span."""
        undecided, done = self._runs
        span = self._next - self._open[self._lowest()].first
        ahead = self._foretold[-1][0] - self._next if self._foretold else 0
        return (
            len(_VERSION)
            + _most(undecided, self._span)
            + _most(done, span - self._span)
            + _most(len(self._foretold), ahead)
        )

    def _tell(self) -> tuple[int, str]:
        if self._told is None:
            lowest = self._lowest()
            self._told = lowest, _write(list(self._pieces(lowest)), self._limit)
        return self._told

    def _lowest(self) -> int:
        """Return the lowest offset that is not decided; with none, where the next one may be."""
        while self._order and self._order[0] not in self._open:
            self._order.popleft()
        if self._order:
            return self._order[0]
        lowest = max(self._next, self._position)
        for end, state in self._foretold:
            if end > lowest:
                if state != _DONE:
                    break
                lowest = end
        return lowest

    def _pieces(self, lowest: int) -> Iterator[Piece]:
        """Yield what is known from an offset on, in order."""
        at = lowest
        for offset, record in self._open.items():
            first = max(record.first, lowest)
            yield _DONE, first - at
            yield record.state, offset + 1 - first
            at = offset + 1
        yield _DONE, self._next - at
        at = max(at, self._next)
        for end, state in self._foretold:
            yield state, end - at
            at = max(at, end)

    # Parts.

    def _told_of(self, offset: int) -> int:
        """Return what another life knew of an offset, and forget what it knew of those before."""
        foretold = self._foretold
        while foretold and foretold[0][0] <= offset:
            foretold.popleft()
        return foretold[0][1] if foretold else _WAITS

    def _turn(self, offset: int, record: _Delivered, state: int) -> None:
        self._count(offset, record, -1)
        record.state = state
        self._count(offset, record, 1)
        self._told = None

    def _count(self, offset: int, record: _Delivered, step: int) -> None:
        """Count, or no longer count, the runs that begin at a record and behind it."""
        if record.state != self._state_before(record.first):
            self._runs[record.state == _DONE] += step
        after = self._state_after(offset) if offset + 1 < self._next else record.state
        if record.state != after:
            self._runs[after == _DONE] += step

    def _state_before(self, first: int) -> int:
        record = self._open.get(first - 1)
        return _DONE if record is None else record.state

    def _state_after(self, offset: int) -> int:
        following = self._firsts.get(offset + 1)
        return _DONE if following is None else self._open[following].state


def _most(runs: int, span: int) -> float:
    """Return what so many runs over so many offsets take at the most.

    A run takes one byte, two from length 2 on, and one more at each power of ten. With straight lines between
    these lengths it is concave, so that runs of one length take the most.
    """
    if runs <= 0:
        return 0
    mean = span / runs
    if mean <= 2:
        return runs * max(1.0, mean)
    size, low, high = 2, 2, 10
    while mean > high:
        size, low, high = size + 1, high, high * 10
    return runs * (size + (mean - low) / (high - low))


def _write(pieces: Iterable[Piece], limit: int) -> str:
    """Return the text of what is known; if that is too long, of less.

    First it is forgotten what was begun, then what lies far out: that is run again.
    """
    runs = _merged(pieces)
    if _length(runs) > limit:
        runs = _merged((state if state == _DONE else _WAITS, length) for state, length in runs)
    texts = [("" if length == 1 else str(length)) + _LETTERS[state] for state, length in runs]
    left = limit - len(_VERSION)
    kept = 0
    for text in texts:
        left -= len(text)
        kept += left >= 0
    runs = runs[:kept]
    while runs and runs[-1][0] == _WAITS:
        runs.pop()
    return _VERSION + "".join(texts[: len(runs)]) if runs else ""


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Return neighbours of one state as one; what waits at the end need not be told."""
    runs: list[Piece] = []
    last, total = _WAITS, 0
    for state, length in pieces:
        if length <= 0:
            continue
        if state != last:
            runs.append((last, total))
            last, total = state, 0
        total += length
    runs.append((last, total))
    if not runs[0][1]:
        del runs[0]
    if runs and runs[-1][0] == _WAITS:
        runs.pop()
    return runs


def _length(runs: Iterable[Piece]) -> int:
    return len(_VERSION) + sum(1 + (len(str(length)) if length > 1 else 0) for _, length in runs)


def _read(metadata: str) -> list[Piece]:
    if not _TEXT.fullmatch(metadata):
        return []
    runs = [(letter, int(digits or "1")) for digits, letter in _RUN.findall(metadata)]
    if any(length == 0 for _, length in runs):
        return []
    states = {letter: state for state, letter in enumerate(_LETTERS[:-1])}
    return [(states.get(letter, _DONE), length) for letter, length in runs]


def _ends(start: int, runs: Iterable[Piece]) -> Iterator[tuple[int, int]]:
    end = start
    for state, length in runs:
        end += length
        yield end, state
