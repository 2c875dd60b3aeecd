"""Random histories of several replicas: nothing is lost, doubled, early, unexpected, and nothing hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulation.mutations import MUTATIONS
from simulation.quiet import quiet
from simulation.run import first_failure, run

HISTORIES = 2_000
MOST = 10_000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


@pytest.mark.timeout(600)
def test_no_history_of_replicas_breaks_the_promise() -> None:
    tally = run(range(HISTORIES))
    assert tally.failed == [], "tell one with: PYTHONPATH=tests python -m simulation --replay SEED"
    assert tally.unseen() == []


def test_a_seed_gives_the_same_history_again() -> None:
    once, again = run(range(40)), run(range(40))
    assert (once.counts, once.crashes) == (again.counts, again.crashes)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rule", MUTATIONS)
def test_without_any_one_safety_rule_a_history_breaks_the_promise(rule: str) -> None:
    assert first_failure(rule, MOST).found is not None, MUTATIONS[rule].__doc__
