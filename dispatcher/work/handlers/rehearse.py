"""`rehearse`: does nothing for as long as it is told to, and fails as often as it is told to.

Made to try out retries, time limits, overlaps and scaling before anything real depends on them.
"""

from __future__ import annotations

from pydantic import Field

from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.work.handling import Payload, Task


class RehearsePayload(Payload):
    """How long it takes, and the attempts that fail: those below `failBelowAttempt`."""

    wait_seconds: float = Field(0, alias="waitSeconds", ge=0, le=86_400)
    fail_below_attempt: int = Field(1, alias="failBelowAttempt", ge=1, le=1_000_000)


class Rehearse:
    """Waits, and fails or succeeds by the number of the attempt."""

    name = "rehearse"
    instant = False
    payload: type[Payload] = RehearsePayload

    def run(self, task: Task) -> Outcome:
        """Wait, but no longer than the limit of the attempt; then end as the payload says."""
        wanted: RehearsePayload = task.payload
        limit = task.seconds
        seconds = wanted.wait_seconds if limit is None else min(wanted.wait_seconds, limit)
        if task.cancel.wait(seconds):
            return Cancelled(task.cancel.reason)
        if limit is not None and wanted.wait_seconds > limit:
            return Failed(f"it took longer than its {limit:g} s")
        if task.attempt < wanted.fail_below_attempt:
            return Failed(f"attempt {task.attempt} was to fail, as all below {wanted.fail_below_attempt}")
        return Succeeded()

    def close(self) -> None:
        """Hold nothing."""
