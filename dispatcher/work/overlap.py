"""One run of a job at a time, for jobs that want it: the next one waits, or is skipped.

It holds within a worker. All fires of a job have one key, so they lie in one partition of their lane, and a
partition is one live worker's: that is what Kafka gives. What a life before left under way, or a handler that
does not end, nobody can keep out: a run that may meet it is told from others.
"""

from __future__ import annotations

from collections import deque

from dispatcher.work.held import Held


class Gate:
    """Which runs of such jobs have not ended. The consumer thread's own."""

    def __init__(self) -> None:
        self._inside: dict[str, Held] = {}
        self._queues: dict[str, deque[Held]] = {}
        self._astray: dict[str, set[Held]] = {}
        """Runs that were given up here and have not ended."""

    def enter(self, held: Held) -> Held | None:
        """Let a run in: None when it may go on, itself when it waits, the one in its way when it may not."""
        job, overlap = held.run.job, held.run.spec.overlap
        if overlap == "allow":
            return None
        inside = self._inside.get(job)
        if inside is None:
            self._inside[job] = held
            return None
        if overlap == "queue":
            self._queues.setdefault(job, deque()).append(held)
            return held
        return inside

    def meets(self, held: Held) -> bool:
        """Return whether a run of such a job that goes on may meet another one that is still under way."""
        return held.run.spec.overlap != "allow" and (held.unended or held.run.job in self._astray)

    def give_up(self, held: Held) -> None:
        """Note that a run is given up whose handler has not ended."""
        if held.run.spec.overlap != "allow":
            self._astray.setdefault(held.run.job, set()).add(held)

    def came_back(self, held: Held) -> None:
        """Note that the handler of a run that was given up has ended."""
        astray = self._astray.get(held.run.job, set())
        astray.discard(held)
        if not astray:
            self._astray.pop(held.run.job, None)

    def waits(self, held: Held) -> bool:
        """Return whether a run waits for another one of its job to end."""
        return held in self._queues.get(held.run.job, ())

    def leave(self, held: Held) -> Held | None:
        """Note that a run has ended; return the next one of its job, which may go on now."""
        job = held.run.job
        queue = self._queues.get(job)
        if self._inside.get(job) is not held:
            if queue is not None and held in queue:
                queue.remove(held)
            return None
        del self._inside[job]
        if not queue:
            self._queues.pop(job, None)
            return None
        following = self._inside[job] = queue.popleft()
        return following
