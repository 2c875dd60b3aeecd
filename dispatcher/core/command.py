"""Commands: what somebody asks of the shards. They enter at the front, over Kafka, as values."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dispatcher.core.instant import Instant, from_text, to_text

CommandType = Literal[
    "adopt", "accept-clock", "drop-missed", "ask-held", "trigger", "pause", "resume", "cancel", "retry"
]
COMMAND_TYPES: tuple[CommandType, ...] = get_args(CommandType)
MAX_BYTES = 16 * 1024 * 1024
MOST_ATTEMPTS = 1_000_000
MOST_HEADERS = 1_000
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_TEXT = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_RETRY_ID = re.compile(_TEXT + r"{1,700}")
_FIRE = re.compile(_TEXT + r"{1,600}")
_NAME = re.compile(_TEXT + r"{1,200}")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_ORIGIN = re.compile("pool|user")
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "drop-missed": ("until",),
    "trigger": ("job",),
    "pause": ("job",),
    "resume": ("job",),
    "cancel": ("fire",),
    "retry": ("job", "fire", "attempt", "at", "parcel"),
}
_MEANING: Mapping[str, str] = {
    "until": "the instant up to which fires are given up",
    "job": "the name of a job",
    "fire": "the id of a fire",
    "attempt": "which attempt it is to be",
    "at": "the instant from which it goes out",
    "parcel": "the whole message",
}
_BASE64 = "is not base64"
_NO_ID = "`id` must be 1 to 200 letters, digits or any of . _ : -"


@dataclass(frozen=True, slots=True)
class Parcel:
    """A whole message, to be sent once more: its topic, key, value and headers, whatever bytes they are."""

    topic: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One request. `id` makes it idempotent: a client that repeats itself is answered once.

    `revision` is the held one that `adopt` was meant for, and nothing else is adopted; without it, whatever
    is held. After `expires`, by the shard's clock, it is refused; without it never. `drop-missed` gives up
    what is due before `until`, which it must have. `ask-held` changes nothing: its answer tells what is held.

    `trigger`, `pause` and `resume` are about a `job`, `cancel` about a `fire`. `retry` has the message in
    `parcel` sent again from `at` on, as the `attempt` of the `fire` of the `job`, once for an attempt and
    once for an id; one that the pool asked for (`origin`) is not answered.
    """

    type: CommandType
    id: str
    revision: str | None = None
    expires: Instant | None = None
    until: Instant | None = None
    job: str | None = None
    fire: str | None = None
    attempt: int | None = None
    at: Instant | None = None
    parcel: Parcel | None = None
    origin: str | None = None


class BadCommandError(ValueError):
    """A record of the commands topic that is no command this version knows."""


def retry_id(fire: str, attempt: int) -> str:
    """Return the id of the command that has a fire tried again: the same whoever asks for it."""
    return f"retry/{fire}/{attempt}"


def named_retry_id(fire: str, name: str) -> str:
    """Return the id of such a command that somebody gave a name, which holds for that fire alone.

    No attempt has it. Raises BadCommandError for a name that is none, or too long.
    """
    if not _ID.fullmatch(name):
        raise BadCommandError(_NO_ID)
    return _ident("retry", f"retry/{fire}/!{name}")


