"""Commands: what somebody asks of the shards. They enter at the front, over Kafka, as values."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from dispatcher.core.instant import Instant, from_text, to_text

CommandType = Literal["adopt", "accept-clock", "drop-missed", "ask-held"]
COMMAND_TYPES: tuple[CommandType, ...] = ("adopt", "accept-clock", "drop-missed", "ask-held")
MAX_BYTES = 1_000_000
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_REVISION = re.compile(r"[A-Za-z0-9._:-]{1,200}")


@dataclass(frozen=True, slots=True)
class Command:
    """One request. `id` makes it idempotent: a client that repeats itself is answered once.

    `revision` is the held one that `adopt` was meant for, and nothing else is adopted; without it, whatever
    is held. After `expires`, by the shard's clock, it is refused; without it never. `drop-missed` gives up
    what is due before `until`, which it must have. `ask-held` changes nothing: its answer tells what is held.
    """

    type: CommandType
    id: str
    revision: str | None = None
    expires: Instant | None = None
    until: Instant | None = None


class BadCommandError(ValueError):
    """A record of the commands topic that is no command this version knows."""


def encode_command(command: Command) -> bytes:
    """Return the value of a command record."""
    data: dict[str, object] = {"v": 1, "type": command.type, "id": command.id}
    if command.revision is not None:
        data["revision"] = command.revision
    if command.expires is not None:
        data["expires"] = to_text(command.expires)
    if command.until is not None:
        data["until"] = to_text(command.until)
    return json.dumps(data, separators=(",", ":")).encode()


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
    until = _instant(data, "until")
    if kind == "drop-missed" and until is None:
        raise BadCommandError("`drop-missed` needs `until`: the instant up to which fires are given up")
    return Command(kind, ident, _revision(data), _instant(data, "expires"), until)


def _revision(data: dict[str, object]) -> str | None:
    found = data.get("revision")
    if found is None or (isinstance(found, str) and _REVISION.fullmatch(found)):
        return found
    raise BadCommandError("`revision` must be the SHA-256 of a schedule file, in hexadecimal digits")


def _instant(data: dict[str, object], name: str) -> Instant | None:
    found = data.get(name)
    if found is None:
        return None
    if not isinstance(found, str):
        raise BadCommandError(f"`{name}` must be an instant such as 2026-11-20T02:00:00Z")
    try:
        return from_text(found)
    except ValueError as error:
        raise BadCommandError(f"`{name}`: {error}") from error
