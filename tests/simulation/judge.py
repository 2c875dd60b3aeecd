"""What was planned, held against what readers of committed records saw."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from dispatcher.core.instant import from_text, to_text
from simulation.broker import Entry
from simulation.jobs import instants_of

instant = lru_cache(maxsize=20_000)(from_text)
Fire = tuple[str, int]


@dataclass(slots=True)
class Tenure:
    """A definition in force for fires planned in (after, until]."""

    definition: bytes
    after: int
    until: int | None = None


@dataclass(slots=True)
class Judge:
    """Takes in every committed record in the order in which readers see them."""

    fires: Counter[Fire] = field(default_factory=Counter)
    values: dict[Fire, bytes] = field(default_factory=dict)
    early: list[str] = field(default_factory=list)
    skips: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changes: list[tuple[str, str, dict[str, Any], bytes]] = field(default_factory=list)
    applied: dict[int, int] = field(default_factory=dict)

    def see(self, entry: Entry, wall: int) -> None:
        """Take in a record; `wall` is the latest time that any clock has shown."""
        heads = dict(entry.headers or ())
        kind = heads["ce_type"].decode()
        if kind == "dispatcher.fire":
            name, _, text = heads["ce_id"].decode().rpartition("@")
            fire = (name, instant(text))
            self.fires[fire] += 1
            assert entry.value is not None
            self.values[fire] = entry.value
            due = fire[1] + instants_of(entry.value).delay
            if due > wall:
                self.early.append(f"early by {due - wall} ms: {told(fire)}")
            return
        subject = heads.get("ce_subject", b"").decode()
        if kind == "run.skipped":
            self.skips.append((subject, json.loads(entry.value or b"")))
        elif kind == "schedule.applied":
            data = json.loads(entry.value or b"")
            self.applied[data["change"]] = instant(data["effectiveFrom"])
        elif kind.startswith("job."):
            self.changes.append((kind, subject, *_definition(entry.value or b"")))

    def faults(self, settled: int, latest: int) -> list[str]:
        """Return what is wrong if all due before `settled` is done and no clock showed more than `latest`."""
        tenures = self._tenures()
        planned = {
            (name, at): one.definition
            for name, all_of in tenures.items()
            for one in all_of
            for at in instants_of(one.definition).within(
                one.after, latest if one.until is None else min(one.until, latest)
            )
        }
        done = Counter(self.fires)
        found = list(self.early)
        for name, data in self.skips:
            after, until = instant(data["after"]), instant(data["until"])
            inside = [one for one in planned if one[0] == name and after < one[1] <= until]
            done.update(inside)
            if len(inside) != data["count"]:
                found.append(
                    f"miscounted: a skip of {name} says {data['count']}, planned {len(inside)}: {data}"
                )
        for one, definition in planned.items():
            if not done[one] and one[1] + instants_of(definition).delay < settled:
                found.append(f"lost: {told(one)}")
        for one, times in done.items():
            if times > 1:
                found.append(f"doubled: {told(one)} is there {times} times, {self.fires[one]} of them sent")
            elif one not in planned:
                found.append(f"unexpected: {told(one)}")
            elif one in self.values and self.values[one] != planned[one]:
                found.append(f"another version's: {told(one)}")
        return found

    def _tenures(self) -> dict[str, list[Tenure]]:
        tenures: dict[str, list[Tenure]] = {}
        for kind, name, data, definition in sorted(self.changes, key=lambda change: change[2]["change"]):
            at = self.applied.get(data["change"])
            if at is None:
                continue
            if kind != "job.added":
                tenures[name][-1].until = at
            if kind != "job.removed":
                tenures.setdefault(name, []).append(Tenure(definition, at))
        return tenures


@lru_cache(maxsize=20_000)
def _definition(value: bytes) -> tuple[dict[str, Any], bytes]:
    data = json.loads(value)
    definition = data.get("definition")
    text = json.dumps(definition, ensure_ascii=False, separators=(",", ":"))
    return data, text.encode() if definition is not None else b""


def told(fire: Fire) -> str:
    """Return a fire's id."""
    return f"{fire[0]}@{to_text(fire[1])}"
