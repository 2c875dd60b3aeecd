"""Who asks the feed for a look at the file learns when it was had, and what came of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from feed_world import WAIT, Sink, feeding, revision_of, schedule

from dispatcher.errors import InvalidSchedule, ScheduleUnreadable
from dispatcher.feed.feed import Feed


def answered(feed: Feed, number: int) -> bool:
    end = time.monotonic() + WAIT
    pause = threading.Event()
    while feed.answered < number and time.monotonic() < end:
        pause.wait(0.01)
    return feed.answered >= number


def test_a_look_is_answered_with_what_it_found(tmp_path: Path) -> None:
    path, sink = tmp_path / "s.json", Sink()
    path.write_text(schedule("a"))
    with feeding(path, sink) as feed:
        sink.until(lambda: sink.in_force(schedule("a")))
        assert answered(feed, feed.recheck())  # nothing new
        assert (feed.error, feed.revision) == (None, revision_of(schedule("a")))

        path.write_text(schedule("b"))
        assert answered(feed, feed.recheck())
        assert (feed.error, feed.revision) == (None, revision_of(schedule("b")))
        assert sink.in_force(schedule("b"))

        path.write_text("{")
        assert answered(feed, feed.recheck())
        assert isinstance(feed.error, InvalidSchedule)
        assert answered(feed, feed.recheck())  # refused before, and told again that it is
        assert isinstance(feed.error, InvalidSchedule)

        path.unlink()
        assert answered(feed, feed.recheck())
        assert isinstance(feed.error, ScheduleUnreadable)


def test_who_stands_by_is_answered_too(tmp_path: Path) -> None:
    path, sink = tmp_path / "s.json", Sink()
    sink.ready = set()
    path.write_text(schedule("a"))
    with feeding(path, sink) as feed:
        assert answered(feed, feed.recheck())
        assert feed.error is None


def test_many_who_ask_at_once_are_all_answered(tmp_path: Path) -> None:
    path, sink = tmp_path / "s.json", Sink()
    path.write_text(schedule("a"))
    with feeding(path, sink) as feed:
        numbers: list[int] = []
        asking = [
            threading.Thread(target=lambda: numbers.extend(feed.recheck() for _ in range(50)))
            for _ in range(4)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert len(set(numbers)) == 200
        assert answered(feed, max(numbers))
