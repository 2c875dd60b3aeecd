"""The checker: reads the history of a schedule, and says what was planned, by arithmetic of its own.

It shares no code with the planner. Feed it the committed records of the ledger if it is to say what is still
pending, or where history is cut; then those of the events topic, in the order of each partition; then ask for
a tally of a stretch of time. Events about runs can be counted only once it is known what was planned, so they
are read a second time, if `history.told` says that there are any.

    checker = Checker("dispatcher", shards=4)
    for record in ledger: checker.ledger(record)
    for record in events: checker.event(record)
    tally = checker.tally(after, until)
    for record in job_topics: tally.fire(record)
    for record in events: tally.event(record)
    verdict = tally.verdict(checker.standings())
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any

from dispatcher.core.codec import decode
from dispatcher.core.log_record import Record
from dispatcher.observe.definitions import definitions
from dispatcher.observe.instants import instant_of
from dispatcher.observe.shard_history import EVER, History, Recovered, Rules, ShardHistory, Standing, Trigger
from dispatcher.observe.skips import Skip, Skips
from dispatcher.observe.tally import Tally
from dispatcher.observe.verdict import Place, Wrong
from dispatcher.observe.version import Version, read_version

__all__ = ["Checker", "Record", "Standing"]

_MOST_FAULTS = 1_000


class Checker:
    """The history of one installation.

    `tzdata` is the release of the time zone data by which fires are judged, by default the one installed:
    what was planned by another one is not called wrong. Holds about 500 bytes for each version of a job, and
    60 for each recorded skip.
    """

    def __init__(self, prefix: str, shards: int, *, tzdata: str | None = None) -> None:
        self._shards = [ShardHistory(number) for number in range(shards)]
        self._faults: list[Wrong] = []
        self._skips = Skips()
        release = tzdata if tzdata is not None else _installed()
        self.history = History(prefix, release, self._shards, self._skips, self._faults)
        self._kinds: dict[bytes, Callable[[Record], None]] = {
            b"job.added": self._job,
            b"job.changed": self._job,
            b"job.removed": self._job,
            b"schedule.applied": self._applied,
            b"run.skipped": self._skipped,
            b"burst.landed": self._landed,
            b"ledger.recovered": self._recovered,
            b"run.triggered": self._triggered,
        }
        self._workers = f"/{prefix}/workers/".encode()
        self.topics: set[str] = set()
        """Topics of their own that jobs had; those under the prefix no job may write."""

    def cut(self, shard: int, known_from: int) -> None:
        """Tell that a shard's events no longer reach back to its beginning, but surely to an instant.

        To be told before anything of the shard is fed.
        """
        history = self._shards[shard]
        history.cut, history.known_from = True, max(history.known_from, known_from)

    def ledger(self, record: Record) -> None:
        """Take in a record of the ledger; of jobs only where history is cut, else the events tell.

        Raises LedgerUnfit for one that cannot be read.
        """
        history = self._shards[record.partition]
        if record.key is not None and (history.cut or not record.key.startswith(b"job/")):
            self._shards[record.partition].fact(decode(record.key, record.value))

    def distrust(self, shard: int | None) -> None:
        """Tell that the ledger of a shard (None: of all) is an older copy, or of something else."""
        for history in self._shards if shard is None else self._shards[shard : shard + 1]:
            history.distrusted = True

    def command(self, record: Record) -> None:
        """Take in a command that its shard had not obeyed yet, by the ledger that was fed."""
        with suppress(ValueError, RecursionError):
            data = json.loads(record.value or b"")
            if isinstance(data, dict) and isinstance(data.get("id"), str):
                self._shards[record.partition].waiting.add(data["id"])

    def event(self, record: Record) -> None:
        """Take in a record of the events topic."""
        headers = dict(record.headers)
        kind = headers.get("ce_type", b"")
        if "fire" in headers and "attempt" in headers:
            self.history.told = True
            if headers.get("ce_source", b"").startswith(self._workers):
                self.history.worked = True
                return
        take = self._kinds.get(kind)
        if take is None:
            return
        try:
            take(record)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            self._fault(record, f"the event {kind.decode()} cannot be read: {error!r}")

    def standings(self) -> dict[int, Standing]:
        """Return how far each shard has settled its fires, by the ledger that was fed."""
        return {one.number: Standing(one.position, one.timers, one.waiting) for one in self._shards}

    def tally(self, after: int = -1, until: int = EVER) -> Tally:
        """Return a tally of what was planned in (after, until], in milliseconds; all events are fed."""
        return Tally(self.history, (after, until))

    def _fault(self, record: Record, why: str, job: str = "") -> None:
        if len(self._faults) < _MOST_FAULTS:
            place = Place(record.topic, record.partition, record.offset)
            self._faults.append(Wrong("miscounted", job, None, record.partition, None, why, places=(place,)))

    def _job(self, record: Record) -> None:
        facts, new, old = definitions(record.value or b"")
        name = dict(record.headers)["ce_subject"]
        versions = self._version(new), self._version(old)
        self._shards[record.partition].told.setdefault(facts["change"], []).append((name, *versions))

    def _version(self, definition: bytes | None) -> Version | None:
        if definition is None:
            return None
        found = read_version(definition)
        if found.own_topic and not f"{found.topic}.".startswith(f"{self.history.prefix}."):
            self.topics.add(found.topic)
        return found

    def _applied(self, record: Record) -> None:
        data = json.loads(record.value or b"")
        history = self._shards[record.partition]
        at = instant_of(data["effectiveFrom"])
        rules = data.get("rules")
        if rules is not None:
            history.rules.append(Rules(at, rules["before"]["tzdata"], rules["after"]["tzdata"]))
        history.applied[data["change"]] = (at, _touched(data))

    def _skipped(self, record: Record) -> None:
        headers = dict(record.headers)
        if "attempt" in headers:
            return  # of an attempt that was asked for, not of fires of the plan
        data = json.loads(record.value or b"")
        name = headers["ce_subject"]
        after, until = instant_of(data["after"]), instant_of(data["until"])
        place = (record.partition, record.offset)
        self._skips.add(Skip(name, after, until, int(data["count"]), str(data["reason"]), *place))

    def _recovered(self, record: Record) -> None:
        data = json.loads(record.value or b"")
        after = -1 if data["after"] is None or data["backlog"] else instant_of(data["after"])
        reason = f"ledger recovered: {data['reason']}"
        recovered = Recovered(after, instant_of(data["until"]), reason)
        self._shards[record.partition].recovered[data["change"]] = recovered

    def _triggered(self, record: Record) -> None:
        headers = dict(record.headers)
        planned = instant_of(headers["ce_time"].decode())
        command = str(json.loads(record.value or b"")["command"])
        self.history.triggered[headers["fire"]] = Trigger(planned, record.partition, command)

    def _landed(self, record: Record) -> None:
        data = json.loads(record.value or b"")
        due, committed = instant_of(data["due"]), instant_of(data["committedAt"])
        bursts = self._shards[record.partition].bursts
        bursts[due] = min(committed, bursts.get(due, committed))


def _touched(data: dict[str, Any]) -> int | None:
    """Return how many jobs an applied change says it touched, None where it does not say."""
    counts = [data[name]["count"] for name in ("added", "changed", "removed") if name in data]
    return sum(counts) if counts else None


@cache
def _installed() -> str:
    return version("tzdata")
