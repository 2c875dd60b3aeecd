"""Prints the Grafana dashboard: `.ci/dashboard.py > docker/grafana/dashboards/dispatcher.json`.

One call below is one panel. A test compares what is printed with the file, and every metric in it with the
table of metrics.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_J = 'job=~"$job"'
_D = f'{_J}, instance=~"$instance"'
_W = 'job=~"$worker_job"'
_P = 'job=~"$job|$worker_job"'


@dataclass(frozen=True)
class Panel:
    """One panel: its queries by legend, and how they are shown."""

    title: str
    text: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    bad: float | None = None
    """From this value on it is shown in red."""
    most: float | None = None


def rate(metric: str, labels: str, by: str) -> str:
    """Return the query of what a counter grows by in a second."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def more(metric: str, labels: str, by: str = "") -> str:
    """Return the query of what a counter grows by from point to point."""
    return f"sum{f' by ({by}) ' if by else ''}(increase({metric}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, metric: str, labels: str, by: str = "") -> str:
    """Return the query of a quantile of a histogram."""
    spread = rate(f"{metric}_bucket", labels, ", ".join(filter(None, [by, "le"])))
    return f"histogram_quantile({share:g}, {spread})"


WAITING = f"sum by (lane) (dispatcher_worker_waiting{{{_W}}} + dispatcher_worker_behind{{{_W}}})"

