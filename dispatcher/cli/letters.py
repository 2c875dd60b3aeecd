"""Finding dead letters: by what they are about, by when and why they died, or by where they lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from dispatcher.cli.progress import progress_bar, read_with
from dispatcher.cli.topics import connection_of, mended_by, patience_of
from dispatcher.core.dead_letter import Filed, Letter, Pile, read_letter
from dispatcher.core.instant import Instant
from dispatcher.core.message import TopicNames
from dispatcher.errors import TopicsUnfit
from dispatcher.kafka.history import Extent, HistoryReader
from dispatcher.settings import InForce

_PLACE = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]+)\[(?P<inside>\d+)\]|(?P<bare>\d+))@(?P<offset>\d+)")

Place = tuple[int, int]
"""Partition and offset in the topic of dead letters."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant: those that all of it is true of. `names` are fires or places, any of them."""

    names: tuple[str, ...] = ()
    job: str | None = None
    reason: str | None = None
    since: Instant | None = None

    def of(self, topic: str) -> Callable[[Letter], bool]:
        """Return the test of a letter; `topic` is that of dead letters."""
        names = set(self.names)
        places = {place for place in (_place(name, topic) for name in names) if place is not None}

        def test(letter: Letter) -> bool:
            if self.job is not None and letter.job != self.job:
                return False
            if self.reason is not None and self.reason.casefold() not in letter.reason.casefold():
                return False
            if self.since is not None and letter.at < self.since:
                return False
            return not names or letter.fire in names or bool(places & _places(letter, topic))

        return test

    def missing(self, topic: str, found: Collection[Letter]) -> list[str]:
        """Return the names that none of the letters found has."""
        fires = {letter.fire for letter in found}
        places = {place for letter in found for place in _places(letter, topic)}
        return [name for name in self.names if name not in fires and _place(name, topic) not in places]


class Letters:
    """The dead letters of an installation. Raises KafkaUnreachable and TopicsUnfit."""

    def __init__(self, in_force: InForce) -> None:
        settings = in_force.settings
        self.topics = TopicNames(settings.prefix)
        self.reader = HistoryReader(connection_of(settings), patience_of(settings))
        with mended_by(in_force):
            self.partitions = self._partitions(self.topics.dead)
            self.shards = self._partitions(self.topics.commands)

    def find(self, wanted: Wanted, *, settled: bool = False) -> list[Filed]:
        """Return the letters that are wanted, the oldest first and without their values."""
        pile = Pile(wanted.of(self.topics.dead), settled=settled)
        extents = self.reader.extents({self.topics.dead: self.partitions})
        with progress_bar() as progress:
            for record in read_with(progress, self.reader, "dead letters", extents, {}):
                pile.take(record)
        return list(pile)

    def whole(self, places: Collection[Place]) -> Iterator[Letter]:
        """Yield the letters that lie at some places, whole; they are read again."""
        left = set(places)
        extents = {}
        for number in {partition for partition, _ in left}:
            offsets = [offset for partition, offset in left if partition == number]
            extents[self.topics.dead, number] = Extent(min(offsets), max(offsets) + 1)
        with progress_bar() as progress:
            for record in read_with(progress, self.reader, "letters", extents, {}):
                if (record.partition, record.offset) in left:
                    found = read_letter(record)
                    if isinstance(found, Letter):
                        yield found

    def _partitions(self, topic: str) -> int:
        found = self.reader.partitions([topic])
        if topic not in found:
            fault = f"topic {topic} is missing, or this user may not DESCRIBE it"
            raise TopicsUnfit((fault,), "dispatcher topics ensure")
        return found[topic]


def place_of(letter: Letter, topic: str) -> str:
    """Return where a letter lies, as it may be given for it."""
    return f"{topic}[{letter.place[0]}]@{letter.place[1]}"


def _places(letter: Letter, topic: str) -> set[tuple[str, int, int]]:
    return {(topic, *letter.place), (letter.topic, letter.partition, letter.offset)}


def _place(name: str, topic: str) -> tuple[str, int, int] | None:
    """Return the place that a name is; without a topic it is one of dead letters."""
    form = _PLACE.fullmatch(name)
    if form is None:
        return None
    number = form["inside"] if form["bare"] is None else form["bare"]
    return form["topic"] or topic, int(number), int(form["offset"])
