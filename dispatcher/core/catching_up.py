"""A shard's backlog, piece by piece: which interval is next, how much of it, and when."""

from __future__ import annotations

from dispatcher.core.backlog import Settling, Slice
from dispatcher.core.batch import Draft, Limits
from dispatcher.core.firing import Firing
from dispatcher.core.instant import Instant
from dispatcher.core.ledger import Interval
from dispatcher.core.pace import Pace
from dispatcher.core.state import ShardState

_NEAR_MS = 50
_NEAR_SHARE = 4


class CatchingUp:
    """Settles backlog beside the fresh fires, under a budget. `reset` follows whatever it did not see.

    It waits for a first look at the schedule file, since jobs may have been removed meanwhile, and until
    the commands that waited were read, since they may give the backlog up; for each a bounded time.
    """

    def __init__(self, state: ShardState, firing: Firing, limits: Limits) -> None:
        self._state = state
        self._firing = firing
        self._limits = limits
        self._pace = Pace(limits.catch_up_rate)
        self._settling: Settling | None = None
        self._file_until: Instant | None = None
        self._commands_until: Instant | None = None

    def await_file(self, now: Instant) -> None:
        """Wait until the file was looked at, for `first_look_ms` at the most."""
        self._file_until = now + self._limits.first_look_ms

    def await_commands(self, now: Instant) -> None:
        """Wait until the commands were read to their end, for `first_look_ms` at the most."""
        self._commands_until = now + self._limits.first_look_ms

    def file_seen(self) -> None:
        """Learn that the file was looked at."""
        self._file_until = None

    def commands_read(self) -> None:
        """Learn that the commands were read to the end they had."""
        self._commands_until = None

    def reset(self) -> None:
        """Forget what was planned of the backlog: the records, or the ledger, were read anew."""
        self._settling = None

    def settled(self, piece: Slice | None) -> None:
        """Learn that a piece is committed."""
        if self._settling is not None and piece is not None:
            self._settling.settled(piece)

    def draft(self, now: Instant, into: Draft) -> bool:
        """Put the next piece of the backlog into a draft; return whether there is one now."""
        backlog = into.position.backlog
        if not backlog or self._waits_until(now) > now:
            return False
        share = self._share(now)
        index = _next_of(backlog)
        giving_up = bool(backlog[index].drops)
        send = share if giving_up else self._pace.available(now, share)
        if not send:
            return False
        if self._settling is None or self._settling.interval != backlog[index]:
            self._settling = Settling(backlog[index], self._state.records)
        piece = self._settling.slice(share, send)
        self._pace.take(len(piece.fires))
        for job, planned in piece.fires:
            self._firing.put(job, planned, into)
        into.skips += piece.skips
        into.piece = piece
        rest = () if piece.rest is None else (piece.rest,)
        into.move(backlog=(*backlog[:index], *rest, *backlog[index + 1 :]))
        return True

    def wake(self, now: Instant) -> Instant | None:
        """Return when the next piece may be drafted, None when there is no backlog."""
        assert self._state.position is not None
        if not self._state.position.backlog:
            return None
        waits = self._waits_until(now)
        return waits if waits > now else self._pace.ready(now, self._share(now))

    def _waits_until(self, now: Instant) -> Instant:
        return max(now, self._file_until or now, self._commands_until or now)

    def _share(self, now: Instant) -> int:
        """Return how many backlog fires fit beside the fresh ones that are due next."""
        due = self._firing.next_due()
        near = due is not None and due - now < _NEAR_MS
        return max(1, min(self._firing.limit, self._limits.batch // (_NEAR_SHARE if near else 1)))


def _next_of(backlog: tuple[Interval, ...]) -> int:
    """Return which interval is next: what is given up first, then what waits least well, `all` last."""
    return min(range(len(backlog)), key=lambda index: (not backlog[index].drops, backlog[index].recent_done))