ROWS: dict[str, list[Panel]] = {
    "The promise": [
        Panel(
            "Overdue", "The absence alarm: by how much fires are overdue that nobody committed.",
            {"{{shard}}": f"min by (shard) (dispatcher_overdue_seconds{{{_J}}})"},
            "s", "stat", 6, 5, bad=1,
        ),
        Panel(
            "Shards without an owner", "Shards that replicas know of, less those that one has.",
            {"": f"count(count by (shard) (dispatcher_overdue_seconds{{{_J}}}))"
                 f" - sum(dispatcher_shards_owned{{{_J}}})"},
            "none", "stat", 6, 5, bad=1,
        ),
        Panel(
            "Fires in the last hour", "Fires committed.",
            {"": f"sum(increase(dispatcher_fires_total{{{_D}}}[1h]))"}, "short", "stat", 6, 5,
        ),
        Panel(
            "Held by a clock", "Replicas that fire nothing because a clock jumped.",
            {"": f"sum(dispatcher_clock_held{{{_D}}})"}, "none", "stat", 6, 5, bad=1,
        ),
        Panel(
            "Lateness", "From due to committed, without what was missed while nobody ran.",
            {
                "p50": quantile(0.5, "dispatcher_lateness_seconds", f'{_D}, kind=~"fresh|staged"'),
                "p99": quantile(0.99, "dispatcher_lateness_seconds", f'{_D}, kind=~"fresh|staged"'),
                "p99 caught up": quantile(0.99, "dispatcher_lateness_seconds", f'{_D}, kind="caught_up"'),
            },
            "s",
        ),
        Panel(
            "Fires", "Fires committed in a second, by replica.",
            {"{{instance}}": rate("dispatcher_fires_total", _D, "instance")}, "ops",
        ),
        Panel(
            "Skips", "Planned fires recorded as skipped, by reason.",
            {"{{reason}}": more("dispatcher_skips_total", _D, "reason")},
        ),
    ],
    "Schedule and shards": [
        Panel("Jobs", "Jobs in force, by state.", {"{{state}}": f"sum by (state) (dispatcher_jobs{{{_D}}})"}),
        Panel(
            "Reloads", "Changes put in force by shards, and files that were refused.",
            {
                "in force": more("dispatcher_reloads_total", _D),
                "refused": more("dispatcher_reloads_refused_total", _D),
            },
        ),
        Panel(
            "File refused for, change held", "How long the file is unusable; 1 while a change is held.",
            {
                "{{instance}} refused": f"time() - (dispatcher_reload_refused_since_seconds{{{_D}}} > 0)",
                "{{instance}} held": f"dispatcher_reload_held{{{_D}}} > 0",
            },
            "s",
        ),
        Panel(
            "Owners", "Shards at work in each replica.",
            {"{{instance}}": f"dispatcher_shards_owned{{{_D}}}"}, "none",
        ),
        Panel(
            "Changes of owners", "Shards that began or ended to work.",
            {"{{change}}": more("dispatcher_ownership_changes_total", _D, "change")},
        ),
        Panel(
            "Age of cursors and backlog", "How far back the settled place and the oldest missed fire lie.",
            {
                "cursor {{shard}}": f"min by (shard) (dispatcher_cursor_age_seconds{{{_J}}})",
                "backlog {{shard}}": f"min by (shard) (dispatcher_backlog_age_seconds{{{_J}}}) > 0",
            },
            "s",
        ),
    ],
    "Kafka": [
        Panel(
            "Transactions, p99", "Time to write and commit, by kind.",
            {"{{kind}}": quantile(0.99, "dispatcher_transaction_seconds", _D, "kind")}, "s",
        ),
        Panel(
            "Trouble", "Suspect commits, failed steps, and shards found fenced.",
            {
                "suspect": more("dispatcher_suspect_commits_total", _D),
                "failed": more("dispatcher_failed_transactions_total", _D),
                "fenced": more("dispatcher_fenced_total", _D),
            },
        ),
        Panel(
            "Ledger not read along yet", "Records by replica and shard.",
            {"{{instance}} {{shard}}": f"dispatcher_ledger_tail_lag{{{_D}}}"},
        ),
        Panel(
            "Bursts written ahead", "Landed on their instant, or given up.",
            {"{{outcome}}": more("dispatcher_staged_bursts_total", _D, "outcome")},
        ),
        Panel(
            "Well and ready", "1 is well; what each says of itself.",
            {
                "{{instance}} well": f"dispatcher_healthy{{{_D}}}",
                "{{instance}} ready": f"dispatcher_ready{{{_D}}}",
                "{{instance}} worker well": f"dispatcher_worker_healthy{{{_W}}}",
                "{{instance}} worker ready": f"dispatcher_worker_ready{{{_W}}}",
            },
            "none", most=1,
        ),
        Panel(
            "Versions", "What runs where.",
            {
                "{{instance}} {{version}}": f"dispatcher_build_info{{{_D}}}",
                "{{instance}} worker {{version}}": f"dispatcher_worker_build_info{{{_W}}}",
            },
            "none", "stat",
        ),
    ],
    "Workers": [
        Panel(
            "Runs", "Runs that ended in a second, by how.",
            {"{{outcome}}": rate("dispatcher_worker_runs_total", _W, "outcome")}, "ops",
        ),
        Panel(
            "Waiting", "Fires that wait for a seat, or were not delivered yet, by lane.",
            {"{{lane}}": WAITING},
        ),
        Panel(
            "Time to drain", "How long what waits takes at the present speed, by lane.",
            {
                "{{lane}}": f"{WAITING} / {rate('dispatcher_worker_runs_total', _W, 'lane')}"
            },
            "s",
        ),
        Panel(
            "Seats", "Seats that are busy, there, possible and wanted.",
            {
                "busy": f"sum(dispatcher_worker_busy{{{_W}}})",
                "there": f"sum(dispatcher_worker_seats{{{_W}}})",
                "possible": f"sum(dispatcher_worker_seats_most{{{_W}}})",
                "wanted": f"sum(dispatcher_worker_wanted_seats{{{_W}}})",
            },
            "none",
        ),
        Panel(
            "Workers wanted", "Against those there are.",
            {
                "wanted": f"max(dispatcher_worker_wanted_replicas{{{_W}}})",
                "there": f"count(dispatcher_worker_build_info{{{_W}}})",
            },
            "none",
        ),
        Panel(
            "Handlers, p95", "Time of an attempt, by handler.",
            {"{{handler}}": quantile(0.95, "dispatcher_worker_run_seconds", _W, "handler")}, "s",
        ),
        Panel(
            "Seats in use, by handler", "Time that runs took in a second.",
            {"{{handler}}": rate("dispatcher_worker_handler_seconds_total", _W, "handler")}, "none",
        ),
        Panel(
            "Given up and tried again", "Dead letters by lane, and attempts after a failed one.",
            {
                "dead, {{lane}}": more("dispatcher_worker_dead_total", _W, "lane"),
                "again": more("dispatcher_worker_attempts_total", f'{_W}, attempt="again"'),
            },
        ),
        Panel(
            "Run twice, skipped, not written", "Redelivered, overlapping, and transactions that failed.",
            {
                "redelivered": more("dispatcher_worker_redelivered_total", _W),
                "overlaps": more("dispatcher_worker_overlaps_total", _W),
                "overlaps not fenced": more("dispatcher_worker_unfenced_overlaps_total", _W),
                "failed commits": more("dispatcher_worker_failed_commits_total", _W),
            },
        ),
    ],
    "Processes": [
        Panel(
            "Memory", "Resident, by process.",
            {"{{instance}}": f"process_resident_memory_bytes{{{_P}}}"}, "bytes", width=6,
        ),
        Panel(
            "CPU", "Cores in use.",
            {"{{instance}}": f"rate(process_cpu_seconds_total{{{_P}}}[$__rate_interval])"}, "none", width=6,
        ),
        Panel(
            "Files and connections", "Open descriptors.", {"{{instance}}": f"process_open_fds{{{_P}}}"},
            "none", width=6,
        ),
        Panel(
            "Traces", "Spans in a second that were sent, and that were dropped.",
            {
                "{{outcome}}": rate("dispatcher_trace_spans_total", _D, "outcome"),
                "{{outcome}} by workers": rate("dispatcher_worker_trace_spans_total", _W, "outcome"),
            },
            "ops", width=6,
        ),
        Panel(
            "Collections", "Of the oldest generation: each holds all threads.",
            {
                "{{instance}}": f'rate(python_gc_collections_total{{{_P}, generation="2"}}[$__rate_interval])'
            },
            "ops", width=6,
        ),
    ],
}  # fmt: skip


