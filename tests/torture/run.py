"""Runs phases one after the other on a cluster."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.cluster import Cluster

from torture.phases import Outcome, Phase, Scene
from torture.site import Shape, Site


@dataclass(frozen=True)
class Plan:
    """How much of everything: faults for a share of 1, installations at once; and until when, monotonic."""

    faults: float
    until: float
    sites: int
    seed: int
    directory: Path
    tell: Callable[[str], None]


def run_phases(phases: Sequence[Phase], cluster: Cluster, plan: Plan) -> list[Outcome]:
    """Run phases on a cluster, each on prefixes of its own."""
    outcomes = []
    for phase in phases:
        count = max(4, round(plan.faults * phase.share))
        plan.tell(f"{phase.name}: begins, {count} times")
        try:
            cluster.heal()
            outcome = run_phase(phase, cluster, plan, count)
        except Exception as error:  # noqa: BLE001 - one phase that breaks must not hide what the others find
            outcome = Outcome(phase.name, wrong=[f"it broke: {error!r}"])
        counts = ", ".join(f"{name} {outcome.sum(name)}" for name in ("planned", "lost", "doubled"))
        settled = f"settled in {outcome.settle_ms / 1000:.0f} s"
        plan.tell(f"{phase.name}: {outcome.times} times, {outcome.kills} kills, {settled}, {counts}")
        for one in outcome.wrong:
            plan.tell(f"{phase.name}: WRONG: {one}")
        outcomes.append(outcome)
    return outcomes


def run_phase(phase: Phase, cluster: Cluster, plan: Plan, count: int) -> Outcome:
    """Run one phase. The first of its sites is larger: more replicas, more shards, more load."""
    sites = [
        Site(
            cluster.bootstrap,
            f"{phase.name}-{number}",
            plan.directory,
            Shape(3, 4, scale=3) if number == 0 else Shape(),
        )
        for number in range(plan.sites)
    ]
    chance = random.Random(f"{plan.seed}/{phase.name}")
    seconds = min(plan.until - time.monotonic(), 30 + count * phase.seconds)
    outcome = Scene(phase, cluster, sites, plan.tell).run(count, max(10.0, seconds), chance)
    if not outcome.wrong:
        for site in sites:
            site.remove()
    return outcome
