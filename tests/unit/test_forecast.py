from __future__ import annotations

import json
from itertools import islice
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.forecast import FireChange, Moved, compare_fires, upcoming
from dispatcher.core.instant import from_text
from dispatcher.core.job import Job, JobReader

NOON = from_text("2026-11-20T12:00:00Z")
HOUR = 3_600_000
DAY = 24 * HOUR


def job(name: str = "a", **fields: Any) -> Job:
    return JobReader().read(json.dumps({"jobName": name, "job": "noop", **fields}).encode())


def brute(jobs: list[Job], after: int, until: int) -> list[tuple[int, str]]:
    """Every fire due in (after, until], found by walking each job alone from long before."""
    fires = []
    for one in jobs:
        planned = one.trigger.next_after(after - DAY)
        while planned is not None and planned <= until:
            if after < planned + one.delay_ms <= until:
                fires.append((planned + one.delay_ms, one.name))
            planned = one.trigger.next_after(planned)
    return sorted(fires)


@given(
    st.lists(st.tuples(st.sampled_from(["10m", "7m", "1h", "90s"]), st.integers(0, 900)), max_size=6),
    st.integers(0, HOUR),
)
def test_fires_come_in_their_total_order_and_none_is_missed(times: list[tuple[str, int]], start: int) -> None:
    jobs = [job(f"j{n}", every=every, jitterSeconds=jitter) for n, (every, jitter) in enumerate(times)]
    expected = brute(jobs, NOON + start, NOON + start + 2 * HOUR)
    found = [(fire.due, fire.job.name) for fire in islice(upcoming(jobs, NOON + start), len(expected))]
    assert found == expected


def test_jobs_that_never_fire_again_leave_the_others_alone() -> None:
    jobs = [
        job("b", at="2026-11-20T13:30:00Z"),
        job("a", every="1h"),
        job("c", every="1h", enabled=False),
        job("d", every="1h", endAt="2026-11-20T13:30:00Z"),
    ]
    assert [fire.job.name for fire in islice(upcoming(jobs, NOON), 5)] == ["a", "d", "b", "a", "a"]
    assert not list(upcoming(jobs[2:3], NOON))


def test_a_new_job_gains_and_a_removed_one_loses_its_fires() -> None:
    hourly = job(every="1h")
    first = NOON + HOUR
    assert compare_fires(None, hourly, NOON, NOON + DAY) == FireChange(24, 0, 0, Moved(None, first))
    assert compare_fires(hourly, None, NOON, NOON + DAY) == FireChange(0, 24, 0, Moved(first, None))
    assert not compare_fires(None, None, NOON, NOON + DAY)


def test_fires_are_moved_when_a_day_loses_as_many_as_it_gains() -> None:
    old, new = job(cronTime="0 14 * * *"), job(cronTime="30 15 * * *")
    change = compare_fires(old, new, NOON, NOON + 3 * DAY)
    assert change == FireChange(0, 0, 3, Moved(NOON + 2 * HOUR, NOON + 3 * HOUR + HOUR // 2))


def test_fires_that_both_versions_have_do_not_change() -> None:
    change = compare_fires(job(cronTime="0 */2 * * *"), job(cronTime="0 */3 * * *"), NOON, NOON + DAY // 2)
    assert change == FireChange(2, 4, 0, Moved(NOON + 2 * HOUR, None))


def test_the_first_change_may_be_a_gain() -> None:
    change = compare_fires(job(cronTime="0 15,16 * * *"), job(cronTime="0 14 * * *"), NOON, NOON + DAY // 2)
    assert change == FireChange(1, 2, 0, Moved(None, NOON + 2 * HOUR))


def test_another_jitter_moves_every_fire() -> None:
    change = compare_fires(job(every="1h"), job(every="1h", jitterSeconds=60), NOON, NOON + DAY)
    delay = job(jitterSeconds=60, every="1h").delay_ms
    assert change == FireChange(0, 0, 24, Moved(NOON + HOUR, NOON + HOUR + delay))


def test_the_bounds_are_after_the_first_and_up_to_the_second_instant() -> None:
    assert compare_fires(None, job(every="1h"), NOON, NOON + HOUR).gained == 1
    assert compare_fires(None, job(every="1h"), NOON, NOON + HOUR - 1).gained == 0
