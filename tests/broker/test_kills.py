"""The short cut of the long kill test: `make kill-test KILLS=60` runs as many kills as you like."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from broker.kills import run_kills

pytestmark = pytest.mark.broker


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_by_six_kills_under_load(kafka: str, prefix: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    outcome = run_kills(kafka, prefix, 6, seed, tmp_path, print)
    assert outcome.verdict.clean, f"seed {seed}: {outcome.verdict}"
    assert outcome.verdict.planned > 1_000
    assert outcome.kills == 6
