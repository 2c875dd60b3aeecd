"""Commands: what somebody asks of the shards. They enter at the front, over Kafka, as values."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

CommandType = Literal["adopt", "accept-clock"]
COMMAND_TYPES: tuple[CommandType, ...] = ("adopt", "accept-clock")
MAX_BYTES = 1_000_000
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")


@dataclass(frozen=True, slots=True)
class Command:
    """One request. `id` makes it idempotent: a client that repeats itself is answered once."""

    type: CommandType
    id: str


class BadCommandError(ValueError):
    """A record of the commands topic that is no command this version knows."""


def encode_command(command: Command) -> bytes:
    """Return the value of a command record."""
    return json.dumps({"v": 1, "type": command.type, "id": command.id}, separators=(",", ":")).encode()


def decode_command(value: bytes | None) -> Command:
    """Read a command record's value. Raises BadCommandError for everything that is not one."""
    if value is None or len(value) > MAX_BYTES:
        raise BadCommandError("a command must be a JSON object of at most 1 MB")
    try:
        data = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadCommandError(f"not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("v") != 1:
        raise BadCommandError("a command must be a JSON object with `v` 1")
    kind, ident = data.get("type"), data.get("id")
    if kind not in COMMAND_TYPES:
        raise BadCommandError(f"unknown type {kind!r:.80}; known are {', '.join(COMMAND_TYPES)}")
    if not isinstance(ident, str) or not _ID.fullmatch(ident):
        raise BadCommandError("`id` must be 1 to 200 letters, digits or any of . _ : -")
    return Command(kind, ident)
