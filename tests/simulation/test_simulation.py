"""Thousands of random histories of several replicas: nothing is lost, doubled, early or unexpected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulation.quiet import quiet
from simulation.run import run
from simulation.world import POINTS

HISTORIES = 2_000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def test_no_history_of_replicas_loses_doubles_or_hastens_a_fire() -> None:
    tally = run(range(HISTORIES))
    assert tally.failed == []
    assert [name for name in POINTS if not tally.crashes[name]] == []
