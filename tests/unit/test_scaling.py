from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_world import LIMITS, LOADS, Figures, Load, live_through, table

from dispatcher.core.job import Lane
from dispatcher.core.scaling import Demand, Observation, Scaling, ScalingLimits, replicas

SECOND = 1_000
QUICK = ScalingLimits(least=2, most=50)


def one(**seen: int) -> Mapping[Lane, Observation]:
    return {Lane.HIGH: Observation(**seen)}


def fed(scaling: Scaling, begin: int, seconds: int, **each_second: int) -> int:
    """Observe the same each second; return the next second."""
    for second in range(begin, begin + seconds):
        scaling.observe(second * SECOND, one(**each_second))
    return begin + seconds


# Demand: Little's law.


def settled(**each_second: int) -> float:
    demand = Demand(ScalingLimits(drain_ms=30_000))
    for second in range(600):
        demand.observe(second * SECOND, Observation(**each_second))
    return demand.wanted


@pytest.mark.parametrize(
    ("each_second", "wanted"),
    [
        ({}, 0.0),
        ({"arrived": 40, "finished": 40, "took_ms": 20_000, "busy": 20}, 20.0),
        ({"arrived": 40, "finished": 40, "took_ms": 20_000, "busy": 20, "backlog": 600}, 30.0),
        ({"arrived": 0, "finished": 10, "took_ms": 5_000, "backlog": 600}, 10.0),
        ({"arrived": 1_000, "finished": 1_000, "took_ms": 0}, 0.0),
        ({"arrived": -50, "finished": 100, "took_ms": 1_000, "backlog": 300}, 0.1),
        # What takes longer than the time to drain needs a seat each, and those that run keep theirs.
        ({"arrived": 0, "finished": 1, "took_ms": 60_000, "busy": 5, "backlog": 7}, 12.0),
    ],
)
def test_what_is_wanted_in_the_long_run(each_second: dict[str, int], wanted: float) -> None:
    assert settled(**each_second) == pytest.approx(wanted, rel=0.02, abs=0.001)


def test_how_often_somebody_looks_makes_no_difference() -> None:
    chance = random.Random(1)
    often, seldom = Demand(QUICK), Demand(QUICK)
    now = 0
    for demand in (often, seldom):
        demand.observe(0, Observation())
    for _ in range(60):
        looks = sorted(chance.sample(range(1, 5_000), 9))
        for look, before in zip([*looks, 5_000], [0, *looks], strict=True):
            passed = look - before
            often.observe(now + look, Observation(passed, passed, passed * 20, 20, 100))
        now += 5_000
        seldom.observe(now, Observation(5_000, 5_000, 100_000, 20, 100))
    assert often.wanted == pytest.approx(seldom.wanted, rel=0.001)


def test_two_looks_within_a_millisecond_lose_nothing() -> None:
    once, twice = Demand(QUICK), Demand(QUICK)
    for demand in (once, twice):
        demand.observe(0, Observation(finished=10, took_ms=1_000))
    twice.observe(0, Observation(arrived=70))
    twice.observe(1_000, Observation(arrived=30))
    once.observe(1_000, Observation(arrived=100))
    assert twice.wanted == pytest.approx(once.wanted)
    assert once.wanted > 0


def test_runs_that_do_not_end_are_known_to_take_long() -> None:
    demand = Demand(ScalingLimits())
    for second in range(30):
        demand.observe(second * SECOND, Observation(finished=10, took_ms=10))
    quick = demand.observe(30 * SECOND, Observation(backlog=30))
    for second in range(31, 400):
        demand.observe(second * SECOND, Observation(busy=4))
    assert quick < 0.1
    assert demand.observe(400 * SECOND, Observation(busy=4, backlog=30)) > 30


def test_what_the_last_run_took_is_not_forgotten() -> None:
    demand = Demand(ScalingLimits())
    demand.observe(0, Observation(finished=1, took_ms=15_000))
    for minute in range(1, 600):
        demand.observe(minute * 60_000, Observation())
    assert demand.observe(36_000_001, Observation(backlog=10)) == pytest.approx(5.0)


