"""The events about runs that a shard tells: of what was asked for, and of what will not go out."""

from __future__ import annotations

from dispatcher.core.event import Event
from dispatcher.core.ledger import Timer
from dispatcher.core.message import fire_in


def fire_of_timer(timer: Timer) -> str:
    """Return the id of the fire that a timer holds an attempt at."""
    return fire_in(timer.headers) or timer.id


def triggered(timer: Timer, command: str) -> Event:
    """Return the event that a fire was asked for."""
    return _event("run.triggered", timer, {"command": command})


def redriven(timer: Timer, command: str) -> Event:
    """Return the event that somebody had a fire tried again."""
    return _event("run.redriven", timer, {"command": command})


def cancelled(timer: Timer, command: str) -> Event:
    """Return the event that an attempt was cancelled before it went out."""
    return _event("run.cancelled", timer, {"reason": "cancelled before it was sent", "command": command})


def not_sent(job: str, fire: str, attempt: int, reason: str) -> Event:
    """Return the event that an attempt that was asked for will not go out, and why.

    It bears the attempt, which tells it from a skip of fires of the plan: of a fire that is tried again the
    plan's was sent.
    """
    ident = f"run.skipped/{fire}/{attempt}"
    return Event("run.skipped", ident, job, {"reason": reason, "count": 1}, fire=fire, attempt=attempt)


def _event(kind: str, timer: Timer, data: dict[str, str]) -> Event:
    fire = fire_of_timer(timer)
    return Event(kind, f"{kind}/{fire}/{timer.attempt}", timer.job, data, fire=fire, attempt=timer.attempt)
