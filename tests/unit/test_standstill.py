"""When threads count as standing still, and when Kafka's absence excuses that."""

from __future__ import annotations

import threading

from dispatcher.service import Deadline, Loop, Motion
from dispatcher.standstill import Spared, standstills

LONG = ("pool has not moved for 61 s",)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_thread_stands_still_by_what_it_last_said() -> None:
    time = Time()
    motion = Motion(time)
    assert motion.still() == 0  # nothing begun
    motion.moved()
    time.now += 3
    assert motion.still() == 3
    motion.rests(10)
    time.now += 9
    assert motion.still() == 0
    time.now += 3
    assert motion.still() == 2  # overslept
    motion.rests(None)
    time.now += 1e9
    assert motion.still() == 0


def test_who_is_beyond_the_limit_is_named() -> None:
    time = Time()
    motions = {"shard 0": Motion(time), "shard 1": Motion(time)}
    for motion in motions.values():
        motion.moved()
    time.now += 120
    assert standstills(motions) == ()
    motions["shard 0"].moved()
    time.now += 1
    assert standstills(motions) == ("shard 1 has not moved for 121 s",)
    assert standstills(motions, 200) == ()


def test_a_loop_moves_with_each_step_and_rests_between() -> None:
    hangs, goes_on = threading.Event(), threading.Event()
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            hangs.set()
            goes_on.wait(20)

    loop = Loop("test", step, failed=lambda *_: None)
    assert loop.motion.still() == 0
    loop.start()
    pause = threading.Event()
    while steps == 0 or loop.motion.still() > 0:
        pause.wait(0.001)
    pause.wait(0.05)
    assert loop.motion.still() == 0  # it waits for a wake
    loop.waiter.wake()
    assert hangs.wait(10)
    before = loop.motion.still()
    pause.wait(0.05)
    assert loop.motion.still() > before
    goes_on.set()
    loop.stop()
    assert loop.join(Deadline(10))
    assert loop.motion.still() == 0


def test_a_closing_that_takes_long_is_no_standstill() -> None:
    closing, may_end = threading.Event(), threading.Event()

    def close() -> None:
        closing.set()
        may_end.wait(20)

    loop = Loop("test", lambda: None, close=close, failed=lambda *_: None)
    loop.start()
    loop.stop()
    assert closing.wait(10)
    threading.Event().wait(0.01)
    assert loop.motion.still() == 0
    may_end.set()
    assert loop.join(Deadline(10))


class Answers:
    def __init__(self) -> None:
        self.yes = True
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.yes


def test_a_standstill_counts_once_who_could_end_it_answered_for_the_limit() -> None:
    time, answers = Time(), Answers()
    spared = Spared(answers, limit=60, seconds=time)
    assert spared.judge(()) == ()
    assert answers.asked == 0
    assert spared.judge(LONG) == ()
    time.now += 59
    assert spared.judge(LONG) == ()
    time.now += 1
    assert spared.judge(LONG) == LONG


def test_an_absence_excuses_a_standstill_and_its_end_gives_it_time() -> None:
    time, answers = Time(), Answers()
    answers.yes = False
    spared = Spared(answers, limit=60, seconds=time)
    for _ in range(100):
        time.now += 5
        assert spared.judge(LONG) == ()
    answers.yes = True
    time.now += 5
    assert spared.judge(LONG) == ()
    time.now += 55
    assert spared.judge(LONG) == ()
    answers.yes = False  # away once more
    time.now += 5
    assert spared.judge(LONG) == ()
    answers.yes = True
    time.now += 59
    assert spared.judge(LONG) == ()
    time.now += 60
    assert spared.judge(LONG) == LONG


def test_it_is_asked_now_and_then_and_begins_anew_after_a_move() -> None:
    time, answers = Time(), Answers()
    spared = Spared(answers, limit=60, seconds=time)
    for _ in range(10):
        spared.judge(LONG)
        time.now += 1
    assert answers.asked == 2
    spared.judge(())
    time.now += 100
    assert spared.judge(LONG) == ()