# Scaling: bounds, pace, and never to flap.


def test_it_begins_with_the_least_and_stays_there_without_work() -> None:
    scaling = Scaling(QUICK)
    assert scaling.seats == 2
    fed(scaling, 0, 300)
    assert scaling.seats == 2


def test_it_never_has_more_than_the_most() -> None:
    scaling = Scaling(QUICK)
    fed(scaling, 0, 100, finished=1, took_ms=1_000, backlog=100_000)
    assert scaling.seats == 50
    assert scaling.wanted_seats()[Lane.HIGH] > 1_000, "the figure for autoscalers has no bounds"


def test_up_at_once_but_only_so_far_and_so_often() -> None:
    scaling = Scaling(ScalingLimits(least=1, most=1_000, up_ms=3_000))
    seats = []
    for second in range(10):
        scaling.observe(second * SECOND, one(finished=1, took_ms=10_000, backlog=3_000))
        seats.append(scaling.seats)
    assert seats == [8, 8, 8, 32, 32, 32, 128, 128, 128, 512]


def test_so_many_changes_a_minute_and_no_more() -> None:
    scaling = Scaling(ScalingLimits(least=1, most=1_000, up_ms=0, changes=3))
    changes = []
    for second in range(125):
        before = scaling.seats
        scaling.observe(second * SECOND, one(finished=1, took_ms=10_000, backlog=second * 30))
        if scaling.seats != before:
            changes.append(second)
    assert changes[:3] == [1, 2, 3]
    assert changes[3:6] == [61, 62, 63]


def test_down_only_when_seats_were_idle_for_a_while_and_then_in_steps() -> None:
    scaling = Scaling(ScalingLimits(least=1, most=64, idle_ms=60_000, down_ms=15_000, smooth_ms=5_000))
    now = fed(scaling, 0, 60, arrived=40, finished=40, took_ms=20_000, busy=20)
    peak = scaling.seats
    assert 20 < peak <= 24
    now = fed(scaling, now, 55)
    assert scaling.seats == peak
    fed(scaling, now, 60)
    assert scaling.seats == 1


def test_never_below_what_is_busy() -> None:
    scaling = Scaling(ScalingLimits(least=1, most=64, idle_ms=5_000, smooth_ms=1_000_000))
    now = fed(scaling, 0, 10, finished=100, took_ms=100_000, backlog=600)
    assert scaling.seats > 20
    fed(scaling, now, 300, finished=1_000_000, busy=17)
    assert 17 <= scaling.seats <= 20


def test_seats_in_use_are_kept_though_nobody_knows_why() -> None:
    scaling = Scaling(ScalingLimits(least=1, most=64, idle_ms=10_000))
    now = fed(scaling, 0, 200, finished=100, took_ms=100_000, busy=50, backlog=1_500)
    before = scaling.seats
    assert 50 <= before < 64
    for second in range(now, now + 300):
        scaling.observe(second * SECOND, one(finished=1_000_000, busy=before if second % 2 else 0))
    assert before * 0.5 <= scaling.seats <= before * 0.65


def test_a_seat_too_many_is_no_reason_to_go_down() -> None:
    scaling = Scaling(ScalingLimits(least=1, most=64, idle_ms=5_000, smooth_ms=1_000))
    now = fed(scaling, 0, 60, arrived=40, finished=40, took_ms=20_000, busy=20)
    before = scaling.seats
    fed(scaling, now, 300, arrived=37, finished=37, took_ms=18_500, busy=18)
    assert scaling.seats == before


