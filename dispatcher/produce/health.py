"""Whether a replica may claim to be well, or ready: judged from what its parts know of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dispatcher.core.health import Health

SHARD_SILENCE_MS = 15_000
"""A shard at rest looks around every 10 s, and a large transaction takes some more."""
MEMBER_SILENCE_MS = 10_000
"""As long as a rebalance may take, in which a member waits for a single answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a shard at work stands: `sure_at` is when it last held all that its ledger does.

    It has committed then, or nothing was in doubt; monotonic milliseconds. `taken` is false until it is
    fenced, read and claimed. `revision` is that of the schedule in force, empty while there is none.
    """

    shard: int
    taken: bool
    sure_at: int
    revision: str = ""


@dataclass(frozen=True, slots=True)
class GroupWord:
    """What the group says: whether it answered at all, which shards it gives, how long brokers are silent."""

    answered: bool
    assigned: frozenset[int]
    silence_ms: float


def judge(shards: Iterable[Standing], member_silence_ms: float, monotonic: int) -> Health:
    """Return how a replica is: healthy when Kafka answers it and every shard at work is sure of its ledger.

    A replica that owns no shard is healthy as long as brokers answer its membership.
    """
    reasons = []
    if member_silence_ms > MEMBER_SILENCE_MS:
        reasons.append(_silent(member_silence_ms))
    for one in shards:
        silence = monotonic - one.sure_at
        if silence > SHARD_SILENCE_MS:
            what = "could not commit" if one.taken else "could not be taken"
            reasons.append(f"shard {one.shard} {what} for {silence / 1000:.0f} s")
    return Health(tuple(reasons))


def judge_ready(shards: Iterable[Standing], member: GroupWord, *, in_force: bool) -> Health:
    """Return whether a replica does its part: it owns shards and has taken them, or clearly stands by.

    `in_force` says whether any ledger it reads along tells of a schedule in force, which is what one that
    stands by has to go on with.
    """
    at_work = {one.shard: one for one in shards}
    reasons = []
    if member.silence_ms > MEMBER_SILENCE_MS:
        reasons.append(_silent(member.silence_ms))
    if not at_work and not member.answered:
        reasons.append("the group has not answered yet which shards are this replica's")
    coming = [number for number in sorted(member.assigned | at_work.keys()) if not _is_taken(at_work, number)]
    if coming:
        reasons.append(f"{_shards(coming)} not taken yet")
    without = [one.shard for one in at_work.values() if one.taken and not one.revision]
    if without:
        reasons.append(f"no schedule is in force yet in {_shards(without)}")
    if not at_work and not in_force:
        reasons.append("no schedule is in force yet in any ledger that was read")
    return Health(tuple(reasons))


def _is_taken(at_work: Mapping[int, Standing], number: int) -> bool:
    return number in at_work and at_work[number].taken


def _shards(numbers: Sequence[int]) -> str:
    return f"shard{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _silent(milliseconds: float) -> str:
    return f"no broker has answered the membership for {milliseconds / 1000:.0f} s"
