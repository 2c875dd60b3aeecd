"""Every type of event in the events topic: who writes it, what its value holds, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HEADERS: Mapping[str, str] = {
    "ce_specversion": "`1.0`",
    "ce_type": "the event's type",
    "ce_source": "`/<prefix>/shards/<shard>` or `/<prefix>/workers/<instance>`",
    "ce_id": "the same if the same thing is told again",
    "ce_time": "when it happened",
    "ce_subject": "the job's name, where it is about one",
    "content-type": "`application/json`",
    "shard": "the shard it is told under, and so its partition",
    "fire": "the fire's id, where it is about one",
    "attempt": "which try of the fire, where it is about one",
}
"""The headers of events, beside their value."""


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event. `fields` are the members of its value beside `v`; `maybe` those that some have."""

    name: str
    by: str
    fields: tuple[str, ...]
    maybe: tuple[str, ...]
    meaning: str


def _shard(name: str, fields: str, meaning: str, *, maybe: str = "") -> EventType:
    return EventType(name, "shard", tuple(fields.split()), tuple(maybe.split()), meaning)


_RUN = ("handler", "startedAt", "endedAt", "redelivered", "topic", "partition", "offset")


def _worker(name: str, meaning: str, *, maybe: str = "") -> EventType:
    return EventType(name, "worker", _RUN, tuple(maybe.split()), meaning)


EVENT_TYPES: Mapping[str, EventType] = {
    one.name: one
    for one in (
        _shard("job.added", "change revision effectiveFrom definition", "A job is new."),
        _shard("job.changed", "change revision effectiveFrom definition previous", "A job is another now."),
        _shard("job.removed", "change revision effectiveFrom previous", "A job is gone."),
        _shard(
            "schedule.applied",
            "change revision effectiveFrom",
            "A schedule, or other rules of time, are in force in a shard.",
            maybe="previous seen instance added changed removed rules",
        ),
        _shard("schedule.held", "revision reason why until", "A schedule waits for a word, or for its time."),
        _shard("schedule.released", "revision reason", "A schedule that was held is no longer wanted."),
        _shard("schedule.refused", "revision count problems", "The file cannot be used; up to 100 problems."),
        _shard("burst.landed", "due fires stagedAt committedAt", "A burst was committed at its instant."),
        _shard(
            "command.obeyed",
            "command cursor done",
            "What a command did.",
            maybe="job fire attempt repeated held",
        ),
        _shard("command.refused", "why", "Why a command was not obeyed.", maybe="command offset"),
        _shard("commands.lost", "count", "Retention took commands before they were read."),
        _shard(
            "ledger.recovered",
            "reason change after until backlog",
            "`dispatcher recover` began a ledger anew.",
        ),
        _shard(
            "ledger.rebound", "reason cursor", "`dispatcher recover` took a ledger that was moved as it is."
        ),
        _shard("run.triggered", "command", "A fire was asked for."),
        _shard("run.redriven", "command", "Somebody had a fire tried again."),
        _worker("run.started", "A run was begun half a second ago and goes on."),
        _worker("run.succeeded", "The fire is done.", maybe="result output"),
        _worker("run.retrying", "An attempt failed; there will be another.", maybe="reason output retryAt"),
        _worker("run.dead", "The fire is given up: a dead letter.", maybe="reason output"),
        _worker("run.expired", "It came too late to be begun.", maybe="reason"),
        EventType(
            "run.cancelled",
            "shard, worker",
            ("reason",),
            ("command", "output", *_RUN),
            "Somebody cancelled the fire.",
        ),
        EventType(
            "run.skipped",
            "shard, worker",
            ("reason",),
            ("count", "after", "until", *_RUN),
            "Fires planned in (`after`, `until`] will not go out; or a run was skipped (overlap).",
        ),
    )
}
