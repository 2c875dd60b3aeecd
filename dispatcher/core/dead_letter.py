"""Dead letters: messages that workers gave up, whole, with the reason; and the marks that settle them.

A letter and its mark have the same key and lie in the same partition: the topic alone tells what is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

from dispatcher.core.command import MOST_ATTEMPTS, Command, Parcel, retry_id
from dispatcher.core.instant import Instant, from_text, to_text
from dispatcher.core.log_record import Record
from dispatcher.core.message import FIRE_TYPE, Headers, Outgoing, TopicNames
from dispatcher.core.partitioner import murmur2
from dispatcher.core.run import Delivery

Settlement = Literal["retried", "dropped"]
_LETTER = (
    "dead_reason",
    "dead_attempts",
    "dead_topic",
    "dead_partition",
    "dead_offset",
    "dead_at",
    "dead_by",
)
_OWN = frozenset((*_LETTER, "dead_settled", "dead_letter"))
_LONGEST_FIRE = 600


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and where it lies in the topic of dead letters.

    `topic`, `partition` and `offset` say where the message lay that was given up; `key`, `value` and
    `headers` are that message's. `attempts` is how often it was tried, `by` the worker that gave it up.
    """

    place: tuple[int, int]
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    reason: str
    attempts: int
    at: Instant
    by: str

    @property
    def fire(self) -> str:
        """The fire's id; empty when the message names none."""
        return self._header("ce_id")

    @property
    def job(self) -> str:
        """The job's name; empty when the message names none."""
        return self._header("ce_subject")

    def why_not_retried(self) -> str | None:
        """Return why it cannot be fired again, None when it can: a retry must find the fire it belongs to."""
        if any(
            value is not None and not _is_text(value) for value in (self.key, *dict(self.headers).values())
        ):
            return "its key or a header is not UTF-8"
        if dict(self.headers).get("ce_type") != FIRE_TYPE or not self.fire or not self.job:
            return "it is no fire: it lacks the ce_type, ce_id or ce_subject of one"
        if len(self.fire) > _LONGEST_FIRE:
            return f"its ce_id is longer than {_LONGEST_FIRE} characters"
        if self.value is None:
            return "it has no value"
        return None if self.attempts < MOST_ATTEMPTS else f"it was tried {self.attempts} times"

    def _header(self, name: str) -> str:
        return (dict(self.headers).get(name) or b"").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Filed:
    """A letter, and the mark that settles it, if there is one."""

    letter: Letter
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The word that a letter is settled: which (partition, offset), how and when; `attempt` of a retry."""

    letter: tuple[int, int]
    settled: str
    at: Instant
    fire: str
    attempt: int


def letter(
    topics: TopicNames,
    partitions: int,
    delivery: Delivery,
    *,
    reason: str,
    attempts: int,
    at: Instant,
    by: str,
) -> Outgoing:
    """Return the dead letter of a delivery; `partitions` is the count of the topic of dead letters."""
    told: Headers = [
        ("dead_reason", _bytes(reason)),
        ("dead_attempts", b"%d" % attempts),
        ("dead_topic", delivery.topic.encode()),
        ("dead_partition", b"%d" % delivery.partition),
        ("dead_offset", b"%d" % delivery.offset),
        ("dead_at", to_text(at).encode()),
        ("dead_by", _bytes(by)),
    ]
    headers = [*_foreign(delivery.headers), *told]
    where = (delivery.partition if delivery.key is None else murmur2(delivery.key)) % partitions
    # Headers without a value are kept as they are; the client takes None for them.
    return topics.dead, delivery.value, delivery.key, where, cast("Headers", headers)


def mark(topics: TopicNames, dead: Letter, settled: Settlement, *, attempt: int, at: Instant) -> Outgoing:
    """Return the mark that settles a letter; `attempt` is the new one of a retry, else the letter's last."""
    partition, offset = dead.place
    headers: Headers = [
        ("attempt", b"%d" % attempt),
        ("dead_settled", settled.encode()),
        ("dead_letter", b"%d" % offset),
        ("dead_at", to_text(at).encode()),
    ]
    fire = dict(dead.headers).get("ce_id")
    if fire is not None:
        headers.insert(0, ("ce_id", fire))
    return topics.dead, None, dead.key, partition, headers


