"""The wire form of the ledger's facts.

A value is one line of JSON; a job's value carries its definitions as further lines, exactly as they are
sent, and a timer's its message.

Each record says in which format it is written. What dispatchers before format 2 do not know, or would read
otherwise, bears that number: such a dispatcher refuses the ledger and says that it must be upgraded, rather
than fire what is paused, or do twice what is done. Where nothing of it is used they can still take over.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from dispatcher.core.compact_json import read_json, write_json
from dispatcher.core.instant import Instant
from dispatcher.core.ledger import (
    Change,
    ChangeGone,
    Cursor,
    Done,
    DoneGone,
    Fact,
    Identity,
    Interval,
    JobVersions,
    Owner,
    Paused,
    PausedGone,
    Position,
    Revision,
    RevisionGone,
    Timer,
    TimerGone,
    Version,
)
from dispatcher.errors import LedgerNewer, LedgerUnfit

VERSION = 2
_FIRST = 1
_WITH_WORDS = 2
"""The format with what is paused, what is done, and timers of any bytes."""
CURSOR_KEY = b"cursor"
IDENTITY_KEY = b"identity"
OWNER_KEY = b"owner"
JOB_PREFIX = b"job/"
_NEW = tuple.__new__  # half the time of calling the class, for what is made for each job there is
_LINES_KEPT = 4096
"""More than a large schedule has triggers; a line takes one or two KiB."""

Lines = dict[bytes, Any]
"""First lines of jobs' records and their values, kept while a ledger is read: those of one trigger that came
with one change are equal."""


def encode(fact: Fact) -> tuple[bytes, bytes | None]:
    """Return the key and value of a fact; the value None is a tombstone."""
    match fact:
        case JobVersions():
            return f"job/{fact.name}".encode(), _job_value(fact)
        case Position():
            return CURSOR_KEY, _line(_position(fact))
        case Timer():
            return f"timer/{fact.id}".encode(), _timer_value(fact)
        case TimerGone() | ChangeGone() | RevisionGone() | PausedGone() | DoneGone():
            return _key_gone(fact), None
        case Change():
            return f"change/{fact.number}".encode(), _line({"from": fact.effective_from})
        case Revision():
            return f"revision/{fact.revision}".encode(), _line({"at": fact.applied, "by": fact.instance})
        case Identity():
            return IDENTITY_KEY, _line(_identity(fact))
        case Owner():
            return OWNER_KEY, _line({"instance": fact.instance, "at": fact.taken})
        case Paused() | Done():
            return _word(fact)


def decode(key: bytes, value: bytes | None, lines: Lines | None = None) -> Fact:
    """Return the fact of a ledger record; `lines` spares reading over again what many records share.

    Raises LedgerUnfit for a record that this version does not know or cannot read.
    """
    kind, _, name = key.decode(errors="replace").partition("/")
    try:
        if value is None:
            return _decode_tombstone(kind, name)
        head, *definitions = value.split(b"\n")
        data = read_json(head) if lines is None or kind != "job" else _shared(head, lines)
        if data["v"] > VERSION:
            raise LedgerNewer(
                f"ledger record {key!r} has format {data['v']}, this dispatcher knows up to {VERSION}; "
                "upgrade it before it takes this shard"
            )
        return _decode_value(kind, name, data, definitions)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise LedgerUnfit(
            f"ledger record {key!r} cannot be read: {error!r}; only a dispatcher may write there"
        ) from error


def _word(fact: Paused | Done) -> tuple[bytes, bytes]:
    match fact:
        case Paused():
            return f"paused/{fact.job}".encode(), _line({"since": fact.since}, _WITH_WORDS)
        case Done():
            return f"done/{fact.id}".encode(), _line({"at": fact.at}, _WITH_WORDS)


def _key_gone(fact: TimerGone | ChangeGone | RevisionGone | PausedGone | DoneGone) -> bytes:
    match fact:
        case TimerGone():
            return f"timer/{fact.id}".encode()
        case ChangeGone():
            return f"change/{fact.number}".encode()
        case RevisionGone():
            return f"revision/{fact.revision}".encode()
        case PausedGone():
            return f"paused/{fact.job}".encode()
        case DoneGone():
            return f"done/{fact.id}".encode()


def _decode_tombstone(kind: str, name: str) -> Fact:
    match kind:
        case "job":
            return JobVersions(name, ())
        case "timer":
            return TimerGone(name)
        case "change":
            return ChangeGone(int(name))
        case "revision":
            return RevisionGone(name)
        case "paused":
            return PausedGone(name)
        case "done":
            return DoneGone(name)
    raise KeyError(kind)


def _decode_value(kind: str, name: str, data: dict[str, Any], lines: list[bytes]) -> Fact:
    match kind:
        case "job":
            heads = data["versions"]
            if len(heads) != len(lines):
                raise ValueError(f"{len(heads)} versions and {len(lines)} definitions")
            return JobVersions(name, tuple(map(_version, heads, lines)))
        case "cursor":
            return _read_position(data)
        case "timer":
            return _read_timer(name, data, lines)
        case "change":
            return Change(int(name), data["from"])
        case "revision":
            return Revision(name, data["at"], data["by"])
        case "identity":
            return Identity(data["cluster"], data["topics"], data["shards"], data["tzdata"], data["engine"])
        case "owner":
            return Owner(data["instance"], data["at"])
    return _decode_word(kind, name, data)


def _decode_word(kind: str, name: str, data: dict[str, Any]) -> Fact:
    match kind:
        case "paused":
            return Paused(name, data["since"])
        case "done":
            return Done(name, data["at"])
    raise KeyError(kind)


def _shared(line: bytes, known: Lines) -> Any:
    found = known.get(line)
    if found is None:
        if len(known) >= _LINES_KEPT:
            known.clear()
        found = known[line] = read_json(line)
    return found


def _line(data: dict[str, Any], version: int = _FIRST) -> bytes:
    return write_json({"v": version, **data})


def _job_value(fact: JobVersions) -> bytes | None:
    if not fact.versions:
        return None
    heads = [
        (one.change, one.revision, one.trigger, one.effective_from, one.timed_from, one.origin)
        for one in fact.versions
    ]
    return b"\n".join([_line({"versions": heads}), *(one.definition or b"" for one in fact.versions)])


def _version(head: list[Any], definition: bytes) -> Version:
    change, revision, trigger, effective_from, timed_from, origin = head
    return _NEW(Version, (change, revision, definition or None, trigger, effective_from, timed_from, origin))


def _position(fact: Position) -> dict[str, Any]:
    return {
        "due": fact.cursor.due,
        "name": fact.cursor.name,
        "revision": fact.revision,
        "change": fact.change,
        "abandoned": fact.abandoned,
        "commands": fact.commands,
        "backlog": [_interval(one) for one in fact.backlog],
        "effectiveFrom": fact.effective_from,
        **({"first": fact.first} if fact.first else {}),
    }


def _interval(one: Interval) -> dict[str, Any]:
    return {
        "from": _place(one.start),
        "to": one.end,
        "change": one.change,
        "named": one.named,
        "namesDone": one.names_done,
        "drained": _place(one.drained),
        "recent": _place(one.recent),
        "recentDone": one.recent_done,
        "most": one.most,
        "drops": one.drops,
        "dropped": one.dropped,
    }


def _place(cursor: Cursor | None) -> tuple[Instant, str] | None:
    return None if cursor is None else (cursor.due, cursor.name)


def _read_position(data: dict[str, Any]) -> Position:
    return Position(
        Cursor(data["due"], data["name"]),
        data["revision"],
        data["change"],
        tuple(data["abandoned"]),
        data["commands"],
        tuple(map(_read_interval, data["backlog"])),
        data["effectiveFrom"],
        data.get("first", 0),
    )


def _read_interval(data: dict[str, Any]) -> Interval:
    """Return an interval; one written before there was a cap has neither it nor what came with it."""
    drained = _read_place(data["drained"])
    return Interval(
        Cursor(*data["from"]),
        data["to"],
        data["change"],
        data["named"],
        data["namesDone"],
        drained,
        _read_place(data["recent"]) if "recent" in data else drained,
        data.get("recentDone", False),
        data.get("most", 0),
        tuple(data.get("drops", ())),
        data.get("dropped", ""),
    )


def _read_place(data: list[Any] | None) -> Cursor | None:
    return None if data is None else Cursor(*data)


def _timer_value(fact: Timer) -> bytes:
    head = {
        "job": fact.job,
        "planned": fact.planned,
        "due": fact.due,
        "attempt": fact.attempt,
        "topic": fact.topic,
        "partition": fact.partition,
        "grace": fact.grace_ms,
    }
    return b"%b\n%b" % (_line(*_with_bytes(head, fact)), fact.value)


def _with_bytes(head: dict[str, Any], fact: Timer) -> tuple[dict[str, Any], int]:
    """Return what a timer's first line says, and its format: text, as ever, unless its bytes are none."""
    try:
        if fact.key is not None and b"\n" not in fact.value:
            headers = [(name, value.decode()) for name, value in fact.headers]
            return {**head, "key": fact.key.decode(), "headers": headers}, _FIRST
    except UnicodeDecodeError:
        pass
    key = None if fact.key is None else b64encode(fact.key).decode()
    encoded = [(name, b64encode(value).decode()) for name, value in fact.headers]
    return {**head, "key": key, "headers": encoded}, _WITH_WORDS


def _read_timer(name: str, data: dict[str, Any], lines: list[bytes]) -> Timer:
    key, headers = data["key"], data["headers"]
    if not lines:
        raise ValueError("it lacks its message")
    bytes_of = str.encode if data["v"] == _FIRST else b64decode
    return Timer(
        id=name,
        job=data["job"],
        planned=data["planned"],
        due=data["due"],
        attempt=data["attempt"],
        topic=data["topic"],
        partition=data["partition"],
        key=None if key is None and data["v"] != _FIRST else bytes_of(key),
        value=b"\n".join(lines),
        headers=tuple((header, bytes_of(value)) for header, value in headers),
        grace_ms=data["grace"],
    )


def _identity(fact: Identity) -> dict[str, Any]:
    return {
        "cluster": fact.cluster,
        "topics": dict(fact.topics),
        "shards": fact.shards,
        "tzdata": fact.tzdata,
        "engine": fact.engine,
    }
