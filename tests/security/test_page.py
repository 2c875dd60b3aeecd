"""SECURITY.md keeps up with the program: its list, its table, the tests that it names, and what it claims."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from dispatcher.kafka.rights import table
from dispatcher.observe.metric_table import TABLE as METRICS
from dispatcher.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (S\d+) \| (.+) \|$", PAGE, re.MULTILINE))
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+::\w+)`", PAGE)))


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_all_thirty_are_here_and_every_test_they_name_is_there() -> None:
    assert list(ROWS) == [f"S{number}" for number in range(1, 31)]
    assert len(NAMED) > 40
    missing = []
    for name in NAMED:
        file, _, test = name.partition("::")
        if not (ROOT / file).exists() or test not in functions_of(file):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("item", ROWS)
def test_each_is_done_with_a_test_or_says_why_not(item: str) -> None:
    assert "`tests/" in ROWS[item] or "not there" in ROWS[item] or "single tenant" in ROWS[item]


def test_the_table_of_rights_is_that_of_the_code() -> None:
    shown = PAGE.partition("<!-- rights -->\n")[2].partition("<!-- /rights -->")[0]
    assert shown == table(), "run `make security-page`"


def test_no_link_of_the_page_is_dead() -> None:
    links = [sys.executable, str(ROOT / ".ci/links.py"), str(ROOT / "SECURITY.md")]
    assert subprocess.run(links, capture_output=True, text=True, check=False).stderr == ""


def test_nothing_listens_by_default() -> None:
    for name, field in Settings.model_fields.items():
        if name == "address" or name.endswith("_address"):
            assert field.default is None, name


def test_what_is_said_to_be_off_is_off() -> None:
    off = ("shell_allow", "python_allow", "http_allow_private", "kafka_allow_insecure")
    assert not any(Settings.model_fields[name].default for name in off)
    assert Settings.model_fields["sql"].get_default(call_default_factory=True) == {}
    assert Settings.model_fields["schedule_trust"].default == "refuse"


_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    r"|\bxox[abprs]-[0-9A-Za-z-]{10,}|\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\."
)


def test_no_secret_lies_in_the_sources() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [ROOT / name for name in listed.stdout.splitlines()] or [
        file for file in ROOT.rglob("*.*") if file.is_file() and ".venv" not in file.parts
    ]
    found = [
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file() and _SECRETS.search(file.read_bytes().decode("utf-8", "replace"))
    ]
    assert found == []


BOUNDED = frozenset({
    "kind", "reason", "shard", "state", "change", "outcome", "lane", "handler", "version", "revision_engine",
    "topic", "partition", "le", "event", "level", "python", "engine", "tzdata", "attempt",
})  # fmt: skip
ON_REQUEST = frozenset({"job"})
"""Labels of as many values as there are jobs; nobody gets them unless a setting asks, for so many."""


def test_no_metric_has_a_label_without_bounds() -> None:
    loose = {label for metric in METRICS for label in metric.labels} - BOUNDED - ON_REQUEST
    assert loose == set()