def test_lanes_are_added_up_and_told_apart() -> None:
    scaling = Scaling(QUICK)
    for second in range(300):
        scaling.observe(
            second * SECOND,
            {
                Lane.CRITICAL: Observation(10, 10, 1_000, 1),
                Lane.LOW: Observation(1, 1, 12_000, 12),
            },
        )
    wanted = scaling.wanted_seats()
    assert set(wanted) == set(Lane)
    assert wanted[Lane.CRITICAL] == pytest.approx(1, rel=0.05)
    assert wanted[Lane.LOW] == pytest.approx(12, rel=0.05)
    assert wanted[Lane.NORMAL] == 0
    assert 13 <= scaling.seats <= 16


@pytest.mark.parametrize(
    ("wanted", "workers"), [(0, 1), (0.1, 1), (64, 1), (64.1, 2), (640, 10), (10_000, 20)]
)
def test_how_many_workers(wanted: float, workers: int) -> None:
    assert replicas(wanted, 64, 1, 20) == workers


def test_no_work_may_want_no_worker() -> None:
    assert replicas(0, 64, 0, 20) == 0
    assert replicas(0.01, 64, 0, 20) == 1


@pytest.mark.parametrize(
    "limits",
    [
        *({"least": 0}, {"least": 5, "most": 4}, {"changes": 0}),
        *({"drain_ms": 0}, {"smooth_ms": 0}, {"service_ms": 0}),
    ],
)
def test_limits_without_sense_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"seat|times"):
        ScalingLimits(**limits)


@given(st.lists(st.tuples(*[st.integers(-100, 10**7)] * 2, *[st.integers(0, 10**7)] * 4), max_size=40))
def test_whatever_is_seen_seats_stay_within_bounds(seen: list[tuple[int, ...]]) -> None:
    scaling = Scaling(QUICK)
    now = 0
    for arrived, step, finished, took, busy, backlog in seen:
        now += max(0, step)
        scaling.observe(now, {Lane.LOW: Observation(arrived, finished, took, busy, backlog)})
        assert 2 <= scaling.seats <= 50
        assert all(wanted >= 0 for wanted in scaling.wanted_seats().values())


# Loads lived through; the table of the figures is printed by `pytest -s` too.

DRAIN = LIMITS.drain_ms / 1_000


@pytest.fixture(scope="module", params=range(2))
def lived(request: pytest.FixtureRequest) -> Mapping[str, Figures]:
    return {load.name.partition(":")[0]: live_through(load, seed=request.param) for load in LOADS}


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name.partition(":")[0])
def test_no_run_is_lost_or_waits_long_and_seats_seldom_change(
    load: Load, lived: Mapping[str, Figures]
) -> None:
    figures = lived[load.name.partition(":")[0]]
    assert figures.started == figures.finished > 0
    assert figures.killed == 0
    assert figures.longest_wait <= DRAIN * 1.5
    assert figures.changes_a_minute <= LIMITS.changes
    assert figures.turns <= load.seconds / 120


@pytest.mark.parametrize(
    ("name", "settled", "overshoot", "cost"),
    [
        ("steady", 35, 1.35, 1.3),
        ("square", 35, 1.35, 1.8),
        ("ramp", 5, 1.35, 1.2),
        ("burst", 10, 2.0, 9.0),
        ("long runs", 95, 1.7, 1.5),
        ("very long", 28, 1.2, 2.5),
    ],
)
def test_how_soon_how_far_and_how_dear(
    lived: Mapping[str, Figures], name: str, settled: float, overshoot: float, cost: float
) -> None:
    figures = lived[name]
    assert figures.settled is not None
    assert figures.overshoot is not None
    assert figures.settled <= settled
    assert 0.99 <= figures.overshoot <= overshoot
    assert figures.cost <= cost


def test_what_happens_each_minute_changes_nothing_in_the_end(lived: Mapping[str, Figures]) -> None:
    changes = [at for at, _ in lived["cron"].seats[1:]]
    assert len([at for at in changes if 180 <= at < 840]) <= 2


def test_the_table_has_a_row_for_each_load(lived: Mapping[str, Figures]) -> None:
    text = table(lived.values())
    print(f"\n{text}")
    assert text.count("\n") == len(LOADS) + 1
