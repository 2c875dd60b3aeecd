"""How fast backlog may go out: so many fires a second, and no more than one second's worth at once."""

from __future__ import annotations

from dispatcher.core.instant import Instant

_PIECES_A_SECOND = 10


class Pace:
    """A bucket of fires that fills with the time that passes; `rate` a second, 0 without a limit.

    It begins full. Time is the `now` of each call: one that went back fills nothing, and never empties.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._full = rate * 1000
        self._held = self._full
        self._seen: Instant | None = None

    def available(self, now: Instant, most: int) -> int:
        """Return how many of `most` fires may go out now: none while less than a worthwhile piece may."""
        if not self._rate:
            return most
        self._fill(now)
        return min(most, self._held // 1000) if self._held >= self._worthwhile(most) else 0

    def take(self, fires: int) -> None:
        """Learn that so many of the available fires are on their way."""
        if self._rate:
            self._held -= fires * 1000

    def ready(self, now: Instant, most: int) -> Instant:
        """Return when fires are available next, `now` when some are."""
        if not self._rate:
            return now
        self._fill(now)
        return now + max(0, -((self._held - self._worthwhile(most)) // self._rate))

    def _worthwhile(self, most: int) -> int:
        """Return, in thousandths of fires, what is worth a transaction: a tenth of a second's fires."""
        return min(most, max(1, self._rate // _PIECES_A_SECOND)) * 1000

    def _fill(self, now: Instant) -> None:
        if self._seen is not None and now > self._seen:
            self._held = min(self._full, self._held + (now - self._seen) * self._rate)
        self._seen = now