def encode_command(command: Command) -> bytes:
    """Return the value of a command record."""
    data: dict[str, object] = {"v": 1, "type": command.type, "id": command.id}
    for name in ("revision", "job", "fire", "attempt", "origin"):
        found = getattr(command, name)
        if found is not None:
            data[name] = found
    for name in ("expires", "until", "at"):
        instant = getattr(command, name)
        if instant is not None:
            data[name] = to_text(instant)
    if command.parcel is not None:
        data["parcel"] = _parcel_data(command.parcel)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def decode_command(value: bytes | None) -> Command:
    """Read a command record's value. Raises BadCommandError for everything that is not one."""
    if value is None or len(value) > MAX_BYTES:
        raise BadCommandError("a command must be a JSON object of at most 16 MiB")
    try:
        data = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadCommandError(f"not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("v") != 1:
        raise BadCommandError("a command must be a JSON object with `v` 1")
    kind = data.get("type")
    if kind not in COMMAND_TYPES:
        raise BadCommandError(f"unknown type {kind!r:.80}; known are {', '.join(COMMAND_TYPES)}")
    for name in _NEEDS.get(kind, ()):
        if data.get(name) is None:
            raise BadCommandError(f"`{kind}` needs `{name}`: {_MEANING[name]}")
    return Command(
        kind,
        _ident(kind, data.get("id")),
        _text(data, "revision", _ID, "the SHA-256 of a schedule file, in hexadecimal digits"),
        _instant(data, "expires"),
        _instant(data, "until"),
        job=_text(data, "job", _NAME, "a job's name: 1 to 200 characters, none of them a control character"),
        fire=_text(data, "fire", _FIRE, "a fire's id: 1 to 600 characters, none of them a control character"),
        attempt=_attempt(data),
        at=_instant(data, "at"),
        parcel=_parcel(data.get("parcel")),
        origin=_text(data, "origin", _ORIGIN, "`pool` or `user`"),
    )


def _ident(kind: str, found: object) -> str:
    """Return the id: short words of people and programs, but that of a retry holds the id of the fire."""
    if isinstance(found, str) and (_RETRY_ID if kind == "retry" else _ID).fullmatch(found):
        return found
    if kind == "retry":
        raise BadCommandError("`id` must be 1 to 700 characters, none of them a control character")
    raise BadCommandError(_NO_ID)


def _text(data: Mapping[str, object], name: str, form: re.Pattern[str], what: str) -> str | None:
    found = data.get(name)
    if found is None or (isinstance(found, str) and form.fullmatch(found)):
        return found
    raise BadCommandError(f"`{name}` must be {what}")


def _instant(data: Mapping[str, object], name: str) -> Instant | None:
    found = data.get(name)
    if found is None:
        return None
    if not isinstance(found, str):
        raise BadCommandError(f"`{name}` must be an instant such as 2026-11-20T02:00:00Z")
    try:
        return from_text(found)
    except ValueError as error:
        raise BadCommandError(f"`{name}`: {error}") from error


def _attempt(data: Mapping[str, object]) -> int | None:
    found = data.get("attempt")
    if found is None or (type(found) is int and 1 <= found <= MOST_ATTEMPTS):
        return found
    raise BadCommandError(f"`attempt` must be a number from 1 to {MOST_ATTEMPTS}")


# Parcels: base64, for a message may hold any bytes.


def _parcel_data(parcel: Parcel) -> dict[str, object]:
    return {
        "topic": parcel.topic,
        "key": None if parcel.key is None else b64encode(parcel.key).decode(),
        "value": b64encode(parcel.value).decode(),
        "headers": [(name, b64encode(value).decode()) for name, value in parcel.headers],
    }


def _parcel(data: object) -> Parcel | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise BadCommandError("`parcel` must be an object with `topic`, `key`, `value` and `headers`")
    topic, key, headers = data.get("topic"), data.get("key"), data.get("headers")
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise BadCommandError("`parcel.topic` must be the name of a topic")
    if not isinstance(headers, list) or len(headers) > MOST_HEADERS:
        raise BadCommandError(f"`parcel.headers` must be a list of at most {MOST_HEADERS} pairs")
    return Parcel(
        topic,
        None if key is None else _bytes(key, "key"),
        _bytes(data.get("value"), "value"),
        tuple(map(_header, headers)),
    )


def _header(pair: Any) -> tuple[str, bytes]:
    if isinstance(pair, list) and len(pair) == 2:
        name, value = pair
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name, _bytes(value, "headers")
    raise BadCommandError(
        "each of `parcel.headers` must be a pair of a name, 1 to 200 characters and no control character, "
        "and a value in base64"
    )


def _bytes(data: object, name: str) -> bytes:
    if not isinstance(data, str):
        raise BadCommandError(f"`parcel.{name}` {_BASE64}")
    try:
        return b64decode(data, validate=True)
    except ValueError as error:
        raise BadCommandError(f"`parcel.{name}` {_BASE64}: {error}") from error
