"""A cut of the long torture run: each failpoint, a zombie, clocks that step, brokers that freeze and die."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from broker.cluster import QUICK, Cluster, own_kafka

from torture import brokers, faults
from torture.faults import AtFailpoints, Round
from torture.phases import Phase, Scene
from torture.points import POINTS
from torture.site import Shape, Site

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


class Each:
    """Every failpoint at least once, with other faults in between; counts what was done of it."""

    def __init__(self, others: list[Round]) -> None:
        self._others = others
        self._points = AtFailpoints()
        self._lock = threading.Lock()

    def __call__(self, site: Site, chance: random.Random) -> int:
        with self._lock:
            other = self._others.pop() if self._others and chance.random() < 0.4 else None
        if other is not None:
            other(site, chance)
            return 1
        return int(self._points.next(site, chance)[1])


def test_nothing_is_lost_or_doubled_by_any_kind_of_fault(prefix: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)

    def freeze_broker(site: Site, chance: random.Random) -> int:
        brokers.freeze(cluster.nodes[0], chance.uniform(0.1, 5))  # no longer than its controller waits for it
        site.note("broker")
        return 1

    others: list[Round] = [faults.freeze, faults.step_clock, freeze_broker, faults.kill_all, faults.roll]
    count = len(POINTS) + len(others)
    phase = Phase("each", Each(others), 1, (0, 0.5), edit=faults.edit_when_due)
    with own_kafka() as cluster:
        sites = [Site(cluster.bootstrap, f"{prefix}-{n}", tmp_path, Shape(2, 2)) for n in range(3)]
        outcome = Scene(phase, cluster, sites, print).run(count, 150, random.Random(seed))
    assert outcome.wrong == [], f"seed {seed}"
    missing = set(POINTS) - outcome.hits.keys()
    assert not missing, f"seed {seed}: not hit: {missing}"
    assert outcome.kills > len(POINTS)
    assert outcome.sum("planned") > 1_000


def test_nothing_is_lost_or_doubled_while_brokers_of_three_die(prefix: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    rounds = iter((brokers.kill, brokers.pause, brokers.restart))

    def mistreat(cluster: Cluster, chance: random.Random) -> None:
        next(rounds)(cluster, chance)

    phase = Phase("brokers", faults.kill_some, 1, (3, 8), nodes=3, broker=mistreat)
    with own_kafka(3, QUICK) as cluster:
        sites = [Site(cluster.bootstrap, prefix, tmp_path, Shape(2, 2))]
        outcome = Scene(phase, cluster, sites, print).run(3, 90, random.Random(seed))
    assert outcome.wrong == [], f"seed {seed}"
    assert outcome.times == 3
    assert outcome.kills > 3
    assert outcome.sum("planned") > 300
