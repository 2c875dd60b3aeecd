"""A cut of the long run: workers killed, stopped and frozen while they run, then made to leave and join."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from torture.workers import torture

pytestmark = [pytest.mark.broker, pytest.mark.timeout(400)]


def test_every_fire_ends_once_whatever_is_done_to_workers(kafka: str, prefix: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    directory = tmp_path / prefix
    directory.mkdir()
    verdict = torture(kafka, directory, 8, seed, storm_seconds=20, workers=2)
    assert verdict.wrong == [], f"seed {seed}"
    assert verdict.kills == 8
    assert verdict.fires > 100
    assert verdict.ends["run.dead"] > 0
    assert verdict.ends["run.succeeded"] > 50
