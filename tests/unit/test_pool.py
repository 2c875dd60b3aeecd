from __future__ import annotations

from itertools import count

import pytest
from broker.tools import eventually
from pool_world import NORMAL, TOPICS, Doubt, PoolWorld, fire, id_of

from dispatcher.core.instant import to_text
from dispatcher.core.job import Lane
from dispatcher.core.outcome import Failed, Succeeded
from dispatcher.core.run import Delivery
from dispatcher.core.settling import MOST_BEGUN
from dispatcher.errors import KafkaUnreachable
from dispatcher.work.desk import Times
from dispatcher.work.pool import Habits

SECONDS = 10.0


def begun(world: PoolWorld, *names: str) -> bool:
    return [task.fire for task in world.scripted.begun] == [id_of(name) for name in names]


def test_a_run_leaves_one_event_and_moves_the_offset_past_it() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 3))
        eventually(lambda: begun(world, "a"))
        world.scripted.end(id_of("a"), Succeeded({"n": 1}))
        eventually(lambda: world.log.kinds(id_of("a")) == ["run.succeeded"])
        eventually(lambda: world.log.offset(NORMAL) == 4)
    assert world.log.closed
    assert world.handlers.closed


def test_instant_handlers_need_no_seat() -> None:
    with PoolWorld(seats=1) as world:
        world.log.assign(NORMAL)
        world.log.deliver(
            fire("slow", 0), *(fire(f"n{number}", number, job="noop") for number in range(1, 50))
        )
        eventually(lambda: len(world.log.events) == 49)
        assert world.log.offset(NORMAL) == 0
        world.scripted.end(id_of("slow"))
        eventually(lambda: world.log.offset(NORMAL) == 50)


def test_runs_that_end_out_of_order_hold_the_offset_back_but_are_told_at_once() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0), fire("b", 1), fire("c", 2))
        eventually(lambda: len(world.scripted.begun) == 3)
        world.scripted.end(id_of("c"))
        world.scripted.end(id_of("b"))
        eventually(lambda: len(world.log.events) == 2)
        assert world.log.offset(NORMAL) == 0
        world.scripted.end(id_of("a"))
        eventually(lambda: world.log.offset(NORMAL) == 3)


def test_a_failure_is_a_command_and_the_last_one_a_dead_letter() -> None:
    retry = {"attempts": 2}
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0, retry=retry), fire("b", 1, retry=retry, attempt=2))
        eventually(lambda: len(world.scripted.begun) == 2)
        for name in "ab":
            world.scripted.end(id_of(name), Failed("no luck"))
        eventually(lambda: len(world.log.events) == 2)
        assert world.log.kinds(id_of("a")) == ["run.retrying"]
        assert world.log.kinds(id_of("b")) == ["run.dead"]
        assert len(world.log.written(TOPICS.commands)) == len(world.log.written(TOPICS.dead)) == 1


def test_whatever_a_handler_raises_its_worker_lives() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0, job="raising"))
        (data,) = eventually(lambda: world.log.data("run.dead"))
        assert "SystemExit" in data["reason"]
        assert "wants to leave" in data["reason"]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (Delivery(NORMAL[0], 0, 0, 0, None, b"junk", []), "it is no fire"),
        (fire("a", 0, job="unheard-of"), "there is no handler 'unheard-of'"),
        (fire("a", 0, payload=7), "takes no payload"),
    ],
)
def test_what_nobody_can_run_is_dead_once_and_the_partition_goes_on(one: Delivery, why: str) -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(one, fire("b", 1, job="noop"))
        eventually(lambda: world.log.offset(NORMAL) == 2)
        (data,) = world.log.data("run.dead")
        assert why in data["reason"]
        (letter,) = world.log.written(TOPICS.dead)
        assert letter[1] == one.value


def test_what_comes_too_late_is_not_begun() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        past = to_text(world.clock.read().now - 1_000).encode()
        world.log.deliver(fire("a", 0, headers={"not_after": past}))
        eventually(lambda: world.log.kinds(id_of("a")) == ["run.expired"])
        assert world.scripted.begun == []


def test_what_becomes_too_late_while_it_waits_is_not_begun_either() -> None:
    with PoolWorld(seats=1) as world:
        world.log.assign(NORMAL)
        soon = to_text(world.clock.read().now + 60_000).encode()
        world.log.deliver(fire("a", 0), fire("b", 1, headers={"not_after": soon}))
        eventually(lambda: begun(world, "a"))
        world.clock.ahead = 61_000
        world.scripted.end(id_of("a"))
        eventually(lambda: world.log.kinds(id_of("b")) == ["run.expired"])
        assert (world.desk.counting.first_attempts, world.desk.counting.later_attempts) == (1, 0)


