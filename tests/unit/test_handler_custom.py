from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.core.outcome import Failed, Outcome, Succeeded
from dispatcher.work.children import Children
from dispatcher.work.handlers.plain import Anything
from dispatcher.work.handlers.python import Custom
from dispatcher.work.handling import Cancel, Task
from dispatcher.work.payloads import read


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.close()


def run(children: Children, payload: Any, target: str = "reports:report") -> Outcome:
    handler = Custom("report", f"example_handlers.{target}", children)
    task = Task("j@1", 3, "j", 1_000, read(Anything, payload), Cancel(), 20.0)
    return handler.run(task)


def test_a_handler_gets_its_run_and_returns_its_result(children: Children) -> None:
    assert run(children, {"recipient": "ada", "pages": 2}) == Succeeded(
        {"sent": "j@1/3", "to": "ada", "planned": "1970-01-01T00:00:01+00:00", "seconds": 20.0, "job": "j"},
        output="printing 2 pages for ada\n",
    )


def test_its_model_checks_the_payload_for_good(children: Children) -> None:
    assert run(children, {"pages": "two", "colour": 1}) == Failed(
        "payload: `recipient`: it is missing; `pages`: input should be a valid integer; "
        "`colour`: there is no such field; there are `recipient`, `pages`",
        final=True,
    )


def test_it_may_fail_for_good(children: Children) -> None:
    assert run(children, {"recipient": "ada", "pages": 1000}) == Failed(
        "1000 pages are more than anybody reads", final=True
    )


def test_it_may_ask_for_a_later_attempt(children: Children) -> None:
    assert run(children, {"recipient": "busy"}) == Failed("the printer is busy", retry_after_ms=30_000)


def test_any_exception_is_a_failed_attempt_with_its_traceback(children: Children) -> None:
    outcome = run(children, None, "mischief:run_twice")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "RuntimeError: attempt 3 of j@1 \N{BROKEN HEART}"
    assert not outcome.final
    assert "in run_twice" in outcome.output


def test_what_handlers_are_written_with_is_light() -> None:
    text = "import sys, dispatcher.work.custom; print({'pydantic', 'structlog', 'httpx'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", text], text=True) == "set()\n"
