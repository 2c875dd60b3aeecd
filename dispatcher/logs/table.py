"""Every event of the log: its name, levels, fields and meaning, and every field that events have.

`dispatcher events` prints this as a page; a test compares it with what the code logs. What a field is for
also says which lines are repetitions of one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a field's value is for, and so what it means that two lines differ in it."""

    NAME = "name"
    """It says what the line is about: lines about different things are no repetitions."""
    TEXT = "text"
    """Words for people: lines that differ in its digits alone are repetitions."""
    FIGURE = "figure"
    """A number, an instant or advice that may differ between repetitions."""


@dataclass(frozen=True, slots=True)
class Field:
    """One named value of events; it means the same in all of them."""

    role: Role
    meaning: str


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event of the log. `maybe` are fields that some of its lines have."""

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str
    maybe: tuple[str, ...] = ()


def _event(name: str, levels: str, fields: str, meaning: str, *, maybe: str = "") -> LogEvent:
    return LogEvent(name, tuple(levels.split()), tuple(fields.split()), meaning, tuple(maybe.split()))


FIELDS: Mapping[str, Field] = {
    "abandoned": Field(Role.FIGURE, "runs that were still going on and are left to themselves"),
    "advice": Field(Role.FIGURE, "what to do about it"),
    "all": Field(Role.FIGURE, "partitions that are this worker's now, in all"),
    "at": Field(Role.FIGURE, "when it happened, where that is not the line's own time"),
    "attempt": Field(Role.NAME, "which try of the fire, from 1"),
    "before": Field(Role.FIGURE, "the value before"),
    "by": Field(Role.NAME, "instance that did it"),
    "changes": Field(Role.FIGURE, "change sets that were handed to shards"),
    "count": Field(Role.FIGURE, "how many"),
    "due": Field(Role.NAME, "instant at which it is to happen: the planned one and the job's jitter"),
    "error": Field(Role.TEXT, "what went wrong, in words"),
    "exception": Field(Role.TEXT, "the error's traceback"),
    "failures": Field(Role.FIGURE, "how often it failed in a row"),
    "file": Field(Role.NAME, "the schedule file"),
    "fire": Field(Role.NAME, "the fire's id, the `ce_id` of its message"),
    "fires": Field(Role.FIGURE, "fires in the transaction"),
    "first": Field(Role.NAME, "the first of them by name"),
    "handler": Field(Role.NAME, "what runs it, the `job` of the entry"),
    "in_a_row": Field(Role.FIGURE, "how often it came in a row"),
    "instance": Field(Role.NAME, "name of the replica or worker"),
    "job": Field(Role.NAME, "the job's name"),
    "jobs": Field(Role.FIGURE, "how many jobs"),
    "kind": Field(Role.NAME, "kind of transaction or of error"),
    "library": Field(Role.NAME, "logger of the library"),
    "mend": Field(Role.FIGURE, "the command that mends it"),
    "message": Field(Role.TEXT, "what the library said"),
    "now": Field(Role.FIGURE, "the value now"),
    "offset": Field(Role.NAME, "where the record lies in its partition"),
    "outcome": Field(Role.NAME, "how the run ended: succeeded, retrying, dead, cancelled, expired, skipped"),
    "partition": Field(Role.NAME, "partition of the topic"),
    "path": Field(Role.NAME, "path of the page that was asked for"),
    "payload": Field(Role.FIGURE, "the job's payload, secrets masked, cut at 2000 characters"),
    "planned": Field(Role.NAME, "planned instant of the fire"),
    "port": Field(Role.NAME, "TCP port"),
    "reason": Field(Role.TEXT, "why, in words"),
    "reasons": Field(Role.TEXT, "everything that is wrong, in words"),
    "repeated": Field(Role.FIGURE, "lines like this one that came before it and were not told"),
    "revision": Field(Role.NAME, "SHA-256 of the schedule file, or its beginning"),
    "runs": Field(Role.FIGURE, "runs that are waited for"),
    "schedule": Field(Role.NAME, "the schedule file"),
    "seconds": Field(Role.FIGURE, "how long it took, or may take"),
    "services": Field(Role.NAME, "parts that did not end in time"),
    "shard": Field(Role.NAME, "number of the shard"),
    "shards": Field(Role.NAME, "numbers of the shards"),
    "skips": Field(Role.FIGURE, "fires that the transaction records as skipped"),
    "thread": Field(Role.NAME, "name of the thread"),
    "topic": Field(Role.NAME, "the topic"),
    "topics": Field(Role.NAME, "the topics"),
    "took": Field(Role.FIGURE, "milliseconds from beginning to end"),
    "until": Field(Role.FIGURE, "up to when"),
    "why": Field(Role.TEXT, "why, in words"),
}
"""Every field but those that all lines have: `timestamp`, `level` and `event`."""

DISPATCHER = (
    _event("daemon.started", "info", "instance schedule", "The dispatcher runs; its shards come next."),
    _event("daemon.stopping", "info", "", "The end was asked for, or something made going on impossible."),
    _event("daemon.stopped", "info", "", "Everything has ended, or its time was up."),
    _event("daemon.stuck", "error", "services seconds", "Parts did not end within `stop_seconds`."),
    _event("shards.assigned", "info", "shards", "The group gave shards to this replica."),
    _event(
        "shards.revoked",
        "info",
        "shards",
        "The group takes shards away; they end after their present transaction.",
    ),
    _event(
        "shards.lost",
        "warning",
        "shards why",
        "The session is over; the shards are another replica's by now.",
    ),
    _event(
        "shards.claimed",
        "info",
        "shards why",
        "Shards were this instance's before and are taken without waiting.",
    ),
    _event(
        "shards.yielded",
        "warning",
        "shards why advice",
        "Shards were fenced by another replica and are let go.",
    ),
    _event(
        "shard.taken",
        "info",
        "shard jobs revision",
        "A shard was fenced, read and claimed: it fires from now on.",
    ),
    _event("shard.was_taken", "warning", "shard by at", "Another replica had the shard in between."),
    _event("shard.stuck", "error", "shard why", "A shard's transaction did not end in time."),
    _event(
        "shard.unreachable", "warning", "shard error", "After a failure the ledger could not be read either."
    ),
    _event("instance.doubled", "error", "shard instance at advice", "Two replicas have the same name."),
    _event("batch.committed", "debug", "shard kind fires skips", "A transaction was committed."),
    _event(
        "fire.committed",
        "debug",
        "shard fire job attempt topic partition kind",
        "A fire's message was committed.",
    ),
    _event(
        "fires.skipped",
        "info",
        "shard count kind",
        "Fires were recorded as skipped; the events tell which, and why.",
    ),
    _event(
        "fire.unsendable", "error", "shard fire why", "A message cannot be sent; it becomes a recorded skip."
    ),
    _event("burst.staged", "debug", "shard due fires", "A burst is written and waits for its instant."),
    _event(
        "burst.given_up",
        "info",
        "shard due fires why",
        "A staged burst was aborted; its fires go out unstaged.",
    ),
    _event(
        "commit.suspect",
        "warning error",
        "shard why kind in_a_row",
        "A commit was slow or repeated, so the ledger is read again; `error` from the third in a row.",
    ),
    _event(
        "transaction.failed",
        "warning error",
        "shard error kind failures",
        "A transaction failed and is tried again; `error` from the third in a row.",
    ),
    _event(
        "ledger.ahead", "warning", "shard why", "The ledger held a transaction that was reported as failed."
    ),
    _event(
        "ledger.unexamined",
        "warning",
        "why",
        "The look at the ledger before the start failed; the shards look again.",
    ),
    _event(
        "clock.held",
        "error",
        "shard why mend",
        "The clock jumped too far: nothing is fired until it is accepted.",
    ),
    _event(
        "clock.behind",
        "error",
        "shard why until",
        "The cursor lies ahead of the clock: nothing fires before `until`.",
    ),
    _event(
        "topic.unfit",
        "error",
        "shard topic why jobs first",
        "Jobs name a topic that cannot be written; their fires become skips.",
    ),
    _event("commands.lost", "error", "shard count", "Retention took commands before their shard read them."),
    _event("command.refused", "warning", "shard why offset", "A record of the commands topic is no command."),
    _event("health.lost", "error", "reasons", "This replica is not well."),
    _event("health.back", "info", "", "It is well again."),
    _event("process.still", "error", "reasons", "Threads stand still: the supervisor gets no sign of life."),
    _event("process.moves", "info", "", "They move again."),
    _event("process.unseen", "error", "error", "How the process is could not be found out this time."),
    _event(
        "schedule.read",
        "info",
        "file revision jobs seconds changes",
        "The file was read and compared with what is in force.",
    ),
    _event("schedule.applied", "info", "shard revision jobs", "A shard has a new schedule in force."),
    _event(
        "schedule.held",
        "warning",
        "shard reason why",
        "A schedule waits: for `dispatcher adopt`, an edit, or its time.",
    ),
    _event(
        "schedule.refused",
        "error",
        "file revision reason",
        "The file is invalid; the schedule before stays in force.",
    ),
    _event(
        "schedule.unreadable",
        "error",
        "file revision reason",
        "The file cannot be read; the schedule before stays in force.",
    ),
    _event(
        "schedule.child_missing",
        "warning",
        "file reason",
        "The process that reads the file could not be started beforehand.",
    ),
    _event(
        "schedule.untrusted",
        "warning",
        "file reason",
        "Others than root and this user may change the file, and `schedule_trust` lets that pass.",
    ),
    _event(
        "schedule.unwatched",
        "warning",
        "file reason advice",
        "Changes of the file are found by polling alone.",
    ),
)

WORKER = (
    _event("worker.started", "info", "instance", "The worker runs; its partitions come next."),
    _event("worker.stopping", "info", "", "The end was asked for, or something made going on impossible."),
    _event("worker.stopped", "info", "", "Everything has ended, or its time was up."),
    _event("worker.stuck", "error", "services seconds", "Parts did not end within `stop_seconds`."),
    _event("views.served", "info", "port", "How the process is can be asked for over HTTP."),
    _event("view.failed", "error", "path seconds exception", "A page could not be made; it said only that."),
    _event("partitions.assigned", "info", "count all", "The group gave partitions to this worker."),
    _event("partitions.revoked", "info", "count abandoned", "Partitions go to another worker."),
    _event("partitions.lost", "info", "count abandoned", "Partitions may be another worker's already."),
    _event("pool.draining", "info", "runs seconds", "Nothing more is begun; what runs may end."),
    _event("runs.handed_back", "warning", "count", "Runs did not end in time; they are delivered again."),
    _event(
        "run.ended",
        "debug",
        "fire job attempt outcome handler topic partition offset took",
        "A run ended, or was settled without one.",
    ),
    _event("run.abandoned", "warning", "fire attempt why", "A run does not end; its seat is replaced."),
    _event(
        "outcomes.not_committed",
        "warning error",
        "error topics failures",
        "Outcomes could not be written and will be again; `error` from the third in a row.",
    ),
    _event("seats.changed", "debug", "before now", "The number of seats changed."),
    _event(
        "handler.name_taken", "warning", "handler", "Two handlers have the same name; the first one counts."
    ),
    _event("handler.not_closed", "warning", "error", "A handler failed while it was closed."),
    _event("job.logged", "info", "job fire attempt planned payload", "The handler `log` ran."),
)

BOTH = (
    _event("views.served", "info", "port", "Health, status and figures can be asked for over HTTP."),
    _event(
        "traces.dropped",
        "warning",
        "count why",
        "Spans were not sent: too many came, or no collector took them.",
    ),
    _event("kafka.unreachable", "warning", "why until", "No broker answers at the start; it is tried again."),
    _event(
        "thread.failed",
        "critical error",
        "thread exception",
        "A thread ended by a defect; the process ends with it, where it is needed.",
    ),
    _event(
        "library.logged",
        "debug info warning error critical",
        "library message",
        "A library said something.",
        maybe="exception",
    ),
)

EVENTS = {event.name: event for event in (*DISPATCHER, *WORKER, *BOTH)}
