from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.logs import writing
from dispatcher.logs.repeats import MOST, SECONDS, Line, Repeats, Repetitions, key_of


def line(event: str = "transaction.failed", level: str = "error", **values: Any) -> Line:
    return {"event": event, "level": level, **values}


def told(repetitions: Repetitions, *lines: tuple[float, Line]) -> list[Line]:
    """Take lines at their seconds, as the log does; return what is told, in its order."""
    found = []
    for second, one in lines:
        taken, late = repetitions.take(one, second), repetitions.over(second)
        found += [*late, *([] if taken is None else [taken])]
    return found


def test_what_repeats_itself_is_told_a_few_times_a_minute_and_then_with_its_count() -> None:
    lines = [(second / 10, line(error="timed out", failures=second)) for second in range(600)]
    found = told(Repetitions(), *lines, (60.0, line(error="timed out", failures=600)))
    assert [one["failures"] for one in found] == [*range(MOST), 600]
    assert [one.get("repeated") for one in found] == [*[None] * MOST, 600 - MOST]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"shard": 1}, {"shard": 2}),
        ({"fire": "a@2026-11-20T02:00:00Z"}, {"fire": "a@2026-11-20T02:01:00Z"}),
        ({"job": "a1"}, {"job": "a2"}),
        ({"error": "timed out"}, {"error": "refused"}),
        ({"event": "commit.suspect"}, {"event": "transaction.failed"}),
        ({"level": "warning"}, {"level": "error"}),
        ({"of_a_handler": 1}, {"of_a_handler": 2}),
    ],
)
def test_lines_about_different_things_are_no_repetitions(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of({**line(), **one}) != key_of({**line(), **other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"error": "offset 17 of 20"}, {"error": "offset 170 of 3"}),
        ({"failures": 1}, {"failures": 2}),
        ({"timestamp": "2026-11-20T02:00:00Z"}, {"timestamp": "2026-11-20T02:00:01Z"}),
    ],
)
def test_lines_that_differ_in_figures_alone_are_repetitions(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert key_of({**line(), **one}) == key_of({**line(), **other})


def test_the_last_one_that_was_kept_back_is_told_once_its_time_is_over() -> None:
    lines = [(float(second), line(failures=second)) for second in range(20)]
    found = told(Repetitions(), *lines, (SECONDS, line("health.back", "info")))
    assert [(one["event"], one.get("failures"), one.get("repeated")) for one in found[MOST:]] == [
        ("transaction.failed", 19, 19 - MOST),
        ("health.back", None, None),
    ]


def test_one_that_was_kept_back_alone_is_told_without_a_count() -> None:
    repetitions = Repetitions(most=1)
    told(repetitions, (0.0, line(failures=1)), (1.0, line(failures=2)))
    assert repetitions.over(SECONDS) == [line(failures=2)]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 3)), max_size=200))
def test_every_line_is_told_or_counted(steps: list[tuple[float, int]]) -> None:
    now, lines = 0.0, []
    for wait, shard in steps:
        now += wait
        lines.append((now, line(shard=shard)))
    repetitions = Repetitions()
    found = [*told(repetitions, *lines), *repetitions.over(float("inf"))]
    for shard in range(4):
        counts = [1 + one.get("repeated", 0) for one in found if one["shard"] == shard]
        assert sum(counts) == sum(one["shard"] == shard for _, one in lines)


@given(st.lists(st.floats(0, 20), max_size=300))
def test_no_more_are_told_than_may_be(waits: list[float]) -> None:
    now, lines = 0.0, []
    for wait in waits:
        now += wait
        lines.append((now, line()))
    found = told(Repetitions(), *lines)
    assert len(found) <= (MOST + 1) * (now // SECONDS + 1)


def test_kinds_without_end_take_no_memory_without_end() -> None:
    repetitions = Repetitions(most=1, kinds=100)
    lines = [(0.0, line(fire=str(number // 2))) for number in range(1000)]
    found = told(repetitions, *lines)
    assert len(repetitions._said) == 100
    assert len(found) == 900  # what had to leave was told


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What is logged; logging is as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    writing.configure("debug", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    writing._keeping.clear()


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(text) for text in stream.getvalue().splitlines()]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_the_log_keeps_repetitions_back_and_tells_of_them_in_the_end(out: io.StringIO, level: str) -> None:
    for number in range(20):
        getattr(structlog.get_logger(), level)("transaction.failed", failures=number)
    assert [one["failures"] for one in events(out)] == [*range(MOST)]
    writing.finish()
    last = events(out)[-1]
    assert (last["failures"], last["repeated"], list(last)[:3]) == (
        19, 19 - MOST, ["timestamp", "level", "event"]
    )  # fmt: skip


@pytest.mark.parametrize("level", ["debug", "critical"])
def test_what_is_critical_or_asked_for_is_always_told(out: io.StringIO, level: str) -> None:
    for _ in range(20):
        getattr(structlog.get_logger(), level)("thread.failed", thread="pool")
    assert len(events(out)) == 20


def test_errors_that_libraries_repeat_are_not_counted_twice(out: io.StringIO) -> None:
    now = 0.0
    handler = writing._FromLibraries(lambda: now)
    for second in range(60):
        now = float(second)
        handler.handle(logging.LogRecord("librdkafka", logging.ERROR, "", 0, "refused", None, None))
    assert [one.get("repeated") for one in events(out)] == [None, 9, 9, 9, 9, 9]


def test_a_line_that_is_told_late_is_written_by_the_thread_that_finds_it_without_waiting_for_itself() -> None:
    now, late = 0.0, []

    def tell(one: Line) -> None:
        late.append(one)
        repeats(None, "", line("library.logged", "info"))  # whoever writes may log

    repeats = Repeats(tell, lambda: now)
    for _ in range(MOST):
        repeats(None, "", line())
    with pytest.raises(structlog.DropEvent):
        repeats(None, "", line())
    now = SECONDS
    repeats(None, "", line("health.back", "info"))
    assert late == [line()]
