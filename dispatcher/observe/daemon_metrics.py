"""The metrics of a dispatcher, from its figures. How many there are does not grow with the jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.metrics_core import Metric

from dispatcher.core.cron import engine_version
from dispatcher.core.expected import GRACE_MS
from dispatcher.core.instant import Instant
from dispatcher.core.shard_figures import Counts
from dispatcher.core.spread import Spread
from dispatcher.core.zone import tzdata_version
from dispatcher.observe import metric_table as table
from dispatcher.observe.absence import Seen
from dispatcher.observe.daemon_figures import DaemonFigures
from dispatcher.observe.exposition import versions

Counted = Mapping[str, int]


def daemon_metrics(figures: DaemonFigures) -> Iterator[Metric]:
    """Yield every metric of a dispatcher."""
    yield from _done(figures.host.counts.values())
    yield from _schedule(figures)
    yield from _trouble(figures)
    yield from _seen(figures)
    version, python = versions()
    build = table.BUILD.gauge()
    build.add_metric([version, tzdata_version(), engine_version(), python], 1)
    yield build
    yield table.HEALTHY.gauge(figures.health.healthy)
    yield table.READY.gauge(figures.readiness.healthy)
    yield table.TRACES.counters(figures.traces._asdict())


def overdue_ms(seen: Seen, now: Instant) -> int:
    """Return by how much the first fire that is missing is later than its grace; 0 when none is."""
    return 0 if seen.overdue_since is None else max(0, now - seen.overdue_since - GRACE_MS)


def cursor_age_ms(seen: Seen, now: Instant) -> int:
    """Return the age of the place up to which all is settled; 0 for a ledger in which nothing ever was."""
    due = seen.position.cursor.due
    return max(0, now - due) if due else 0


def backlog_ms(seen: Seen, now: Instant) -> int:
    """Return the age of the oldest missed stretch that is not settled; 0 when there is none."""
    return max((now - one.start.due for one in seen.position.backlog), default=0)


def _done(counts: Iterable[Counts]) -> Iterator[Metric]:
    """Yield what all shards did, together."""
    counts = list(counts)
    yield table.LATENESS.histogram(_together(one.lateness for one in counts))
    yield table.FIRES.counter(sum(one.fires for one in counts))
    yield table.SKIPS.counters(_sum(one.skips for one in counts))
    yield table.TRANSACTIONS.histogram(_together(one.transactions for one in counts))
    yield table.STAGED.counters({"landed": 0, "given_up": 0} | _sum(one.bursts for one in counts))
    yield table.JOB_FIRES.counters(_sum(one.job_fires for one in counts))
    yield table.RELOADS.counter(sum(one.reloads for one in counts))
    yield table.FENCED.counter(sum(one.fenced for one in counts))
    yield table.SUSPECT.counter(sum(one.suspects for one in counts))
    yield table.FAILED.counter(sum(one.failed for one in counts))


def _schedule(figures: DaemonFigures) -> Iterator[Metric]:
    host = figures.host
    yield table.REFUSED.counter(host.refused)
    yield table.REFUSED_SINCE.gauge(host.refused_since / 1000)
    yield table.HELD.gauge(any(one.held is not None for one in host.now.values()))
    jobs = {"enabled": 0, "disabled": 0, "paused": 0} | _sum(one.jobs for one in host.now.values())
    yield table.JOBS.gauges(jobs)


def _trouble(figures: DaemonFigures) -> Iterator[Metric]:
    host = figures.host
    yield table.SHARDS.gauge(len(host.now))
    yield table.OWNERSHIP.counters({"taken": host.taken, "given_up": host.given_up})
    yield table.CLOCK_HELD.gauge(any(one.clock_hold is not None for one in host.now.values()))


def _seen(figures: DaemonFigures) -> Iterator[Metric]:
    """Yield what is read of every shard of the installation, whoever owns it."""
    now = figures.now

    def of_each(tell: Callable[[Seen, Instant], int]) -> dict[str, float]:
        return {str(shard): tell(one, now) / 1000 for shard, one in sorted(figures.seen.items())}

    yield table.OVERDUE.gauges(of_each(overdue_ms))
    yield table.CURSOR_AGE.gauges(of_each(cursor_age_ms))
    yield table.BACKLOG_AGE.gauges(of_each(backlog_ms))
    yield table.TAIL_LAG.gauges({str(shard): lag for shard, lag in sorted(figures.lags.items())})


def _sum(counts: Iterable[Counted]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


def _together(spreads: Iterable[Mapping[str, Spread]]) -> dict[str, Spread]:
    """Return the spreads of several shards as one for each kind."""
    found: dict[str, Spread] = {}
    for by_kind in spreads:
        for kind, one in by_kind.items():
            before = found.get(kind)
            found[kind] = (
                one
                if before is None
                else Spread(
                    tuple(map(sum, zip(before.counts, one.counts, strict=True))), before.total + one.total
                )
            )
    return found
