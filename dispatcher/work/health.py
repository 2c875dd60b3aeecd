"""Whether a worker may claim to be well, or ready: judged from what its pool last showed."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.health import Health

POOL_SILENCE_MS = 30_000
"""A partition that moves on gives its runs up to 13 s to end, and a transaction some more."""
BROKER_SILENCE_MS = 15_000
"""Brokers answer fetches and heartbeats several times a second."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a pool shows of itself in each step: when, in monotonic milliseconds, and what its group said.

    `heard` is when a broker last sent anything, `member` whether the group gave it partitions, or said that
    there are none for it.
    """

    at: int
    heard: int
    member: bool


def judge_worker(pulse: Pulse, monotonic: int) -> Health:
    """Return how a worker is: healthy while its pool goes round and brokers answer it."""
    reasons = []
    silence, stands = monotonic - pulse.heard, monotonic - pulse.at
    if stands > POOL_SILENCE_MS:
        reasons.append(f"the pool has stood still for {stands / 1000:.0f} s")
    elif silence > BROKER_SILENCE_MS:
        reasons.append(f"no broker has answered for {silence / 1000:.0f} s")
    return Health(tuple(reasons))


def judge_worker_ready(pulse: Pulse, monotonic: int) -> Health:
    """Return whether a worker takes what is fired: it is well, and a member of its group."""
    reasons = judge_worker(pulse, monotonic).reasons
    if not pulse.member:
        reasons = (*reasons, "the group has not answered yet which partitions are this worker's")
    return Health(reasons)
