"""The figures of a worker as Prometheus metrics, as status, and as JSON for autoscalers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import Metric

from dispatcher.core.figures import Figures
from dispatcher.core.health import Health
from dispatcher.observe import metric_table as table
from dispatcher.observe.exposition import versions
from dispatcher.observe.tracing import NO_TRACES, TraceCounts


def wanted(now: Figures) -> dict[str, Any]:
    """Return what autoscalers ask for: workers wanted, seats wanted in all and in each lane."""
    lanes = {
        str(lane): {"wantedSeats": round(one.wanted, 3), "waiting": one.waiting, "behind": one.behind}
        for lane, one in now.lanes.items()
    }
    seats = round(sum(one.wanted for one in now.lanes.values()), 3)
    return {
        "wantedReplicas": now.replicas,
        "wantedSeats": seats,
        "seatsPerReplica": now.most_seats,
        "lanes": lanes,
    }


def worker_status(instance: str, now: Figures, health: Health, readiness: Health) -> dict[str, Any]:
    """Return how a worker is, for people and machines."""
    lanes = {
        str(lane): {"waiting": one.waiting, "busy": one.busy, "behind": one.behind}
        for lane, one in now.lanes.items()
    }
    return {
        "role": "worker",
        "instance": instance,
        "version": versions()[0],
        "healthy": health.healthy,
        "ready": readiness.healthy,
        "reasons": [*dict.fromkeys((*health.reasons, *readiness.reasons))],
        "seats": now.seats,
        "seatsMost": now.most_seats,
        "lanes": lanes,
        "attempts": now.first_attempts + now.later_attempts,
        "failedCommits": now.failed_commits,
    }


def worker_metrics(
    now: Figures, health: Health, readiness: Health, traces: TraceCounts = NO_TRACES
) -> Iterator[Metric]:
    """Yield every metric of a worker."""
    yield table.SEATS.gauge(now.seats)
    yield table.SEATS_MOST.gauge(now.most_seats)
    yield table.REPLICAS.gauge(now.replicas)
    yield table.WAITING.gauges({str(lane): one.waiting for lane, one in now.lanes.items()})
    yield table.BUSY.gauges({str(lane): one.busy for lane, one in now.lanes.items()})
    yield table.BEHIND.gauges({str(lane): one.behind for lane, one in now.lanes.items()})
    yield table.WANTED_SEATS.gauges({str(lane): one.wanted for lane, one in now.lanes.items()})
    runs, dead = table.RUNS.counter(), {str(lane): 0 for lane in now.lanes}
    for (outcome, lane), count in now.runs.items():
        runs.add_metric([outcome, str(lane)], count)
        if outcome == "dead":
            dead[str(lane)] = count
    yield runs
    yield table.DEAD.counters(dead)
    yield table.ATTEMPTS.counters({"first": now.first_attempts, "again": now.later_attempts})
    yield table.HANDLER_SECONDS.counters(now.handler_seconds)
    yield table.HANDLER_RUNS.counters(now.handler_runs)
    yield table.RUN_TIMES.histogram(now.run_times)
    yield table.REDELIVERED.counter(now.redelivered)
    yield table.OVERLAPS.counter(now.overlaps)
    yield table.UNFENCED.counter(now.unfenced)
    yield table.FAILED_COMMITS.counter(now.failed_commits)
    yield table.WORKER_HEALTHY.gauge(health.healthy)
    yield table.WORKER_READY.gauge(readiness.healthy)
    yield table.WORKER_TRACES.counters(traces._asdict())
    build = table.WORKER_BUILD.gauge()
    build.add_metric(list(versions()), 1)
    yield build
