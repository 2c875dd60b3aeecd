from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.job import Lane
from dispatcher.core.lanes import WEIGHTS, Shares, Turn

CRITICAL, HIGH, NORMAL, LOW = Lane
URGENT = (CRITICAL, HIGH)
ENDLESS = 10**9


class Room:
    """Seats as servers in a time of events; what waits is a count of each lane."""

    def __init__(self, seats: int, took: Callable[[Lane], float], shares: Shares | None = None) -> None:
        self.shares = shares or Shares()
        self.turn = Turn(self.shares)
        self.seats = seats
        self.took = took
        self.waiting: Counter[Lane] = Counter()
        self.busy: Counter[Lane] = Counter()
        self.starts: list[tuple[float, Lane]] = []
        self.seat_time: Counter[Lane] = Counter()
        self.ends: list[tuple[float, int, Lane]] = []
        self.now = 0.0
        self._ids = count()

    def put(self, lane: Lane, runs: int = 1) -> None:
        self.waiting[lane] += runs
        self.fill()

    def fill(self) -> None:
        while self.busy.total() < self.seats:
            lane = self.turn.choose(self.waiting, self.busy, self.seats)
            if lane is None:
                self.assert_nothing_may_be_served()
                return
            assert self.waiting[lane] > 0
            self.waiting[lane] -= 1
            self.busy[lane] += 1
            self.starts.append((self.now, lane))
            took = self.took(lane)
            self.seat_time[lane] += took  # type: ignore[assignment]  # a Counter counts fractions as well
            heapq.heappush(self.ends, (self.now + took, next(self._ids), lane))

    def assert_nothing_may_be_served(self) -> None:
        asking = {lane for lane in Lane if self.waiting[lane]}
        others = sum(self.busy[lane] for lane in Lane if lane not in URGENT)
        assert not asking & set(URGENT)
        assert not asking or others >= self.seats - self.shares.reserved(self.seats)

    def end_one(self) -> None:
        self.now, _, lane = heapq.heappop(self.ends)
        self.busy[lane] -= 1
        self.fill()

    def run_until(self, starts: int) -> tuple[Mapping[Lane, float], Mapping[Lane, float]]:
        """Run until so many more starts; return each lane's shares of them, and of the time of seats."""
        before, self.seat_time = len(self.starts), Counter()
        while len(self.starts) < before + starts:
            self.end_one()
        times = self.seat_time.total()
        counts = Counter(lane for _, lane in self.starts[before:])
        return (
            {lane: counts[lane] / counts.total() for lane in Lane},
            {lane: self.seat_time[lane] / times for lane in Lane},
        )


def overloaded(
    seats: int, lanes: tuple[Lane, ...], took: Callable[[Lane], float], shares: Shares | None = None
) -> Room:
    room = Room(seats, took, shares)
    for lane in reversed(lanes):
        room.put(lane, ENDLESS)
    room.run_until(max(100, 10 * seats))
    return room


def steady(_lane: Lane) -> float:
    return 1.0


def varied(seed: int) -> Callable[[Lane], float]:
    chance = random.Random(seed)
    return lambda _lane: chance.expovariate(1.0)


EVERY_SIZE = pytest.mark.parametrize("seats", [1, 2, 3, 4, 5, 8, 16, 64, 300])


@EVERY_SIZE
def test_starts_are_shared_by_weight_when_all_lanes_are_overloaded(seats: int) -> None:
    starts, _ = overloaded(seats, tuple(Lane), steady).run_until(6_000)
    for lane, weight in WEIGHTS.items():
        assert starts[lane] == pytest.approx(weight / 15, rel=0.05)


@EVERY_SIZE
def test_the_time_of_seats_is_shared_by_weight_however_long_runs_are(seats: int) -> None:
    _, times = overloaded(seats, tuple(Lane), varied(1)).run_until(6_000)
    for lane, weight in WEIGHTS.items():
        assert times[lane] == pytest.approx(weight / 15, rel=0.05)


@EVERY_SIZE
def test_other_weights_hold_too(seats: int) -> None:
    weights = {CRITICAL: 5.0, HIGH: 5.0, NORMAL: 1.0, LOW: 0.5}
    starts, _ = overloaded(seats, tuple(Lane), steady, Shares(weights)).run_until(12_000)
    for lane, weight in weights.items():
        assert starts[lane] == pytest.approx(weight / 11.5, rel=0.05)


@EVERY_SIZE
def test_low_has_its_share_under_an_overload_of_critical(seats: int) -> None:
    starts, _ = overloaded(seats, (CRITICAL, LOW), steady).run_until(6_000)
    assert starts[LOW] == pytest.approx(1 / 9, rel=0.05)


@EVERY_SIZE
def test_low_never_waits_long_while_critical_is_overloaded(seats: int) -> None:
    room = overloaded(seats, (CRITICAL, LOW), steady)
    before = len(room.starts)
    room.run_until(1_000)
    turns = [index for index, (_, lane) in enumerate(room.starts) if lane is LOW and index > before]
    assert max(later - earlier for earlier, later in pairwise(turns)) <= 9 + 2 * seats


