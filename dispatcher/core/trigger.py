"""When a job fires: a cron expression, a period or one instant, within a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from dispatcher.core.cron import Cron, DstRule, parse
from dispatcher.core.duration import parse_every
from dispatcher.core.instant import Instant, from_text

__all__ = ["At", "Every", "Timing", "Trigger", "parse_every", "trigger_from_entry"]


@dataclass(frozen=True, slots=True)
class Every:
    """Fires each `period_ms`, counted from `anchor_ms` in both directions, so that all replicas agree."""

    period_ms: int
    anchor_ms: Instant

    @property
    def canonical(self) -> str:
        """A text equal for equal meaning."""
        return f"every {self.period_ms} from {self.anchor_ms % self.period_ms}"

    def next_ms(self, after_ms: Instant) -> Instant | None:
        """Return the first fire later than an instant."""
        return after_ms + self.period_ms - (after_ms - self.anchor_ms) % self.period_ms

    def count(self, after_ms: Instant, until_ms: Instant) -> int:
        """Return how many fires lie after the first and not after the second instant."""
        return (until_ms - self.anchor_ms) // self.period_ms - (after_ms - self.anchor_ms) // self.period_ms


@dataclass(frozen=True, slots=True)
class At:
    """Fires once."""

    instant_ms: Instant

    @property
    def canonical(self) -> str:
        """A text equal for equal meaning."""
        return f"at {self.instant_ms}"

    def next_ms(self, after_ms: Instant) -> Instant | None:
        """Return the one instant if it is later."""
        return self.instant_ms if after_ms < self.instant_ms else None

    def count(self, after_ms: Instant, until_ms: Instant) -> int:
        """Return 1 when the instant lies after the first and not after the second instant, else 0."""
        return int(after_ms < self.instant_ms <= until_ms)


Timing = Cron | Every | At


@dataclass(frozen=True, slots=True)
class Trigger:
    """The planned instants of a job: those of its timing from `start_ms` on and before `end_ms`, if enabled.

    `jitter_ms` bounds the delay that a job adds to its planned instants; `digest` is equal for triggers of
    equal meaning. Immutable but for the memory of its last answer, which many jobs share; any thread may ask.
    """

    timing: Timing
    start_ms: Instant | None
    end_ms: Instant | None
    enabled: bool
    jitter_ms: int
    digest: str
    _memo: list[tuple[Instant, Instant | None]] = field(
        default_factory=lambda: [(1, 0)], init=False, repr=False, compare=False
    )

    def next_after(self, after_ms: Instant) -> Instant | None:
        """Return the first planned instant later than an instant, or None when there is none."""
        asked, found = self._memo[0]
        if asked <= after_ms and (found is None or after_ms < found):
            return found
        found = self._next(after_ms)
        self._memo[0] = (after_ms, found)
        return found

    def count_between(self, after_ms: Instant, until_ms: Instant) -> int:
        """Return how many planned instants lie after the first and not after the second instant."""
        if self.start_ms is not None:
            after_ms = max(after_ms, self.start_ms - 1)
        if self.end_ms is not None:
            until_ms = min(until_ms, self.end_ms - 1)
        return self.timing.count(after_ms, until_ms) if self.enabled and after_ms < until_ms else 0

    def latest_in(self, after_ms: Instant, until_ms: Instant) -> Instant | None:
        """Return the last planned instant after the first and not after the second instant, or None."""
        latest = self._within(after_ms, until_ms)
        if latest is None:
            return None
        low, high = latest - 1, until_ms
        while low < high:  # the question `is there one after x?` changes its answer once
            middle = (low + high + 1) // 2
            if (found := self._within(middle, until_ms)) is None:
                high = middle - 1
            else:
                low, latest = max(middle, found - 1), found
        return latest

    def _within(self, after_ms: Instant, until_ms: Instant) -> Instant | None:
        found = self._next(after_ms)
        return None if found is None or found > until_ms else found

    def _next(self, after_ms: Instant) -> Instant | None:
        if not self.enabled:
            return None
        if self.start_ms is not None and after_ms < self.start_ms:
            after_ms = self.start_ms - 1
        found = self.timing.next_ms(after_ms)
        return None if found is None or (self.end_ms is not None and found >= self.end_ms) else found


def trigger_from_entry(entry: Mapping[str, Any], *, hash_id: str) -> Trigger:
    """Return the trigger of a job's entry; `hash_id`, the job's name, resolves `H`.

    Reads what validation has let through; raises InvalidCron or ValueError for what it should not have.
    """
    start, end = _instant(entry, "startAt"), _instant(entry, "endAt")
    timing = _timing(entry, start, hash_id)
    enabled = entry.get("enabled", True)
    jitter = round(entry.get("jitterSeconds", 0) * 1000)
    meaning = f"{timing.canonical}; {start} to {end}; {jitter}; {enabled}"
    return Trigger(timing, start, end, enabled, jitter, blake2b(meaning.encode(), digest_size=16).hexdigest())


def _timing(entry: Mapping[str, Any], start: Instant | None, hash_id: str) -> Timing:
    if "every" in entry:
        return Every(parse_every(entry["every"]), start or 0)
    if "at" in entry:
        return At(from_text(entry["at"]))
    dst = DstRule(**entry.get("dst", {}))
    return parse(entry["cronTime"], entry.get("timezone", "UTC"), dst, hash_id=hash_id)


def _instant(entry: Mapping[str, Any], name: str) -> Instant | None:
    text = entry.get(name)
    return None if text is None else from_text(text)
