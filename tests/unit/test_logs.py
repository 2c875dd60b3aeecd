from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.logs import writing as logs

NASTY = "a\x1b[31mb\nc\rd\x00e\x7ff\x9bg\u2028h\u202ei\ud800j"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    def write(self, text: str) -> int:  # noqa: ARG002 - the signature is the stream's
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def logged(form: str, stream: io.StringIO | None = None, event: str = "job.added", **values: Any) -> str:
    out = stream or io.StringIO()
    logs.configure("debug", form, out)
    structlog.get_logger().info(event, **values)
    return out.getvalue()


def test_lines_for_machines_begin_with_time_level_and_event() -> None:
    line = json.loads(logged("json", job="nightly", shard=2))
    assert list(line) == ["timestamp", "level", "event", "job", "shard"]
    assert line["timestamp"].endswith("Z")
    assert (line["event"], line["job"], line["shard"]) == ("job.added", "nightly", 2)


def test_the_form_follows_the_stream() -> None:
    assert logged("auto").startswith("{")
    assert not logged("auto", Terminal()).startswith("{")


def test_a_terminal_gets_colours_unless_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in logged("auto", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in logged("auto", Terminal())


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "values",
    [
        {"job": NASTY},
        {"event": NASTY},
        {"names": [NASTY, (NASTY,)]},
        {"details": {NASTY: {NASTY: NASTY}}},
        {"raw": NASTY.encode(errors="replace")},
        {"object": Exception(NASTY)},
        {NASTY: 1},
    ],
    ids=lambda values: ",".join(values) if "a\x1b" not in "".join(values) else "name",
)
def test_nothing_breaks_the_line_or_reaches_the_terminal(form: str, values: dict[str, Any]) -> None:
    line = logged(form, **values)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert "a" in line


@pytest.mark.parametrize("form", ["json", "console"])
@given(text=st.text())
def test_no_text_at_all_breaks_the_line(form: str, text: str) -> None:
    line = logged(form, event=text, job=text, inner={text: [text]})
    assert line[-1] == "\n"
    assert line[:-1].isprintable()


def test_what_json_says_is_what_was_meant() -> None:
    assert json.loads(logged("json", job=NASTY))["job"] == NASTY


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "values",
    [
        {"password": "hunter2"},
        {"settings": {"kafka": {"sasl.password": "hunter2"}}},
        {"rows": [{"ssl.key.password": "hunter2"}]},
        {"Authorization": "hunter2"},
        {"api_key": "hunter2"},
    ],
)
def test_secrets_are_masked_however_deep_they_lie(form: str, values: dict[str, Any]) -> None:
    line = logged(form, **values)
    assert "hunter2" not in line
    assert "********" in line


def test_the_key_of_a_message_is_no_secret() -> None:
    assert json.loads(logged("json", key="nightly"))["key"] == "nightly"


def test_long_values_are_cut_and_say_so() -> None:
    line = json.loads(logged("json", text="x" * 5000, names=[str(n) for n in range(1000)]))
    assert line["text"] == "x" * 2000 + "… (3000 more characters)"
    assert len(line["names"]) == 100


def test_endless_nesting_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert len(logged("json", loop=loop)) < 1000


def test_numbers_that_json_does_not_know_become_text() -> None:
    line = logged("json", ratio=float("nan"), most=float("inf"))
    assert json.loads(line, parse_constant=pytest.fail)["ratio"] == "nan"


def test_events_below_the_level_are_dropped() -> None:
    out = io.StringIO()
    logs.configure("warning", "json", out)
    structlog.get_logger().info("job.added")
    logging.getLogger("librdkafka").info("quiet")
    assert not out.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_told_without_its_control_characters(form: str) -> None:
    out = io.StringIO()
    logs.configure("info", form, out)
    structlog.get_logger().error("shard.failed", exc_info=ValueError(NASTY))
    assert "ValueError" in out.getvalue()
    assert all(line.isprintable() for line in out.getvalue().split("\n"))


def test_libraries_log_through_the_same_door() -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    logging.getLogger("librdkafka").log(35, "broker %s is\ndown", "b1")
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["library"]) == ("library.logged", "warning", "librdkafka")
    assert line["message"] == "broker b1 is\ndown"


def told_at(*lines: tuple[float, str, str]) -> list[dict[str, Any]]:
    """Log lines as (second, library, message); return the events that come of them."""
    out = io.StringIO()
    logs.configure("info", "json", out)
    now = 0.0
    handler = logs._FromLibraries(lambda: now)
    for second, library, message in lines:
        now = second
        handler.handle(logging.LogRecord(library, logging.ERROR, "", 0, message, None, None))
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_library_that_repeats_itself_is_heard_once_in_ten_seconds() -> None:
    lines = [(second, "librdkafka", f"b1: refused after {second} ms") for second in range(25)]
    told = told_at(*lines)
    assert [line["message"].split()[3] for line in told] == ["0", "10", "20"]
    assert [line.get("repeated") for line in told] == [None, 9, 9]


def test_other_messages_and_other_libraries_are_no_repetitions() -> None:
    lines = [(0.0, "librdkafka", "refused"), (0.0, "librdkafka", "timed out"), (0.0, "watchdog", "refused")]
    assert len(told_at(*lines)) == 3


def test_messages_without_end_take_no_memory_without_end() -> None:
    handler = logs._FromLibraries()
    logs.configure("error", "json", io.StringIO())
    for number in range(3000):
        text = "x" * number
        handler.handle(logging.LogRecord("librdkafka", logging.INFO, "", 0, text, None, None))
    assert len(handler._told) <= 1000


def test_the_repetitions_of_every_logger_are_dropped() -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    for port in range(100):
        logging.getLogger("librdkafka").error("no broker at port %d", port)
    assert len(out.getvalue().splitlines()) == 1


def test_a_library_that_logs_badly_is_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", io.StringIO())
    logging.getLogger("librdkafka").error("%d", "no number")
    assert "Logging error" in capsys.readouterr().err


def test_watching_the_folder_of_the_log_does_not_fill_it() -> None:
    out = io.StringIO()
    logs.configure("debug", "json", out)
    logging.getLogger("watchdog.observers.inotify_buffer").debug("in-event")
    assert not out.getvalue()


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    logged("json", Full())
    closed = io.StringIO()
    logs.configure("info", "json", closed)
    closed.close()
    structlog.get_logger().info("job.added")


def say_often(number: int) -> None:
    for line in range(50):
        structlog.get_logger().info("job.added", n=f"{number}/{line}")


def test_lines_of_many_threads_stay_whole() -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    threads = [threading.Thread(target=partial(say_often, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in out.getvalue().splitlines()]) == 400