def test_low_that_comes_late_has_its_share_at_once() -> None:
    room = overloaded(8, (CRITICAL,), steady)
    room.run_until(1_000)
    room.put(LOW, ENDLESS)
    before = len(room.starts)
    room.run_until(180)
    lows = sum(lane is LOW for _, lane in room.starts[before:])
    assert 16 <= lows <= 28


@pytest.mark.parametrize("seats", [1, 2, 3, 4, 8, 16, 64])
def test_critical_waits_at_most_for_one_seat_under_a_backlog_of_low(seats: int) -> None:
    room = overloaded(seats, (NORMAL, LOW), varied(4))
    waited = 0
    for _ in range(100):
        room.end_one()
        while room.busy[CRITICAL]:
            room.end_one()
        room.put(CRITICAL)
        ends = 0
        while room.waiting[CRITICAL]:
            room.end_one()
            ends += 1
        assert ends <= 1
        waited += ends
    assert waited == (100 if seats < 4 else 0), "a reserved seat is free unless there is none"


@pytest.mark.parametrize(("seats", "at_once"), [(4, 1), (8, 1), (16, 2), (64, 8)])
def test_a_burst_of_critical_takes_the_reserve_at_once_and_the_next_free_seats(
    seats: int, at_once: int
) -> None:
    room = overloaded(seats, (LOW,), varied(5))
    room.run_until(200)
    before = len(room.starts)
    room.put(CRITICAL, seats)
    assert len(room.starts) - before == at_once
    while room.waiting[CRITICAL]:
        room.end_one()
    first = [lane for _, lane in room.starts[before : before + at_once + seats // 2]]
    assert set(first) == {CRITICAL}


def test_long_runs_of_low_do_not_take_the_seats_of_critical() -> None:
    chance = random.Random(6)
    mean = {CRITICAL: 0.1, LOW: 10.0}
    room = overloaded(16, (CRITICAL, LOW), lambda lane: chance.expovariate(1 / mean[lane]))
    _, times = room.run_until(20_000)
    assert 0.08 < times[LOW] < 0.15


@pytest.mark.parametrize("seats", [4, 9, 64])
def test_others_leave_the_reserve_alone(seats: int) -> None:
    room = overloaded(seats, (NORMAL, LOW), varied(7))
    assert room.busy.total() == seats - max(1, seats // 8)
    room.put(HIGH)
    assert room.busy[HIGH] == 1


def test_urgent_lanes_may_take_every_seat() -> None:
    room = overloaded(8, (CRITICAL,), steady)
    assert room.busy[CRITICAL] == 8


@pytest.mark.parametrize(
    ("seats", "share", "reserved"),
    [
        *((1, 1 / 8, 0), (3, 1 / 8, 0), (4, 1 / 8, 1), (15, 1 / 8, 1), (16, 1 / 8, 2), (64, 1 / 8, 8)),
        *((64, 0.0, 0), (10, 0.5, 5)),
    ],
)
def test_how_many_seats_are_reserved(seats: int, share: float, reserved: int) -> None:
    assert Shares(reserve=share).reserved(seats) == reserved


def test_nobody_is_served_when_nobody_waits() -> None:
    turn = Turn(Shares())
    assert turn.choose({}, {}, 8) is None
    assert turn.choose(dict.fromkeys(Lane, 0), {LOW: 1}, 8) is None


def test_a_lane_alone_is_served_and_owes_little_for_it() -> None:
    room = overloaded(1, (LOW,), steady)
    room.run_until(1_000)
    room.waiting.clear()
    room.put(LOW, 10)
    room.put(CRITICAL, 100)
    before = len(room.starts)
    room.run_until(40)
    assert LOW in {lane for _, lane in room.starts[before:]}


def test_a_lane_that_did_not_wait_has_saved_up_nothing() -> None:
    room = overloaded(1, (CRITICAL, HIGH), steady)
    room.run_until(300)
    before = len(room.starts)
    room.put(LOW, ENDLESS)
    room.run_until(130)
    later = [lane for _, lane in room.starts[before:]]
    assert later[:8].count(LOW) <= 1
    assert 8 <= later.count(LOW) <= 12


@pytest.mark.parametrize(
    ("weights", "reserve"),
    [({CRITICAL: 1.0}, 0.1), ({**WEIGHTS, LOW: 0.0}, 0.1), (WEIGHTS, 1.0), (WEIGHTS, -0.1)],
)
def test_shares_without_sense_are_refused(weights: Mapping[Lane, float], reserve: float) -> None:
    with pytest.raises(ValueError, match=r"every lane|the reserve"):
        Shares(weights, reserve)


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_no_seat_is_idle_while_something_waits_that_it_may_serve(seed: int, seats: int) -> None:
    chance = random.Random(seed)
    room = Room(seats, lambda _lane: chance.expovariate(1.0))
    for _ in range(200):
        if chance.random() < 0.5:
            room.put(chance.choice(list(Lane)), chance.randint(1, 4))
        elif room.ends:
            room.end_one()
    while room.ends:
        room.end_one()
    assert room.waiting.total() == 0
