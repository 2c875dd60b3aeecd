"""Clocks that jump: what is a plausible move of the wall clock, and what is to be held and told."""

from __future__ import annotations

from dispatcher.core.instant import Instant, to_text

Clocks = tuple[Instant, int]
"""Wall and monotonic time of one reading, in milliseconds."""


def jump_between(before: Clocks, after: Clocks, limit_ms: int) -> str | None:
    """Return what happened when the wall clock moved beside the monotonic one by more than a limit."""
    moved = (after[0] - before[0]) - (after[1] - before[1])
    if abs(moved) <= limit_ms:
        return None
    direction = "forward" if moved > 0 else "back"
    return (
        f"the wall clock jumped {direction} by {abs(moved) / 1000:.0f} s, from {to_text(before[0])} "
        f"to {to_text(after[0])}; the limit is {limit_ms // 1000} s"
    )


def apart_from_broker(now: Instant, appended: Instant, limit_ms: int) -> str | None:
    """Return how far this machine's clock is from the broker's append time, when that is beyond a limit."""
    if abs(now - appended) <= limit_ms:
        return None
    return (
        f"this machine says {to_text(now)}, the broker stamped {to_text(appended)}; "
        f"they are more than {limit_ms // 1000} s apart"
    )
