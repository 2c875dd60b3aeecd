"""What the feed and its child say to one another: frames of a length, a kind and a body.

The feed sends one `ask`, for each shard compared a `base` and `held` frames, then `go`. The child answers
with `changes` and `removed` frames and ends with `done`; or with `problems`, `unreadable` or `crashed`.
What it sent before is void unless it says `done`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import IO, Any, NamedTuple

from dispatcher.errors import Problem


class Kind(IntEnum):
    """What a frame holds."""

    ASK = 1
    BASE = 2
    HELD = 3
    GO = 4
    CHANGES = 5
    REMOVED = 6
    PROBLEMS = 7
    UNREADABLE = 8
    CRASHED = 9
    DONE = 10


@dataclass(frozen=True, slots=True)
class Ask:
    """Which file to compare, how large it may be, and how many shards there are."""

    path: str
    cap: int
    shards: int


@dataclass(frozen=True, slots=True)
class Done:
    """The file was valid: what was read, how many jobs it has, and what it cost the child."""

    revision: str
    jobs: int
    seconds: float
    peak_bytes: int


class Change(NamedTuple):
    """A job that is new (`added`) or differs from the one in force. A tuple: there may be very many.

    Jobs of one shape share trigger, policy and route; `NO_SHAPE` is shared by none.
    """

    added: bool
    shard: int
    key_hash: int
    shape: int
    name: str
    definition: bytes


NO_SHAPE = 0xFFFFFFFF
"""Stands where a shape's number would, for a job that shares its shape with none."""
DIGEST_BYTES = 16
BATCH_BYTES = 64 * 1024
_HEAD = Struct("<IB")
_SHARD = Struct("<I")
_NAME = Struct("<H")
_CHANGE = Struct("<?IIIHI")


class Truncated(Exception):
    """The stream ended, between frames or in one."""


def write(stream: IO[bytes], kind: Kind, body: bytes = b"") -> None:
    """Write one frame."""
    stream.write(_HEAD.pack(len(body), kind))
    stream.write(body)


def read(stream: IO[bytes]) -> tuple[Kind, bytes]:
    """Return the next frame. Raises Truncated."""
    length, kind = _HEAD.unpack(_exactly(stream, _HEAD.size))
    return Kind(kind), _exactly(stream, length)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise Truncated
    return data


def pack_ask(ask: Ask) -> bytes:
    """Return the body of an `ask` frame."""
    return json.dumps([ask.path, ask.cap, ask.shards]).encode()


def unpack_ask(body: bytes) -> Ask:
    """Read the body of an `ask` frame."""
    return Ask(*json.loads(body))


def pack_shard(shard: int) -> bytes:
    """Return a shard's number: the body of a `base` frame and the head of `held` and `removed` ones."""
    return _SHARD.pack(shard)


def unpack_shard(body: bytes) -> int:
    """Read the shard's number a body begins with."""
    number: int = _SHARD.unpack_from(body)[0]
    return number


def batches(head: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield bodies of about `BATCH_BYTES` that each begin with `head`."""
    held: list[bytes] = [head]
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= BATCH_BYTES:
            yield b"".join(held)
            held, size = [head], 0
    if size:
        yield b"".join(held)


def pack_held(name: str, digest: bytes) -> bytes:
    """Return one job in force for a `held` frame."""
    encoded = name.encode()
    return _NAME.pack(len(encoded)) + encoded + digest


def unpack_held(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and digests of a `held` frame."""
    at = _SHARD.size
    while at < len(body):
        end = at + 2 + (body[at] | body[at + 1] << 8)
        yield body[at + 2 : end].decode(), body[end : end + DIGEST_BYTES]
        at = end + DIGEST_BYTES


def pack_name(name: str) -> bytes:
    """Return one name for a `removed` frame."""
    encoded = name.encode()
    return _NAME.pack(len(encoded)) + encoded


def unpack_names(body: bytes) -> Iterator[str]:
    """Yield the names of a `removed` frame."""
    at = _SHARD.size
    while at < len(body):
        end = at + 2 + (body[at] | body[at + 1] << 8)
        yield body[at + 2 : end].decode()
        at = end


def pack_change(change: Change) -> bytes:
    """Return one job for a `changes` frame."""
    added, shard, key_hash, shape, name, definition = change
    encoded = name.encode()
    return _CHANGE.pack(added, shard, key_hash, shape, len(encoded), len(definition)) + encoded + definition


def unpack_changes(body: bytes) -> Iterator[Change]:
    """Yield the jobs of a `changes` frame."""
    at = 0
    while at < len(body):
        added, shard, key_hash, shape, name_length, length = _CHANGE.unpack_from(body, at)
        middle = at + _CHANGE.size + name_length
        name = body[middle - name_length : middle].decode()
        at = middle + length
        yield Change(added, shard, key_hash, shape, name, body[middle:at])


def pack_problems(revision: str, problems: tuple[Problem, ...]) -> bytes:
    """Return the body of a `problems` frame."""
    return json.dumps([revision, [[p.line, p.column, p.job, p.what] for p in problems]]).encode()


def unpack_problems(body: bytes) -> tuple[str, tuple[Problem, ...]]:
    """Read the revision and the problems of a `problems` frame."""
    told: tuple[str, list[Any]] = json.loads(body)
    return told[0], tuple(Problem(*fields) for fields in told[1])


def pack_done(done: Done) -> bytes:
    """Return the body of a `done` frame."""
    return json.dumps([done.revision, done.jobs, done.seconds, done.peak_bytes]).encode()


def unpack_done(body: bytes) -> Done:
    """Read the body of a `done` frame."""
    return Done(*json.loads(body))
