"""Attempts beyond the first, and fires that a command asked for: what was asked is to be sent, once.

Only what was tried again, or asked for, costs memory here: some 300 bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dispatcher.observe.shard_history import History, ShardHistory, Standing, Trigger
from dispatcher.observe.timing import Window
from dispatcher.observe.verdict import Findings, Place, Wrong

Gone = Callable[[bytes], int]
"""Tells up to which instant the topics that a fire goes to may no longer hold what was sent."""


@dataclass(slots=True)
class Attempt:
    """One attempt beyond the first: who asked for it, whether it was sent, or why it need not be."""

    shard: int | None = None
    due: int = -1
    asked: bool = False
    dropped: bool = False
    commits: int = 0
    place: Place | None = None


class Attempts:
    """All attempts beyond the first of the fires in a window."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._known: dict[tuple[bytes, int], Attempt] = {}

    def asked(self, fire: bytes, attempt: int, shard: int, due: int) -> None:
        """Note that an attempt was asked for."""
        one = self._of(fire, attempt)
        one.asked, one.shard, one.due = True, shard, max(one.due, due)

    def dropped(self, fire: bytes, attempt: int) -> None:
        """Note that an attempt will not be sent, and that this is recorded."""
        self._of(fire, attempt).dropped = True

    def sent(self, fire: bytes, attempt: int, place: Place) -> int:
        """Note that an attempt was committed; return how often it was by now."""
        one = self._of(fire, attempt)
        one.commits, one.place = one.commits + 1, place
        return one.commits

    @property
    def committed(self) -> int:
        """How many attempts beyond the first were committed."""
        return sum(one.commits > 0 for one in self._known.values())

    def lost(self, history: History, gone: Gone, standings: Mapping[int, Standing] | None) -> Iterator[Wrong]:
        """Yield the attempts that were asked for and neither sent nor dropped, nor are still to be."""
        for (fire, attempt), one in self._known.items():
            if one.commits or one.dropped or not one.asked or one.shard is None or one.due <= gone(fire):
                continue
            shard, name = history.shards[one.shard], fire.decode(errors="replace")
            if not shard.given_up(one.due, one.due) and not _awaited(shard, standings, name, attempt):
                why = f"attempt {attempt} was asked for, and neither sent nor skipped"
                yield wrong("lost", name, one.shard, why, attempt)

    def unasked(self) -> Iterator[Wrong]:
        """Yield the attempts that were committed though nobody asked for them."""
        for (fire, attempt), one in self._known.items():
            if one.commits and not one.asked:
                places = () if one.place is None else (one.place,)
                why = f"attempt {attempt} was asked for by nobody"
                yield wrong("unexpected", fire.decode(errors="replace"), None, why, attempt, places)

    def _of(self, fire: bytes, attempt: int) -> Attempt:
        return self._known.setdefault((fire, attempt), Attempt())


class Triggered:
    """The fires that commands asked for in a window, each with its byte."""

    def __init__(self, triggers: Mapping[bytes, Trigger], window: Window) -> None:
        self._all = triggers
        self.marks = {
            fire: 0 for fire, trigger in triggers.items() if window[0] < trigger.planned <= window[1]
        }

    def __contains__(self, fire: bytes) -> bool:
        return fire in self._all

    def of(self, fire: bytes) -> Trigger:
        """Return what was asked."""
        return self._all[fire]

    def open(
        self, history: History, gone: Gone, standings: Mapping[int, Standing] | None
    ) -> Iterator[tuple[str, Wrong]]:
        """Yield what is neither committed nor skipped, and what it is: pending, unknown or lost."""
        for fire, byte in self.marks.items():
            if byte & 15:
                continue
            trigger = self._all[fire]
            shard, name = history.shards[trigger.shard], fire.decode(errors="replace")
            why = "a command asked for it, and it was neither committed nor skipped"
            found = wrong("lost", name, trigger.shard, why, planned=trigger.planned)
            if shard.given_up(trigger.planned, trigger.planned) or trigger.planned <= gone(fire):
                yield "unknown", found
            elif standings is not None and _stands(shard, standings, name, trigger.command):
                yield "unknown" if shard.doubtful(standings.get(shard.number)) else "pending", found
            else:
                yield "lost", found


def _awaited(shard: ShardHistory, standings: Mapping[int, Standing] | None, fire: str, attempt: int) -> bool:
    """Return whether an attempt is still to be sent, or whether nobody can know."""
    if standings is None:
        return False
    return shard.doubtful(standings.get(shard.number)) or _stands(
        shard, standings, f"{fire}#{attempt}", f"retry/{fire}/{attempt}"
    )


def _stands(shard: ShardHistory, standings: Mapping[int, Standing], timer: str, command: str) -> bool:
    """Return whether the ledger holds a timer, or was read before a command was obeyed that makes it."""
    standing = standings.get(shard.number)
    if standing is None or standing.position is None:
        return True
    return timer in standing.timers or command in standing.waiting


def wrong(
    kind: str,
    fire: str,
    shard: int | None,
    why: str,
    attempt: int = 1,
    places: Iterable[Place] = (),
    planned: int | None = None,
) -> Wrong:
    """Return what is wrong with a fire that is named by its id."""
    return Wrong(kind, fire, planned, shard, None, why, attempt, tuple(places))
