"""The child process that reads, validates and compares a file, so that the daemon's threads never have to.

Started ahead (`python -m dispatcher.feed.child <parent's pid>`), it waits on its standard input for one
question, answers it on its standard output, and ends; its memory goes back with it. It dies with its parent.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from dispatcher.core.job import digest_of
from dispatcher.core.partitioner import murmur2
from dispatcher.core.zone import load_zone
from dispatcher.errors import ScheduleUnreadable
from dispatcher.feed import file, wire
from dispatcher.feed.entries import Entries, Valid, decode, not_utf8
from dispatcher.feed.wire import Ask, Change, Done, Kind

_PR_SET_PDEATHSIG = 1


class InForce:
    """What is in force in the shards compared; whoever is never taken from it has been removed."""

    def __init__(self) -> None:
        self.shards: set[int] = set()
        self.jobs: dict[str, tuple[bytes, int]] = {}

    def has(self, name: str, definition: bytes) -> bool:
        """Tell whether exactly this definition of the job is in force."""
        held = self.jobs.get(name)
        return held is not None and held[0] == digest_of(definition)


def main() -> None:
    """Answer one question; exit at once when there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    gc.disable()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not speak into the answers
    load_zone("Etc/UTC")
    try:
        ask, in_force = question(sys.stdin.buffer)
    except wire.Truncated:
        return
    try:
        answer(ask, in_force, answers)
    except ScheduleUnreadable as error:
        wire.write(answers, Kind.UNREADABLE, str(error).encode(errors="replace"))
    except Exception:  # noqa: BLE001 - told to the parent, which tells it on
        wire.write(answers, Kind.CRASHED, traceback.format_exc().encode(errors="replace"))
    answers.flush()


def question(stream: BinaryIO) -> tuple[Ask, InForce]:
    """Read what is asked. Raises Truncated when the parent went away before it had asked."""
    in_force = InForce()
    kind, body = wire.read(stream)
    ask = wire.unpack_ask(body)
    while True:
        kind, body = wire.read(stream)
        if kind is Kind.GO:
            return ask, in_force
        shard = wire.unpack_shard(body)
        in_force.shards.add(shard)
        if kind is Kind.HELD:
            in_force.jobs.update((name, (digest, shard)) for name, digest in wire.unpack_held(body))


def answer(ask: Ask, in_force: InForce, answers: BinaryIO) -> None:
    """Read the file, compare it and write what differs. Raises ScheduleUnreadable."""
    began = time.monotonic()
    content = file.read(ask.path, ask.cap)
    revision, data = content.revision, content.data
    del content
    try:
        text = decode(data)
    except UnicodeDecodeError as error:
        wire.write(answers, Kind.PROBLEMS, wire.pack_problems(revision, (not_utf8(data, error),)))
        return
    del data
    entries = Entries(text, in_force.has if in_force.jobs else None)
    for body in wire.batches(b"", _changes(entries, in_force, ask.shards)):
        wire.write(answers, Kind.CHANGES, body)
    if problems := entries.problems:
        wire.write(answers, Kind.PROBLEMS, wire.pack_problems(revision, problems))
        return
    _write_removed(answers, in_force)
    done = Done(revision, entries.count, time.monotonic() - began, _peak_bytes())
    wire.write(answers, Kind.DONE, wire.pack_done(done))


def _changes(entries: Iterable[Valid], in_force: InForce, shards: int) -> Iterator[bytes]:
    """Yield what differs, packed; takes from what is in force whatever the file has."""
    for found in entries:
        held = in_force.jobs.pop(found.name, None)
        if found.known:
            continue
        name_hash = murmur2(found.name.encode())
        shard = held[1] if held is not None else name_hash % shards
        if shard not in in_force.shards:
            continue
        key = found.entry.get("key")
        key_hash = name_hash if key is None else murmur2(key.encode())
        yield wire.pack_change(
            Change(held is None, shard, key_hash, found.shape, found.name, found.definition)
        )


def _write_removed(answers: BinaryIO, in_force: InForce) -> None:
    gone: dict[int, list[str]] = {}
    for name, (_, shard) in in_force.jobs.items():
        gone.setdefault(shard, []).append(name)
    for shard, names in gone.items():
        for body in wire.batches(wire.pack_shard(shard), map(wire.pack_name, names)):
            wire.write(answers, Kind.REMOVED, body)


def _die_with_parent() -> None:
    """Have the kernel end this process with its parent; elsewhere than on Linux, end of input does."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if len(sys.argv) > 1 and os.getppid() != int(sys.argv[1]):
        sys.exit(0)


def _peak_bytes() -> int:
    """Return the most memory this process ever held; 0 where the kernel does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
