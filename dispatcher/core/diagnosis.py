"""What is wrong with an installation's topics and ledger, judged from facts; the one place for these words.

A fire counts as beyond the ledger only when that is certain. Whatever a shard sends was planned at or
before its cursor (fresh fires and backlog) or before its last change took effect (timers), both as of the
same transaction. So one planned after both can only come from a ledger newer than this one. What a command
asked for is not planned, and tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum

from dispatcher.core.instant import Instant, to_text
from dispatcher.core.ledger import Identity, Position
from dispatcher.core.message import TopicNames

_NAMED = 3


class Trouble(StrEnum):
    """What kind of mistake was made."""

    PREFIX = "prefix"
    SHARDS = "shards"
    LOST = "lost"
    EMPTY = "empty"
    NEWER = "newer"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    OLDER = "older"
    CLUSTER = "cluster"
    RESHARDED = "resharded"
    RECREATED = "recreated"
    COMMANDS = "commands"


class Remedy(StrEnum):
    """What `dispatcher recover` does about it: nothing, begin anew from now, or keep all and go on."""

    NONE = "none"
    ANEW = "anew"
    REBIND = "rebind"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which shard (None: all of them), in a sentence that says what to do."""

    trouble: Trouble
    shard: int | None
    what: str

    @property
    def remedy(self) -> Remedy:
        """What can be done about it."""
        if self.trouble in (Trouble.PREFIX, Trouble.SHARDS, Trouble.NEWER):
            return Remedy.NONE
        return Remedy.REBIND if self.trouble is Trouble.COMMANDS else Remedy.ANEW


@dataclass(frozen=True, slots=True)
class Sent:
    """A committed fire: its id, when it was planned, and where it lies, as `topic[partition]@offset`."""

    fire: str
    planned: Instant
    place: str


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What was found of one shard.

    `first` is the offset its ledger partition begins at, `records` says whether anything committed is in it,
    `unread` why some of it cannot be read, `newer` that a newer dispatcher wrote it. `sent` is the latest
    planned of the fires near the ends of the job topics, `events` the end of its events, `applied` the
    highest number of an applied change near there and `told` that of any change. `commands` is the end of
    its commands, None where it is not known. With a transaction `open` in the ledger, it may be about to
    hold what it lacks.
    """

    number: int
    first: int = 0
    records: bool = False
    position: Position | None = None
    identity: Identity | None = None
    unread: str = ""
    newer: str = ""
    sent: Sent | None = None
    applied: int = 0
    told: int = 0
    events: int = 0
    commands: int | None = None
    open: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found of an installation that is to have `shards` shards.

    `partitions` counts those of each topic of it that exists. `others` are prefixes that are installed on the
    cluster, `used` whether its job or events topics ever held a record, `expected` what the ledger would
    belong to if it were written now.
    """

    topics: TopicNames
    shards: int
    partitions: Mapping[str, int]
    others: tuple[str, ...] = ()
    used: bool = False
    expected: Identity | None = None
    by_shard: Sequence[ShardFacts] = field(default=())


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Return everything that is wrong; topics that were never created are no mistake."""
    ledger = facts.topics.ledger
    if not facts.partitions:
        return (_wrong_prefix(facts),) if facts.others else ()
    if ledger not in facts.partitions:
        return (_lost(facts),) if facts.used else ()
    if facts.partitions[ledger] != facts.shards:
        return (_wrong_shards(facts),)
    return tuple(finding for shard in facts.by_shard for finding in _of_shard(facts, shard))


def misbelongs(found: Identity | None, expected: Identity) -> tuple[Trouble, str] | None:
    """Return why a ledger is not this cluster's, this shard count's or these topics'; None when it is."""
    if found is None:
        return None
    if found.cluster != expected.cluster:
        return Trouble.CLUSTER, (
            f"the ledger was written on cluster {found.cluster!r}, this is {expected.cluster!r}: connect to"
            " the right cluster, or, if the topics were moved to this one, give up the ledger"
        )
    if found.shards != expected.shards:
        return Trouble.RESHARDED, (
            f"the ledger was written for {found.shards} shards, the settings say {expected.shards};"
            f" set --shards {found.shards}, or give up the ledger"
        )
    again = [topic for topic, ident in found.topics.items() if expected.topics.get(topic, ident) != ident]
    if any(topic.endswith(".ledger") for topic in again):
        return Trouble.RECREATED, (
            f"topic {again[0]!r} is not the one this ledger was written to: it was re-created and records"
            " were copied into it, from when cannot be known"
        )
    if again:
        return Trouble.COMMANDS, (
            f"topic {again[0]!r} is not the one this ledger was written beside: it was re-created"
        )
    return None


def cut_off(position: Position | None, first: int) -> str | None:
    """Return the sentence that a ledger's first records are gone, None when nothing is missing."""
    if first <= (0 if position is None else position.first):
        return None
    return (
        f"the ledger begins at offset {first}: compaction never moves a beginning, so its records were"
        " deleted, or cleanup.policy was not compact for a while"
    )


def behind(start: int, end: int) -> str:
    """Return the sentence that a ledger ends before a place up to which it was read."""
    return (
        f"the ledger ends at offset {end}, before offset {start} that was read earlier: its topic was"
        " truncated or re-created"
    )


