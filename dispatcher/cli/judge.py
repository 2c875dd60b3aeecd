"""Judging an installation on a cluster: its topics into the checker, in the order that makes it sound.

How far the shards had settled is read first, then the ends of the job topics are noted, then the events are
read: so what the ledger calls settled is in the job topics, and what lies there is explained by the events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


def judge(reader: HistoryReader, prefix: str, window: tuple[Instant, Instant], now: Instant) -> Report:
    """Judge what was planned in a window of time (after, until], none of it later than `now`.

    Raises KafkaUnreachable, TopicsUnfit for topics that are missing, and LedgerUnfit.
    """
    with _progress() as progress:
        return _Judge(reader, TopicNames(prefix), now, progress).report(window)


class _Judge:
    def __init__(self, reader: HistoryReader, names: TopicNames, now: Instant, progress: Progress) -> None:
        self._reader = reader
        self._names = names
        self._now = now
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

    def report(self, window: tuple[Instant, Instant]) -> Report:
        checker, names = self._checker, self._names
        cut = {place for place, extent in self._extents([names.events]).items() if extent.low > 0}
        for _, shard in cut:
            checker.cut(shard, -1)
        for record in self._records("ledger", self._extents([names.ledger]), {}):
            checker.ledger(record)
        jobs = self._extents(self._lanes)
        jobs |= self._read_events(cut)
        missing = tuple(sorted(checker.topics - self._counts.keys()))
        tally = checker.tally(*window)
        for topic in missing:
            tally.cut(topic, _EVER)
        extents = jobs if window[0] < 0 else self._reader.since(jobs, window[0])
        self._count(tally, extents, {place for place in jobs if 0 < jobs[place].low == extents[place].low})
        verdict = tally.verdict(checker.standings())
        if verdict.doubled:
            for record in self._records("places", extents, {}):
                tally.trace(record)
            verdict = tally.verdict(checker.standings())
        return Report(window, verdict, self._known_from, missing)

    def _read_events(self, cut: Collection[Partition]) -> dict[Partition, Extent]:
        """Read the events; return the extents of the jobs' own topics, which only the events tell of.

        What comes behind the events while those are looked at is read too.
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
        return found

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
        since = self._now if first is None else first
        kept = self._reader.kept_for(topic)
        return since if kept is None else min(since, self._now - kept)

    def _extents(self, topics: list[str]) -> dict[Partition, Extent]:
        return self._reader.extents({topic: self._counts[topic] for topic in topics})

    def _records(
        self, label: str, extents: Mapping[Partition, Extent], first: dict[Partition, Instant]
    ) -> Iterator[Record]:
        """Yield the records of partitions; note in `first` the time of the first record of each."""
        task = self._progress.add_task(label, total=sum(one.high - one.low for one in extents.values()))
        for batch in self._reader.read(extents):
            for record in batch:
                first.setdefault((record.topic, record.partition), record.timestamp)
                yield record
            self._progress.advance(task, len(batch))
        self._progress.remove_task(task)


def _behind(read: Mapping[Partition, Extent], now: Mapping[Partition, Extent]) -> dict[Partition, Extent]:
    """Return what came behind the extents that were read."""
    return {place: Extent(one.high, max(now[place].high, one.high)) for place, one in read.items()}


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show how far the reading is, on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
