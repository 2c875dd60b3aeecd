"""Counting: each planned fire has a byte, in which records and skips leave their marks.

Beside that byte a fire of a cron expression costs 8 bytes that all jobs of its trigger share, and each
version of a job about 500. Places are kept for offenders alone: a second reading gives the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from dispatcher.core.log_record import Record
from dispatcher.observe.attempts import Attempts, Triggered, wrong
from dispatcher.observe.instants import instant_of
from dispatcher.observe.judging import Counted, Judging
from dispatcher.observe.marks import SKIPPED, committed, settled
from dispatcher.observe.runs import Runs
from dispatcher.observe.shard_history import History, ShardHistory, Standing
from dispatcher.observe.skips import Skip
from dispatcher.observe.slots import Slot, Slots
from dispatcher.observe.timing import Window
from dispatcher.observe.verdict import Findings, Place, Verdict, Wrong

FIRE_TYPE = b"dispatcher.fire"
LEAST_BURST = 1_000
"""So many fires of one shard and instant may have been staged; fewer were sent when their time stamps say."""


class Tally:
    """Counts what became of the fires planned in a window (after, until]."""

    def __init__(self, history: History, window: Window) -> None:
        self._history = history
        self._window = window
        self._topics = f"{history.prefix}."
        self._source = f"/{history.prefix}/".encode()
        self._slots = Slots(history, window)
        self._marks = bytearray(self._slots.size)
        self._findings = Findings()
        self._reasons: dict[str, int] = {}
        self._triggered = Triggered(history.triggered, window)
        self._attempts = Attempts(self._findings)
        self._runs = Runs(history, self._slots, self._marks, self._triggered, self._attempts)
        self._later: dict[int, list[Place]] = {}
        self._reach: dict[str, int] = {}
        self._unjudged = 0
        self._on_time: Counter[tuple[int, int]] = Counter()
        for fault in [*history.faults, *self._incomplete()]:
            self._find(fault)
        for skip in history.skips:
            if skip.until > window[0] and skip.after < window[1]:
                self._skip(skip)

    def cut(self, topic: str, known_from: int) -> None:
        """Tell that a job topic no longer holds all that was sent up to an instant."""
        self._reach[topic] = max(known_from, self._reach.get(topic, known_from))

    def fire(self, record: Record, seen_at: int | None = None) -> None:
        """Count a record of a job topic. `seen_at`: when a live reader saw it, in milliseconds."""
        headers = dict(record.headers)
        if headers.get("ce_type") != FIRE_TYPE or not self._is_ours(record, headers):
            self._foreign(record)
            return
        ident = headers.get("ce_id", b"")
        if ident in self._triggered:
            self._asked_for(record, ident, headers, seen_at)
            return
        job, _, text = ident.rpartition(b"@")
        try:
            planned = instant_of(text.decode())
            attempt = int(headers.get("attempt", b"1"))
        except ValueError:
            self._unnamed(record, ident, headers)
            return
        if not self._window[0] < planned <= self._window[1]:
            self._outside(record, job, planned, seen_at)
            return
        slot = self._slots.find(job, planned)
        place = -1 if slot is None else slot.place(planned)
        if slot is None or place < 0:
            self._unplanned(record, job, planned, headers.get("shard", b""))
            return
        if attempt == 1:
            self._mark(record, place)
        else:
            self._retry(record, ident, attempt)
        self._compare(record, slot, planned)
        self._time(record, slot, planned, seen_at)

    def event(self, record: Record) -> None:
        """Count a record of the events topic, in a second reading of it: what it tells of runs."""
        try:
            self._runs.event(record)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            why = f"what it tells of a run cannot be read: {error!r}"
            self._find(Wrong("miscounted", "", None, record.partition, None, why, places=(_place(record),)))

    def trace(self, record: Record) -> None:
        """Note the place of a record if its fire is among the doubled ones listed: for a second reading."""
        headers = dict(record.headers)
        job, _, text = headers.get("ce_id", b"").rpartition(b"@")
        if headers.get("ce_type") != FIRE_TYPE or headers.get("attempt", b"1") != b"1":
            return
        try:
            planned = instant_of(text.decode())
        except ValueError:
            return
        slot = self._slots.find(job, planned)
        places = None if slot is None else self._later.get(slot.place(planned))
        where = _place(record)
        if places is not None and where not in places:
            places.append(where)

    def verdict(self, standings: Mapping[int, Standing] | None = None, *, all_ended: bool = False) -> Verdict:
        """Return the verdict on what was counted so far.

        `standings` tell what each shard has not settled yet; without them all that was planned should be
        settled. A shard that is missing in them has settled nothing. `all_ended` calls it wrong that a fire
        has not ended.
        """
        counted = Counted(self._slots, self._marks, self._triggered, self._attempts, self._runs)
        judging = Judging(self._history, counted, self._findings, self._reasons)
        found = judging.verdict(self._reach, standings, self._later, all_ended=all_ended)
        untimed = sum(count for count in self._on_time.values() if count >= LEAST_BURST)
        return replace(found, untimed=untimed, unjudged=self._unjudged)

    # What a record may be.

    def _mark(self, record: Record, place: int) -> None:
        byte = self._marks[place]
        self._marks[place] = committed(byte)
        if settled(byte) and (place in self._later or len(self._later) < 1_000):
            self._later.setdefault(place, []).append(_place(record))

    def _retry(self, record: Record, ident: bytes, attempt: int) -> None:
        if self._attempts.sent(ident, attempt, _place(record)) == 2 and self._findings.wants("doubled"):
            fire = ident.decode(errors="replace")
            why = f"attempt {attempt} was committed twice"
            self._findings.add(wrong("doubled", fire, None, why, attempt, (_place(record),)))

    def _asked_for(
        self, record: Record, ident: bytes, headers: Mapping[str, bytes], seen_at: int | None
    ) -> None:
        """Count a fire that a command asked for: it carries a definition of its job, whichever."""
        byte = self._triggered.marks.get(ident)
        if byte is None:
            return
        attempt = int(headers.get("attempt", b"1"))
        if attempt == 1:
            self._triggered.marks[ident] = committed(byte)
        else:
            self._retry(record, ident, attempt)
        planned, fire = self._triggered.of(ident).planned, ident.decode(errors="replace")
        seen = record.timestamp if seen_at is None else seen_at
        if seen < planned and self._findings.wants("early"):
            why = f"{planned - seen} ms before it was asked for"
            self._findings.add(wrong("early", fire, None, why, attempt, (_place(record),), planned))
        slots = self._slots.by_job.get(ident.partition(b"!")[0], ())
        versions = {(slot.tenure.version.content, slot.topic) for slot in slots}
        if (hash(record.value), record.topic) not in versions and self._findings.wants("unexpected"):
            why = "it is not what any version of its job sends"
            self._findings.add(wrong("unexpected", fire, None, why, attempt, (_place(record),), planned))

    def _compare(self, record: Record, slot: Slot, planned: int) -> None:
        version = slot.tenure.version
        if hash(record.value) != version.content:
            why = "its value is not the definition that was in force"
        elif record.topic != slot.topic:
            why = f"it belongs in the topic {slot.topic}"
        else:
            return
        if self._findings.wants("unexpected"):
            self._findings.add(self._wrong("unexpected", record, slot, planned, why))

    def _time(self, record: Record, slot: Slot, planned: int, seen_at: int | None) -> None:
        due = planned + slot.tenure.version.delay
        seen = record.timestamp if seen_at is None else seen_at
        if seen == due and seen_at is None:
            landed = self._history.shards[slot.tenure.shard].bursts.get(due)
            if landed is None:
                self._on_time[slot.tenure.shard, due] += 1
                return
            seen = landed
        if seen < due and self._findings.wants("early"):
            why = f"{due - seen} ms before it was due"
            self._findings.add(self._wrong("early", record, slot, planned, why))

    def _is_ours(self, record: Record, headers: Mapping[str, bytes]) -> bool:
        """Return whether a fire is this installation's: in a topic of a job's own it may be another's."""
        return record.topic.startswith(self._topics) or headers.get("ce_source", b"").startswith(self._source)

    def _unnamed(self, record: Record, ident: bytes, headers: Mapping[str, bytes]) -> None:
        """Look at a fire whose id names no instant: it was asked for before history reaches, or never."""
        try:
            asked = instant_of(headers.get("ce_time", b"").decode()) if b"!" in ident else -1
        except ValueError:
            asked = -1
        history = self._shard(headers.get("shard", b""))
        if asked >= 0 and not self._window[0] < asked <= self._window[1]:
            return
        if history is not None and -1 < asked <= history.known_from:
            self._unjudged += 1
        else:
            self._unexpected(record, ident, None, "its id names no planned instant, and nobody asked for it")

    def _foreign(self, record: Record) -> None:
        if record.topic.startswith(self._topics):
            self._unexpected(record, b"", None, "it is no fire, but lies in a job topic")

    def _outside(self, record: Record, job: bytes, planned: int, seen_at: int | None) -> None:
        """Look at a fire planned outside of the window: one planned behind it, but sent within, is early."""
        seen = record.timestamp if seen_at is None else seen_at
        if planned > self._window[1] >= seen > self._window[0] and self._findings.wants("early"):
            why = f"{planned - seen} ms before the instant it names"
            name = job.decode(errors="replace")
            self._findings.add(Wrong("early", name, planned, None, None, why, places=(_place(record),)))

    def _unplanned(self, record: Record, job: bytes, planned: int, shard: bytes) -> None:
        history = self._shard(shard)
        if history is not None and planned <= history.known_from:
            self._unjudged += 1
            return
        slot = self._slots.find(job, planned)
        zoned = slot is not None and slot.tenure.version.timing.zoned
        if zoned and history is not None and history.other_rules(planned, self._history.tzdata):
            self._unjudged += 1
            return
        known = job in self._slots.by_job
        why = "no job of this name was ever in force" if not known else "no version of it was in force then"
        if slot is not None:
            why = f"its version of change {slot.tenure.change} is not planned for this instant"
        self._unexpected(record, job, planned, why)

    def _unexpected(self, record: Record, job: bytes, planned: int | None, why: str) -> None:
        if self._findings.wants("unexpected"):
            name = job.decode(errors="replace")
            self._findings.add(Wrong("unexpected", name, planned, None, None, why, places=(_place(record),)))

    def _wrong(self, kind: str, record: Record, slot: Slot, planned: int, why: str) -> Wrong:
        tenure = slot.tenure
        attempt = int(dict(record.headers).get("attempt", b"1"))
        name = tenure.version.name.decode()
        return Wrong(kind, name, planned, tenure.shard, tenure.change, why, attempt, (_place(record),))

    def _shard(self, text: bytes) -> ShardHistory | None:
        shards = self._history.shards
        return shards[int(text)] if text.isdigit() and int(text) < len(shards) else None

    # Skips.

    def _skip(self, skip: Skip) -> None:
        inside = 0
        for slot in self._slots.by_job.get(skip.job, ()):
            begin, end = slot.stretch(skip.after, skip.until)
            if begin < end:
                self._marks[begin:end] = self._marks[begin:end].translate(SKIPPED)
                inside += end - begin
        self._reasons[skip.reason] = self._reasons.get(skip.reason, 0) + inside
        planned = self._planned_in(skip, inside)
        if planned is not None and planned != skip.number and self._findings.wants("miscounted"):
            self._findings.add(self._miscounted(skip, planned))

    def _planned_in(self, skip: Skip, inside: int) -> int | None:
        """Return how many fires were planned in the whole range of a skip, None where that is not known."""
        history = self._history.shards[skip.shard]
        slots = self._slots.by_job.get(skip.job, ())
        zoned = any(slot.tenure.version.timing.zoned for slot in slots)
        if skip.after < history.known_from or (
            zoned and history.other_rules(skip.until, self._history.tzdata)
        ):
            return None
        if self._window[0] <= skip.after and skip.until <= self._window[1]:
            return inside
        total = 0
        for slot in slots:
            tenure = slot.tenure
            low, high = max(skip.after, tenure.after), min(skip.until, tenure.until)
            after, until = tenure.version.within(low, high)
            if after < until:
                table = tenure.version.timing.table((after, until))
                total += table.rank(until) - table.rank(after)
        return total

    def _miscounted(self, skip: Skip, planned: int) -> Wrong:
        place = Place(f"{self._history.prefix}.events", skip.shard, skip.offset)
        why = f"a skip ({skip.reason}) counts {skip.number} fires, {planned} were planned in its range"
        name = skip.job.decode(errors="replace")
        return Wrong("miscounted", name, skip.until, skip.shard, None, why, places=(place,))

    def _incomplete(self) -> list[Wrong]:
        """Return the changes whose events are not all there although nothing was cut."""
        found = []
        for shard in self._history.shards:
            for change, touched, told in shard.incomplete() if not shard.cut else ():
                why = f"change {change} says it touched {touched} jobs, its events tell of {told}"
                found.append(Wrong("miscounted", "", None, shard.number, change, why))
        return found

    def _find(self, wrong: Wrong) -> None:
        if self._findings.wants(wrong.kind):
            self._findings.add(wrong)


def _place(record: Record) -> Place:
    return Place(record.topic, record.partition, record.offset)
