"""A history written by hand: the records that a dispatcher would have left, and any others."""

from __future__ import annotations

import json
from typing import Any

from dispatcher.core.codec import encode
from dispatcher.core.instant import from_text, to_text
from dispatcher.core.ledger import Fact
from dispatcher.core.log_record import Record
from dispatcher.observe.checker import Checker
from dispatcher.observe.shard_history import Standing
from dispatcher.observe.tally import Tally
from dispatcher.observe.verdict import Verdict

T0 = from_text("2026-11-20T12:00:00Z")
RELEASE = "2026.9"


def definition(name: str, **fields: Any) -> bytes:
    """Return the definition of a job; without a trigger it fires every second."""
    trigger = {} if fields.keys() & {"cronTime", "every", "at"} else {"every": "1s"}
    entry = {"jobName": name, **trigger, "job": "noop", **fields}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()


class Written:
    """Records of one installation `t`, in the order in which they are written."""

    def __init__(self, shards: int = 2) -> None:
        self.shards = shards
        self.events: list[Record] = []
        self.ledger: list[Record] = []
        self.fires: list[Record] = []
        self.commands: list[Record] = []
        self.cuts: dict[int, int] = {}
        self.reach: dict[str, int] = {}

    def event(
        self, kind: str, data: dict[str, Any], *, job: str = "", shard: int = 0, raw: bytes = b""
    ) -> None:
        """Write an event; `raw` is more of its value, as JSON members after a comma."""
        headers = [("ce_type", kind.encode())] + ([("ce_subject", job.encode())] if job else [])
        value = json.dumps({"v": 1, **data}, separators=(",", ":")).encode()[:-1] + raw + b"}"
        self.events.append(Record("t.events", shard, len(self.events), T0, headers, value))

    def job(
        self, kind: str, name: str, change: int, *, new: bytes = b"", old: bytes = b"", shard: int = 0
    ) -> None:
        """Write that a job was `added`, `changed` or `removed` by a change."""
        raw = (b',"definition":' + new if new else b"") + (b',"previous":' + old if old else b"")
        data = {"change": change, "revision": "r", "effectiveFrom": None}
        self.event(f"job.{kind}", data, job=name, shard=shard, raw=raw)

    def applied(
        self, change: int, at: int, *, touched: int | None = None, shard: int = 0, **more: Any
    ) -> None:
        """Write that a change is in force, for what is planned after an instant."""
        counts = {} if touched is None else {"added": {"count": touched}}
        data = {"change": change, "effectiveFrom": to_text(at), **counts, **more}
        self.event("schedule.applied", data, shard=shard)

    def add(self, name: str, change: int = 1, at: int = T0, shard: int = 0, **fields: Any) -> bytes:
        """Write that a change adds a job and is in force; return its definition."""
        new = definition(name, **fields)
        self.job("added", name, change, new=new, shard=shard)
        self.applied(change, at, shard=shard)
        return new

    def skip(
        self, name: str, after: int, until: int, count: int, reason: str = "missed", shard: int = 0
    ) -> None:
        """Write a recorded skip."""
        data = {"reason": reason, "count": count, "after": to_text(after), "until": to_text(until)}
        self.event("run.skipped", data, job=name, shard=shard)

    def run(
        self,
        kind: str,
        fire: str,
        *,
        attempt: int = 1,
        by: str = "workers/w",
        shard: int = 0,
        at: int = T0 + 9_500,
        redelivered: bool = False,
        **data: Any,
    ) -> None:
        """Write that a worker, or `by` a shard, tells of a run."""
        headers = [
            ("ce_type", f"run.{kind}".encode()),
            ("ce_source", f"/t/{by}".encode()),
            ("ce_time", to_text(at).encode()),
            ("ce_subject", fire.partition("@")[0].encode()),
            ("fire", fire.encode()),
            ("attempt", str(attempt).encode()),
        ]
        value = json.dumps({"v": 1, "redelivered": redelivered, **data}, separators=(",", ":")).encode()
        self.events.append(Record("t.events", shard, len(self.events), at, headers, value))

    def ended(self, *instants: int, name: str = "a") -> None:
        """Write that the fires of a job planned for some instants succeeded at their first attempt."""
        for planned in instants:
            self.run("succeeded", f"{name}@{to_text(planned)}")

    def retrying(self, fire: str, attempt: int = 1, at: int = T0 + 9_000) -> None:
        """Write that an attempt failed, and is followed by another at an instant."""
        self.run("retrying", fire, attempt=attempt, retryAt=to_text(at))

    def triggered(self, fire: str, planned: int) -> None:
        """Write that a command asked for a fire."""
        command = fire.partition("!")[2]
        self.run("triggered", fire, by="shards/0", at=planned, command=command)

    def asked(self, fire: str, planned: int, value: bytes, *, attempt: int = 1) -> None:
        """Write a committed fire that a command asked for."""
        self.fire("?", planned, value, attempt=attempt)
        headers = [
            (name, fire.encode() if name == "ce_id" else told) for name, told in self.fires[-1].headers
        ]
        self.fires[-1] = self.fires[-1]._replace(headers=headers)

    def command(self, ident: str, shard: int = 0) -> None:
        """Write a command that a shard has not obeyed."""
        value = json.dumps({"v": 1, "type": "retry", "id": ident}).encode()
        self.commands.append(Record("t.commands", shard, len(self.commands), T0, [], value))

    def fact(self, fact: Fact, shard: int = 0) -> None:
        """Write a fact to the ledger."""
        key, value = encode(fact)
        self.ledger.append(Record("t.ledger", shard, len(self.ledger), T0, [], value, key))

    def fire(
        self,
        name: str,
        planned: int,
        value: bytes,
        *,
        late: int = 1,
        attempt: int = 1,
        topic: str = "t.jobs.normal",
        shard: int = 0,
        source: str = "t",
    ) -> None:
        """Write a committed fire, sent so many milliseconds after it was planned."""
        headers = [
            ("ce_type", b"dispatcher.fire"),
            ("ce_source", f"/{source}/shards/{shard}".encode()),
            ("ce_id", f"{name}@{to_text(planned)}".encode()),
            ("attempt", str(attempt).encode()),
            ("shard", str(shard).encode()),
        ]
        self.fires.append(Record(topic, 3, len(self.fires), planned + late, headers, value))

    def checker(self) -> Checker:
        """Return a checker that has read everything."""
        checker = Checker("t", self.shards, tzdata=RELEASE)
        for shard, known_from in self.cuts.items():
            checker.cut(shard, known_from)
        for record in self.ledger:
            checker.ledger(record)
        for record in self.events:
            checker.event(record)
        for record in self.commands:
            checker.command(record)
        return checker

    def tally(self, after: int = T0, until: int = T0 + 10_000) -> Tally:
        """Return a tally that has counted every fire."""
        tally = self.checker().tally(after, until)
        for topic, known_from in self.reach.items():
            tally.cut(topic, known_from)
        for record in self.fires:
            tally.fire(record)
        for record in self.events:
            tally.event(record)
        return tally

    def verdict(
        self,
        after: int = T0,
        until: int = T0 + 10_000,
        standings: dict[int, Standing] | None = None,
        *,
        all_ended: bool = False,
    ) -> Verdict:
        """Return the verdict on a stretch of time, by default the ten seconds after T0."""
        return self.tally(after, until).verdict(standings, all_ended=all_ended)


def seconds(count: int, start: int = 1) -> list[int]:
    """Return so many whole seconds from the first one after T0 on."""
    return [T0 + 1000 * number for number in range(start, start + count)]


def good(**fields: Any) -> Written:
    """Return a history in which one job fired every second, ten times."""
    written = Written()
    value = written.add("a", **fields)
    for planned in seconds(10):
        written.fire("a", planned, value)
    return written
