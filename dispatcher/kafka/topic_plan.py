"""What topics an installation needs, and how they must be: values only, nothing is asked of Kafka here.

Why the ledger is set up as it is: the active segment is never compacted, so with a broker's defaults a
restart would replay gigabytes; the append time of the broker judges jumps of the clock; a tombstone must
outlive the slowest reader (`delete.retention.ms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames

_HOUR = 3_600_000
_DAY = 24 * _HOUR
_MEBIBYTE = 1024 * 1024


class Bound(StrEnum):
    """How a setting is compared with its limit."""

    EXACTLY = "must be"
    AT_MOST = "must be at most"
    AT_LEAST = "must be at least"


@dataclass(frozen=True, slots=True)
class Rule:
    """One setting of a topic: what it is created with, and the limit at which it is a fault."""

    setting: str
    value: str
    bound: Bound = Bound.EXACTLY
    limit: str = ""

    def allows(self, found: str) -> bool:
        """Return whether a value found on the broker will do; -1 stands for without limit, as in Kafka."""
        limit = self.limit or self.value
        if self.bound is Bound.EXACTLY:
            return found == limit
        number = float("inf") if found == "-1" else float(found)
        return number <= float(limit) if self.bound is Bound.AT_MOST else number >= float(limit)

    def text(self, found: str) -> str:
        """Say what is and what must be."""
        return f"{self.setting} is {found}, {self.bound} {self.limit or self.value}"


@dataclass(frozen=True, slots=True)
class TopicShape:
    """One topic as it must be. Partitions: exactly so many, or any multiple of `multiple` if not 0."""

    name: str
    partitions: int
    multiple: int = 0
    rules: tuple[Rule, ...] = ()

    def settings(self) -> dict[str, str]:
        """Return the settings the topic is created with."""
        return {rule.setting: rule.value for rule in self.rules}

    def faults(self, partitions: int, found: Mapping[str, str]) -> tuple[str, ...]:
        """Return a sentence for each way in which a topic that exists differs from what it must be."""
        return (*self.count_faults(partitions), *(self._text(rule, found) for rule in self.broken(found)))

    def count_faults(self, partitions: int) -> tuple[str, ...]:
        """Return the sentence about a partition count that does not fit. Counts are never changed."""
        if self.multiple and partitions % self.multiple:
            wanted = f"a multiple of {self.multiple}, the number of shards"
        elif not self.multiple and partitions != self.partitions:
            wanted = f"exactly {self.partitions}, the number of shards"
        else:
            return ()
        fault = f"topic {self.name} has {partitions} partitions, must have {wanted}"
        return (
            f"{fault}; a count is never changed in place: use the number it was made for, or a new prefix",
        )

    def broken(self, found: Mapping[str, str]) -> tuple[Rule, ...]:
        """Return the rules that the settings found do not keep."""
        return tuple(
            rule for rule in self.rules if rule.setting in found and not rule.allows(found[rule.setting])
        )

    def _text(self, rule: Rule, found: Mapping[str, str]) -> str:
        return f"topic {self.name}: {rule.text(found[rule.setting])}"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records are kept, in milliseconds. Events are the history of the fires: never shorter."""

    commands: int = 7 * _DAY
    jobs: int = 7 * _DAY
    events: int = 14 * _DAY
    dead: int = 30 * _DAY


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """Every topic of an installation, and the rule between events and jobs."""

    shapes: tuple[TopicShape, ...]
    events: str
    jobs: tuple[str, ...] = field(default=())

    def names(self) -> list[str]:
        """Return the topics' names."""
        return [shape.name for shape in self.shapes]

    def without(self, *names: str) -> TopicPlan:
        """Return the plan but for some topics: of those this process has nothing to do with."""
        return TopicPlan(tuple(one for one in self.shapes if one.name not in names), self.events, self.jobs)

    def shape(self, name: str) -> TopicShape:
        """Return the shape of a topic of the plan."""
        return next(shape for shape in self.shapes if shape.name == name)

    def history_faults(self, found: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
        """Return the sentence about events that are forgotten before the fires they tell of."""
        kept = {name: _kept(settings) for name, settings in found.items() if "retention.ms" in settings}
        events = kept.get(self.events)
        longest = max((name for name in self.jobs if name in kept), key=lambda name: kept[name], default=None)
        if events is None or longest is None or events >= kept[longest]:
            return ()
        limit = f"{found[longest]['retention.ms']}, that of {longest}: events are the history of the fires"
        own = found[self.events]["retention.ms"]
        return (f"topic {self.events}: retention.ms is {own}, must be at least {limit}",)


def topic_plan(
    names: TopicNames,
    shards: int,
    job_partitions: int = 12,
    retention: Retention = Retention(),
) -> TopicPlan:
    """Return the topics of an installation of `shards` shards; lanes and dead get `job_partitions`."""
    jobs = tuple(map(names.lane, Lane))
    lane = (*_deleted(retention.jobs), _OWN_TIME)
    return TopicPlan(
        shapes=(
            TopicShape(names.shards, shards, 0, _deleted(7 * _DAY)),
            TopicShape(names.ledger, shards, 0, _LEDGER),
            TopicShape(names.commands, shards, 0, (*_deleted(retention.commands), _WHOLE_JOBS)),
            TopicShape(names.events, shards, 0, (*_deleted(retention.events), _WHOLE_JOBS)),
            *(TopicShape(job, job_partitions, shards, lane) for job in jobs),
            TopicShape(names.dead, job_partitions, shards, (*_deleted(retention.dead), _WHOLE_JOBS)),
        ),
        events=names.events,
        jobs=jobs,
    )


def _deleted(retention: int) -> tuple[Rule, ...]:
    return (
        Rule("cleanup.policy", "delete"),
        Rule("retention.ms", str(retention), Bound.AT_LEAST, str(_HOUR)),
    )


def _kept(settings: Mapping[str, str]) -> float:
    found = settings["retention.ms"]
    return float("inf") if found == "-1" else float(found)


_WHOLE_JOBS = Rule("max.message.bytes", str(16 * _MEBIBYTE), Bound.AT_LEAST)
"""Records of these topics hold more than a lane may take: definitions of jobs, or a message and its story."""

_OWN_TIME = Rule("message.timestamp.type", "CreateTime")
"""A staged burst carries its instant; the broker's own time would be before it."""

_LEDGER = (
    Rule("cleanup.policy", "compact"),
    Rule("message.timestamp.type", "LogAppendTime"),
    Rule("segment.bytes", str(32 * _MEBIBYTE), Bound.AT_MOST, str(64 * _MEBIBYTE)),
    _WHOLE_JOBS,
    Rule("segment.ms", str(_HOUR), Bound.AT_MOST, str(_DAY)),
    Rule("min.cleanable.dirty.ratio", "0.1", Bound.AT_MOST, "0.5"),
    Rule("max.compaction.lag.ms", str(_HOUR), Bound.AT_MOST, str(_DAY)),
    Rule("delete.retention.ms", str(_DAY), Bound.AT_LEAST),
    Rule("unclean.leader.election.enable", "false"),
)
