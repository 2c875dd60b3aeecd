"""Judging an installation on a cluster: its topics into the checker, in the order that makes it sound.

How far the shards had settled is read first, then the ends of the job topics are noted, then the events are
read: so what the ledger calls settled is in the job topics, and what lies there is explained by the events.
Commands come last, from where the ledger had obeyed them: so an attempt that an event speaks of was sent, is
a timer, or waits among them. What events tell of runs is counted in a second reading, once it is known which
fires there are; one that ended in between is one that runs, as it did at the first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from rich.progress import Progress

from dispatcher.cli.progress import progress_bar, read_with
from dispatcher.core.instant import Instant
from dispatcher.core.job import Lane
from dispatcher.core.log_record import Record
from dispatcher.core.message import TopicNames
from dispatcher.errors import TopicsUnfit
from dispatcher.kafka.history import Extent, HistoryReader, Partition
from dispatcher.observe.checker import Checker
from dispatcher.observe.tally import Tally
from dispatcher.observe.verdict import Verdict

_EVER: Instant = 1 << 60


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a window (after, until], and what it could not be about.

    `known_from` tells of each shard whose history is not whole from when on it is known; `missing` are topics
    of jobs that are gone.
    """

    window: tuple[Instant, Instant]
    verdict: Verdict
    known_from: Mapping[int, Instant]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: about what was planned in a window (after, until], none of it later than `now`.

    `distrusted` are shards whose ledger cannot say what is pending (None: all); `all_ended` says that no run
    is to go on any more.
    """

    window: tuple[Instant, Instant]
    now: Instant
    distrusted: tuple[int | None, ...] = ()
    all_ended: bool = False


def judge(reader: HistoryReader, prefix: str, question: Question) -> Report:
    """Answer a question. Raises KafkaUnreachable, TopicsUnfit for topics that are missing, LedgerUnfit."""
    with progress_bar() as progress:
        return _Judge(reader, TopicNames(prefix), question, progress).report()


class _Judge:
    def __init__(
        self, reader: HistoryReader, names: TopicNames, question: Question, progress: Progress
    ) -> None:
        self._reader = reader
        self._names = names
        self._question = question
        self._progress = progress
        self._lanes = [names.lane(lane) for lane in Lane]
        needed = {names.events, names.ledger, *self._lanes}
        self._counts = reader.partitions(sorted(needed))
        self._known_from: dict[int, Instant] = {}
        if missing := sorted(needed - self._counts.keys()):
            faults = [f"topic {topic} is missing, or this user may not DESCRIBE it" for topic in missing]
            raise TopicsUnfit(tuple(faults), "dispatcher topics ensure")
        shards = self._counts[names.events]
        if self._counts[names.ledger] != shards:
            fault = f"{names.ledger} has {self._counts[names.ledger]} partitions, {names.events} has {shards}"
            raise TopicsUnfit((f"{fault}: there must be one of each for a shard",), "dispatcher topics check")
        self._checker = Checker(names.prefix, shards)

    def report(self) -> Report:
        checker, names, window = self._checker, self._names, self._question.window
        cut = {place for place, extent in self._extents([names.events]).items() if extent.low > 0}
        for _, shard in cut:
            checker.cut(shard, -1)
        for record in self._records("ledger", self._extents([names.ledger]), {}):
            checker.ledger(record)
        for doubted in self._question.distrusted:
            checker.distrust(doubted)
        jobs = self._extents(self._lanes)
        own, events = self._read_events(cut)
        jobs |= own
        missing = tuple(sorted(checker.topics - self._counts.keys()))
        tally = checker.tally(*window)
        for topic in missing:
            tally.cut(topic, _EVER)
        extents = jobs if window[0] < 0 else self._reader.since(jobs, window[0])
        self._count(tally, extents, {place for place in jobs if 0 < jobs[place].low == extents[place].low})
        if checker.history.told:
            self._read_commands()
            for record in self._records("runs", events, {}):
                tally.event(record)
        verdict = self._verdict(tally)
        if verdict.doubled:
            for record in self._records("places", extents, {}):
                tally.trace(record)
            verdict = self._verdict(tally)
        return Report(window, verdict, self._known_from, missing)

    def _verdict(self, tally: Tally) -> Verdict:
        return tally.verdict(self._checker.standings(), all_ended=self._question.all_ended)

    def _read_commands(self) -> None:
        """Read the commands that the shards had not obeyed, by the ledger."""
        topic = self._names.commands
        self._counts |= self._reader.partitions([topic])
        unread = {}
        for place, extent in self._extents([topic] if topic in self._counts else []).items():
            standing = self._checker.standings().get(place[1])
            position = None if standing is None else standing.position
            obeyed = 0 if position is None or position.commands is None else position.commands
            unread[place] = Extent(min(max(extent.low, obeyed), extent.high), extent.high)
        for record in self._records("commands", unread, {}):
            self._checker.command(record)

    def _read_events(
        self, cut: Collection[Partition]
    ) -> tuple[dict[Partition, Extent], dict[Partition, Extent]]:
        """Read the events; return the extents of the jobs' own topics, of which only they tell, and theirs.

        What comes behind the events while those topics are looked at is read too.
        """
        checker, names = self._checker, self._names
        first: dict[Partition, Instant] = {}
        extents = self._extents([names.events])
        for record in self._records("events", extents, first):
            checker.event(record)
        for place in cut:
            since = self._known_from[place[1]] = self._since(names.events, first.get(place))
            checker.cut(place[1], since)
        own = self._reader.partitions(sorted(checker.topics))
        self._counts |= own
        found = self._extents(list(own))
        if found:
            later = _behind(extents, self._extents([names.events]))
            for record in self._records("events", later, {}):
                checker.event(record)
            extents = {place: Extent(one.low, later[place].high) for place, one in extents.items()}
        return found, extents

    def _count(self, tally: Tally, extents: Mapping[Partition, Extent], cut: Collection[Partition]) -> None:
        first: dict[Partition, Instant] = {}
        for record in self._records("fires", extents, first):
            tally.fire(record)
        for place in cut:
            tally.cut(place[0], self._since(place[0], first.get(place)))

    def _since(self, topic: str, first: Instant | None) -> Instant:
        """Return from when on a partition that was cut holds all; `first` is the time of its first record.

        What was removed was older than the first record left, and older than what the topic surely keeps.
        """
        now = self._question.now
        since = now if first is None else first
        kept = self._reader.kept_for(topic)
        return since if kept is None else min(since, now - kept)

    def _extents(self, topics: list[str]) -> dict[Partition, Extent]:
        return self._reader.extents({topic: self._counts[topic] for topic in topics})

    def _records(
        self, label: str, extents: Mapping[Partition, Extent], first: dict[Partition, Instant]
    ) -> Iterator[Record]:
        return read_with(self._progress, self._reader, label, extents, first)


def _behind(read: Mapping[Partition, Extent], now: Mapping[Partition, Extent]) -> dict[Partition, Extent]:
    """Return what came behind the extents that were read."""
    return {place: Extent(one.high, max(now[place].high, one.high)) for place, one in read.items()}
