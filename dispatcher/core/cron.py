"""When a cron expression fires in a time zone, through every change of its clocks.

An expression whose seconds, minute or hour field begins with `*` is elapsed: it fires at every instant whose
wall clock matches. Any other is fixed, and follows its `DstRule`, by default Debian's: in the repeated part
of an overlap it stays silent, and when clocks jump over matching walls it fires once, right after the jump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from dispatcher.core.dialect import Pattern, read_pattern
from dispatcher.core.instant import LAST, Instant, from_datetime, to_datetime
from dispatcher.core.walls import engine_version, walls_of
from dispatcher.core.zone import Change, Zone, load_zone

__all__ = ["DEBIAN", "Cron", "DstRule", "Gap", "Overlap", "engine_version", "parse"]

Gap = Literal["run", "skip"]
Overlap = Literal["once", "twice"]


@dataclass(frozen=True, slots=True)
class DstRule:
    """What a fixed job does when clocks change.

    `gap`: `run` fires once at the first instant after a jump over matching walls, `skip` does not.
    `overlap`: `once` fires only when a wall is shown first, `twice` each time it is shown.
    Raises ValueError for other words.
    """

    gap: Gap = "run"
    overlap: Overlap = "once"

    def __post_init__(self) -> None:
        _demand_word("gap", self.gap, get_args(Gap))
        _demand_word("overlap", self.overlap, get_args(Overlap))


def _demand_word(name: str, value: object, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ValueError(f"dst {name} {value!r} is not known; write {' or '.join(words)}")


DEBIAN = DstRule("run", "once")


def parse(
    expression: str, timezone: str = "UTC", dst: DstRule = DEBIAN, *, hash_id: str | None = None
) -> Cron:
    """Read an expression of the dialect for a time zone; `hash_id`, the job's name, resolves `H`.

    Raises InvalidCron for what is not the dialect, can never fire, or names no zone.
    """
    return Cron(read_pattern(expression, hash_id), load_zone(timezone), dst)


class Cron:
    """The instants at which an expression fires. Immutable; any thread may ask.

    `canonical` is a text that is equal for expressions of the same meaning, zone and rule included;
    `shortest_ms` bounds the time between two fires from below, changes of clocks apart.
    """

    __slots__ = ("_blocks", "_once", "_runs", "_walls", "canonical", "shortest_ms", "zone")

    def __init__(self, pattern: Pattern, zone: Zone, dst: DstRule) -> None:
        self._blocks = pattern.blocks
        self._walls = tuple(map(walls_of, pattern.texts))
        self._runs = dst.gap == "run" and not pattern.elapsed
        self._once = dst.overlap == "once" and not pattern.elapsed
        self.zone = zone
        rule = "elapsed" if pattern.elapsed else f"{dst.gap} {dst.overlap}"
        self.canonical = f"{' | '.join(pattern.texts)}; {zone.key}; {rule}"
        self.shortest_ms = 60_000 if _on_one_second(pattern.texts) else 1_000

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __repr__(self) -> str:
        return f"Cron({self.canonical!r})"

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first fire later than an aware datetime, in UTC; None when there is none in 50 years.

        Raises ValueError when the datetime is naive.
        """
        found = self.next_ms(from_datetime(instant))
        return None if found is None else to_datetime(found)

    def next_ms(self, after_ms: Instant) -> Instant | None:
        """Return the first fire later than an instant; None when there is none in 50 years."""
        after = after_ms // 1000
        last, change = self.zone.around(after)
        found = self._next(after, last, change)
        return None if found is None or found * 1000 > LAST else found * 1000

    def count(self, after_ms: Instant, until_ms: Instant) -> int:
        """Return how many fires lie after the first and not after the second instant, block by block."""
        at, until = after_ms // 1000, until_ms // 1000
        total = 0
        while True:
            found = self._next(at, *self.zone.around(at))
            if found is None or found > until:
                return total
            number, at = self._block_at(found, until)
            total += number

    def _block_at(self, fire: int, until: int) -> tuple[int, int]:
        """Return the fires of the longest block that this one begins, and the last instant it covers."""
        last, change = self.zone.around(fire)
        if fire > last.at:  # a fire at a jump may stand for walls that are not its own
            for block in self._blocks:
                end = fire - block.first + block.span - 1
                if (fire + last.after) % block.span == block.first and end <= until and end < change.at:
                    return block.count, end
        return 1, fire

    def explain(self, instant: Instant) -> str | None:
        """Return what a change of clocks had to do with the fire at an instant; None when nothing."""
        local = self.zone.local(instant)
        if local.showing != "only":
            return f"{_clock(local.wall)} is shown twice, this is the {local.showing}"
        if local.jump is not None and self._runs:
            return self._explain_jump(local.jump)
        return None

    def _next(self, after: int, last: Change, change: Change) -> int | None:
        """Walk from change to change: between two of them the first matching wall is the first fire."""
        offset = last.after
        wall = after + offset
        if self._once and after < last.at + last.before - last.after:
            wall = last.at + last.before - 1  # the repeated part was shown before
        found = self._wall_after(wall)
        while found is not None and found - offset >= change.at:
            offset = change.after
            if self._runs and found < change.at + offset:
                return change.at
            reached = wall
            wall = change.at + (max(change.before, offset) if self._once else offset) - 1
            if found <= wall or wall < reached:
                found = self._wall_after(wall)
            change = self.zone.around(change.at)[1]
        return None if found is None else found - offset

    def _wall_after(self, wall: int) -> int | None:
        if len(self._walls) == 1:
            return self._walls[0].after(wall)
        return min((found for walls in self._walls if (found := walls.after(wall)) is not None), default=None)

    def _explain_jump(self, jump: Change) -> str | None:
        begin, end = jump.at + jump.before, jump.at + jump.after
        missing = self._wall_after(begin - 1)
        if missing is None or missing >= end:
            return None
        more = self._wall_after(missing)
        rest = " and others are" if more is not None and more < end else " is"
        dated = end - begin >= 86_400 or begin // 86_400 != (end - 1) // 86_400
        start, stop, shown = (_clock(_naive(wall), dated=dated) for wall in (begin, end, missing))
        return f"clocks go forward {start} to {stop}: {shown}{rest} not shown"


def _on_one_second(texts: Sequence[str]) -> bool:
    """Return whether all fires share one second of their minutes; five fields have none and mean zero."""
    found = {fields[0] if len(fields := text.split()) == 6 else "0" for text in texts}
    return len(found) == 1 and found.pop().isdigit()


def _naive(wall: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=wall)


def _clock(wall: datetime, *, dated: bool = False) -> str:
    return wall.strftime(("%Y-%m-%d " if dated else "") + ("%H:%M:%S" if wall.second else "%H:%M"))