def test_a_long_run_is_told_of_as_begun_and_another_life_knows() -> None:
    with PoolWorld(times=Times(told_after=20)) as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0))
        eventually(lambda: world.log.kinds(id_of("a")) == ["run.started"])
        _, offsets = world.log.commits[-1]
        world.scripted.end(id_of("a"))
    with PoolWorld() as other:
        offset, metadata = offsets[NORMAL]
        other.log.assign(NORMAL, start=offset, metadata=metadata)
        other.log.deliver(fire("a", 0))
        eventually(lambda: other.scripted.begun)
        assert (other.scripted.begun[0].attempt, other.scripted.begun[0].redelivered) == (2, True)
        other.scripted.end(id_of("a"))
        (data,) = eventually(lambda: other.log.data("run.succeeded"))
        assert data["redelivered"] is True


@pytest.mark.parametrize(
    ("metadata", "sent", "told"),
    [
        ("", -5_000, "maybe"), ("", 5_000, False), ("~", -5_000, False),
        ("~1", -5_000, False), ("~99999999999999", 5_000, "maybe"),
    ],
)  # fmt: skip
def test_what_a_life_without_a_last_word_may_have_begun_is_told_as_such(
    metadata: str, sent: int, told: object
) -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL, metadata=metadata)
        world.log.deliver(fire("a", 0, job="noop", sent=world.clock.read().now + sent))
        (data,) = eventually(lambda: world.log.data("run.succeeded"))
        assert data["redelivered"] == told


def test_what_is_let_go_of_in_order_says_what_it_had_begun() -> None:
    habits = Habits(flush=5, look=20, revoke=50, revoke_hard=50, stop_seconds=4)
    with PoolWorld(seats=1, habits=habits) as world:
        world.log.assign(NORMAL, metadata="~")
        world.log.deliver(fire("a", 0), fire("b", 1))
        eventually(lambda: begun(world, "a"))
        world.log.revoke(NORMAL)
        eventually(lambda: NORMAL not in world.desk.book)
    offset, notes = world.log.commits[-1][1][NORMAL]
    assert (offset, notes) == (0, "al~")


def test_a_run_outlives_any_number_of_workers_that_stop_but_not_of_those_that_die() -> None:
    attempts: list[int] = []
    notes = (0, "~")
    for life in range(2 * MOST_BEGUN + 3):
        habits = Habits(flush=5, look=20, stop_seconds=2.2)
        with PoolWorld(times=Times(told_after=20), habits=habits) as world:
            world.log.assign(NORMAL, start=notes[0], metadata=notes[1])
            world.log.deliver(fire("a", 0))
            told = eventually(lambda world=world: world.log.kinds(id_of("a")))  # type: ignore[misc]
            if told != ["run.started"]:
                break
            (task,) = world.scripted.begun
            assert task.redelivered is (life > 0)
            attempts.append(task.attempt)
            noted = world.log.commits[-1][1][NORMAL]
        stopped = life < MOST_BEGUN + 2
        notes = world.log.commits[-1][1][NORMAL] if stopped else noted
    assert attempts == [*[1] * (MOST_BEGUN + 3), *range(2, MOST_BEGUN + 1)]
    assert world.log.events == [("run.dead", id_of("a"), 1 + MOST_BEGUN)]
    assert "its worker died while it ran, 5 times" in world.log.data("run.dead")[0]["reason"]


def test_what_the_life_before_the_last_may_have_begun_stays_in_doubt() -> None:
    with PoolWorld() as world:
        sent = world.clock.read().now - 5_000
        world.log.assign(NORMAL)  # by notes of one that was killed
        eventually(lambda: NORMAL in world.desk.book)
        world.log.revoke(NORMAL)
        eventually(lambda: NORMAL not in world.desk.book)
    offset, notes = world.log.commits[-1][1][NORMAL]
    with PoolWorld() as other:
        other.log.assign(NORMAL, start=offset, metadata=notes)
        other.log.deliver(fire("a", 0, job="noop", sent=sent))
        (data,) = eventually(lambda: other.log.data("run.succeeded"))
        assert data["redelivered"] == "maybe"


def test_notes_that_were_closed_are_opened_before_anything_is_begun() -> None:
    with PoolWorld() as world:
        world.log.fail = [False, False]
        world.log.assign(NORMAL, start=4, metadata="~")
        eventually(lambda: NORMAL in world.log.on_hold)
        eventually(lambda: NORMAL not in world.log.on_hold)
        assert world.log.commits[0][1] == {NORMAL: (4, "")}


