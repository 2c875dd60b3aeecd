"""What the checker makes of runs: ends, retries, redrives and fires that commands asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from verify_world import T0, Written, definition, good, seconds

from dispatcher.core.instant import to_text
from dispatcher.core.ledger import Cursor, Position
from dispatcher.observe import marks
from dispatcher.observe.shard_history import Standing
from dispatcher.observe.verdict import KINDS, Place, Verdict

FIRE = f"a@{to_text(T0 + 5000)}"
AGAIN = "a!by-hand"
AT_TEN = Position(Cursor(T0 + 10_000, "z"), "r", 1)


def wrong(verdict: Verdict) -> dict[str, int]:
    """Return the kinds of which something is wrong, and how often."""
    return {kind: getattr(verdict, kind) for kind in KINDS if getattr(verdict, kind)}


def standing(timers: Collection[str] = (), position: Position | None = AT_TEN) -> dict[int, Standing]:
    return {0: Standing(position, timers), 1: Standing(AT_TEN)}


def ran() -> Written:
    """Return a history in which a job fired ten times, and each of its fires succeeded."""
    written = good()
    written.ended(*seconds(10))
    return written


def test_each_committed_fire_ends_once() -> None:
    verdict = ran().verdict(all_ended=True)
    assert verdict.clean
    assert (verdict.judged_runs, verdict.ended, verdict.running) == (True, 10, 0)


def test_without_a_word_from_a_worker_runs_are_not_judged() -> None:
    written = good()
    written.run("redriven", FIRE, attempt=2, by="shards/0")
    written.run("cancelled", FIRE, attempt=2, by="shards/0")
    verdict = written.verdict(all_ended=True)
    assert verdict.clean
    assert (verdict.judged_runs, verdict.ended, verdict.running) == (False, 0, 0)


def test_what_has_not_ended_runs_and_is_wrong_only_if_all_should_have_ended() -> None:
    written = good()
    written.ended(*seconds(9))
    verdict = written.verdict()
    assert verdict.clean
    assert (verdict.ended, verdict.running) == (9, 1)
    verdict = written.verdict(all_ended=True)
    assert wrong(verdict) == {"unended": 1}
    assert [(one.kind, one.planned) for one in verdict.wrong] == [("unended", T0 + 10_000)]


@pytest.mark.parametrize("kind", ["succeeded", "dead", "cancelled", "expired", "skipped"])
def test_every_terminal_event_is_an_end_and_a_second_one_is_too_much(kind: str) -> None:
    written = good()
    written.run(kind, FIRE, reason="so")
    assert (written.verdict().ended, wrong(written.verdict())) == (1, {})
    written.run(kind, FIRE, reason="so")
    verdict = written.verdict()
    assert wrong(verdict) == {"overended": 1}
    (one,) = verdict.wrong
    assert (one.planned, one.shard, one.change) == (T0 + 5000, 0, 1)
    assert one.places == (Place("t.events", 0, len(written.events) - 1),)


@pytest.mark.parametrize("kind", ["started", "retrying"])
def test_what_goes_on_is_no_end(kind: str) -> None:
    written = good()
    written.run(kind, FIRE, retryAt=to_text(T0 + 9000))
    assert written.verdict(standings=standing({f"{FIRE}#2"})).running == 10


def test_a_skip_by_the_pool_is_the_end_of_a_committed_fire_and_no_skip_of_a_planned_one() -> None:
    written = good()
    written.run("skipped", FIRE, reason="overlap")
    verdict = written.verdict()
    assert (verdict.committed, verdict.skipped, verdict.ended, verdict.reasons) == (10, 0, 1, {})


def test_a_fire_of_a_paused_job_is_a_skip() -> None:
    written = good()
    del written.fires[4]
    written.skip("a", T0 + 4000, T0 + 5000, 1, "paused")
    assert written.verdict().reasons == {"paused": 1}


def test_each_redrive_is_to_bring_one_more_end() -> None:
    written = ran()
    for attempt in (2, 3):
        written.run("redriven", FIRE, attempt=attempt, by="shards/0")
        written.fire("a", T0 + 5000, definition("a"), attempt=attempt)
        assert written.verdict().running == 1
        written.run("dead", FIRE, attempt=attempt, reason="again")
        assert written.verdict().running == 0
    assert (written.verdict().ended, written.verdict().retried, wrong(written.verdict())) == (10, 2, {})
    written.run("succeeded", FIRE, attempt=3)
    assert wrong(written.verdict()) == {"overended": 1}


def test_a_fire_that_is_redriven_while_it_runs_has_two_ends_to_come() -> None:
    written = ran()
    written.events = [event for event in written.events if ("fire", FIRE.encode()) not in event.headers]
    written.run("redriven", FIRE, attempt=2, by="shards/0")
    written.fire("a", T0 + 5000, definition("a"), attempt=2)
    for running in (1, 1, 0):
        assert written.verdict().running == running
        written.run("succeeded", FIRE)
    assert wrong(written.verdict()) == {"overended": 1}


def test_an_end_that_was_read_before_its_fire_could_be_is_nothing() -> None:
    """Events are read up to a later moment than job topics: the fire is pending, not committed."""
    written = ran()
    del written.fires[4]
    standings = standing(position=Position(Cursor(T0 + 4000, "z"), "r", 1))
    verdict = written.verdict(standings=standings)
    assert wrong(verdict) == {}
    assert (verdict.committed, verdict.pending, verdict.ended, verdict.running) == (9, 1, 9, 0)
    assert wrong(written.verdict(standings=standing())) == {"lost": 1}


def test_a_doubled_fire_is_told_of_once() -> None:
    written = ran()
    written.fires.append(written.fires[4]._replace(offset=77))
    written.ended(T0 + 5000)
    assert wrong(written.verdict()) == {"doubled": 1}


def test_fires_in_topics_of_jobs_own_are_only_judged_once_they_ended() -> None:
    written = Written()
    value = written.add("a", topic="theirs")
    for planned in seconds(10):
        written.fire("a", planned, value, topic="theirs")
    written.ended(*seconds(3))
    verdict = written.verdict(all_ended=True)
    assert (verdict.committed, verdict.ended, verdict.running, wrong(verdict)) == (10, 3, 0, {})


def test_ends_of_fires_outside_the_window_are_left_out() -> None:
    written = ran()
    verdict = written.verdict(after=T0 + 5000)
    assert (verdict.committed, verdict.ended, wrong(verdict)) == (5, 5, {})


def test_redeliveries_are_counted() -> None:
    written = ran()
    written.run("started", FIRE, redelivered=True)
    written.run("dead", f"a@{to_text(T0 + 77_000)}", redelivered=True)
    assert written.verdict().redelivered == 0
    written.retrying(FIRE)
    last = written.events[-1]
    written.events[-1] = last._replace(value=(last.value or b"").replace(b"false", b"true", 1))
    assert written.verdict(standings=standing({f"{FIRE}#2"})).redelivered == 1


# Attempts beyond the first.


def failed() -> Written:
    """Return a history in which a fire failed, and is to be tried again 9 s after T0."""
    written = good()
    written.retrying(FIRE)
    return written


def test_an_attempt_that_was_asked_for_and_sent_is_counted() -> None:
    written = failed()
    written.fire("a", T0 + 5000, definition("a"), attempt=2)
    verdict = written.verdict(standings=standing())
    assert (verdict.retried, verdict.committed, wrong(verdict)) == (1, 10, {})


def test_an_attempt_that_was_asked_for_and_never_sent_is_lost() -> None:
    verdict = failed().verdict(standings=standing())
    assert wrong(verdict) == {"lost": 1}
    (one,) = verdict.wrong
    assert (one.job, one.attempt, one.shard) == (FIRE, 2, 0)
    assert verdict.planned == verdict.committed == 10


def in_a_timer(written: Written) -> dict[int, Standing]:
    del written
    return standing({f"{FIRE}#2"})


def in_a_command(written: Written) -> dict[int, Standing]:
    written.command(f"retry/{FIRE}/2")
    return {**standing(), 0: Standing(AT_TEN, (), written.checker().standings()[0].waiting)}


def by_an_older_ledger(written: Written) -> dict[int, Standing]:
    del written
    return standing(position=AT_TEN._replace(change=0))


def no_longer_kept(written: Written) -> dict[int, Standing]:
    written.reach["t.jobs.normal"] = T0 + 9500
    return standing()


def cancelled(written: Written) -> dict[int, Standing]:
    written.run("cancelled", FIRE, attempt=2, by="shards/0")
    return standing()


def withheld(written: Written) -> dict[int, Standing]:
    written.run("skipped", FIRE, attempt=2, by="shards/0", reason="unsendable: too large", count=1)
    return standing()


@pytest.mark.parametrize(
    "how", [in_a_timer, in_a_command, by_an_older_ledger, no_longer_kept, cancelled, withheld]
)
def test_an_attempt_that_is_still_to_be_sent_or_dropped_is_not_lost(
    how: Callable[[Written], dict[int, Standing]],
) -> None:
    written = failed()
    standings = how(written)
    assert wrong(written.verdict(standings=standings)) == {}


def test_a_topic_of_another_job_that_is_gone_excuses_nothing() -> None:
    written = failed()
    written.triggered(AGAIN, T0 + 5500)
    written.reach["elsewhere"] = 1 << 60
    assert wrong(written.verdict(standings=standing())) == {"lost": 2}


@pytest.mark.parametrize("how", [cancelled, withheld])
def test_an_attempt_that_will_not_be_sent_ends_its_fire(
    how: Callable[[Written], dict[int, Standing]],
) -> None:
    written = failed()
    how(written)
    verdict = written.verdict()
    assert (verdict.ended, verdict.committed, verdict.skipped) == (1, 10, 0)


def test_an_attempt_that_nobody_asked_for_is_unexpected() -> None:
    written = good()
    written.fire("a", T0 + 5000, definition("a"), attempt=2)
    verdict = written.verdict()
    assert wrong(verdict) == {"unexpected": 1}
    assert verdict.wrong[0].places == (Place("t.jobs.normal", 3, 10),)


def test_a_redrive_that_was_never_sent_is_lost() -> None:
    written = ran()
    written.run("redriven", FIRE, attempt=2, by="shards/0")
    assert wrong(written.verdict(standings=standing())) == {"lost": 1}
    assert wrong(written.verdict(standings=standing({f"{FIRE}#2"}))) == {}


# Fires that commands asked for.


def asked() -> Written:
    """Return a history in which a fire was asked for."""
    written = good()
    written.triggered(AGAIN, T0 + 5500)
    return written


def test_a_fire_that_was_asked_for_is_expected_once() -> None:
    written = asked()
    assert wrong(written.verdict(standings=standing())) == {"lost": 1}
    written.asked(AGAIN, T0 + 5500, definition("a"))
    verdict = written.verdict(standings=standing())
    assert (verdict.planned, verdict.committed, wrong(verdict)) == (11, 11, {})
    written.asked(AGAIN, T0 + 5500, definition("a"))
    verdict = written.verdict(standings=standing())
    assert wrong(verdict) == {"doubled": 1}
    assert (verdict.wrong[0].job, verdict.wrong[0].planned) == (AGAIN, T0 + 5500)


def test_one_that_stands_in_the_ledger_or_waits_as_a_command_is_pending() -> None:
    written = asked()
    assert written.verdict(standings=standing({AGAIN})).pending == 1
    written.command("by-hand")
    waiting = written.checker().standings()[0].waiting
    assert written.verdict(standings={0: Standing(AT_TEN, (), waiting)}).pending == 1
    assert written.verdict(standings=by_an_older_ledger(written)).pending == 0
    written.reach["t.jobs.normal"] = T0 + 9500
    assert written.verdict(standings=standing()).unknown == 1


def test_one_that_nobody_asked_for_is_unexpected() -> None:
    written = good()
    written.asked(AGAIN, T0 + 5500, definition("a"))
    assert wrong(written.verdict()) == {"unexpected": 1}


def test_one_that_was_asked_for_before_history_reaches_is_not_judged() -> None:
    written = good()
    written.cuts[0] = T0
    written.asked(AGAIN, T0 - 5500, definition("a"))
    written.fires[-1].headers.append(("ce_time", to_text(T0 - 5500).encode()))
    verdict = written.verdict(after=T0 - 6000)
    assert (verdict.unjudged, wrong(verdict)) == (1, {})
    assert written.verdict().unjudged == 0
    written.cuts[0] = -1
    assert wrong(written.verdict(after=T0 - 6000)) == {"unexpected": 1}


def test_one_of_another_window_is_left_out() -> None:
    written = asked()
    written.asked(AGAIN, T0 + 5500, definition("a"))
    verdict = written.verdict(until=T0 + 5000)
    assert (verdict.planned, verdict.committed, wrong(verdict)) == (5, 5, {})


@pytest.mark.parametrize("kind", ["cancelled", "skipped"])
def test_one_that_does_not_go_out_is_a_skip(kind: str) -> None:
    written = asked()
    written.run(kind, AGAIN, by="shards/0", reason="cancelled")
    verdict = written.verdict(standings=standing())
    assert (verdict.skipped, verdict.reasons, wrong(verdict)) == (1, {"cancelled": 1}, {})


def test_one_of_another_value_or_before_its_time_is_found_out() -> None:
    written = asked()
    written.asked(AGAIN, T0 + 5500, definition("b"))
    assert wrong(written.verdict()) == {"unexpected": 1}
    written.fires[-1] = written.fires[-1]._replace(value=definition("a"), timestamp=T0 + 5499)
    assert wrong(written.verdict()) == {"early": 1}


def test_one_ends_once_and_is_tried_again_like_any_other() -> None:
    written = asked()
    written.asked(AGAIN, T0 + 5500, definition("a"))
    written.run("retrying", AGAIN, retryAt=to_text(T0 + 6000))
    written.asked(AGAIN, T0 + 5500, definition("a"), attempt=2)
    assert written.verdict().running == 11
    written.run("succeeded", AGAIN, attempt=2)
    verdict = written.verdict()
    assert (verdict.running, verdict.ended, verdict.retried, wrong(verdict)) == (10, 1, 1, {})
    written.run("succeeded", AGAIN, attempt=2)
    assert wrong(written.verdict()) == {"overended": 1}


def test_an_event_about_a_run_that_cannot_be_read_is_told() -> None:
    written = good()
    written.run("retrying", FIRE)
    assert wrong(written.verdict()) == {"miscounted": 1}


def test_a_ledger_that_is_not_to_be_believed_says_of_nothing_that_it_is_pending() -> None:
    written = good()
    del written.fires[6:]
    standings = standing(position=Position(Cursor(T0 + 6000, "z"), "r", 1))
    assert written.verdict(standings=standings).pending == 4
    for shard in (0, None):
        checker = written.checker()
        checker.distrust(shard)
        tally = checker.tally(T0, T0 + 10_000)
        for record in written.fires:
            tally.fire(record)
        verdict = tally.verdict(standings)
        assert (verdict.pending, verdict.unknown) == (0, 4)


def test_the_byte_of_a_fire_keeps_what_is_told_apart_and_never_runs_over() -> None:
    for byte in range(256):
        for change in (marks.committed, marks.ended, marks.redriven, marks.SKIPPED.__getitem__):
            assert 0 <= change(byte) < 256
        assert marks.settled(marks.ended(byte)) == marks.settled(byte)
        assert marks.settled(marks.redriven(byte)) == marks.settled(byte)
        assert marks.balance(marks.committed(byte)) == marks.balance(byte)
        assert marks.balance(marks.SKIPPED[byte]) == marks.balance(byte)
        assert marks.balance(marks.ended(byte)) == min(7, marks.balance(byte) + 1)
        assert marks.balance(marks.redriven(byte)) == max(-8, marks.balance(byte) - 1)
        assert marks.commits(marks.committed(byte)) == min(3, marks.commits(byte) + 1)
        assert marks.skips(marks.SKIPPED[byte]) == min(3, marks.skips(byte) + 1)
