"""Logging: one event per line on standard error, JSON for machines, colours on a terminal.

An event has a stable dotted name (`schedule.applied`) and named values. Whatever those values hold, a
line stays one line and no terminal obeys it; secrets are masked by name, long values are cut, repetitions
are counted and not told each time. What libraries log through the standard library (watchdog, librdkafka)
arrives as the event `library.logged`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TextIO

import structlog

from dispatcher.logs.repeats import Repeats
from dispatcher.masking import MASK, is_secret

LONGEST_TEXT = 2000
LONGEST_TRACEBACK = 8000
MOST_ITEMS = 100
REPEAT_SECONDS = 10.0
_DEEPEST = 6
_MOST_KINDS = 1000
_DIGITS = re.compile(r"[0-9]+")

_keeping: list[Repeats] = []
"""What keeps lines of this process back, one at the most."""


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Send every event of at least `level` to the stream, standard error by default.

    `form` is `json`, `console`, or `auto`: console when the stream is a terminal. Calling it again
    replaces what was set up before.
    """
    out = sys.stderr if stream is None else stream
    console = form == "console" or (form == "auto" and out.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    last = [
        _in_order,
        *(_console(colors=out.isatty() and "NO_COLOR" not in os.environ) if console else _json()),
    ]
    repeats = Repeats(lambda line: _write(out, last, line))
    _keeping[:] = [repeats]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            tame,
            repeats,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    logging.basicConfig(level=number, handlers=[_FromLibraries()], force=True)
    # Its debug lines tell of every file in the folder, the log's own too.
    logging.getLogger("watchdog").setLevel(max(number, logging.INFO))


@atexit.register
def finish() -> None:
    """Tell what is still kept back; the process does so when it ends."""
    for repeats in _keeping:
        repeats.finish()


def _write(out: TextIO, last: list[structlog.types.Processor], line: MutableMapping[str, Any]) -> None:
    """Write a line that the log kept back, through the processors that others went through."""
    text: Any = line
    for process in last:
        text = process(None, "", text)
    _Lines(out).msg(str(text))


def tame(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask the secrets of an event and cut its long values, nested ones too (a structlog processor)."""
    for name, value in event.items():
        if name == "exception":
            event[name] = str(value)[-LONGEST_TRACEBACK:]
        else:
            event[name] = MASK if is_secret(name) else _tamed(value, _DEEPEST)
    return event


def _tamed(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping) and depth:
        pairs = [(str(name), inner) for name, inner in value.items()]
        return {name: MASK if is_secret(name) else _tamed(inner, depth - 1) for name, inner in _few(pairs)}
    if isinstance(value, (list, tuple, set, frozenset)) and depth:
        return [_tamed(inner, depth - 1) for inner in _few(value)]
    return _cut(_text(value))


def _few(items: Iterable[Any]) -> list[Any]:
    return list(items)[:MOST_ITEMS]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value[: LONGEST_TEXT * 4].decode(errors="replace")
    return str(value)


def _cut(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}… ({len(text) - LONGEST_TEXT} more characters)"


def _in_order(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put time, level and event's name first, where the eye looks for them."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}


def _json() -> list[structlog.types.Processor]:
    return [structlog.processors.JSONRenderer(), _escape_delete]


def _escape_delete(_logger: Any, _method: str, line: Any) -> str:
    """Escape the one control character that JSON lets through."""
    return str(line).replace("\x7f", "\\u007f")


def _console(*, colors: bool) -> list[structlog.types.Processor]:
    return [
        _printable,
        structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


class _Quoted:
    """A text that is shown as Python would write it, so that nothing in it reaches the terminal."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)


def _printable(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape every value with a character that is not printable; a traceback keeps its lines."""
    safe: MutableMapping[str, Any] = {}
    for name, value in event.items():
        key = name if name.isprintable() else repr(name)
        if name == "exception":
            safe[key] = "\n".join(f"  | {_plain(line)}" for line in str(value).split("\n"))
        elif isinstance(value, str) and not value.isprintable():
            safe[key] = repr(value) if name == "event" else _Quoted(value)
        else:
            safe[key] = value
    return safe


def _plain(line: str) -> str:
    return line if line.isprintable() else repr(line)[1:-1]


class _Lines:
    """Writes finished lines, each whole, from any thread."""

    _lock = threading.Lock()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line. A log that cannot be written must stop nothing, and there is nobody to tell."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


@dataclass(slots=True)
class _Told:
    """When a message was last told, in seconds, and how often it has come since."""

    at: float
    dropped: int = 0


class _FromLibraries(logging.Handler):
    """Hands what libraries log to structlog, each message at most once in `REPEAT_SECONDS`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, int, str], _Told] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Turn a record into the event `library.logged` with the library's name and its message.

        What differs only in its digits is a repetition; the next one that is told says how many were not.
        """
        try:
            message = record.getMessage()
            dropped = 0 if record.exc_info else self._dropped(record, message)
            if dropped is None:
                return
            structlog.get_logger().log(
                min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL),
                "library.logged",
                library=record.name,
                message=message,
                **({"repeated": dropped} if dropped else {}),
                **({"exc_info": record.exc_info} if record.exc_info else {}),
            )
        except Exception:  # noqa: BLE001 - a handler must never fail the library that logs
            self.handleError(record)

    def _dropped(self, record: logging.LogRecord, message: str) -> int | None:
        """Return how many repetitions were dropped before this message, None when it is to be dropped."""
        kind = record.name, record.levelno, _DIGITS.sub("0", message[:LONGEST_TEXT])
        now, last = self._clock(), self._told.get(kind)
        if last is not None and now - last.at < REPEAT_SECONDS:
            last.dropped += 1
            return None
        if len(self._told) >= _MOST_KINDS:
            self._told.clear()
        self._told[kind] = _Told(now)
        return 0 if last is None else last.dropped
