"""Bad luck with the file: what is in force stays, it is told once, and the next good content takes force."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from feed_world import Sink, feeding, revision_of, schedule
from test_watcher import config_map

from dispatcher.errors import InvalidSchedule, ScheduleUnreadable

GOOD = schedule("good")
BETTER = schedule("good", "better")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "schedule.json"
    path.write_text(GOOD)
    return path


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_the_first_content_is_brought_unwitnessed_and_later_ones_witnessed(path: Path, sink: Sink) -> None:
    with feeding(path, sink):
        sink.until(lambda: sink.in_force(GOOD))
        first = sink.changes[-1].seen
        path.write_text(BETTER)
        sink.until(lambda: sink.in_force(BETTER))
        path.write_text(GOOD)
        sink.until(lambda: sink.in_force(GOOD))
    assert [change.witnessed for change in sink.changes] == [False, False, True, True, True, True]
    assert sink.changes[-1].seen > sink.changes[2].seen > first


def test_a_file_in_force_already_is_not_brought(path: Path, sink: Sink) -> None:
    with feeding(path, sink):
        sink.until(lambda: sink.in_force(GOOD))
    count = len(sink.changes)
    with feeding(path, sink) as feed:
        sink.quiet(0.2)
        feed.recheck()
        sink.quiet(0.15)
        assert feed.error is None
    assert len(sink.changes) == count


def test_what_is_held_is_brought_again_only_when_asked_and_as_first_seen(path: Path, sink: Sink) -> None:
    sink.hold = True
    with feeding(path, sink, poll=0.05) as feed:
        sink.until(lambda: len(sink.changes) == 2)
        sink.quiet(0.2)
        path.touch()
        sink.quiet(0.15)
        feed.recheck()
        sink.until(lambda: len(sink.changes) == 4)
    assert len({change.seen for change in sink.changes}) == 1
    assert not any(change.witnessed for change in sink.changes)


def test_what_is_held_is_not_brought_again_because_the_file_was_away(path: Path, sink: Sink) -> None:
    sink.hold = True
    with feeding(path, sink, poll=0.05):
        sink.until(lambda: len(sink.changes) == 2)
        path.unlink()
        sink.until(lambda: len(sink.refusals) == 1)
        path.write_text(GOOD)
        sink.until(lambda: len(sink.looks) == 2)
        sink.quiet(0.15)
    assert len(sink.changes) == 2


def test_a_content_that_goes_while_it_is_compared_is_not_brought(path: Path, sink: Sink) -> None:
    with feeding(path, sink) as feed:
        sink.until(lambda: sink.in_force(GOOD))
        while (spare := feed._comparer._spare) is None:
            assert feed.error is None
        os.kill(spare.pid, signal.SIGSTOP)
        path.write_text(BETTER)
        sink.quiet(0.5)
        later = time.time() * 1000
        path.write_text(schedule("last"))
        os.kill(spare.pid, signal.SIGCONT)
        sink.until(lambda: sink.in_force(schedule("last")))
    assert all(change.seen >= later - 1 for change in sink.changes[2:])
    assert len(sink.changes) == 4


def test_a_shard_that_becomes_ready_later_gets_its_part(path: Path, sink: Sink) -> None:
    sink.ready = set()
    with feeding(path, sink) as feed:
        sink.quiet(0.15)
        for shard in (0, 1):
            sink.ready.add(shard)
            feed.recheck()
            sink.until(lambda: sink.in_force(GOOD))
    assert [change.shard for change in sink.changes] == [0, 1]


def test_a_shard_that_becomes_ready_unannounced_gets_its_part_with_the_next_poll(
    path: Path, sink: Sink
) -> None:
    sink.ready = set()
    with feeding(path, sink, poll=0.05):
        sink.until(lambda: () in sink.looks)
        sink.ready = {0, 1}
        sink.until(lambda: sink.in_force(path.read_text()))


def test_shards_learn_that_the_file_was_looked_at_whatever_came_of_it(path: Path, sink: Sink) -> None:
    with feeding(path, sink) as feed:
        sink.until(lambda: sink.looks == [(0, 1)])
        assert sink.in_force(GOOD)
        feed.recheck()
        sink.until(lambda: sink.looks == [(0, 1)] * 2)
        path.write_text("{")
        sink.until(lambda: len(sink.refusals) == 1)
        feed.recheck()
        sink.until(lambda: sink.looks == [(0, 1)] * 3)
    assert len(sink.refusals) == 1


def test_a_missing_file_is_told_again_when_the_first_shard_is_ready(path: Path, sink: Sink) -> None:
    path.unlink()
    sink.ready = set()
    with feeding(path, sink) as feed:
        sink.until(lambda: len(sink.refusals) == 1)
        feed.recheck()
        sink.quiet(0.15)
        sink.ready = {1}
        feed.recheck()
        sink.until(lambda: len(sink.refusals) == 2)
        sink.ready = {0, 1}
        feed.recheck()
        sink.until(lambda: sink.looks[-1:] == [(0, 1)])
    assert len(sink.refusals) == 2


def test_a_half_written_file_changes_nothing_and_the_whole_one_takes_force(path: Path, sink: Sink) -> None:
    with feeding(path, sink):
        sink.until(lambda: sink.in_force(GOOD))
        with path.open("w") as file:
            file.write(BETTER[:40])
            file.flush()
            sink.until(lambda: len(sink.refusals) == 1)
            assert sink.in_force(GOOD)
            file.write(BETTER[40:])
        sink.until(lambda: sink.in_force(BETTER))
    assert sink.refusals[0][0] == revision_of(BETTER[:40])


def test_a_file_written_in_many_small_pieces_is_never_told_broken(path: Path, sink: Sink) -> None:
    text = schedule(*(f"job-{n}" for n in range(100)))
    pause = Sink()
    with feeding(path, sink):
        sink.until(lambda: sink.in_force(GOOD))
        with path.open("w") as file:
            for start in range(0, len(text), 400):
                file.write(text[start : start + 400])
                file.flush()
                pause.quiet(0.02)
        sink.until(lambda: sink.in_force(text))
    assert not sink.refusals
    assert len(sink.changes) == 4


def test_an_invalid_file_is_told_once_and_the_good_one_stays(path: Path, sink: Sink) -> None:
    bad = GOOD.replace("1s", "0s")
    with feeding(path, sink, poll=0.05) as feed:
        sink.until(lambda: sink.in_force(GOOD))
        path.write_text(bad)
        sink.until(lambda: len(sink.refusals) == 1)
        assert isinstance(feed.error, InvalidSchedule)
        path.touch()
        feed.recheck()
        sink.quiet(0.25)
        assert sink.in_force(GOOD)
        path.write_text(GOOD)
        path.with_suffix(".other").write_text(BETTER)
        path.with_suffix(".other").rename(path)
        sink.until(lambda: sink.in_force(BETTER))
        assert feed.error is None
    (revision, told) = sink.refusals[0]
    assert revision == revision_of(bad)
    assert told.startswith(f'{path}:5:13: job "good": `every` "0s"')


def test_going_back_to_what_is_in_force_ends_the_error(path: Path, sink: Sink) -> None:
    with feeding(path, sink, poll=0.05) as feed:
        sink.until(lambda: sink.in_force(GOOD))
        path.write_text("{")
        sink.until(lambda: len(sink.refusals) == 1)
        path.write_text(GOOD)
        deadline = time.monotonic() + 10
        while feed.error is not None:
            assert time.monotonic() < deadline
        sink.quiet(0.2)
        path.write_text("{")
        sink.until(lambda: len(sink.refusals) == 2)


def nothing(path: Path) -> None:
    """Leave the place empty."""


def a_directory(path: Path) -> None:
    path.mkdir()


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "vanished": (nothing, "does not exist"),
    "directory": (a_directory, "is a directory"),
    "FIFO": (os.mkfifo, "is a FIFO"),
    "dangling": (lambda path: path.symlink_to("gone"), "is a link to gone, which does not exist"),
    "looping": (a_loop, "leads back to itself"),
    "too large": (lambda path: path.write_bytes(b" " * 1_000_001), "more than the 1000000 allowed"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_file_that_becomes_something_else_and_comes_back(kind: str, path: Path, sink: Sink) -> None:
    make, reason = NO_FILES[kind]
    with feeding(path, sink, poll=0.1) as feed:
        sink.until(lambda: sink.in_force(GOOD))
        path.unlink()
        make(path)
        sink.until(lambda: len(sink.refusals) == 1)
        assert isinstance(feed.error, ScheduleUnreadable)
        sink.quiet(0.15)
        assert sink.in_force(GOOD)
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_text(GOOD)
        sink.quiet(0.15)
        path.write_text(BETTER)
        sink.until(lambda: sink.in_force(BETTER))
        assert feed.error is None
    ((revision, told),) = sink.refusals
    assert revision == ""
    assert reason in told


def test_a_file_that_is_not_there_at_the_start_is_told_and_awaited(path: Path, sink: Sink) -> None:
    path.unlink()
    with feeding(path, sink):
        sink.until(lambda: len(sink.refusals) == 1)
        path.write_text(GOOD)
        sink.until(lambda: sink.in_force(GOOD))
    assert not any(change.witnessed for change in sink.changes)


def test_a_config_map_swap_takes_force_and_so_does_the_next(tmp_path: Path, sink: Sink) -> None:
    path = config_map(tmp_path / "map", "..1", GOOD)
    with feeding(path, sink):
        sink.until(lambda: sink.in_force(GOOD))
        for version, text in (("..2", BETTER), ("..3", GOOD), ("..4", schedule("last"))):
            config_map(tmp_path / "map", version, text)
            sink.until(lambda text=text: sink.in_force(text))  # type: ignore[misc]
    assert not sink.refusals


def test_an_edit_of_the_same_size_and_time_is_found(path: Path, sink: Sink) -> None:
    other = GOOD.replace("good", "hood")
    with feeding(path, sink):
        sink.until(lambda: sink.in_force(GOOD))
        facts = path.stat()
        path.write_text(other)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
        sink.until(lambda: sink.in_force(other))


def test_without_events_the_poll_finds_the_change(
    path: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.feed.watcher.Watcher.refresh", lambda _: None)
    with feeding(path, sink, poll=0.1):
        sink.until(lambda: sink.in_force(GOOD))
        path.write_text(BETTER)
        sink.until(lambda: sink.in_force(BETTER))


def test_a_reload_storm_ends_with_the_last_valid_content(path: Path, sink: Sink) -> None:
    pause = Sink()
    with feeding(path, sink):
        for n in range(150):
            beside = path.with_suffix(".tmp")
            beside.write_text(schedule(f"storm-{n}") if n % 3 else schedule("x")[:-n])
            beside.rename(path)
            pause.quiet(0.01)
        path.write_text(GOOD)
        sink.until(lambda: sink.in_force(GOOD))
        sink.quiet(0.15)
    assert sink.names == {"good"}


def test_a_child_that_dies_is_told_and_the_comparison_tried_again(path: Path, sink: Sink) -> None:
    with feeding(path, sink, limit=2.5) as feed:
        sink.until(lambda: sink.in_force(GOOD))
        while (spare := feed._comparer._spare) is None:
            assert feed.error is None
        os.kill(spare.pid, signal.SIGSTOP)
        path.write_text(BETTER)
        sink.until(lambda: len(sink.refusals) == 1)
        assert "took longer than 2.5 s" in sink.refusals[0][1]
        assert sink.in_force(GOOD)
        feed.recheck()
        sink.until(lambda: sink.in_force(BETTER))
        assert feed.error is None


def test_stopping_ends_a_comparison_under_way_at_once_and_tells_nobody(path: Path, sink: Sink) -> None:
    with feeding(path, sink) as feed:
        sink.until(lambda: sink.in_force(GOOD))
        while (spare := feed._comparer._spare) is None:
            assert feed.error is None
        os.kill(spare.pid, signal.SIGSTOP)
        path.write_text(BETTER)
        sink.quiet(0.2)
    assert not sink.refusals
