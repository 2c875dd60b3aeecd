"""Every metric, once: its name, kind, labels and what it tells. Collectors and the page are made from here.

Labels have few values whatever the schedule holds: none is the name of a job, but for those that
`metrics_per_job` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from dispatcher.core.figures import RUN_SECONDS
from dispatcher.core.shard_figures import LATENESS_SECONDS, TRANSACTION_SECONDS
from dispatcher.core.spread import Spread


class Kind(StrEnum):
    """What Prometheus calls the type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Role(StrEnum):
    """Which process shows a metric: `dispatcher run` or `dispatcher work`."""

    DISPATCHER = "dispatcher"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is exposed; counters end in `_total`. `unit` is that of its value.

    `buckets` are the upper bounds of a histogram, without the last one, which is infinite.
    """

    name: str
    kind: Kind
    text: str
    unit: str
    role: Role = Role.DISPATCHER
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def gauge(self, value: float | None = None) -> GaugeMetricFamily:
        """Return its family, with one value if it has no labels."""
        assert self.kind is Kind.GAUGE
        return GaugeMetricFamily(self.name, self.text, value=value, labels=self.labels or None)

    def counter(self, value: float | None = None) -> CounterMetricFamily:
        """Return its family, with one value if it has no labels."""
        assert self.kind is Kind.COUNTER
        return CounterMetricFamily(self.name, self.text, value=value, labels=self.labels or None)

    def histogram(self, spreads: Mapping[str, Spread]) -> HistogramMetricFamily:
        """Return its family with the spreads by the value of its label."""
        assert self.kind is Kind.HISTOGRAM
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        bounds = [*map(floatToGoString, self.buckets), "+Inf"]
        for label, spread in sorted(spreads.items()):
            rising = accumulate(spread.counts)
            family.add_metric([label], [*zip(bounds, rising, strict=True)], spread.total)
        return family

    def counters(self, counts: Mapping[str, float]) -> CounterMetricFamily:
        """Return its family with values by that of its label."""
        family = self.counter()
        for label, count in sorted(counts.items()):
            family.add_metric([label], count)
        return family

    def gauges(self, values: Mapping[str, float]) -> GaugeMetricFamily:
        """Return its family with values by that of its label."""
        family = self.gauge()
        for label, value in values.items():
            family.add_metric([label], value)
        return family


# The dispatcher: what it does.

LATENESS = Metric(
    "dispatcher_lateness_seconds", Kind.HISTOGRAM,
    "From the instant a fire was due until its transaction was committed; kind is fresh, staged (a burst"
    " written ahead) or caught_up (missed while nobody ran)",
    "seconds", labels=("kind",), buckets=LATENESS_SECONDS,
)  # fmt: skip
FIRES = Metric("dispatcher_fires_total", Kind.COUNTER, "Fires committed to job topics", "fires")
SKIPS = Metric(
    "dispatcher_skips_total", Kind.COUNTER,
    "Planned fires that were recorded as skipped; reason is the first word of the recorded one",
    "fires", labels=("reason",),
)  # fmt: skip
TRANSACTIONS = Metric(
    "dispatcher_transaction_seconds", Kind.HISTOGRAM,
    "Time to write and commit a transaction of a shard; kind is what it was for. Of a burst the commit alone",
    "seconds", labels=("kind",), buckets=TRANSACTION_SECONDS,
)  # fmt: skip
STAGED = Metric(
    "dispatcher_staged_bursts_total", Kind.COUNTER,
    "Bursts written ahead; outcome is landed (committed at their instant) or given_up (sent after it)",
    "bursts", labels=("outcome",),
)  # fmt: skip
JOB_FIRES = Metric(
    "dispatcher_job_fires_total", Kind.COUNTER,
    "Fires committed of the jobs that the setting metrics_per_job names", "fires", labels=("job",),
)  # fmt: skip

# The schedule.

RELOADS = Metric(
    "dispatcher_reloads_total", Kind.COUNTER,
    "Changes of the schedule put in force; each shard of this replica counts its own", "changes",
)  # fmt: skip
REFUSED = Metric(
    "dispatcher_reloads_refused_total", Kind.COUNTER,
    "Times that this replica found the schedule file unusable, each state of the file once", "files",
)  # fmt: skip
REFUSED_SINCE = Metric(
    "dispatcher_reload_refused_since_seconds", Kind.GAUGE,
    "When the schedule file became unusable, until it is well again; 0 while it is well", "unix time",
)  # fmt: skip
HELD = Metric(
    "dispatcher_reload_held", Kind.GAUGE,
    "1 while a shard of this replica holds a change back: a stale file, or one that removes too many jobs",
    "0 or 1",
)  # fmt: skip
JOBS = Metric(
    "dispatcher_jobs", Kind.GAUGE,
    "Jobs in force in the shards of this replica; state is enabled, disabled or paused", "jobs",
    labels=("state",),
)  # fmt: skip

# Ownership, and trouble with Kafka.

SHARDS = Metric("dispatcher_shards_owned", Kind.GAUGE, "Shards at work in this replica", "shards")
OWNERSHIP = Metric(
    "dispatcher_ownership_changes_total", Kind.COUNTER,
    "Shards that began or ended to work here; change is taken or given_up", "shards", labels=("change",),
)  # fmt: skip
FENCED = Metric(
    "dispatcher_fenced_total", Kind.COUNTER,
    "Times that a shard of this replica found itself fenced: another one had taken it", "times",
)  # fmt: skip
SUSPECT = Metric(
    "dispatcher_suspect_commits_total", Kind.COUNTER,
    "Commits that were slow or repeated, after which the ledger was read to be sure", "transactions",
)  # fmt: skip
FAILED = Metric(
    "dispatcher_failed_transactions_total", Kind.COUNTER,
    "Steps of shards that failed: transactions, fencing or reading of the ledger", "times",
)  # fmt: skip

# What every replica sees of all shards.

OVERDUE = Metric(
    "dispatcher_overdue_seconds", Kind.GAUGE,
    "By how much the earliest planned fire that a shard's ledger does not show as settled is later than"
    " 60 s after it was due; 0 when none is. Every replica tells it of all shards, by what it reads; the"
    " least of them knows best", "seconds", labels=("shard",),
)  # fmt: skip
CURSOR_AGE = Metric(
    "dispatcher_cursor_age_seconds", Kind.GAUGE,
    "Age of the place that a shard has settled everything up to, by its ledger; an idle shard moves it every"
    " heartbeat_seconds", "seconds", labels=("shard",),
)  # fmt: skip
BACKLOG_AGE = Metric(
    "dispatcher_backlog_age_seconds", Kind.GAUGE,
    "Age of the oldest stretch of missed fires that a shard still has to settle, by its ledger; 0: none",
    "seconds", labels=("shard",),
)  # fmt: skip
TAIL_LAG = Metric(
    "dispatcher_ledger_tail_lag", Kind.GAUGE,
    "Records of a shard's ledger that this replica has not read along yet", "records", labels=("shard",),
)  # fmt: skip

# The replica itself.

CLOCK_HELD = Metric(
    "dispatcher_clock_held", Kind.GAUGE,
    "1 while a shard of this replica does not fire because a clock jumped, until `dispatcher accept-clock`",
    "0 or 1",
)  # fmt: skip
HEALTHY = Metric(
    "dispatcher_healthy", Kind.GAUGE,
    "1 while it is well: its threads move, brokers answer, its shards can commit; /health says why not",
    "0 or 1",
)  # fmt: skip
READY = Metric("dispatcher_ready", Kind.GAUGE, "What /ready says: 1 is ready", "0 or 1")
BUILD = Metric(
    "dispatcher_build_info", Kind.GAUGE,
    "1; the labels are the versions of the dispatcher, the time zone rules, the cron engine and Python",
    "1", labels=("version", "tzdata", "engine", "python"),
)  # fmt: skip

# Workers.

SEATS = Metric("dispatcher_worker_seats", Kind.GAUGE, "Seats that there are", "seats", Role.WORKER)
SEATS_MOST = Metric(
    "dispatcher_worker_seats_most", Kind.GAUGE, "Seats that there may be", "seats", Role.WORKER
)
REPLICAS = Metric(
    "dispatcher_worker_wanted_replicas", Kind.GAUGE,
    "Workers like this one that are wanted", "workers", Role.WORKER,
)  # fmt: skip
WAITING = Metric(
    "dispatcher_worker_waiting", Kind.GAUGE, "Runs that wait for a seat", "runs", Role.WORKER, ("lane",)
)
BUSY = Metric(
    "dispatcher_worker_busy", Kind.GAUGE, "Seats that run something", "seats", Role.WORKER, ("lane",)
)
BEHIND = Metric(
    "dispatcher_worker_behind", Kind.GAUGE,
    "Messages of this worker's partitions that were not delivered yet", "messages", Role.WORKER, ("lane",),
)  # fmt: skip
WANTED_SEATS = Metric(
    "dispatcher_worker_wanted_seats", Kind.GAUGE,
    "Seats wanted for what comes and what waits", "seats", Role.WORKER, ("lane",),
)  # fmt: skip
RUNS = Metric(
    "dispatcher_worker_runs_total", Kind.COUNTER,
    "Runs that ended, by how and in which lane", "runs", Role.WORKER, ("outcome", "lane"),
)  # fmt: skip
ATTEMPTS = Metric(
    "dispatcher_worker_attempts_total", Kind.COUNTER,
    "Attempts that handlers made, ended; attempt is first, or again for what tried anew what had failed",
    "attempts", Role.WORKER, ("attempt",),
)  # fmt: skip
DEAD = Metric(
    "dispatcher_worker_dead_total", Kind.COUNTER,
    "Runs that failed for good and became dead letters", "runs", Role.WORKER, ("lane",),
)  # fmt: skip
HANDLER_SECONDS = Metric(
    "dispatcher_worker_handler_seconds_total", Kind.COUNTER,
    "Time that runs took, by handler", "seconds", Role.WORKER, ("handler",),
)  # fmt: skip
HANDLER_RUNS = Metric(
    "dispatcher_worker_handler_runs_total", Kind.COUNTER,
    "Runs that ended, by handler", "runs", Role.WORKER, ("handler",),
)  # fmt: skip
RUN_TIMES = Metric(
    "dispatcher_worker_run_seconds", Kind.HISTOGRAM,
    "Time that an attempt took in its handler", "seconds", Role.WORKER, ("handler",), RUN_SECONDS,
)  # fmt: skip
REDELIVERED = Metric(
    "dispatcher_worker_redelivered_total", Kind.COUNTER,
    "Deliveries that another life had begun before", "messages", Role.WORKER,
)  # fmt: skip
OVERLAPS = Metric(
    "dispatcher_worker_overlaps_total", Kind.COUNTER,
    "Runs skipped because another one of their job had not ended", "runs", Role.WORKER,
)  # fmt: skip
UNFENCED = Metric(
    "dispatcher_worker_unfenced_overlaps_total", Kind.COUNTER,
    "Runs of jobs that forbid or queue overlaps, let go on though another may have been under way: one that"
    " a worker before was not seen to end, or whose handler does not end when it is told to",
    "runs", Role.WORKER,
)  # fmt: skip
FAILED_COMMITS = Metric(
    "dispatcher_worker_failed_commits_total", Kind.COUNTER,
    "Transactions of outcomes that were not committed", "transactions", Role.WORKER,
)  # fmt: skip
WORKER_HEALTHY = Metric(
    "dispatcher_worker_healthy",
    Kind.GAUGE,
    "1 while it is well: its pool goes round and brokers answer; /health says why not",
    "0 or 1",
    Role.WORKER,
)
WORKER_READY = Metric(
    "dispatcher_worker_ready", Kind.GAUGE, "What /ready says: 1 is ready", "0 or 1", Role.WORKER
)
WORKER_BUILD = Metric(
    "dispatcher_worker_build_info", Kind.GAUGE,
    "1; the labels are the versions of the dispatcher and of Python", "1", Role.WORKER, ("version", "python"),
)  # fmt: skip

# Traces, where otlp_endpoint is set.

_SPANS = "Spans of traces; outcome is sent, or dropped: more came than may wait, or no collector took them"
TRACES = Metric("dispatcher_trace_spans_total", Kind.COUNTER, _SPANS, "spans", labels=("outcome",))
WORKER_TRACES = Metric(
    "dispatcher_worker_trace_spans_total", Kind.COUNTER, _SPANS, "spans", Role.WORKER, ("outcome",)
)

TABLE: tuple[Metric, ...] = (
    *(LATENESS, FIRES, SKIPS, TRANSACTIONS, STAGED, JOB_FIRES),
    *(RELOADS, REFUSED, REFUSED_SINCE, HELD, JOBS),
    *(SHARDS, OWNERSHIP, FENCED, SUSPECT, FAILED),
    *(OVERDUE, CURSOR_AGE, BACKLOG_AGE, TAIL_LAG),
    *(CLOCK_HELD, HEALTHY, READY, TRACES, BUILD),
    *(SEATS, SEATS_MOST, REPLICAS, WAITING, BUSY, BEHIND, WANTED_SEATS),
    *(RUNS, ATTEMPTS, DEAD, HANDLER_SECONDS, HANDLER_RUNS, RUN_TIMES),
    *(REDELIVERED, OVERLAPS, UNFENCED, FAILED_COMMITS),
    *(WORKER_HEALTHY, WORKER_READY, WORKER_TRACES, WORKER_BUILD),
)
"""Every metric of ours, in the order of the page."""
