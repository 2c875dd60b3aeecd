"""Handlers that wait for nothing, and the original's tasks with whatever parameters they have."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from handler_world import FIRE, run, succeeded, task_of

from dispatcher import logs
from dispatcher.work.handlers.plain import Anything, Echo, Log, Noop
from dispatcher.work.handling import Handler

ANYTHING: list[Any] = [
    None,
    {},
    [],
    {"value": 1},
    {"message": "x"},
    {"wrong_param": "x"},
    "text",
    3,
    0.5,
    [None],
]
ORIGINALS = [
    entry
    for entry in json.loads(Path(__file__).with_name("seeds").joinpath("repository.json").read_text())["jobs"]
    if entry["taskName"] in {"LogTask", "EchoTask"}  # another is not known to the original either
]


def logged(payload: Any) -> dict[str, Any]:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    assert succeeded(run(Log(), payload)) is None
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    event: dict[str, Any] = json.loads(lines[0])
    return event


@pytest.mark.parametrize("payload", ANYTHING, ids=repr)
def test_echo_returns_its_payload_whatever_it_is(payload: Any) -> None:
    assert succeeded(run(Echo(), payload)) == payload


@pytest.mark.parametrize("payload", ANYTHING, ids=repr)
def test_log_writes_its_payload_as_one_event(payload: Any) -> None:
    event = logged(payload)
    assert event["event"] == "job.logged"
    assert event["fire"] == FIRE
    assert event["attempt"] == 1
    assert event["planned"] == "2026-11-20T02:00:00Z"
    assert event["payload"] == payload


@pytest.mark.parametrize("payload", ANYTHING, ids=repr)
def test_noop_takes_everything_and_does_nothing(payload: Any) -> None:
    assert succeeded(run(Noop(), payload)) is None


@pytest.mark.parametrize("entry", ORIGINALS, ids=lambda entry: str(entry["jobName"]))
def test_the_tasks_of_the_original_run_with_the_parameters_of_its_own_file(entry: dict[str, Any]) -> None:
    handlers: dict[str, Log | Echo] = {"LogTask": Log("LogTask"), "EchoTask": Echo("EchoTask")}
    handler = handlers[entry["taskName"]]
    assert handler.name == entry["taskName"]
    succeeded(run(handler, entry.get("taskParams")))


def test_a_secret_is_masked_in_the_log_however_deep() -> None:
    event = logged({"user": "a", "inner": [{"apiKey": "canary", "n": 1}], "password": "canary"})
    assert "canary" not in json.dumps(event)
    assert event["payload"]["user"] == "a"
    assert event["payload"]["inner"][0]["n"] == 1


def test_a_long_payload_is_cut_in_the_log_and_its_secrets_stay_masked() -> None:
    event = logged({"token": "canary", "many": [["x" * 100] * 100] * 100})
    assert len(event["payload"]) < 2100
    assert "canary" not in event["payload"]


def test_a_payload_cannot_break_its_line() -> None:
    event = logged("a\r\nb\x1b[31m\x00")
    assert event["payload"] == "a\r\nb\x1b[31m\x00"


INSTANT: list[Handler] = [Noop(), Log(), Echo()]


@pytest.mark.parametrize("handler", INSTANT, ids=lambda handler: str(handler.name))
def test_they_are_instant_and_hold_nothing(handler: Handler) -> None:
    assert handler.instant
    handler.close()
    handler.run(task_of(handler, None))


def test_the_schema_of_anything_says_so() -> None:
    assert Anything.model_json_schema() == {"description": "Any JSON."}
