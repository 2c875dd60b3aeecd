"""What a shard is expected to have fired, against the plan it fires by; and who tells of what is missing."""

from __future__ import annotations

import random

import pytest
from memory_log import HandClock
from shard_world import World, job

from dispatcher.core.expected import GRACE_MS, Expected
from dispatcher.core.instant import Instant, from_text
from dispatcher.core.job import Job
from dispatcher.core.ledger import Cursor, Position
from dispatcher.core.plan import Plan
from dispatcher.core.record import JobRecord
from dispatcher.observe.absence import AbsenceWatch

T0 = from_text("2026-11-20T12:00:30Z")
MINUTE = 60_000
YEARS = 3 * 366 * 24 * 60 * MINUTE
MANY = 10**9


def planned(jobs: list[Job], floor: Instant, cursor: Cursor) -> Plan:
    return Plan(cursor, [JobRecord(one, 1, "r", floor, floor, "file") for one in jobs])


def random_jobs(chance: random.Random) -> list[Job]:
    shapes = ("every 7s", "every 1m", "* * * * *", "*/5 * * * *", "15 12 * * *", "0 0 1 1 *")
    jobs = []
    for number in range(chance.randrange(1, 12)):
        shape = chance.choice(shapes)
        kind = {"every": shape[6:]} if shape.startswith("every") else {"cronTime": shape}
        jitter = chance.choice((0, 0, 5))  # shorter than every period, so that what is found is exact
        name = f"{chance.choice('abc')}{number}"
        jobs.append(job(name, **kind, jitterSeconds=jitter, enabled=chance.random() < 0.9))
    return jobs


@pytest.mark.parametrize("seed", range(60))
def test_at_each_place_of_a_plan_the_next_fire_is_the_plans(seed: int) -> None:
    chance = random.Random(seed)
    jobs, floor = random_jobs(chance), T0 + chance.randrange(MINUTE)
    expected = Expected(jobs, floor)
    cursor = Cursor(floor - chance.randrange(3) * MINUTE)
    for _ in range(60):
        plan = planned(jobs, floor, cursor)
        fires = plan.ready(floor + YEARS, chance.randrange(1, 6))
        assert expected.next_due(cursor, MANY) == (fires[0][0] if fires else None)
        if not fires:
            return
        due, name, _, _ = fires[-1]
        cursor = Cursor(due, name) if chance.random() < 0.8 else Cursor(due + 1)


def test_only_what_is_later_than_its_grace_is_missing() -> None:
    expected, cursor = Expected([job("a")], T0), Cursor(T0)
    due = T0 + MINUTE // 2
    assert expected.overdue_since(cursor, due + GRACE_MS, MANY) is None
    assert expected.overdue_since(cursor, due + GRACE_MS + 1, MANY) == due
    assert expected.overdue_since(Cursor(due, "a"), due + GRACE_MS + 1, MANY) is None


def test_a_shard_that_stopped_amid_an_instant_is_missing_the_rest_of_it() -> None:
    due = T0 + MINUTE // 2
    expected = Expected([job("a"), job("b"), job("c")], T0)
    for name in "ab":
        assert expected.overdue_since(Cursor(due, name), due + GRACE_MS + 1, MANY) == due
    assert expected.overdue_since(Cursor(due, "c"), due + GRACE_MS + 1, MANY) is None


def test_what_takes_long_to_know_is_known_a_little_later() -> None:
    jobs = [job(f"j{number}", cronTime=f"{number} * * * *") for number in range(50)]
    expected, cursor = Expected(jobs, T0), Cursor(T0)
    answers = [expected.overdue_since(cursor, T0 + 70 * MINUTE, 20) for _ in range(4)]
    assert answers[0] is None
    assert answers[-1] == T0 + MINUTE // 2


class Site:
    """A shard in memory with a watch beside it."""

    def __init__(self) -> None:
        self.world = World()
        self.world.start(T0)
        self.clock = HandClock(T0)
        self.change: tuple[int, tuple[Job, ...]] | None = None
        self.known = True
        self.watch = AbsenceWatch(
            1,
            self.clock,
            self.position,
            lambda _: self.change,
            failed=lambda _, error: pytest.fail(str(error)),
        )

    def position(self, _shard: int) -> Position | None:
        return self.world.shard.state.position if self.known else None

    def put(self, *jobs: Job) -> None:
        self.world.offer(jobs, revision="r", seen=self.clock.now)
        self.world.run(self.clock.now)
        base = self.world.shard.base()
        assert base is not None
        self.change = base.change, base.jobs

    def overdue(self, minutes: float = 0) -> int | None:
        self.clock.pass_(round(minutes * MINUTE))
        self.watch._step()
        since = self.watch.seen[0].overdue_since
        return None if since is None else self.clock.now - since


def test_a_shard_that_fires_no_more_is_told_of_and_one_that_goes_on_is_not() -> None:
    site = Site()
    site.put(job("a"), job("later", at="2026-11-20T18:00:00Z"))
    assert site.overdue() is None
    for _ in range(5):
        assert site.overdue(1) is None, "it fires on"
        site.world.run(site.clock.now)
    assert site.overdue(1) is None
    assert site.overdue(1) == MINUTE * 3 // 2
    assert site.watch.next_due(0) == site.clock.now - MINUTE * 3 // 2
    site.world.run(site.clock.now)
    assert site.overdue() is None
    assert site.watch.next_due(0) == site.clock.now + MINUTE // 2


def test_jobs_that_are_gone_are_not_expected() -> None:
    site = Site()
    site.put(job("a"), job("b", cronTime="0 * * * *"))
    assert site.overdue(1) is None
    site.put(job("b", cronTime="0 * * * *"))
    assert site.overdue(5) is None
    assert site.overdue(90) is not None


def test_what_is_not_known_is_not_told() -> None:
    site = Site()
    site.known = False
    site.watch._step()
    assert site.watch.seen == {}
    site.known = True
    assert site.overdue() is None
    assert site.watch.next_due(0) is None
    site.put(job("a"))
    assert site.change is not None
    site.change = (site.change[0] + 1, site.change[1])
    assert site.overdue(10) is None, "what is in force belongs to another change than the place"


def test_a_position_of_another_schedule_waits_for_its_jobs() -> None:
    site = Site()
    site.put(job("a"))
    assert site.overdue(0.1) is None
    position = site.world.shard.state.position
    assert position is not None
    site.world.shard.state.position = position._replace(change=position.change + 1)
    assert site.overdue(3) is not None, "what was in force before is expected on"
