"""How long a content must stay before it counts, by a clock the test moves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from feed_world import SHARDS, Sink, revision_of, schedule

from dispatcher.clock import Reading
from dispatcher.feed import file
from dispatcher.feed.feed import COMPLAIN_MS, SETTLE_MS, Feed
from dispatcher.feed.sight import FULL_LOOK_MS
from dispatcher.feed.watcher import Watcher
from dispatcher.service import Deadline

GOOD = schedule("good")
BETTER = schedule("good", "better")


class StandingClock:
    """Shows the same time until it is moved."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 1_000_000

    def read(self) -> Reading:
        with self._lock:
            return Reading(self._now, self._now - 1_000_000)

    def move(self, milliseconds: int) -> None:
        with self._lock:
            self._now += milliseconds


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "schedule.json"
    path.write_text(GOOD)
    return path


@contextmanager
def feeding(path: Path, sink: Sink, clock: StandingClock) -> Iterator[Feed]:
    ends: list[BaseException] = []
    feed = Feed(str(path), sink, clock, shards=SHARDS, failed=lambda _, error: ends.append(error), poll=0.02)
    feed.start()
    try:
        yield feed
    finally:
        feed.stop()
        assert feed.join(Deadline(10))
        assert not ends


def test_a_content_counts_when_it_was_read_twice_this_far_apart(
    path: Path, sink: Sink, clock: StandingClock
) -> None:
    with feeding(path, sink, clock):
        sink.quiet(0.15)
        clock.move(SETTLE_MS - 1)
        sink.quiet(0.15)
        path.write_text(BETTER)
        sink.quiet(0.15)
        clock.move(1)
        sink.quiet(0.15)
        clock.move(SETTLE_MS - 1)
        sink.quiet(0.15)
        clock.move(1)
        sink.until(lambda: sink.in_force(BETTER))
    assert {change.revision for change in sink.changes} == {revision_of(BETTER)}
    assert {change.seen for change in sink.changes} == {1_000_000 + SETTLE_MS}


@pytest.mark.parametrize("text", ["{", None])
def test_a_fault_is_told_when_it_has_stayed(
    text: str | None, path: Path, sink: Sink, clock: StandingClock
) -> None:
    path.unlink()
    if text is not None:
        path.write_text(text)
    with feeding(path, sink, clock):
        sink.quiet(0.1)
        clock.move(COMPLAIN_MS - 1)
        sink.quiet(0.25)
        clock.move(1)
        sink.until(lambda: len(sink.refusals) == 1)


def test_the_bytes_are_looked_at_each_minute_though_nothing_tells_of_a_change(
    path: Path, sink: Sink, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watcher, "refresh", lambda _: None)
    monkeypatch.setattr(file, "signature_of", lambda _: (1, 1, 1, 1, 1))
    with feeding(path, sink, clock):
        sink.quiet(0.1)
        clock.move(SETTLE_MS)
        sink.until(lambda: sink.in_force(GOOD))
        path.write_text(BETTER)
        clock.move(FULL_LOOK_MS - SETTLE_MS - 1)
        sink.quiet(0.15)
        clock.move(SETTLE_MS + 1)
        sink.quiet(0.15)
        clock.move(SETTLE_MS)
        sink.until(lambda: sink.in_force(BETTER))
