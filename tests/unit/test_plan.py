"""The plan against an oracle that lists every fire of every job."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import job

from dispatcher.core.instant import Instant
from dispatcher.core.job import Job
from dispatcher.core.ledger import Cursor
from dispatcher.core.plan import Fire, Plan
from dispatcher.core.record import JobRecord

SECOND = 1_000
HORIZON = 60 * SECOND
SHAPES: list[dict[str, object]] = [
    {"every": "1s"}, {"every": "2s"}, {"every": "3s", "jitterSeconds": 7},
    {"every": "5s", "jitterSeconds": 2}, {"every": "2s", "enabled": False}, {"at": "1970-01-01T00:00:09Z"},
    {"every": "4s", "endAt": "1970-01-01T00:00:17Z"},
]  # fmt: skip
JOBS: dict[tuple[str, int], Job] = {
    (name, shape): job(name, **fields) for name in "abcd" for shape, fields in enumerate(SHAPES)
}


def record(one: Job, after: Instant = 0) -> JobRecord:
    return JobRecord(one, 1, "r", after, after)


def fires_of(one: JobRecord) -> list[Fire]:
    """Return every fire up to the horizon, the slow way."""
    found = []
    planned = one.job.trigger.next_after(one.effective_from)
    while planned is not None and planned + one.job.delay_ms <= HORIZON:
        found.append((planned + one.job.delay_ms, one.name, planned, one))
        planned = one.job.trigger.next_after(planned)
    return found


@dataclass
class Oracle:
    cursor: Cursor
    records: dict[str, JobRecord] = field(default_factory=dict)

    def unsettled(self) -> list[Fire]:
        fires = [fire for one in self.records.values() for fire in fires_of(one)]
        return sorted(
            (fire for fire in fires if (fire[0], fire[1]) > (self.cursor.due, self.cursor.name)),
            key=lambda fire: (fire[0], fire[1]),
        )


records_ = st.builds(
    lambda key, after: record(JOBS[key], after),
    st.sampled_from(sorted(JOBS)),
    st.integers(0, 20 * SECOND),
)
steps = st.one_of(
    st.tuples(st.just("ready"), st.integers(0, HORIZON), st.integers(0, 12)),
    st.tuples(st.just("settle"), st.integers(1, 12), st.just(0)),
    st.tuples(st.just("put_back"), st.just(0), st.just(0)),
    st.tuples(st.just("skip_to"), st.integers(0, 9 * SECOND), st.sampled_from(["", "a", "b", "z"])),
    st.tuples(st.just("replace"), records_, st.just(0)),
    st.tuples(st.just("discard"), st.sampled_from("abcd"), st.just(0)),
)


@settings(max_examples=200, deadline=None)
@given(
    cursor=st.builds(Cursor, st.integers(0, 9 * SECOND), st.sampled_from(["", "b"])),
    initial=st.lists(records_, unique_by=lambda one: one.name),
    history=st.lists(steps, max_size=25),
)
def test_whatever_is_done_to_a_plan_it_yields_what_the_oracle_lists(
    cursor: Cursor, initial: list[JobRecord], history: list[tuple[str, object, object]]
) -> None:
    plan = Plan(cursor, initial)
    oracle = Oracle(cursor, {one.name: one for one in initial})
    for step in history:
        perform(plan, oracle, step)
        due, rest = plan.next_due(), oracle.unsettled()
        if rest:  # never late; early only where a look finds nothing, after a discard or at the cursor
            assert due is not None
            assert oracle.cursor.due <= due <= rest[0][0]
    assert plan.ready(HORIZON, 10_000) == oracle.unsettled()


def perform(plan: Plan, oracle: Oracle, step: tuple[str, object, object]) -> None:
    match step:
        case ("ready", int(until), int(most)):
            expected = [fire for fire in oracle.unsettled()[:most] if fire[0] <= until]
            assert plan.ready(until, most) == expected
        case ("settle", int(count), _):
            fires = plan.ready(HORIZON, count)
            plan.settle(len(fires))
            if fires:
                oracle.cursor = Cursor(fires[-1][0], fires[-1][1])
            assert plan.cursor == oracle.cursor
        case ("put_back", _, _):
            plan.put_back()
        case ("skip_to", int(ahead), str(name)):
            oracle.cursor = max(oracle.cursor, Cursor(oracle.cursor.due + ahead, name))
            plan.skip_to(oracle.cursor)
        case ("replace", JobRecord() as new, _):
            plan.put_back()
            if new.name in oracle.records:
                plan.discard(oracle.records[new.name])
            plan.add(new)
            oracle.records[new.name] = new
        case ("discard", str(name), _):
            plan.put_back()
            if name in oracle.records:
                plan.discard(oracle.records.pop(name))


def test_jobs_of_one_trigger_share_one_computation_of_the_next_instant() -> None:
    one = job("a", every="1s")
    asked: list[int] = []

    class Counting:
        digest = "d"
        jitter_ms = 0

        def next_after(self, after: int) -> int:
            asked.append(after)
            return after // SECOND * SECOND + SECOND

    jobs = [replace(one, name=f"j{number}", trigger=Counting()) for number in range(1000)]  # type: ignore[arg-type]
    plan = Plan(Cursor(0), [record(each) for each in jobs])
    asked.clear()
    assert len(plan.ready(3 * SECOND, 10_000)) == 3_000
    assert len(asked) == 3


def test_a_fire_is_planned_strictly_after_its_floor() -> None:
    plan = Plan(Cursor(0), [record(job("a", every="1s"), 2 * SECOND)])
    assert plan.next_due() == 3 * SECOND


def test_a_floor_of_its_own_stands_in_for_the_version_in_force() -> None:
    plan = Plan(Cursor(0), [record(job("a", every="1s"))], floor=lambda _: 5 * SECOND)
    assert plan.next_due() == 6 * SECOND


def test_discarding_what_is_not_planned_changes_nothing() -> None:
    plan = Plan(Cursor(0), [record(job("a", every="1s"))])
    plan.discard(record(job("b", every="1s")))
    plan.discard(record(job("c", every="9s")))
    assert plan.next_due() == SECOND


@pytest.mark.parametrize("count", [9_999, 10_000, 25_000])
def test_long_instants_are_settled_piece_by_piece(count: int) -> None:
    one = job("a", every="1s")
    plan = Plan(Cursor(0), [record(replace(one, name=f"j{number:05d}")) for number in range(count)])
    names: list[str] = []
    for put_back in (False, True) * (count // 7_000 + 1):
        fires = plan.ready(SECOND, 4_000)
        names += [fire[1] for fire in fires]
        plan.settle(len(fires))
        if put_back:
            plan.put_back()
    assert names == [f"j{number:05d}" for number in range(count)][: len(names)]
    while fires := plan.ready(SECOND, 4_000):
        names += [fire[1] for fire in fires]
        plan.settle(len(fires))
    assert len(names) == count
    assert plan.next_due() == 2 * SECOND
