"""From marks to a verdict: what is neither committed nor skipped, and what is so more than once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from dispatcher.core.instant import to_text
from dispatcher.observe.attempts import Attempts, Gone, Triggered, wrong
from dispatcher.observe.marks import OPEN, OVERENDED, SETTLED, TWICE, UNENDED, commits, settled, skips
from dispatcher.observe.runs import Runs
from dispatcher.observe.shard_history import History, Standing
from dispatcher.observe.slots import Slot, Slots
from dispatcher.observe.verdict import MOST_LISTED, Findings, Place, Verdict, Wrong

_NO_COMMIT = bytes(byte for byte in range(256) if not commits(byte))
_NOT_DOUBLED = (0, 1, 4)


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted: the row of bytes, what was asked for, and what is told of runs."""

    slots: Slots
    row: bytearray
    triggered: Triggered
    attempts: Attempts
    runs: Runs


class Judging:
    """Judges what was counted as it stands."""

    def __init__(
        self, history: History, counted: Counted, findings: Findings, reasons: Mapping[str, int]
    ) -> None:
        self._history = history
        self._counted = counted
        self._slots = counted.slots
        self._row = counted.row
        self._asked = counted.triggered.marks
        self._findings = findings
        self._reasons = Counter[str](reasons) + Counter[str](counted.runs.reasons)

    def verdict(
        self,
        reach: Mapping[str, int],
        standings: Mapping[int, Standing] | None,
        later: Mapping[int, list[Place]],
        *,
        all_ended: bool,
    ) -> Verdict:
        """Return the counts, and what is wrong; `reach` tells from when on a topic holds all."""
        times = self._times()
        wrongs: dict[str, list[Wrong]] = {}
        open_ones = self._open_ones(reach, standings, wrongs) if times[0] else Counter[str]()
        attempts = self._counted.attempts
        gone = self._gone_by(reach)
        lost, unasked = [*attempts.lost(self._history, gone, standings)], [*attempts.unasked()]
        wrongs["lost"] = [*wrongs.get("lost", ()), *lost]
        wrongs["unexpected"] = [*self._findings.listed("unexpected"), *unasked]
        doubled = len(self._row) + len(self._asked) - sum(times[byte] for byte in _NOT_DOUBLED)
        wrongs["doubled"] = [*(self._twice(later) if doubled else ()), *self._findings.listed("doubled")]
        ends = self._ends(wrongs, all_ended=all_ended)
        counts = self._findings.counts
        return replace(
            ends,
            planned=len(self._row) + len(self._asked),
            committed=sum(number for byte, number in enumerate(times) if commits(byte)),
            skipped=times[4] + times[8] + times[12] + open_ones["skipped"],
            pending=open_ones["pending"],
            unknown=open_ones["unknown"],
            lost=open_ones["lost"] + len(lost),
            doubled=doubled + counts["doubled"],
            early=counts["early"],
            unexpected=counts["unexpected"] + len(unasked),
            miscounted=counts["miscounted"],
            retried=attempts.committed,
            redelivered=self._counted.runs.redelivered,
            reasons=dict(sorted(self._reasons.items())),
            wrong=tuple(self._listed(wrongs)),
        )

    def _times(self) -> list[int]:
        """Return how many fires have what is told of commits and skips, by that."""
        times = [0] * 16
        row = self._row.translate(SETTLED)
        for told in range(16):
            times[told] = row.count(told)
        for byte in self._asked.values():
            times[settled(byte)] += 1
        return times

    def _open_ones(
        self,
        reach: Mapping[str, int],
        standings: Mapping[int, Standing] | None,
        wrongs: dict[str, list[Wrong]],
    ) -> Counter[str]:
        """Count what is neither committed nor skipped, by what it is; list what is lost."""
        counted = Counter[str]()
        lost = wrongs["lost"] = []
        for slot, planned, _ in self._with(OPEN):
            given_up = self._given_up(slot, planned)
            if given_up is not None:
                self._reasons[given_up] += 1
                counted["skipped"] += 1
                continue
            kind = self._kind(slot, planned, reach, standings)
            counted[kind] += 1
            if kind == "lost" and len(lost) < MOST_LISTED:
                lost.append(_wrong("lost", slot, planned, "neither committed nor skipped"))
        for kind, found in self._counted.triggered.open(self._history, self._gone_by(reach), standings):
            counted[kind] += 1
            if kind == "lost":
                lost.append(found)
        return counted

    def _with(self, which: bytes) -> Iterator[tuple[Slot, int, int]]:
        """Yield slot, planned instant and byte of the fires with certain bytes."""
        rows = iter(self._slots.row)
        slot: Slot | None = None
        for match in re.finditer(b"[%b]" % re.escape(which), self._row, re.DOTALL):
            place = match.start()
            while slot is None or place >= slot.end:
                slot = next(rows)
            yield slot, slot.table.at(place - slot.shift), place

    def _gone_by(self, reach: Mapping[str, int]) -> Gone:
        """Return what tells of a fire up to when the topics of its job do not hold all."""

        def gone(fire: bytes) -> int:
            slots = self._slots.by_job.get(fire.partition(b"@")[0].partition(b"!")[0], ())
            return max((reach.get(slot.topic, -1) for slot in slots), default=-1)

        return gone

    def _given_up(self, slot: Slot, planned: int) -> str | None:
        shard = self._history.shards[slot.tenure.shard]
        return shard.given_up(planned + slot.tenure.version.delay, planned) if shard.recovered else None

    def _kind(
        self, slot: Slot, planned: int, reach: Mapping[str, int], standings: Mapping[int, Standing] | None
    ) -> str:
        """Return what a fire is that is neither committed nor skipped: pending, unknown or lost."""
        tenure = slot.tenure
        due = planned + tenure.version.delay
        shard = self._history.shards[tenure.shard]
        if standings is not None:
            name = tenure.version.name.decode()
            standing = standings.get(tenure.shard)
            if standing is None or standing.awaits(due, name, f"{name}@{to_text(planned)}"):
                return "unknown" if shard.doubtful(standing) else "pending"
        if due <= reach.get(slot.topic, -1):
            return "unknown"
        other = tenure.version.timing.zoned and shard.other_rules(planned, self._history.tzdata)
        return "unknown" if other else "lost"

    def _twice(self, later: Mapping[int, list[Place]]) -> Iterator[Wrong]:
        """Yield up to 100 fires that were settled more than once, with the places that are known."""
        for slot, planned, place in islice(self._with(TWICE), MOST_LISTED):
            found = _wrong("doubled", slot, planned, _told(self._row[place]))
            yield replace(found, places=(*later.get(place, ()), *self._skips_of(found)))
        for fire, byte in self._asked.items():
            if byte in TWICE:
                yield self._of_command("doubled", fire, _told(byte))

    def _skips_of(self, found: Wrong) -> Iterator[Place]:
        job, planned = found.job.encode(), found.planned or 0
        for skip in self._history.skips:
            if skip.job == job and skip.after < planned <= skip.until:
                yield Place(f"{self._history.prefix}.events", skip.shard, skip.offset)

    # Ends.

    def _ends(self, wrongs: dict[str, list[Wrong]], *, all_ended: bool) -> Verdict:
        """Count the fires that have ended, and those that run; list what is wrong with either."""
        if not self._history.worked:
            return Verdict()
        begun = (
            len(self._row) - self._row_with(_NO_COMMIT) + sum(map(bool, map(commits, self._asked.values())))
        )
        elsewhere = sum(self._unended_in(*span) for span in self._own_topics())
        asked = [fire for fire, byte in self._asked.items() if byte in UNENDED]
        running = self._row_with(UNENDED) - elsewhere + len(asked)
        overended = self._row_with(OVERENDED) + sum(byte in OVERENDED for byte in self._asked.values())
        wrongs["overended"] = list(self._overended()) if overended else []
        if all_ended and running:
            wrongs["unended"] = list(islice(self._unended(asked), MOST_LISTED))
        return Verdict(
            judged_runs=True,
            ended=begun - running - elsewhere,
            running=running,
            overended=overended,
            unended=running if all_ended else 0,
        )

    def _row_with(self, which: bytes) -> int:
        return sum(map(self._row.count, which))

    def _own_topics(self) -> Iterator[tuple[int, int]]:
        """Yield the places [begin, end) of fires that went to topics of jobs' own: others may read these."""
        begin = 0
        for slot in self._slots.row:
            if slot.tenure.version.own_topic:
                yield begin, slot.end
            begin = slot.end

    def _unended_in(self, begin: int, end: int) -> int:
        part = self._row[begin:end]
        return len(part) - len(part.translate(None, UNENDED))

    def _overended(self) -> Iterator[Wrong]:
        why = "it ended more often than once, and once more for each redrive"
        for slot, planned, _ in islice(self._with(OVERENDED), MOST_LISTED):
            found = _wrong("overended", slot, planned, why)
            fire = f"{found.job}@{to_text(planned)}".encode()
            yield replace(found, places=tuple(self._counted.runs.later.get(fire, ())))
        for fire, byte in self._asked.items():
            if byte in OVERENDED:
                found = self._of_command("overended", fire, why)
                yield replace(found, places=tuple(self._counted.runs.later.get(fire, ())))

    def _unended(self, asked: list[bytes]) -> Iterator[Wrong]:
        why = "it was committed, and no terminal event tells of its end"
        for slot, planned, _ in self._with(UNENDED):
            if not slot.tenure.version.own_topic:
                yield _wrong("unended", slot, planned, why)
        for fire in asked:
            yield self._of_command("unended", fire, why)

    def _of_command(self, kind: str, fire: bytes, why: str) -> Wrong:
        trigger = self._counted.triggered.of(fire)
        return wrong(kind, fire.decode(errors="replace"), trigger.shard, why, planned=trigger.planned)

    def _listed(self, wrongs: Mapping[str, list[Wrong]]) -> Iterator[Wrong]:
        for kind in self._findings.counts:
            found = wrongs.get(kind)
            yield from (self._findings.listed(kind) if found is None else found)[:MOST_LISTED]


def _wrong(kind: str, slot: Slot, planned: int, why: str) -> Wrong:
    tenure = slot.tenure
    return Wrong(kind, tenure.version.name.decode(), planned, tenure.shard, tenure.change, why)


def _told(byte: int) -> str:
    parts = [
        f"committed {_times(commits(byte))}" if commits(byte) else "",
        f"skipped {_times(skips(byte))}" if skips(byte) else "",
    ]
    return " and ".join(part for part in parts if part)


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, "3 times or more")
