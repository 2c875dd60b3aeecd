"""Handlers that wait for nothing: `noop`, `log` and `echo`, and the original's `LogTask` and `EchoTask`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from dispatcher.core.instant import to_text
from dispatcher.core.outcome import Outcome, Succeeded
from dispatcher.masking import MASK, is_secret
from dispatcher.work.handling import Payload, Task

LONGEST_LOGGED = 2000


class Anything(Payload):
    """Any JSON, null and none at all included."""

    value: Any = None

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, payload: Any) -> dict[str, Any]:
        return {"value": payload}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"description": "Any JSON."}


class Noop:
    """Does nothing, and succeeds."""

    name = "noop"
    instant = True
    payload: type[Payload] = Anything

    def run(self, task: Task) -> Outcome:
        """Succeed."""
        del task
        return Succeeded()

    def close(self) -> None:
        """Hold nothing."""


class Log:
    """Writes one line to the log; `LogTask` is the original's name for it."""

    instant = True
    payload: type[Payload] = Anything

    def __init__(self, name: str = "log") -> None:
        self.name = name

    def run(self, task: Task) -> Outcome:
        """Log the payload; what is called like a secret is masked, and what is long is cut."""
        structlog.get_logger().info(
            "job.logged",
            job=task.job,
            fire=task.fire,
            attempt=task.attempt,
            planned=to_text(task.planned),
            payload=_short(_masked(task.payload.value)),
        )
        return Succeeded()

    def close(self) -> None:
        """Hold nothing."""


class Echo:
    """Returns its payload as its result; `EchoTask` is the original's name for it."""

    instant = True
    payload: type[Payload] = Anything

    def __init__(self, name: str = "echo") -> None:
        self.name = name

    def run(self, task: Task) -> Outcome:
        """Return the payload."""
        return Succeeded(task.payload.value)

    def close(self) -> None:
        """Hold nothing."""


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: MASK if is_secret(name) else _masked(inner) for name, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list) else value


def _short(value: Any) -> Any:
    """Return the value, or the beginning of its JSON when that is long."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value if len(text) <= LONGEST_LOGGED else f"{text[:LONGEST_LOGGED]}…"