def letter_again(topics: TopicNames, dead: Letter) -> Outgoing:
    """Return a letter as it was, to be written once more: its settlement came to nothing."""
    delivery = Delivery(dead.topic, dead.partition, dead.offset, 0, dead.key, dead.value, dead.headers)
    made = letter(topics, 1, delivery, reason=dead.reason, attempts=dead.attempts, at=dead.at, by=dead.by)
    return *made[:3], dead.place[0], made[4]


def retry_of(dead: Letter, attempt: int, at: Instant, ident: str | None = None) -> Command:
    """Return the command that has the fire of a letter tried again, as it was.

    Its id is that of the attempt, unless whoever asks brings one. Whoever asks for it wants it to run: the
    instant after which workers leave a message alone is not kept.
    """
    kept = tuple((name, value) for name, value in dead.headers if value is not None and name != "not_after")
    return Command(
        "retry",
        ident or retry_id(dead.fire, attempt),
        job=dead.job,
        fire=dead.fire,
        attempt=attempt,
        at=at,
        parcel=Parcel(dead.topic, dead.key, dead.value or b"", kept),
        origin="user",
    )


class Pile:
    """Letters as they are read, each partition in order: the wanted ones, and of them those not settled.

    Values are left out, for there may be many; a value that is there becomes an empty one. `settled` keeps
    the settled letters too.
    """

    def __init__(self, wanted: Callable[[Letter], bool], *, settled: bool = False) -> None:
        self._wanted = wanted
        self._settled = settled
        self._filed: dict[tuple[int, int], Filed] = {}

    def take(self, record: Record) -> None:
        """Take in a record of the topic."""
        found = read_letter(record)
        if isinstance(found, Mark):
            self._settle(found)
        elif found is not None and self._wanted(found):
            light = found if found.value is None else replace(found, value=b"")
            self._filed[found.place] = Filed(light)

    def __iter__(self) -> Iterator[Filed]:
        """Yield the letters, the oldest first."""
        return iter(sorted(self._filed.values(), key=lambda filed: (filed.letter.at, filed.letter.place)))

    def _settle(self, found: Mark) -> None:
        filed = self._filed.get(found.letter)
        if filed is not None and self._settled:
            self._filed[found.letter] = replace(filed, mark=found)
        elif filed is not None:
            del self._filed[found.letter]


def read_letter(record: Record) -> Letter | Mark | None:
    """Return the letter or mark that a record of the topic is; None for what somebody else wrote there."""
    headers = dict(record.headers)
    try:
        if "dead_settled" in headers:
            return _mark(record, headers)
        return _letter(record, headers)
    except (LookupError, ValueError, TypeError, AttributeError):
        return None


def _letter(record: Record, headers: dict[str, bytes]) -> Letter:
    return Letter(
        place=(record.partition, record.offset),
        topic=headers["dead_topic"].decode(),
        partition=int(headers["dead_partition"]),
        offset=int(headers["dead_offset"]),
        key=record.key,
        value=record.value,
        headers=tuple(_foreign(record.headers)),
        reason=headers["dead_reason"].decode(),
        attempts=int(headers["dead_attempts"]),
        at=from_text(headers["dead_at"].decode()),
        by=headers["dead_by"].decode(),
    )


def _mark(record: Record, headers: dict[str, bytes]) -> Mark:
    return Mark(
        letter=(record.partition, int(headers["dead_letter"])),
        settled=headers["dead_settled"].decode(),
        at=from_text(headers["dead_at"].decode()),
        fire=headers.get("ce_id", b"").decode(errors="replace"),
        attempt=int(headers.get("attempt", b"0")),
    )


def _foreign(headers: Iterable[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """Return a message's headers without those of letters and marks: it may have been a letter before."""
    return [(name, value) for name, value in headers if name not in _OWN]


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
