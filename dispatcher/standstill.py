"""Whether threads still move: the question of a watchdog, which is not that of health.

A loop moves when each of its steps comes to an end, whatever the step found: one that tries in vain to reach
Kafka moves, and ending the process would mend nothing. Whether Kafka answers is for health to tell. A step
that does not end is what nothing but a new process mends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from dispatcher.service import Motion

STILL_SECONDS = 120.0
"""Waits for Kafka end well before, within about 15 s, and most long steps say `moved` in between. To plan
hundreds of thousands of new jobs with as many triggers is one step, of half a minute on a busy machine."""
_ASK_SECONDS = 5.0


def standstills(motions: Mapping[str, Motion], limit: float = STILL_SECONDS) -> tuple[str, ...]:
    """Return a sentence for each thread that has not moved for longer than the limit."""
    still = ((name, motion.still()) for name, motion in motions.items())
    return tuple(f"{name} has not moved for {seconds:.0f} s" for name, seconds in still if seconds > limit)


class Spared:
    """Spares threads that stand still while nobody there could answer them: Kafka, in calls without a limit.

    Only what goes on standing still for the limit while `answers` says yes is a standstill. It is asked only
    when threads stand still, now and then; one thread judges.
    """

    def __init__(
        self,
        answers: Callable[[], bool],
        *,
        limit: float = STILL_SECONDS,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answers = answers
        self._limit = limit
        self._seconds = seconds
        self._asked: float | None = None
        self._answered_since: float | None = None

    def judge(self, still: tuple[str, ...]) -> tuple[str, ...]:
        """Return those that no absence excuses."""
        if not still:
            self._asked = self._answered_since = None
            return ()
        now = self._seconds()
        if self._asked is None or now - self._asked >= _ASK_SECONDS:
            self._asked = now
            if not self._answers():
                self._answered_since = None
            elif self._answered_since is None:
                self._answered_since = now
        since = self._answered_since
        return still if since is not None and now - since >= self._limit else ()
