from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from watching.promql import PROJECT, RULES, promtool, unknown

PROMETHEUS = RULES.parent
TESTS = (PROMETHEUS / "rules.test.yaml", PROMETHEUS / "rules.slow.test.yaml")
RUNBOOK = (PROMETHEUS / "RUNBOOK.md").read_text(encoding="utf-8")
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ASKED: list[dict[str, Any]] = [
    one for path in TESTS for one in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


def test_the_rules_are_well_formed() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_every_alert_is_quiet_and_fires_when_it_should() -> None:
    done = promtool("test", "rules", *TESTS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_uses_only_what_is_shown(name: str) -> None:
    assert unknown(ALERTS[name]["expr"]) == set()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_has_a_text_in_the_runbook(name: str) -> None:
    rule = ALERTS[name]
    told = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert told.keys() == {"summary", "description", "runbook_url"}
    assert told["runbook_url"] == f"RUNBOOK.md#{name.lower()}"
    section = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert section.startswith("\n**Means.** ")
    assert re.search(r"\*\*Look(\.|, do\.)\*\*", section)
    assert re.search(r"\*\*(Do|Look, do)\.\*\*", section)


def test_the_runbook_has_no_text_for_what_is_no_alert() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_asked_for_once_while_it_must_be_quiet_and_once_while_it_must_fire(name: str) -> None:
    """So that one that never fires fails a test of promtool's, and so does one that always does."""
    asked = [
        [f'"{name}"' in sample["labels"] for sample in one.get("exp_samples", [])]
        for test in ASKED
        if name in test["name"].split(", ")
        for one in test["promql_expr_test"]
    ]
    assert any(any(found) for found in asked)
    assert any(not any(found) for found in asked)


def test_what_nobody_shows_is_found() -> None:
    assert unknown("rate(dispatcher_fires[5m])") == {"dispatcher_fires"}
    assert unknown('dispatcher_fires_total{jobs="a"}') == {"dispatcher_fires_total{jobs}"}
    assert unknown('rate(dispatcher_lateness_seconds_bucket{kind="fresh", le="1"}[5m])') == set()


def test_prometheus_of_the_compose_file_reads_the_rules() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text(encoding="utf-8"))
    assert config["rule_files"] == ["rules.yaml"]
    assert (PROJECT / "docker" / "prometheus" / "rules.yaml").is_file()
