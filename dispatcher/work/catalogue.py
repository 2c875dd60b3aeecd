"""Which handlers there are and how their payloads look, without anything that runs them."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.work.handlers.http_request import HttpPayload
from dispatcher.work.handlers.kafka_produce import KafkaPayload
from dispatcher.work.handlers.plain import Anything
from dispatcher.work.handlers.python import PythonPayload
from dispatcher.work.handlers.rehearse import RehearsePayload
from dispatcher.work.handlers.shell import ShellPayload
from dispatcher.work.handlers.sql_request import SqlPayload
from dispatcher.work.handling import Payload

ALIASES: Mapping[str, str] = {"LogTask": "log", "EchoTask": "echo"}
"""What the original Job Dispatcher calls them."""


def payload_models() -> Mapping[str, type[Payload]]:
    """Return the models of the payloads of all handlers that come along, by every name of theirs."""
    own: dict[str, type[Payload]] = {
        "noop": Anything,
        "log": Anything,
        "echo": Anything,
        "rehearse": RehearsePayload,
        "http": HttpPayload,
        "kafka": KafkaPayload,
        "sql": SqlPayload,
        "shell": ShellPayload,
        "python": PythonPayload,
    }
    return own | {alias: own[name] for alias, name in ALIASES.items()}
