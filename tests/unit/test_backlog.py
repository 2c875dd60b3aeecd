"""Settling what was missed, against an oracle that lists every missed fire."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import job

from dispatcher.core.backlog import Settling, Slice, dropped, unsettled
from dispatcher.core.job import CatchUp, Job
from dispatcher.core.ledger import Cursor, Interval
from dispatcher.core.record import JobRecord

SECOND = 1_000
POOL: list[Job] = [
    job(
        f"{policy[0]}{every}-{jitter}-{grace}",
        every=f"{every}s", jitterSeconds=jitter, catchUp=policy, misfireGraceSeconds=grace,
    )
    for policy in ("none", "latest", "all")
    for every, jitter, grace in [(1, 0, 5), (3, 0, 0), (7, 4, 10), (30, 0, 60), (2, 9, 3)]
]  # fmt: skip
records_ = st.builds(
    lambda one, after: JobRecord(one, 1, "r", after, after),
    st.sampled_from(POOL),
    st.integers(0, 50 * SECOND),
)
intervals = st.builds(
    lambda due, name, length: Interval(Cursor(due, name), due + length, 1),
    st.integers(10, 40).map(lambda seconds: seconds * SECOND), st.sampled_from(["", "a1-0-5", "m", "zz"]),
    st.integers(1, 90 * SECOND) | st.integers(1, 90).map(lambda seconds: seconds * SECOND),
)  # fmt: skip


def missed(one: JobRecord, interval: Interval) -> list[int]:
    """Return the planned instants that lie in an interval, the slow way."""
    found = []
    planned = one.job.trigger.next_after(one.effective_from)
    while planned is not None and (due := planned + one.job.delay_ms) < interval.end:
        if (due, one.name) > (interval.start.due, interval.start.name):
            found.append(planned)
        planned = one.job.trigger.next_after(planned)
    return found


def expected(one: JobRecord, interval: Interval) -> tuple[set[int], set[int]]:
    """Return what is sent and what is skipped of a job."""
    fires = missed(one, interval)
    if one.job.policy.catch_up is CatchUp.ALL:
        return set(fires), set()
    late = interval.end - max(1, one.job.policy.grace_ms)
    sent = {planned for planned in fires if planned + one.job.delay_ms > late}
    if not sent and fires and one.job.policy.catch_up is CatchUp.LATEST:
        sent = {fires[-1]}
    return sent, set(fires) - sent


class Settled:
    """What became of an interval, taken in pieces, with a restart in between now and then."""

    def __init__(self) -> None:
        self.sent: Counter[tuple[str, int]] = Counter()
        self.skipped: Counter[tuple[str, int]] = Counter()
        self.due: list[tuple[int, str]] = []

    def take(self, piece: Slice, records: dict[str, JobRecord], *, in_order: bool) -> None:
        for one, planned in piece.fires:
            self.sent[one.name, planned] += 1
            if in_order:
                self.due.append((planned + one.delay_ms, one.name))
        for skip in piece.skips:
            trigger = records[skip.job].job.trigger
            planned = skip.after
            found = []
            while (following := trigger.next_after(planned)) is not None and following <= skip.until:
                found.append((skip.job, following))
                planned = following
            assert len(found) == skip.count
            self.skipped.update(found)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(records_, unique_by=lambda one: one.name, max_size=8), intervals,
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=10),
)  # fmt: skip
def test_everything_missed_is_sent_or_skipped_once_by_the_rules(
    found: list[JobRecord], interval: Interval, pace: list[tuple[int, bool]]
) -> None:
    records = {one.name: one for one in found}
    settled, settling, rest, turn = Settled(), Settling(interval, records), interval, 0
    while True:
        most, crash = pace[turn % len(pace)]
        turn += 1
        assert turn < 2_000
        if crash:
            settling = Settling(rest, records)
        in_order = rest.names_done
        piece = settling.slice(most)
        assert len(piece.fires) <= most
        settled.take(piece, records, in_order=in_order)
        settling.settled(piece)
        if piece.rest is None:
            break
        rest = piece.rest
        check_rest(records, rest, interval, settled)
    for one in found:
        sent, skipped = expected(one, interval)
        assert {planned for name, planned in settled.sent if name == one.name} == sent
        assert {planned for name, planned in settled.skipped if name == one.name} == skipped
    assert max([*settled.sent.values(), *settled.skipped.values()], default=1) == 1
    assert settled.due == sorted(settled.due)


def check_rest(records: dict[str, JobRecord], rest: Interval, interval: Interval, settled: Settled) -> None:
    """Check that what `unsettled` and `dropped` say is left is what has not been sent or skipped."""
    for one in records.values():
        after, until = unsettled(one, rest)
        said = {planned for planned in missed(one, interval) if after < planned <= until}
        done = {at for name, at in settled.sent + settled.skipped if name == one.name}
        assert said == set(missed(one, interval)) - done
        counts = [skip.count for skip in dropped(one, (rest,), "removed")]
        assert counts == ([len(said)] if said else [])


def test_a_slice_by_name_stops_at_what_it_may_send_and_skip() -> None:
    records = {
        f"j{number:03d}": JobRecord(job(f"j{number:03d}", every="1s"), 1, "r", 0, 0) for number in range(100)
    }
    piece = Settling(Interval(Cursor(0), 120 * SECOND, 1), records).slice(10)
    assert len(piece.fires) + len(piece.skips) == 10
    assert piece.rest is not None
    assert (piece.rest.named, piece.rest.names_done) == ("j009", False)


def test_jobs_younger_than_an_interval_have_no_part_in_it() -> None:
    young = JobRecord(job("a", every="1s", catchUp="all"), 2, "r", 9 * SECOND, 9 * SECOND)
    interval = Interval(Cursor(0), 9 * SECOND, 1)
    settling = Settling(interval, {"a": young})
    piece = settling.slice(10)
    assert (piece.fires, piece.skips) == ((), ())
    assert dropped(young, (interval,), "removed") == []


def test_missed_fires_go_out_as_they_were_when_they_were_missed() -> None:
    old = JobRecord(job("a", every="5s", catchUp="all"), 1, "r1", 0, 0)
    new = JobRecord(job("a", every="5s", catchUp="all", payload="new"), 2, "r2", 20 * SECOND, 0, past=(old,))
    interval = Interval(Cursor(0), 20 * SECOND, 1)
    settling = Settling(interval, {"a": new})
    by_name = settling.slice(10)
    settling.settled(by_name)
    piece = settling.slice(10)
    assert [planned for _, planned in piece.fires] == [5 * SECOND, 10 * SECOND, 15 * SECOND]
    assert all(b"new" not in one.definition for one, _ in piece.fires)


@pytest.mark.parametrize("most", [1, 2, 100])
def test_nothing_missed_is_settled_at_once(most: int) -> None:
    settling = Settling(Interval(Cursor(0), SECOND, 1), {})
    first = settling.slice(most)
    settling.settled(first)
    assert first.rest is not None
    assert first.rest.names_done
    assert settling.slice(most) == Slice((), (), None)
