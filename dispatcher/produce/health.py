"""Whether a replica may claim to be well: judged from what its parts know of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SHARD_SILENCE_MS = 15_000
"""A shard at rest looks around every 10 s, and a large transaction takes some more."""
MEMBER_SILENCE_MS = 10_000
"""As long as a rebalance may take, in which a member waits for a single answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a shard at work stands: `sure_at` is when it last held all that its ledger does.

    It has committed then, or nothing was in doubt; monotonic milliseconds. `taken` is false until it is
    fenced, read and claimed.
    """

    shard: int
    taken: bool
    sure_at: int


@dataclass(frozen=True, slots=True)
class Health:
    """A judgement: the reasons why not are sentences for people, none when healthy."""

    reasons: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def judge(shards: Iterable[Standing], member_silence_ms: float, monotonic: int) -> Health:
    """Return how a replica is: healthy when Kafka answers it and every shard at work is sure of its ledger.

    A replica that owns no shard is healthy as long as brokers answer its membership.
    """
    reasons = []
    if member_silence_ms > MEMBER_SILENCE_MS:
        reasons.append(f"no broker has answered the membership for {member_silence_ms / 1000:.0f} s")
    for one in shards:
        silence = monotonic - one.sure_at
        if silence > SHARD_SILENCE_MS:
            what = "could not commit" if one.taken else "could not be taken"
            reasons.append(f"shard {one.shard} {what} for {silence / 1000:.0f} s")
    return Health(tuple(reasons))