# Too long, cancelled, stuck.


def test_a_run_that_takes_too_long_is_told_to_end_and_has_failed() -> None:
    with PoolWorld(times=Times(leeway=0)) as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0, timeoutSeconds=0.05))
        (data,) = eventually(lambda: world.log.data("run.dead"))
        assert "it took longer than its 0.05 s" in data["reason"]


def test_a_handler_that_does_not_end_loses_its_seat_and_the_others_go_on() -> None:
    with PoolWorld(seats=1, times=Times(leeway=0, grace=50)) as world:
        world.scripted.obedient = False
        world.log.assign(NORMAL)
        world.log.deliver(fire("stuck", 0, timeoutSeconds=0.05), fire("b", 1))
        (data,) = eventually(lambda: world.log.data("run.dead"))
        assert "did not end when it was told to" in data["reason"]
        eventually(lambda: begun(world, "stuck", "b"))
        world.scripted.end(id_of("b"))
        eventually(lambda: world.log.offset(NORMAL) == 2)
        world.scripted.end(id_of("stuck"))
        world.log.deliver(fire("c", 2))
        eventually(lambda: begun(world, "stuck", "b", "c"))
        world.scripted.end(id_of("c"))
        eventually(lambda: world.log.offset(NORMAL) == 3)
        assert world.log.kinds(id_of("stuck")) == ["run.dead"]


def test_seats_that_went_although_they_are_wanted_are_replaced() -> None:
    with PoolWorld(seats=1) as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0, job="raising"))
        eventually(lambda: world.log.kinds(id_of("a")))
        world.room.resize(1, surplus=1)  # as if one that is going had been counted as there
        world.log.deliver(fire("b", 1))
        eventually(lambda: begun(world, "b"))
        world.scripted.end(id_of("b"))


def test_a_running_fire_is_cancelled() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0))
        eventually(lambda: begun(world, "a"))
        world.pool.cancel(id_of("a"), 10)
        eventually(lambda: world.log.kinds(id_of("a")) == ["run.cancelled"])
        eventually(lambda: world.log.offset(NORMAL) == 1)


def test_a_waiting_fire_is_cancelled_and_never_begun() -> None:
    with PoolWorld(seats=1) as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0), fire("b", 1))
        eventually(lambda: begun(world, "a"))
        world.pool.cancel(id_of("b"), 10)
        eventually(lambda: world.log.kinds(id_of("b")) == ["run.cancelled"])
        world.scripted.end(id_of("a"))
        eventually(lambda: world.log.offset(NORMAL) == 2)
    assert begun(world, "a")


def test_a_fire_cancelled_before_it_came_is_not_begun_but_what_is_sent_later_is() -> None:
    with PoolWorld() as world:
        world.pool.cancel(id_of("a"), 100)
        world.log.assign(NORMAL)
        world.log.deliver(fire("b", 0, job="noop"))
        eventually(lambda: world.log.kinds(id_of("b")))
        world.log.deliver(fire("a", 1, sent=99), fire("a", 2, sent=101, attempt=2))
        eventually(lambda: begun(world, "a"))
        world.scripted.end(id_of("a"))
        eventually(lambda: world.log.offset(NORMAL) == 3)
        assert world.log.kinds(id_of("a")) == ["run.cancelled", "run.succeeded"]


# One at a time.


def test_queued_runs_of_a_job_follow_one_another() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(*(fire("a", number, attempt=number + 1, overlap="queue") for number in range(3)))
        for number in range(3):
            eventually(lambda number=number: len(world.scripted.begun) == number + 1)  # type: ignore[misc]
            assert world.scripted.begun[-1].attempt == number + 1
            world.scripted.end(id_of("a"))
        eventually(lambda: world.log.offset(NORMAL) == 3)


@pytest.mark.parametrize("overlap", ["allow", "queue", "forbid"])
@pytest.mark.parametrize(
    ("notes", "sent", "counted"),
    [
        ("aA~", 5_000, 1), ("al~", 5_000, 1), ("ah~", 5_000, 0), ("~", -5_000, 0),
        ("", -5_000, 1), ("ah", -5_000, 1), ("", 5_000, 0),
    ],
)  # fmt: skip
def test_a_run_that_may_meet_an_earlier_life_of_its_own_is_counted(
    overlap: str, notes: str, sent: int, counted: int
) -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL, metadata=notes)
        world.log.deliver(fire("a", 0, overlap=overlap, sent=world.clock.read().now + sent))
        eventually(lambda: begun(world, "a"))
        assert world.desk.counting.unfenced == (0 if overlap == "allow" else counted)
        world.scripted.end(id_of("a"))
    assert world.pool.figures.unfenced == world.desk.counting.unfenced


