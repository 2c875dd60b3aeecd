"""Settling what was missed, against an oracle that lists every missed fire."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import job

from dispatcher.core.backlog import Counting, Settling, Slice, dropped, given_up, unsettled
from dispatcher.core.codec import decode
from dispatcher.core.job import CatchUp, Job
from dispatcher.core.ledger import Cursor, Interval, Position
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
    lambda due, name, length, most: Interval(Cursor(due, name), due + length, 1, most=most),
    st.integers(10, 40).map(lambda seconds: seconds * SECOND), st.sampled_from(["", "a1-0-5", "m", "zz"]),
    st.integers(1, 90 * SECOND) | st.integers(1, 90).map(lambda seconds: seconds * SECOND),
    st.sampled_from([0, 1, 2, 7, 89]),
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


def cap_of(one: JobRecord, interval: Interval) -> int:
    """Return the planned instant that the cap ends at: as many as it allows are planned behind it."""
    planned, every = interval.start.due - one.job.trigger.jitter_ms - 1, []
    while (following := one.job.trigger.next_after(planned)) is not None and following < interval.end:
        every.append(following)
        planned = following
    return every[-interval.most - 1] if 0 < interval.most < len(every) else -1


def expected(one: JobRecord, interval: Interval) -> tuple[set[int], set[int]]:
    """Return what is sent and what is skipped of a job."""
    fires = missed(one, interval)
    if one.job.policy.catch_up is CatchUp.ALL:
        capped = {planned for planned in fires if planned <= cap_of(one, interval)}
        return set(fires) - capped, capped
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
        self.recent: list[tuple[int, str]] = []
        self.drained: list[tuple[int, str]] = []

    def take(self, piece: Slice, records: dict[str, JobRecord], before: Interval) -> None:
        for one, planned in piece.fires:
            self.sent[one.name, planned] += 1
            if before.names_done:
                (self.drained if before.recent_done else self.recent).append(
                    (planned + one.delay_ms, one.name)
                )
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
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.booleans()), min_size=1, max_size=10),
    st.dictionaries(st.integers(1, 30), st.integers(5, 110).map(lambda second: second * SECOND), max_size=3),
)  # fmt: skip
def test_everything_missed_is_sent_or_skipped_once_by_the_rules(
    found: list[JobRecord],
    interval: Interval,
    pace: list[tuple[int, int, bool]],
    drops: dict[int, int],
) -> None:
    records = {one.name: one for one in found}
    settled, settling, rest, turn = Settled(), Settling(interval, records), interval, 0
    given: dict[str, set[int]] = {one.name: set() for one in found}
    while True:
        most, send, crash = pace[turn % len(pace)]
        turn += 1
        assert turn < 2_000
        if turn in drops:
            for one in found:
                given[one.name] |= left(one, rest, drops[turn])
            [rest] = given_up((rest,), drops[turn])
        if crash or turn in drops:
            settling = Settling(rest, records)
        piece = settling.slice(most, send)
        assert len(piece.fires) <= min(most, send)
        settled.take(piece, records, rest)
        settling.settled(piece)
        if piece.rest is None:
            break
        rest = piece.rest
        check_rest(records, rest, interval, settled)
    for one in found:
        sent, skipped = expected(one, interval)
        gone = given[one.name]
        assert {planned for name, planned in settled.sent if name == one.name} == sent - gone
        assert {planned for name, planned in settled.skipped if name == one.name} == skipped | gone
    assert max([*settled.sent.values(), *settled.skipped.values()], default=1) == 1
    assert settled.recent == sorted(settled.recent)
    assert settled.drained == sorted(settled.drained)


def left(one: JobRecord, rest: Interval, until: int) -> set[int]:
    """Return the planned instants due before an instant that an interval has not settled."""
    after, last = unsettled(one, rest)
    last = min(last, until - one.job.delay_ms - 1)
    return {planned for planned in missed(one, rest._replace(start=Cursor(0))) if after < planned <= last}


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


def test_a_piece_sends_no_more_than_it_may() -> None:
    late = {"every": "60s", "misfireGraceSeconds": 0}
    records = {f"j{number}": JobRecord(job(f"j{number}", **late), 1, "r", 0, 0) for number in range(9)}
    settling = Settling(Interval(Cursor(0), 150 * SECOND, 1), records)
    assert [len(settling.slice(10, send).fires) for send in (1, 3, 10)] == [1, 3, 5]
    everything = {
        name: replace(one, job=job(name, every="60s", catchUp="all")) for name, one in records.items()
    }
    drained = Interval(Cursor(0), 150 * SECOND, 1, names_done=True, recent_done=True)
    assert [len(Settling(drained, everything).slice(10, send).fires) for send in (1, 3, 99)] == [1, 3, 10]


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"every": "1s"}, 1), ({"every": "1s"}, 100), ({"every": "7s"}, 1_000), ({"every": "1h"}, 3),
        ({"cronTime": "* * * * *"}, 1_000), ({"cronTime": "*/20 * * * * *"}, 100_000),
        ({"cronTime": "17 3 * * *", "timezone": "Europe/Berlin"}, 2),
    ],
)  # fmt: skip
def test_the_cap_leaves_exactly_as_many_and_tells_the_rest_in_one_skip(
    fields: dict[str, str], most: int
) -> None:
    one = JobRecord(job("a", catchUp="all", **fields), 1, "r", 0, 0)
    interval = Interval(Cursor(0), 31 * 86_400 * SECOND, 1, most=most)
    settling = Settling(interval, {"a": one})
    piece = settling.slice(10)
    [skip] = piece.skips
    until = interval.end - one.job.delay_ms - 1
    assert skip.reason == "capped"
    assert one.job.trigger.count_between(skip.until, until) == most
    assert skip.count + most == one.job.trigger.count_between(0, until)
    settling.settled(piece)
    settling.settled(settling.slice(10))
    assert settling.slice(1).fires[0][1] == one.job.trigger.next_after(skip.until)


@pytest.mark.parametrize(
    "fields", [{"every": "1s"}, {"cronTime": "* * * * *"}, {"at": "1970-01-01T00:10:00Z"}]
)
def test_no_cap_is_looked_for_where_there_can_be_none(fields: dict[str, str]) -> None:
    one = JobRecord(job("a", catchUp="all", **fields), 1, "r", 0, 0)
    counting = Counting()
    interval = Interval(Cursor(0), 3_600 * SECOND, 1, most=4_000)
    assert counting.named_until(one, interval) == 0
    assert counting.evaluated == 0
    tight = interval._replace(most=1)
    assert Counting().named_until(one, tight) == max(0, cap_of(one, tight))


def test_what_is_within_its_grace_goes_before_what_all_sends() -> None:
    records = {
        "all": JobRecord(job("all", every="1s", catchUp="all"), 1, "r", 0, 0),
        "late": JobRecord(job("late", every="1s", catchUp="none", misfireGraceSeconds=2), 1, "r", 0, 0),
    }
    settling, sent = Settling(Interval(Cursor(0), 10 * SECOND, 1), records), []
    while (piece := settling.slice(3)).rest is not None:
        sent += [one.name for one, _ in piece.fires]
        settling.settled(piece)
    assert sent == ["late"] + ["all"] * 9


def test_an_interval_of_the_old_form_goes_on_where_it_was() -> None:
    """Both kinds were sent in one order then, up to `drained`."""
    records = {
        "a": JobRecord(job("a", every="1s", catchUp="all"), 1, "r", 0, 0),
        "b": JobRecord(job("b", every="1s", catchUp="none"), 1, "r", 0, 0),
    }
    value = {
        "from": [0, ""], "to": 10 * SECOND, "change": 1, "named": "b", "namesDone": True,
        "drained": [7 * SECOND, "a"],
    }  # fmt: skip
    line = {
        "v": 1, "due": 10 * SECOND, "name": "", "revision": "r", "change": 1, "abandoned": [],
        "commands": None, "backlog": [value], "effectiveFrom": 0,
    }  # fmt: skip
    position = decode(b"cursor", json.dumps(line).encode())
    assert isinstance(position, Position)
    settling, sent = Settling(position.backlog[0], records), []
    while (piece := settling.slice(3)).rest is not None:
        sent += [f"{one.name}{planned // SECOND}" for one, planned in piece.fires]
        settling.settled(piece)
    assert sent == ["b7", "b8", "b9", "a8", "a9"]


def test_what_is_given_up_twice_is_given_up_once() -> None:
    interval = Interval(Cursor(5), 100, 1)
    assert given_up((interval,), 5) == (interval,)
    [once] = given_up((interval,), 50)
    assert given_up((once,), 40) == (once,)
    [twice] = given_up((once,), 500)
    assert (once.drops, twice.drops) == ((50,), (50, 100))


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
    for _ in ("by name", "within the grace"):
        settling.settled(settling.slice(10))
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
