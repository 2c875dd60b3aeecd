"""The checker checked: it accepts a good history, and finds each way in which one can be bad."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from test_shard_histories import Shaken
from verify_world import RELEASE, T0, Written, definition, good, seconds

from dispatcher.core.batch import Limits
from dispatcher.core.instant import to_text
from dispatcher.core.ledger import (
    Change,
    Cursor,
    Identity,
    Interval,
    JobVersions,
    Position,
    Timer,
    Version,
)
from dispatcher.core.log_record import Record
from dispatcher.observe import tally as tallying
from dispatcher.observe.checker import Checker
from dispatcher.observe.shard_history import Standing
from dispatcher.observe.verdict import KINDS, MOST_LISTED, Place, Verdict


def wrong(verdict: Verdict) -> dict[str, int]:
    """Return the kinds of which something is wrong, and how often."""
    return {kind: getattr(verdict, kind) for kind in KINDS if getattr(verdict, kind)}


def test_a_good_history_is_clean() -> None:
    verdict = good().verdict()
    assert verdict == Verdict(planned=10, committed=10)
    assert verdict.clean
    assert verdict.judged


def drop(written: Written) -> None:
    del written.fires[4]


def double(written: Written) -> None:
    written.fires.append(written.fires[4]._replace(offset=77))


def shift_early(written: Written) -> None:
    written.fires[4] = written.fires[4]._replace(timestamp=T0 + 4999)


def between_instants(written: Written) -> None:
    written.fire("a", T0 + 4500, definition("a"))


def of_no_job(written: Written) -> None:
    written.fire("b", T0 + 4000, definition("b"))


def before_its_job(written: Written) -> None:
    written.fire("a", T0 - 1000, definition("a"))


def at_the_instant_after_which_its_job_plans(written: Written) -> None:
    written.fire("a", T0, definition("a"))


def of_another_value(written: Written) -> None:
    written.fires[4] = written.fires[4]._replace(value=definition("a", payload=2))


def in_another_lane(written: Written) -> None:
    written.fires[4] = written.fires[4]._replace(topic="t.jobs.low")


def foreign(written: Written) -> None:
    written.fires.append(Record("t.jobs.normal", 3, 99, T0, [], b"hello"))


def skip_what_was_committed(written: Written) -> None:
    written.skip("a", T0 + 4000, T0 + 5000, 1)


def skip_twice(written: Written) -> None:
    del written.fires[4]
    written.skip("a", T0 + 4000, T0 + 5000, 1)
    written.skip("a", T0 + 4000, T0 + 5000, 1)


def skip_with_a_wrong_count(written: Written) -> None:
    del written.fires[4]
    written.skip("a", T0 + 4000, T0 + 5000, 2)


def skip_of_no_job(written: Written) -> None:
    written.skip("b", T0 + 4000, T0 + 5000, 1)


def retry_twice(written: Written) -> None:
    written.retrying(f"a@{to_text(T0 + 1000)}")
    written.fire("a", T0 + 1000, definition("a"), attempt=2)
    written.fire("a", T0 + 1000, definition("a"), attempt=2)


def broken_event(written: Written) -> None:
    written.events.append(Record("t.events", 0, 99, T0, [("ce_type", b"run.skipped")], b"{"))


def change_without_its_events(written: Written) -> None:
    written.applied(2, T0 + 10_000, touched=3)


def burst_committed_early(written: Written) -> None:
    written.fires[4] = written.fires[4]._replace(timestamp=T0 + 5000)
    data = {"due": to_text(T0 + 5000), "fires": 1, "committedAt": to_text(T0 + 4990)}
    written.event("burst.landed", data)


MUTATIONS: list[tuple[Callable[[Written], None], dict[str, int]]] = [
    (drop, {"lost": 1}),
    (double, {"doubled": 1}),
    (shift_early, {"early": 1}),
    (between_instants, {"unexpected": 1}),
    (of_no_job, {"unexpected": 1}),
    (before_its_job, {"unexpected": 1}),
    (at_the_instant_after_which_its_job_plans, {"unexpected": 1}),
    (of_another_value, {"unexpected": 1}),
    (in_another_lane, {"unexpected": 1}),
    (foreign, {"unexpected": 1}),
    (skip_what_was_committed, {"doubled": 1}),
    (skip_twice, {"doubled": 1}),
    (skip_with_a_wrong_count, {"miscounted": 1}),
    (skip_of_no_job, {"miscounted": 1}),
    (retry_twice, {"doubled": 1}),
    (broken_event, {"miscounted": 1}),
    (change_without_its_events, {"miscounted": 1}),
    (burst_committed_early, {"early": 1}),
]


@pytest.mark.parametrize(("mutate", "found"), MUTATIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_history_is_found_out(mutate: Callable[[Written], None], found: dict[str, int]) -> None:
    written = good()
    mutate(written)
    verdict = written.verdict(after=T0 - 5000)
    assert wrong(verdict) == found
    assert not verdict.clean
    assert len(verdict.wrong) == sum(found.values())
    counted = verdict.committed + verdict.skipped + verdict.pending + verdict.unknown + verdict.lost
    assert verdict.planned == counted == 10


def test_an_id_that_is_no_fire_is_unexpected_and_its_fire_lost() -> None:
    written = good()
    headers = [(name, b"a!77" if name == "ce_id" else value) for name, value in written.fires[4].headers]
    written.fires[4] = written.fires[4]._replace(headers=headers)
    assert wrong(written.verdict()) == {"lost": 1, "unexpected": 1}


def test_what_is_lost_is_told_with_its_plan() -> None:
    written = good()
    drop(written)
    (lost,) = written.verdict().wrong
    assert (lost.kind, lost.job, lost.planned, lost.shard, lost.change) == ("lost", "a", T0 + 5000, 0, 1)
    assert lost.places == ()


def test_what_is_doubled_is_told_with_every_place_after_a_second_reading() -> None:
    written = good()
    double(written)
    assert written.verdict().wrong[0].places == (Place("t.jobs.normal", 3, 77),)
    skip_what_was_committed(written)
    tally = written.tally()
    for record in written.fires:
        tally.trace(record)
    (doubled,) = tally.verdict().wrong
    assert doubled.why == "committed twice and skipped once"
    assert sorted(doubled.places) == [
        Place("t.events", 0, 2),
        Place("t.jobs.normal", 3, 4),
        Place("t.jobs.normal", 3, 77),
    ]


@pytest.mark.parametrize("mutate", [shift_early, between_instants, of_another_value, foreign])
def test_an_offender_is_told_with_its_place(mutate: Callable[[Written], None]) -> None:
    written = good()
    mutate(written)
    (one,) = written.verdict().wrong
    assert one.places[0].topic == "t.jobs.normal"
    assert one.places[0].offset in {4, 10, 99}


def test_of_each_kind_a_hundred_are_listed_and_all_are_counted() -> None:
    written = Written()
    written.add("a")
    for planned in seconds(150):
        written.fire("b", planned, b"")
        written.skip("a", planned - 1000, planned, 1)
        written.skip("a", planned - 1000, planned, 1)
    verdict = written.verdict(until=T0 + 350_000)
    assert wrong(verdict) == {"lost": 200, "doubled": 150, "unexpected": 150}
    assert len(verdict.wrong) == 3 * MOST_LISTED


def test_a_recorded_skip_is_no_loss_and_tells_its_reason() -> None:
    written = good()
    del written.fires[2:5]
    written.skip("a", T0 + 2000, T0 + 5000, 3, "missed")
    verdict = written.verdict()
    assert verdict.clean
    assert (verdict.committed, verdict.skipped, verdict.reasons) == (7, 3, {"missed": 3})


def test_a_skip_that_reaches_out_of_the_window_is_counted_whole() -> None:
    written = Written()
    written.add("a")
    written.add("b", change=2, cronTime="* * * * * *")
    written.skip("a", T0, T0 + 30_000, 30)
    written.skip("b", T0, T0 + 30_000, 30)
    verdict = written.verdict(after=T0 + 10_000, until=T0 + 15_000)
    assert verdict.clean
    assert (verdict.planned, verdict.skipped) == (10, 10)
    written.skip("b", T0 + 40_000, T0 + 41_000, 7)
    assert written.verdict(after=T0 + 10_000, until=T0 + 15_000).clean
    assert written.verdict(after=T0 + 10_000, until=T0 + 40_500).miscounted == 1


def test_a_retry_is_another_identity_than_its_fire() -> None:
    written = good()
    written.retrying(f"a@{to_text(T0 + 1000)}")
    written.retrying(f"a@{to_text(T0 + 1000)}", attempt=2)
    written.fire("a", T0 + 1000, definition("a"), attempt=2)
    written.fire("a", T0 + 1000, definition("a"), attempt=3)
    assert written.verdict().clean


def test_old_and_new_are_told_apart_by_the_planned_instant() -> None:
    written = good()
    old, new = definition("a"), definition("a", every="2s")
    written.job("changed", "a", 2, new=new, old=old)
    written.applied(2, T0 + 6000)
    written.fires = written.fires[:6]
    written.fire("a", T0 + 8000, new)
    written.fire("a", T0 + 10_000, new)
    assert written.verdict() == Verdict(planned=8, committed=8)
    written.fire("a", T0 + 7000, old)
    assert wrong(written.verdict()) == {"unexpected": 1}


def test_a_job_changed_twice_is_judged_by_each_version_in_its_time() -> None:
    written = good()
    versions = [definition("a"), definition("a", payload=1), definition("a", payload=2)]
    for change in (2, 3):
        written.job("changed", "a", change, new=versions[change - 1], old=versions[change - 2])
        written.applied(change, T0 + 2000 * change)
    written.fires = []
    for planned in seconds(10):
        written.fire("a", planned, versions[(planned > T0 + 4000) + (planned > T0 + 6000)])
    assert written.verdict().clean
    written.fires[4] = written.fires[4]._replace(value=versions[2])
    assert wrong(written.verdict()) == {"unexpected": 1}


def test_jobs_of_one_trigger_are_judged_each_in_its_own_time() -> None:
    written = Written()
    for change, (name, since) in enumerate({"a": 0, "b": 5000, "c": 2000}.items(), 1):
        value = written.add(name, change, T0 + since, cronTime="* * * * * *")
        for planned in seconds(10):
            if planned > T0 + since:
                written.fire(name, planned, value)
    assert written.verdict() == Verdict(planned=23, committed=23)
    written.fire("b", T0 + 5000, definition("b", cronTime="* * * * * *"))
    assert wrong(written.verdict()) == {"unexpected": 1}


def test_a_removed_job_plans_no_more() -> None:
    written = good()
    written.job("removed", "a", 2, old=definition("a"))
    written.applied(2, T0 + 7000)
    assert wrong(written.verdict()) == {"unexpected": 3}


def test_a_change_that_was_never_applied_counts_for_nothing() -> None:
    written = good()
    written.job("added", "b", 2, new=definition("b"))
    written.job("changed", "a", 3, new=definition("a", every="7s"), old=definition("a"))
    written.applied(4, T0 + 1000, touched=0)
    assert written.verdict().clean


def test_a_change_counts_only_in_its_own_shard() -> None:
    written = good()
    written.job("added", "b", 2, new=definition("b"), shard=1)
    written.applied(2, T0, shard=0)
    assert written.verdict().clean


def test_due_is_the_planned_instant_and_the_jobs_own_delay() -> None:
    written = good(jitterSeconds=600)
    (delay,) = {one[0].tenure.version.delay for one in written.tally()._slots.by_job.values()}
    assert delay > 1
    assert written.verdict().early == 10
    written.fires = [one._replace(timestamp=one.timestamp - 1 + delay + 1) for one in written.fires]
    assert written.verdict().clean


def test_when_a_fire_with_the_time_of_its_instant_was_committed_its_burst_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = good()
    written.fires = [one._replace(timestamp=one.timestamp - 1) for one in written.fires]
    assert written.verdict() == Verdict(planned=10, committed=10), "so few are never staged"
    assert Limits().stage_from == tallying.LEAST_BURST
    monkeypatch.setattr(tallying, "LEAST_BURST", 1)
    assert written.verdict() == Verdict(planned=10, committed=10, untimed=10)
    for planned in seconds(9):
        data = {"due": to_text(planned), "fires": 1, "committedAt": to_text(planned)}
        written.event("burst.landed", data)
    assert written.verdict() == Verdict(planned=10, committed=10, untimed=1)
    for committed in (T0 + 999, T0 + 1000):
        data = {"due": to_text(T0 + 1000), "fires": 1, "committedAt": to_text(committed)}
        written.event("burst.landed", data)
    assert wrong(written.verdict()) == {"early": 1}


def test_a_live_readers_own_time_goes_before_the_records() -> None:
    written = good()
    tally = written.checker().tally(T0, T0 + 10_000)
    for number, record in enumerate(written.fires):
        tally.fire(record, seen_at=record.timestamp - 1 - (number == 3))
    verdict = tally.verdict()
    assert (verdict.early, verdict.untimed) == (1, 0)


def test_a_fire_sent_in_the_window_but_planned_behind_it_is_early() -> None:
    written = good()
    written.fire("a", T0 + 3_600_000, definition("a"), late=-3_595_000)
    written.fire("a", T0 + 3_600_000, definition("a"))
    assert wrong(written.verdict()) == {"early": 1}


# What the ledger says is still to come.


def standing(position: Position | None, *timers: str) -> dict[int, Standing]:
    return {0: Standing(position, frozenset(timers))}


AT_FIVE = Position(Cursor(T0 + 5000, "a"), "r", 1)
MISSED = Interval(Cursor(T0 + 1000, "a"), T0 + 4000, 1)
BACKLOG = AT_FIVE._replace(backlog=(MISSED,))
DRAINED = AT_FIVE._replace(backlog=(MISSED._replace(drained=Cursor(T0 + 2000, "a")),))


@pytest.mark.parametrize(
    ("standings", "pending"),
    [
        (None, 0),
        (standing(AT_FIVE), 5),
        (standing(AT_FIVE._replace(cursor=Cursor(T0 + 5000, ""))), 6),
        (standing(BACKLOG), 7),
        (standing(DRAINED), 6),
        (standing(AT_FIVE, f"a@{to_text(T0 + 2000)}"), 6),
        ({}, 10),
    ],
)
def test_what_is_not_settled_yet_is_pending(standings: dict[int, Standing] | None, pending: int) -> None:
    written = Written()
    written.add("a")
    verdict = written.verdict(standings=standings)
    assert (verdict.pending, verdict.lost) == (pending, 10 - pending)


@pytest.mark.parametrize("position", [None, AT_FIVE._replace(change=0)], ids=["lost", "an older copy"])
def test_a_ledger_that_holds_less_than_the_events_tell_cannot_say_what_is_pending(
    position: Position | None,
) -> None:
    written = Written()
    written.add("a")
    verdict = written.verdict(standings=standing(position))
    assert (verdict.pending, verdict.unknown) == (0, 10 if position is None else 5)


def test_the_standings_are_those_of_the_ledger() -> None:
    written = Written()
    written.fact(AT_FIVE)
    written.fact(Timer("a@x", "a", T0, T0, 1, "t.jobs.normal", 0, b"a", b"{}", ()))
    written.fact(BACKLOG, shard=1)
    found = written.checker().standings()
    assert found[0].position == AT_FIVE
    assert "a@x" in found[0].timers
    assert found[1] == Standing(BACKLOG, set(), set())


def test_what_a_recovery_gave_up_is_skipped_and_its_jobs_are_gone() -> None:
    written = good()
    written.fires = written.fires[:3]
    data = {"reason": "lost", "change": 2, "after": to_text(T0 + 3000), "until": to_text(T0 + 6000)}
    written.event("ledger.recovered", {**data, "backlog": False})
    verdict = written.verdict()
    assert verdict.clean
    assert (verdict.planned, verdict.skipped, verdict.reasons) == (6, 3, {"ledger recovered: lost": 3})
    del written.fires[1]
    assert wrong(written.verdict()) == {"lost": 1}
    written.event("ledger.recovered", {**data, "backlog": True})
    assert written.verdict().skipped == 4, "what was still being caught up was given up too"


# What retention took.


def test_fires_from_before_the_history_that_is_kept_are_not_judged() -> None:
    written = Written()
    written.cuts[0] = T0 + 4000
    old, new = definition("a"), definition("a", every="2s")
    written.job("changed", "a", 7, new=new, old=old)
    written.applied(7, T0 + 6000)
    for planned in seconds(6):
        written.fire("a", planned, old)
    for planned in (T0 + 8000, T0 + 10_000):
        written.fire("a", planned, new)
    verdict = written.verdict()
    assert verdict == Verdict(planned=4, committed=4, unjudged=4)
    written.fire("b", T0 + 5000, definition("b"))
    assert wrong(written.verdict()) == {"unexpected": 1}


def test_what_reaches_back_beyond_the_history_that_is_kept_counts_from_there_on() -> None:
    written = Written()
    written.cuts[0] = T0 + 4000
    written.add("a")
    written.skip("a", T0 - 60_000, T0 + 9000, 69)
    verdict = written.verdict(after=T0 - 100_000)
    assert wrong(verdict) == {"lost": 1}
    assert (verdict.planned, verdict.skipped) == (6, 5)


def test_jobs_older_than_history_are_those_of_the_ledger() -> None:
    written = Written()
    written.cuts[0] = T0 + 4000
    value = definition("a")
    removed = definition("b")
    later = Version(9, "r", definition("a", every="9s"), "", None, None)
    current = Version(5, "r", value, "", T0 - 70_000, None)
    in_pieces = Version(4, "r", definition("c"), "", None, None)
    abandoned = later._replace(change=6)
    written.fact(JobVersions("a", (later, abandoned, current)))
    written.fact(JobVersions("c", (in_pieces,)))
    written.fact(Change(4, T0 + 8000))
    written.fact(AT_FIVE._replace(cursor=Cursor(T0 + 60_000), change=8, abandoned=(6,)))
    written.job("removed", "b", 8, old=removed)
    written.applied(8, T0 + 5000)
    for planned in seconds(6, start=5):
        written.fire("a", planned, value)
    verdict = written.verdict()
    assert (verdict.planned, verdict.committed, verdict.lost) == (9, 6, 3)
    assert {(one.job, one.change) for one in verdict.wrong} == {("b", None), ("c", 4)}


def test_what_a_topic_no_longer_keeps_is_unknown_and_not_lost() -> None:
    written = good()
    del written.fires[:4]
    written.reach["t.jobs.normal"] = T0 + 3000
    tally = written.tally()
    tally.cut("t.jobs.normal", T0 + 1000)
    verdict = tally.verdict()
    assert (verdict.unknown, verdict.lost, verdict.committed) == (3, 1, 6)


def test_where_nothing_could_be_judged_that_is_told() -> None:
    written = Written()
    written.add("a")
    written.reach["t.jobs.normal"] = T0 + 60_000
    verdict = written.verdict()
    assert verdict.clean
    assert not verdict.judged
    assert Verdict().judged


# Other releases of the time zone data.


def zoned(release_now: str) -> Written:
    written = Written()
    value = written.add("a", cronTime="* * * * * *", timezone="Africa/Casablanca")
    rules = {"before": {"tzdata": "2020.1", "engine": "7"}, "after": {"tzdata": release_now, "engine": "7"}}
    written.event("schedule.applied", {"change": 2, "effectiveFrom": to_text(T0 + 5000), "rules": rules})
    written.fire("a", T0 + 2500, value)
    written.fire("a", T0 + 8500, value)
    return written


def test_what_other_time_zone_data_planned_is_not_called_wrong() -> None:
    verdict = zoned(RELEASE).verdict()
    assert (verdict.unknown, verdict.lost, verdict.unjudged, verdict.unexpected) == (5, 5, 1, 1)
    verdict = zoned("2030.1").verdict()
    assert (verdict.unknown, verdict.lost, verdict.unjudged, verdict.unexpected) == (10, 0, 2, 0)


def test_of_rules_that_changed_twice_at_one_place_the_later_ones_count() -> None:
    written = Written()
    written.add("a", cronTime="* * * * * *", timezone="Africa/Casablanca")
    for change, (old, new) in enumerate([("2020.1", "2021.1"), ("2021.1", RELEASE)], 2):
        rules = {"before": {"tzdata": old, "engine": "7"}, "after": {"tzdata": new, "engine": "7"}}
        written.event("schedule.applied", {"change": change, "effectiveFrom": to_text(T0), "rules": rules})
    assert (written.verdict().unknown, written.verdict().lost) == (0, 10)


def test_the_ledger_tells_which_time_zone_data_is_in_use() -> None:
    written = Written()
    written.add("a", cronTime="* * * * * *", timezone="Africa/Casablanca")
    written.add("b", change=2, cronTime="* * * * * *")
    written.fact(Identity("c", {}, 2, "2020.1", "croniter 7"))
    verdict = written.verdict()
    assert (verdict.unknown, verdict.lost) == (10, 10)


# Topics of their own.


def test_a_topic_of_a_jobs_own_is_found_and_what_else_lies_there_is_nobodys_business() -> None:
    written = Written()
    value = written.add("a", topic="shared")
    written.add("b", change=2, topic="t.events", at=T0 + 60_000)
    assert written.checker().topics == {"shared"}
    for planned in seconds(10):
        written.fire("a", planned, value, topic="shared")
    written.fire("a", T0 + 1000, value, topic="shared", source="another")
    written.fires.append(Record("shared", 0, 99, T0, [], b"hello"))
    assert written.verdict() == Verdict(planned=10, committed=10)
    written.fire("b", T0 + 1000, value, topic="shared")
    assert wrong(written.verdict()) == {"unexpected": 1}


# Whole histories of the dispatcher's own rules.


@pytest.mark.parametrize("block", range(4))
def test_every_history_of_a_shard_is_clean_and_none_is_with_a_fire_less_or_more(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        shaken = Shaken(1000 + seed)
        shaken.live(20)
        outgoing = [one for batch in shaken.world.batches for one in batch.outgoing]
        records = [
            Record(topic, 0, number, 0, headers or [], value, key)
            for number, (topic, value, key, _, headers) in enumerate(outgoing)
        ]
        until = max(shaken.now, shaken.latest) + 600_000
        checker = Checker("t", 1, tzdata="2026f")
        jobs = [record for record in records if record.topic not in {"t.ledger", "t.events"}]
        for record in records:
            if record.topic == "t.ledger":
                checker.ledger(record)
            elif record.topic == "t.events":
                checker.event(record)

        def verdict(fires: list[Record], checker: Checker = checker, until: int = until) -> Verdict:
            tally = checker.tally(-1, until)
            for record in fires:
                tally.fire(record, seen_at=until + 600_000)
            return tally.verdict(checker.standings())

        found = verdict(jobs)
        assert found.clean, f"seed {seed}: {found}"
        assert (found.committed, found.unjudged) == (len(jobs), 0)
        if jobs:
            place = seed % len(jobs)
            assert wrong(verdict([*jobs[:place], *jobs[place + 1 :]])) == {"lost": 1}
            assert wrong(verdict([*jobs, jobs[place]])) == {"doubled": 1}


def test_a_payload_that_looks_like_an_event_confuses_nobody() -> None:
    written = Written()
    nasty = {"previous": 1, "x": ',"previous":{"definition":2}', "y": ',"definition":'}
    old, new = definition("a", payload=nasty), definition("a", payload={**nasty, "z": 1})
    written.job("added", "a", 1, new=old)
    written.applied(1, T0)
    written.job("changed", "a", 2, new=new, old=old)
    written.applied(2, T0 + 3000)
    for planned in seconds(10):
        written.fire("a", planned, old if planned <= T0 + 3000 else new)
    assert json.loads(written.events[2].value or b"")["previous"]["payload"] == nasty
    assert written.verdict() == Verdict(planned=10, committed=10)