def test_a_run_that_may_meet_one_whose_handler_does_not_end_is_counted_until_that_has() -> None:
    def next_one(name: str, offset: int) -> Delivery:
        return fire(name, offset, headers={"ce_subject": b"a"}, overlap="queue")

    with PoolWorld(times=Times(leeway=0, grace=50)) as world:
        world.scripted.obedient = False
        world.log.assign(NORMAL, metadata="~")
        world.log.deliver(fire("a", 0, overlap="queue", timeoutSeconds=0.05), next_one("b", 1))
        eventually(lambda: begun(world, "a", "b"))
        assert world.desk.counting.unfenced == 1
        world.scripted.end(id_of("b"))
        world.scripted.end(id_of("a"))
        eventually(lambda: world.desk._gate._astray == {})
        world.log.deliver(next_one("c", 2))
        eventually(lambda: begun(world, "a", "b", "c"))
        assert world.desk.counting.unfenced == 1
        world.scripted.end(id_of("c"))


def test_a_run_that_may_meet_what_was_left_running_when_its_partition_went_is_counted() -> None:
    habits = Habits(flush=5, look=20, revoke=20, revoke_hard=20, stop_seconds=4)
    with PoolWorld(habits=habits) as world:
        world.scripted.obedient = False
        world.log.assign(NORMAL, metadata="~")
        world.log.deliver(fire("a", 0, overlap="forbid"))
        eventually(lambda: begun(world, "a"))
        world.log.revoke(NORMAL)
        eventually(lambda: NORMAL not in world.desk.book)
        assert world.log.commits[-1][1][NORMAL] == (0, "al~")
        world.log.assign(NORMAL, metadata="al~")
        world.log.deliver(fire("a", 0, overlap="forbid"))
        eventually(lambda: begun(world, "a", "a"))
        assert world.desk.counting.unfenced == 1
        world.scripted.obedient = True
        world.scripted.end(id_of("a"))


def test_a_forbidden_second_run_is_skipped_and_says_whose_fault_that_is() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(*(fire("a", number, attempt=number + 1, overlap="forbid") for number in range(2)))
        (data,) = eventually(lambda: world.log.data("run.skipped"))
        assert id_of("a") in data["reason"]
        world.scripted.end(id_of("a"))
        eventually(lambda: world.log.offset(NORMAL) == 2)
        world.log.deliver(fire("a", 2, attempt=3, overlap="forbid"))
        eventually(lambda: len(world.scripted.begun) == 2)
        world.scripted.end(id_of("a"))


# Transactions that fail.


def test_what_was_not_committed_is_written_again_as_it_was() -> None:
    with PoolWorld() as world:
        world.log.fail = [False, KafkaUnreachable("nobody answers"), False]
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0, job="noop"))
        eventually(lambda: world.log.offset(NORMAL) == 1)
        assert world.log.kinds(id_of("a")) == ["run.succeeded"]


def test_what_was_committed_although_nobody_knew_is_not_told_twice() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0, job="noop"))
        eventually(lambda: world.log.offset(NORMAL) == 1)
        world.log.mute, world.log.fail = 2, [Doubt("who knows")]
        world.log.deliver(fire("b", 1, job="noop"))
        eventually(lambda: world.log.offset(NORMAL) == 2)
        world.log.deliver(fire("c", 2, job="noop"))
        eventually(lambda: world.log.offset(NORMAL) == 3)
    for name in "abc":
        assert world.log.kinds(id_of(name)) == ["run.succeeded"]


def test_a_transaction_that_failed_is_not_tried_again_for_each_delivery() -> None:
    with PoolWorld(habits=Habits(flush=5, look=20, most=10, stop_seconds=2)) as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("first", 0, job="noop"))
        eventually(lambda: world.log.offset(NORMAL) == 1)
        world.log.fail = [KafkaUnreachable("nobody answers") for _ in range(20)]
        world.log.deliver(*(fire("n", number, job="noop") for number in range(1, 60)))
        eventually(lambda: world.desk.book.size >= 59)
        assert len(world.log.fail) >= 18
        world.log.fail = []
        eventually(lambda: world.log.offset(NORMAL) == 60)


def test_names_of_handlers_in_messages_are_not_counted_one_by_one() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(*(fire("n", number, job=f"unheard-of-{number}") for number in range(20)))
        eventually(lambda: world.log.offset(NORMAL) == 20)
        assert set(world.desk.counting.ends().handler_runs) == {""}