def unread_commands(topic: str, shard: int, read: int, end: int) -> str:
    """Return the sentence that commands end before the place up to which they were read."""
    return (
        f"{topic}[{shard}] ends at offset {end}, but was read up to {read}: its topic was truncated,"
        " re-created or restored"
    )


def without_instant(job: str) -> str:
    """Return the sentence that the instant of a job's version is lost."""
    return f"the ledger does not hold from when on job {job!r} counts"


NO_POSITION = "the ledger holds records but no position: it was truncated or written by something else"


def beyond(position: Position, sent: Sent | None, applied: int) -> str | None:
    """Return the sentence that the topics know more than the ledger; None when they do not."""
    reached = max(position.cursor.due, position.effective_from)
    if sent is not None and sent.planned > reached:
        return (
            f"{sent.place} holds {sent.fire}, but the ledger knows of nothing planned after"
            f" {to_text(reached)}: it was restored from an older copy"
        )
    if applied > position.change:
        return (
            f"the events tell of change {applied}, but the ledger ends at change {position.change}: it was"
            " restored from an older copy"
        )
    return None


def _of_shard(facts: Facts, shard: ShardFacts) -> Iterator[Finding]:
    """Yield the gravest thing that is wrong with a shard: what mends it mends the others."""
    place = f"shard {shard.number} ({facts.topics.ledger}[{shard.number}])"
    for trouble, what in _troubles(facts, shard):
        yield Finding(trouble, shard.number, f"{place}: {what}")
        return


def _troubles(facts: Facts, shard: ShardFacts) -> Iterator[tuple[Trouble, str]]:
    expected = facts.expected
    misplaced = None if expected is None else misbelongs(shard.identity, expected)
    if misplaced is not None and misplaced[0] in _ELSEWHERE:
        yield misplaced
    yield from _of_records(shard)
    if shard.position is None:
        yield from _of_nothing(facts, shard)
        return
    if misplaced is not None and misplaced[0] is Trouble.RECREATED:
        yield misplaced
    older = None if shard.open else beyond(shard.position, shard.sent, shard.applied)
    if older is not None:
        yield Trouble.OLDER, older
    if misplaced is not None:
        yield misplaced
    read = shard.position.commands
    if shard.commands is not None and read is not None and read > shard.commands:
        yield Trouble.COMMANDS, unread_commands(facts.topics.commands, shard.number, read, shard.commands)


_ELSEWHERE = (Trouble.CLUSTER, Trouble.RESHARDED)


def _of_records(shard: ShardFacts) -> Iterator[tuple[Trouble, str]]:
    if shard.newer:
        yield Trouble.NEWER, shard.newer
    if shard.unread:
        yield Trouble.UNREADABLE, shard.unread
    if (cut := cut_off(shard.position, shard.first)) is not None:
        yield Trouble.TRUNCATED, cut


def _of_nothing(facts: Facts, shard: ShardFacts) -> Iterator[tuple[Trouble, str]]:
    if shard.records:
        yield Trouble.TRUNCATED, NO_POSITION
    elif not shard.open and (traces := _traces(facts, shard)) is not None:
        yield Trouble.EMPTY, f"the ledger is empty, but {traces}: it was lost, or its topic re-created"


def _traces(facts: Facts, shard: ShardFacts) -> str | None:
    """Return what tells that a shard without a ledger was at work before."""
    if shard.sent is not None:
        return f"{shard.sent.place} holds its fire {shard.sent.fire}"
    if shard.events:
        return f"{facts.topics.events}[{shard.number}] has held {shard.events} records of it"
    return None


def _wrong_prefix(facts: Facts) -> Finding:
    wanted = facts.topics.prefix
    near = get_close_matches(wanted, facts.others, _NAMED)
    listed = near or sorted(facts.others)[:_NAMED]
    more = f" and {len(facts.others) - len(listed)} more" if len(facts.others) > len(listed) else ""
    meant = " or ".join(f"--prefix {one}" for one in near)
    return Finding(
        Trouble.PREFIX,
        None,
        f"nothing is installed under the prefix {wanted!r}, but on this cluster there is"
        f" {', '.join(listed)}{more}; "
        + (f"did you mean {meant}?" if near else "give --prefix if one of these was meant"),
    )


def _lost(facts: Facts) -> Finding:
    return Finding(
        Trouble.LOST,
        None,
        f"topic {facts.topics.ledger} is missing, but other topics of the prefix {facts.topics.prefix!r} have"
        " held records: the ledger was there and is lost",
    )


def _wrong_shards(facts: Facts) -> Finding:
    was, wanted, names = facts.partitions[facts.topics.ledger], facts.shards, facts.topics
    if wanted > was:
        third = (
            f"; or give {names.shards}, {names.ledger}, {names.commands} and {names.events} {wanted}"
            f" partitions each (job topics and {names.dead} a multiple of it) with `kafka-topics.sh --alter`,"
            " which cannot be undone, then run `dispatcher recover`: fires not sent by then are skipped"
        )
    else:
        third = ""
    return Finding(
        Trouble.SHARDS,
        None,
        f"topic {names.ledger} has {was} partitions, the settings say {wanted} shards. Set --shards {was},"
        " which costs nothing; or use another --prefix: that plans anew from its start, what was missed here"
        f" is skipped, and consumers must read its topics{third}",
    )
