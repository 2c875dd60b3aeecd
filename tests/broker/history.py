"""What was planned, and what became of it: read from the topics, judged by arithmetic of its own."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from confluent_kafka import Consumer, Message, TopicPartition

LANES = ("critical", "high", "normal", "low")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def millis(text: str) -> int:
    """Return an ISO instant as milliseconds."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


@dataclass
class Tenure:
    """One version of a job: its period in milliseconds, in force for instants in (after, until]."""

    period: int
    after: int
    until: int | None = None

    def planned(self, end: int) -> set[int]:
        """Return the planned instants up to an end: the multiples of the period."""
        last = end if self.until is None else min(end, self.until)
        first = (self.after // self.period + 1) * self.period
        return set(range(first, last + 1, self.period))


@dataclass
class History:
    """The committed records of an installation, and what is wrong with them."""

    fires: Counter[tuple[str, int]] = field(default_factory=Counter)
    early: list[str] = field(default_factory=list)
    skips: list[tuple[str, int, int, int]] = field(default_factory=list)
    tenures: dict[str, list[Tenure]] = field(default_factory=dict)
    values: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def planned(self, end: int) -> set[tuple[str, int]]:
        """Return every planned fire up to an end."""
        return {
            (job, at) for job, all_of in self.tenures.items() for one in all_of for at in one.planned(end)
        }

    def judge(self, end: int) -> Verdict:
        """Hold what is there against what was planned."""
        planned = self.planned(end)
        skipped: Counter[tuple[str, int]] = Counter()
        wrong_counts = []
        for job, after, until, count in self.skips:
            inside = [(job, at) for one in self.tenures[job] for at in one.planned(until) if at > after]
            skipped.update(inside)
            if len(inside) != count:
                wrong_counts.append((job, after, until, count, len(inside)))
        done = self.fires + skipped
        return Verdict(
            planned=len(planned),
            committed=sum(self.fires[fire] for fire in planned),
            skipped=sum(skipped[fire] for fire in planned),
            lost=sorted(planned - done.keys()),
            doubled=sorted(fire for fire, times in done.items() if times > 1),
            unexpected=sorted(fire for fire in done if fire not in planned and fire[1] <= end),
            wrong_counts=wrong_counts,
        )


@dataclass(frozen=True)
class Verdict:
    """How many fires were planned, and what became of them."""

    planned: int
    committed: int
    skipped: int
    lost: list[tuple[str, int]]
    doubled: list[tuple[str, int]]
    unexpected: list[tuple[str, int]]
    wrong_counts: list[tuple[str, int, int, int, int]]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.unexpected or self.wrong_counts)


def read_history(bootstrap: str, prefix: str) -> History:
    """Read every committed record of an installation whose jobs all have an `every` of seconds."""
    history = History()
    changes: list[tuple[int, str, dict[str, object]]] = []
    in_force: dict[int, dict[int, int]] = {}
    for topic in (f"{prefix}.events", *(f"{prefix}.jobs.{lane}" for lane in LANES)):
        for partition, headers, value in _committed(bootstrap, topic):
            kind = headers["ce_type"].decode()
            job = headers.get("ce_subject", b"").decode()
            if kind == "dispatcher.fire":
                at = millis(headers["ce_time"].decode())
                history.fires[job, at] += 1
                history.values[job, at] = value
                continue
            data = json.loads(value)
            if kind == "run.skipped":
                history.skips.append((job, millis(data["after"]), millis(data["until"]), data["count"]))
            elif kind == "schedule.applied":
                in_force.setdefault(partition, {})[data["change"]] = millis(data["effectiveFrom"])
            elif kind.startswith("job."):
                changes.append((partition, kind, {**data, "job": job}))
    for partition, kind, data in changes:
        number = data["change"]
        assert isinstance(number, int)
        if number in in_force.get(partition, {}):
            _tenure(history, kind, data, in_force[partition][number])
    return history


def _tenure(history: History, kind: str, data: dict[str, object], at: int) -> None:
    tenures = history.tenures.setdefault(str(data["job"]), [])
    if kind != "job.added":
        tenures[-1].until = at
    definition = data.get("definition")
    if kind != "job.removed" and isinstance(definition, dict):
        tenures.append(Tenure(int(str(definition["every"]).rstrip("s")) * 1000, at))


def _headers(message: Message) -> dict[str, bytes]:
    return dict(cast("list[tuple[str, bytes]]", message.headers() or []))


def _committed(bootstrap: str, topic: str) -> list[tuple[int, dict[str, bytes], bytes]]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "history",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    found = []
    partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    left = set(partitions)
    deadline = time.monotonic() + 120
    while left:
        assert time.monotonic() < deadline, f"{topic}: partitions {left} have no end"
        for message in consumer.consume(2000, 0.5):
            partition = message.partition()
            assert partition is not None
            if message.error() is not None:
                left.discard(partition)
            else:
                found.append((partition, _headers(message), message.value() or b""))
    consumer.close()
    return found
