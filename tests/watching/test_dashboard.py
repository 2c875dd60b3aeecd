from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dispatcher.observe.metric_table import TABLE, Kind
from watching.promql import PROJECT, metrics, promtool, unknown

MAKER = PROJECT / ".ci" / "dashboard.py"
FILE = PROJECT / "docker" / "grafana" / "dashboards" / "dispatcher.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
NOT_SHOWN = {
    "dispatcher_job_fires_total",  # of jobs that somebody names, for dashboards of their own
    "dispatcher_worker_handler_runs_total",  # a count that the histogram of runs has too
}


def filled(query: str) -> str:
    """Return a query with values for the variables of the dashboard."""
    return re.sub(r"\$\w+", lambda found: "5m" if "interval" in found[0] else "x", query)


def test_the_file_is_what_its_maker_prints() -> None:
    done = subprocess.run([sys.executable, MAKER], capture_output=True, text=True, check=True)
    assert done.stdout == FILE.read_text(encoding="utf-8"), "run `make dashboard`"


@pytest.mark.parametrize("query", QUERIES)
def test_a_panel_uses_only_what_is_shown(query: str) -> None:
    assert metrics(query)
    assert unknown(query) == set()


def test_every_metric_has_a_place() -> None:
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for query in QUERIES for name in metrics(query)}
    assert {metric.name for metric in TABLE} - used == NOT_SHOWN & {metric.name for metric in TABLE}


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": filled(query)} for number, query in enumerate(QUERIES)]
    path = tmp_path / "queries.yaml"
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}), encoding="utf-8")
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout


def test_variables_that_are_used_are_those_there_are() -> None:
    there = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", FILE.read_text(encoding="utf-8"))) - {"__rate_interval", "__all"}
    assert used == there


def test_panels_stand_beside_one_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_panels_have_ids_of_their_own_a_text_and_the_source_that_is_chosen() -> None:
    idents = [panel["id"] for panel in DASHBOARD["panels"]]
    assert all(after == before + 1 for before, after in pairwise(idents))
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_histograms_are_asked_for_by_their_buckets() -> None:
    histograms = {metric.name for metric in TABLE if metric.kind is Kind.HISTOGRAM}
    assert not histograms & {name for query in QUERIES for name in metrics(query)}


def test_the_maker_has_a_panel_for_each_call() -> None:
    rows = runpy.run_path(str(MAKER))["ROWS"]
    assert len(PANELS) == sum(len(row) for row in rows.values())