def panels() -> Iterator[dict[str, Any]]:
    """Yield rows and their panels, laid out from left to right and down."""
    ident, y = 1, 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        yield {"id": ident, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}
        ident, x, y, deepest = ident + 1, 0, y + 1, 0
        for one in row:
            if x + one.width > WIDTH:
                x, y, deepest = 0, y + deepest, 0
            yield _panel(one, ident, {"x": x, "y": y, "w": one.width, "h": one.height})
            ident, x, deepest = ident + 1, x + one.width, max(deepest, one.height)
        y += deepest


def _panel(one: Panel, ident: int, place: dict[str, int]) -> dict[str, Any]:
    green: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps = green if one.bad is None else [*green, {"color": "red", "value": one.bad}]
    defaults: dict[str, Any] = {
        "unit": one.unit, "min": 0, "noValue": "-", "color": {"mode": "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }  # fmt: skip
    if one.most is not None:
        defaults["max"] = one.most
    if one.kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options: dict[str, Any] = {
            "reduceOptions": {"calcs": ["lastNotNull"], "values": False}, "colorMode": "background",
            "textMode": "name" if one.title == "Versions" else "auto",
        }  # fmt: skip
    else:
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    targets = [
        {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
        for number, (legend, query) in enumerate(one.queries.items())
    ]
    return {
        "id": ident, "type": one.kind, "title": one.title, "description": one.text, "gridPos": place,
        "datasource": _SOURCE, "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options,
        "targets": targets,
    }  # fmt: skip


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name, "label": label, "type": "query", "datasource": _SOURCE,
        "query": query, "definition": query,
        "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*", "sort": 1,
        "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    return {
        "uid": "dispatcher", "title": "Dispatcher", "tags": ["dispatcher"],
        "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"},
        "timezone": "", "annotations": {"list": []}, "links": [],
        "templating": {
            "list": [
                {
                    "name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus",
                    "current": {"text": "Prometheus", "value": "prometheus"},
                },
                _variable("job", "Dispatchers", "label_values(dispatcher_build_info, job)"),
                _variable("instance", "Replica", f"label_values(dispatcher_build_info{{{_J}}}, instance)"),
                _variable("worker_job", "Workers", "label_values(dispatcher_worker_build_info, job)"),
            ]
        },
        "panels": list(panels()),
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n")