def test_nothing_more_is_delivered_while_too_much_waits_to_be_written() -> None:
    with PoolWorld(habits=Habits(flush=5, look=20, most=10, stop_seconds=2)) as world:
        world.log.fail = [False] * 5
        world.log.assign(NORMAL)
        world.log.deliver(*(fire("n", number, job="noop") for number in range(30)))
        eventually(lambda: world.log.offset(NORMAL) == 30)
        assert len(world.log.events) == 30


# Partitions come and go.


def test_runs_of_a_revoked_partition_may_end_and_are_committed_before_it_goes() -> None:
    with PoolWorld() as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0))
        eventually(lambda: begun(world, "a"))
        world.log.revoke(NORMAL)
        world.scripted.end(id_of("a"))
        eventually(lambda: world.log.offset(NORMAL) == 1)
        eventually(lambda: NORMAL not in world.desk.book)


def test_runs_that_do_not_end_in_time_are_run_again_elsewhere_and_not_told_of_here() -> None:
    habits = Habits(flush=5, look=20, revoke=50, revoke_hard=50, stop_seconds=4)
    with PoolWorld(seats=1, habits=habits) as world:
        world.scripted.obedient = False
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0), fire("b", 1))
        eventually(lambda: begun(world, "a"))
        world.log.revoke(NORMAL)
        other = (NORMAL[0], 1)
        world.log.assign(other)
        world.log.deliver(fire("c", 0, partition=1))
        eventually(lambda: begun(world, "a", "c"))  # another seat took the place of the stuck one
        world.scripted.end(id_of("a"))
        world.scripted.end(id_of("c"))
        eventually(lambda: world.log.offset(other) == 1)
        assert world.log.kinds(id_of("a")) == []
        assert world.log.offset(NORMAL) in (None, 0)


def test_of_a_lost_partition_nothing_is_committed() -> None:
    with PoolWorld(habits=Habits(flush=60_000, look=20, stop_seconds=2)) as world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0, job="noop"))
        eventually(lambda: world.desk.book.size == 1)
        world.log.revoke(NORMAL, lost=True)
        eventually(lambda: NORMAL not in world.desk.book)
    assert world.log.events == []


def test_deliveries_of_partitions_that_are_not_ours_are_left() -> None:
    with PoolWorld() as world:
        world.log.deliver(fire("a", 0, job="noop"))
        world.log.assign(NORMAL)
        world.log.deliver(fire("b", 1, job="noop"))
        eventually(lambda: world.log.kinds(id_of("b")))
        assert world.log.kinds(id_of("a")) == []


def test_a_full_lane_waits_and_the_others_do_not() -> None:
    low = (TOPICS.lane(Lane.LOW), 0)
    with PoolWorld(seats=1) as world:
        world.log.assign(NORMAL, low)
        offsets = count()
        world.log.deliver(*(fire(f"l{number}", next(offsets), lane=Lane.LOW) for number in range(250)))
        eventually(lambda: low in world.log.on_hold)
        assert NORMAL not in world.log.on_hold
        for number in range(250):
            world.scripted.end(id_of(f"l{number}"))
        eventually(lambda: low not in world.log.on_hold, 30)
        eventually(lambda: world.log.offset(low) == 250)


# The end.


def test_a_stop_lets_runs_end_and_hands_back_what_has_not_begun() -> None:
    world = PoolWorld(seats=1)
    with world:
        world.log.assign(NORMAL)
        world.log.deliver(fire("a", 0), fire("b", 1))
        eventually(lambda: begun(world, "a"))
        world.pool.stop()
        eventually(lambda: NORMAL in world.log.on_hold)
        world.scripted.end(id_of("a"))
    assert world.log.kinds(id_of("a")) == ["run.succeeded"]
    assert world.log.offset(NORMAL) == 1
    assert begun(world, "a")


def test_a_run_that_outlasts_the_stop_is_told_to_end_and_handed_back() -> None:
    world = PoolWorld(habits=Habits(flush=5, look=20, stop_seconds=2.2))
    with world:
        world.log.assign(NORMAL, metadata="~")
        world.log.deliver(fire("a", 0))
        eventually(lambda: begun(world, "a"))
    assert world.scripted.begun[0].cancel.reason == "the worker stops"
    assert world.log.commits[-1][1][NORMAL] == (0, "ah~")  # another life is to know that it was begun
    assert [kind for kind in world.log.kinds(id_of("a")) if kind != "run.started"] == []
    assert world.log.offset(NORMAL) in (None, 0)
