"""From marks to a verdict: what is neither committed nor skipped, and what is so more than once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from dispatcher.core.instant import to_text
from dispatcher.observe.shard_history import History, Standing
from dispatcher.observe.slots import Slot, Slots
from dispatcher.observe.verdict import MOST_LISTED, Findings, Place, Verdict, Wrong

_TWICE = re.compile(rb"[\x02\x03\x05-\x0f]")
_ONCE = {1, 4}


class Judging:
    """Judges the marks of a tally as they stand."""

    def __init__(
        self,
        history: History,
        slots: Slots,
        marks: bytearray,
        findings: Findings,
        reasons: Mapping[str, int],
    ) -> None:
        self._history = history
        self._slots = slots
        self._marks = marks
        self._findings = findings
        self._reasons = reasons

    def verdict(
        self,
        reach: Mapping[str, int],
        standings: Mapping[int, Standing] | None,
        later: Mapping[int, list[Place]],
    ) -> Verdict:
        """Return the counts, and what is wrong; `reach` tells from when on a topic holds all."""
        marks = self._marks
        times = [marks.count(byte) for byte in range(16)]
        open_ones = Counter[str]()
        reasons = Counter[str](self._reasons)
        lost: list[Wrong] = []
        for slot, planned in self._open() if times[0] else ():
            given_up = self._given_up(slot, planned)
            if given_up is not None:
                reasons[given_up] += 1
                open_ones["skipped"] += 1
                continue
            kind = self._kind(slot, planned, reach, standings)
            open_ones[kind] += 1
            if kind == "lost" and len(lost) < MOST_LISTED:
                lost.append(_wrong("lost", slot, planned, "neither committed nor skipped"))
        doubled = sum(times) - times[0] - sum(times[byte] for byte in _ONCE)
        counts = self._findings.counts
        twice = list(self._twice(later)) if doubled else []
        return Verdict(
            planned=len(marks),
            committed=sum(number for byte, number in enumerate(times) if byte & 3),
            skipped=times[4] + times[8] + times[12] + open_ones["skipped"],
            pending=open_ones["pending"],
            unknown=open_ones["unknown"],
            lost=open_ones["lost"],
            doubled=doubled + counts["doubled"],
            early=counts["early"],
            unexpected=counts["unexpected"],
            miscounted=counts["miscounted"],
            reasons=dict(sorted(reasons.items())),
            wrong=tuple(self._listed(lost, twice)),
        )

    def _open(self) -> Iterator[tuple[Slot, int]]:
        """Yield the fires without any mark."""
        marks = self._marks
        at = -1
        for slot in self._slots.row:
            while (at := marks.find(0, max(at + 1, 0), slot.end)) >= 0:
                yield slot, slot.table.at(at - slot.shift)
            at = slot.end - 1

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
                return "unknown" if standing is not None and shard.beyond(standing) else "pending"
        if due <= reach.get(slot.topic, -1):
            return "unknown"
        other = tenure.version.timing.zoned and shard.other_rules(planned, self._history.tzdata)
        return "unknown" if other else "lost"

    def _twice(self, later: Mapping[int, list[Place]]) -> Iterator[Wrong]:
        """Yield up to 100 fires with more than one mark, with the places that are known."""
        rows = iter(self._slots.row)
        slot = next(rows)
        for number, match in enumerate(_TWICE.finditer(self._marks)):
            if number == MOST_LISTED:
                return
            place = match.start()
            while place >= slot.end:
                slot = next(rows)
            planned = slot.table.at(place - slot.shift)
            byte = self._marks[place]
            wrong = _wrong("doubled", slot, planned, _told(byte))
            yield replace(wrong, places=(*later.get(place, ()), *self._skips_of(wrong)))

    def _skips_of(self, wrong: Wrong) -> Iterator[Place]:
        job, planned = wrong.job.encode(), wrong.planned or 0
        for skip in self._history.skips:
            if skip.job == job and skip.after < planned <= skip.until:
                yield Place(f"{self._history.prefix}.events", skip.shard, skip.offset)

    def _listed(self, lost: list[Wrong], twice: list[Wrong]) -> Iterator[Wrong]:
        listed = self._findings.listed
        yield from lost
        yield from [*twice, *listed("doubled")][:MOST_LISTED]
        for kind in ("early", "unexpected", "miscounted"):
            yield from listed(kind)


def _wrong(kind: str, slot: Slot, planned: int, why: str) -> Wrong:
    tenure = slot.tenure
    return Wrong(kind, tenure.version.name.decode(), planned, tenure.shard, tenure.change, why)


def _told(byte: int) -> str:
    commits, skips = byte & 3, byte >> 2
    parts = [
        f"committed {_times(commits)}" if commits else "",
        f"skipped {_times(skips)}" if skips else "",
    ]
    return " and ".join(part for part in parts if part)


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, "3 times or more")
