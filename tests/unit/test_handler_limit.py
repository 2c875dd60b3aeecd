"""How runs end in time: limits, and what is left behind when it blocks."""

from __future__ import annotations

import threading
import time

import pytest
from handler_world import task_of, until

from dispatcher.work.handlers.limit import Aside, Ended, Limit, Overdue, limit_of
from dispatcher.work.handlers.plain import Noop
from dispatcher.work.handling import Cancel


@pytest.mark.parametrize(
    ("job", "own", "seconds"), [(None, None, 60.0), (90.0, None, 90.0), (None, 90.0, 90.0), (5.0, 7.0, 5.0)]
)
def test_the_shorter_limit_counts_and_the_usual_one_only_without_any(
    job: float | None, own: float | None, seconds: float
) -> None:
    assert limit_of(task_of(Noop(), None, seconds=job), own, 60.0).seconds == seconds


def test_what_is_done_aside_comes_back_or_raises() -> None:
    assert Aside(lambda: 7).get(Limit(10, Cancel())) == 7
    with pytest.raises(ZeroDivisionError):
        Aside(lambda: 1 / 0).get(Limit(10, Cancel()))


def test_nothing_is_begun_when_the_run_has_ended_already() -> None:
    begun = threading.Event()
    cancel = Cancel()
    cancel.set("why")
    with pytest.raises(Ended, match="why"):
        Aside(begun.set).get(Limit(10, cancel))
    with pytest.raises(Overdue):
        Aside(begun.set).get(Limit(0, Cancel()))
    assert not begun.is_set()


def test_what_comes_too_late_is_dropped() -> None:
    released = threading.Event()
    dropped: list[int] = []

    def slow() -> int:
        released.wait(30)
        return 7

    since = time.monotonic()
    with pytest.raises(Overdue):
        Aside(slow, dropped.append).get(Limit(0.1, Cancel()))
    assert time.monotonic() - since < 5
    released.set()
    until(lambda: dropped == [7])


def test_what_comes_in_time_is_not_dropped() -> None:
    dropped: list[int] = []
    assert Aside(lambda: 7, dropped.append).get(Limit(10, Cancel())) == 7
    assert dropped == []
