"""`kafka`: send one message to a topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

from dispatcher.core.message import TopicNames
from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.errors import KafkaUnreachable, TransactionFailed, Unsendable
from dispatcher.work.handlers.limit import Aside, Ended, Overdue, limit_of
from dispatcher.work.handling import Payload, Task

USUAL_SECONDS = 30.0
OURS = frozenset({"fire", "attempt", "traceparent"})

Headers = Sequence[tuple[str, bytes]]
Send = Callable[[str, bytes | None, bytes | None, Headers, float], None]
"""Sends (topic, key, value, headers) within so many seconds and returns once the brokers have it.

Raises KafkaUnreachable when that cannot be found out, TransactionFailed or a kind of it when it is refused.
"""


class KafkaPayload(Payload):
    """A message, and where it goes."""

    model_config = ConfigDict(alias_generator=to_camel)

    topic: str = Field(
        pattern=r"^[A-Za-z0-9._\-]{1,249}$", description="An existing topic, none of the dispatcher's own."
    )
    key: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        None, description="The message's key; without one any partition may get it."
    )
    value: Any = Field(description="Text is sent as it is, anything else as JSON, null as no value at all.")
    headers: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,200}$")],
        Annotated[str, StringConstraints(max_length=10_000)],
    ] = Field(default_factory=dict, max_length=100, description="More headers.")
    timeout_seconds: float | None = Field(
        None, gt=0, le=86_400, description="How long the brokers may take to have it."
    )

    @field_validator("topic")
    @classmethod
    def _is_name(cls, topic: str) -> str:
        if topic in {".", ".."}:
            raise ValueError("no topic can be called . or ..")
        return topic

    @field_validator("headers")
    @classmethod
    def _free(cls, headers: dict[str, str]) -> dict[str, str]:
        if taken := sorted(OURS.intersection(headers)):
            raise ValueError(f"{', '.join(taken)}: set by the dispatcher itself, leave it out")
        return headers


class KafkaProduce:
    """Sends messages; the topics under the installation's own prefix are out of bounds."""

    name = "kafka"
    instant = False
    payload: type[Payload] = KafkaPayload

    def __init__(self, prefix: str, send: Send, close: Callable[[], None] = lambda: None) -> None:
        self._topics = TopicNames(prefix)
        self._send = send
        self._close = close

    def run(self, task: Task) -> Outcome:
        """Send the message, and wait until the brokers have it."""
        payload: KafkaPayload = task.payload
        if self._topics.reserves(payload.topic):
            return Failed(f"topic {payload.topic} is the dispatcher's own", final=True)
        try:
            key, value, headers = _encoded(task, payload)
        except UnicodeEncodeError:
            return Failed("the message holds half a character, which UTF-8 cannot say", final=True)
        limit = limit_of(task, payload.timeout_seconds, USUAL_SECONDS)
        try:
            Aside(lambda: self._send(payload.topic, key, value, headers, limit.left())).get(limit)
        except Unsendable as error:
            return Failed(str(error), final=True)
        except (KafkaUnreachable, TransactionFailed) as error:
            return Failed(str(error))
        except Ended as error:
            return Cancelled(str(error))
        except Overdue:
            return Failed(f"not acknowledged within {limit.seconds:g} s; it may still arrive")
        return Succeeded({"topic": payload.topic})

    def close(self) -> None:
        """Let go of the producer."""
        self._close()


def _encoded(task: Task, payload: KafkaPayload) -> tuple[bytes | None, bytes | None, Headers]:
    """Return key, value and headers. Raises UnicodeEncodeError for half a character."""
    headers = [(name, text.encode()) for name, text in payload.headers.items()]
    value = payload.value
    if value is not None and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if not any(name.lower() == "content-type" for name in payload.headers):
            headers.append(("content-type", b"application/json"))
    headers += [("fire", task.fire.encode()), ("attempt", str(task.attempt).encode())]
    if task.traceparent:
        headers.append(("traceparent", task.traceparent.encode()))
    key = None if payload.key is None else payload.key.encode()
    return key, None if value is None else value.encode(), headers
