"""Texts that were made to take long are judged at once, and what looks like a template is only text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from dispatcher.core.cron import parse
from dispatcher.core.duration import parse_every
from dispatcher.core.instant import from_text
from dispatcher.core.zone import load_zone
from dispatcher.errors import DispatcherError
from dispatcher.feed.loader import load
from dispatcher.kafka.properties import check_properties
from dispatcher.kafka.shielded import require_shielded
from dispatcher.masking import is_secret, is_unfit_for_flags
from dispatcher.settings import load as load_settings

LONG = 100_000
MOST_SECONDS = 2.0
"""Twenty times what any takes; one that looks back at each character would take minutes."""
CORPUS = (
    "a", "9", " ", ",", "-", "*/", "1-", "1,", "L", "#", "5#", "W", "H(", "\\", "[", "{", "::", "..",
    "password", "1h ", "P1", "https://", "a.", "ä", "\u200b", "\x00",
)  # fmt: skip


def schedule(name: str, field: str, text: str) -> bytes:
    fields = {"jobName": name, "cronTime": "* * * * *", "job": "noop", field: text}
    return json.dumps({"jobs": [fields]}).encode()


READERS: dict[str, Callable[[str], object]] = {
    "cron": parse,
    "every": parse_every,
    "instant": from_text,
    "zone": load_zone,
    "name of a job": lambda text: load(schedule(text, "job", "noop"), "x"),
    "job": lambda text: load(schedule("a", "job", text), "x"),
    "topic": lambda text: load(schedule("a", "topic", text), "x"),
    "unknown field": lambda text: load(schedule("a", text, "x"), "x"),
    "brokers": lambda text: load_settings({"bootstrap_servers": text}),
    "prefix": lambda text: load_settings({"prefix": text}),
    "address": lambda text: load_settings({"work_address": text}),
    "secret": is_secret,
    "flag": is_unfit_for_flags,
    "shielded": lambda text: require_shielded(text, {}),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_hundred_kilobytes_are_judged_at_once(reader: str) -> None:
    slow = {}
    for piece in CORPUS:
        text = piece * (LONG // len(piece)) + "!"
        began = time.process_time()
        with suppress(DispatcherError, ValueError):  # it may be refused; how long that takes is the question
            READERS[reader](text)
        took = time.process_time() - began
        if took > MOST_SECONDS:
            slow[piece] = round(took, 2)
    assert slow == {}


@pytest.mark.parametrize("text", ["{{7*7}}", "${7*7}", "{0.__class__}", "%(x)s", "#{7*7}", "$(id)", "`id`"])
def test_a_template_in_a_cron_expression_is_a_plain_fault(text: str) -> None:
    for expression in (text, f"{text} * * * *", f"* * * * {text}"):
        with pytest.raises(DispatcherError) as refused:
            load(schedule("a", "cronTime", expression), "x")
        assert text in str(refused.value)
        assert "49" not in str(refused.value)


def test_a_long_property_is_judged_at_once() -> None:
    began = time.process_time()
    with pytest.raises(DispatcherError):
        check_properties({"x" * 1000: "y" * LONG})
    assert time.process_time() - began < 1.0
