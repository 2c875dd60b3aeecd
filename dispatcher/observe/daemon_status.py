"""How a dispatcher is, as JSON: what is in force, what waits or was refused, where each shard stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dispatcher.core.cron import engine_version
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.shard_figures import ShardNow
from dispatcher.core.zone import tzdata_version
from dispatcher.observe.absence import Seen
from dispatcher.observe.daemon_figures import DaemonFigures
from dispatcher.observe.daemon_metrics import backlog_ms, cursor_age_ms, overdue_ms
from dispatcher.observe.exposition import versions

_MOST_PROBLEMS = 100


def daemon_status(
    instance: str,
    figures: DaemonFigures,
    owner_of: Callable[[int], str | None],
    next_due: Callable[[int], Instant | None],
) -> dict[str, Any]:
    """Return how a dispatcher is. `owner_of` and `next_due` are asked of every shard of the installation."""
    health, readiness, host = figures.health, figures.readiness, figures.host
    return {
        "role": "dispatcher",
        "instance": instance,
        "version": versions()[0],
        "tzdata": tzdata_version(),
        "engine": engine_version(),
        "now": to_text(figures.now),
        "healthy": health.healthy,
        "ready": readiness.healthy,
        "reasons": [*dict.fromkeys((*health.reasons, *readiness.reasons))],
        "schedule": _schedule(figures),
        "shards": [
            {
                "shard": shard,
                "owner": instance if shard in host.now else owner_of(shard),
                "ours": shard in host.now,
                **_seen(figures.seen.get(shard), figures.now, next_due(shard)),
                **_ours(host.now.get(shard)),
            }
            for shard in range(figures.shards)
        ],
    }


def _schedule(figures: DaemonFigures) -> dict[str, Any]:
    """Return what the file and the shards say of the schedule; `refused` and `held` only where it is so."""
    revisions = sorted({one.position.revision for one in figures.seen.values() if one.position.revision})
    found: dict[str, Any] = {"revisions": revisions}
    if figures.problems:
        since = figures.host.refused_since
        found["refused"] = {
            "since": to_text(since) if since else None,
            "count": len(figures.problems),
            "problems": list(figures.problems[:_MOST_PROBLEMS]),
        }
    held = {str(shard): one.held for shard, one in figures.host.now.items() if one.held is not None}
    return {**found, "held": held} if held else found


def _seen(seen: Seen | None, now: Instant, due: Instant | None) -> dict[str, Any]:
    if seen is None:
        return {"revision": None, "cursor": None}
    position = seen.position
    return {
        "revision": position.revision or None,
        "change": position.change,
        "cursor": {"due": to_text(position.cursor.due), "job": position.cursor.name or None},
        "cursorAgeSeconds": cursor_age_ms(seen, now) / 1000,
        "nextDue": None if due is None else to_text(due),
        "overdueSeconds": overdue_ms(seen, now) / 1000,
        "backlogAgeSeconds": backlog_ms(seen, now) / 1000,
    }


def _ours(now: ShardNow | None) -> Mapping[str, Any]:
    """Return what only the owner knows; its producer is not known until the library has told it."""
    if now is None:
        return {}
    producer, epoch = now.epoch or (None, None)
    held = {} if now.clock_hold is None else {"clockHold": now.clock_hold}
    return {"jobs": dict(now.jobs), "producerId": producer, "producerEpoch": epoch, **held}
