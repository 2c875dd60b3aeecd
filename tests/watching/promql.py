"""Queries of Prometheus, held against the table of metrics; and the programs that read them for real."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from programs import program

from dispatcher.observe.metric_table import TABLE, Kind

PROJECT = Path(__file__).parents[2]
RULES = PROJECT / "docker" / "prometheus" / "rules.yaml"
OF_PROCESSES = {
    *("process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds", "process_max_fds"),
    *("process_cpu_seconds_total", "python_gc_collections_total"),
}
"""Metrics that the client library shows of every process."""
_METRIC = re.compile(r"\b((?:dispatcher|process|python)_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
PACKAGE = "prometheus"
"""Debian's, which brings both programs."""
OF_TARGETS = {"job", "instance"}


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("promtool", PACKAGE), *map(str, words)]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=100
    )


def series() -> dict[str, set[str]]:
    """Return every series that the table makes, with its labels."""
    found = {name: OF_TARGETS | {"generation"} for name in OF_PROCESSES}
    for metric in TABLE:
        labels = {*metric.labels, *OF_TARGETS}
        if metric.kind is Kind.HISTOGRAM:
            found[f"{metric.name}_bucket"] = labels | {"le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = labels
        else:
            found[metric.name] = labels
    return found


def unknown(query: str) -> set[str]:
    """Return the metrics of a query that nobody shows, and labels that they do not have."""
    known = series()
    faults = set()
    for name, inner in _METRIC.findall(query):
        if name not in known:
            faults.add(name)
            continue
        faults |= {f"{name}{{{label}}}" for label in _LABEL.findall(inner) if label not in known[name]}
    return faults


def metrics(query: str) -> set[str]:
    """Return the series that a query names."""
    return {name for name, _ in _METRIC.findall(query)}
