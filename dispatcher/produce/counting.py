"""What a shard's thread counts, and what it shows of itself: replaced as a whole, any thread may read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dispatcher.core.batch import Batch
from dispatcher.core.instant import Instant
from dispatcher.core.message import Outgoing
from dispatcher.core.shard import Shard
from dispatcher.core.shard_figures import LATENESS_SECONDS, TRANSACTION_SECONDS, Counts, Epoch, ShardNow
from dispatcher.core.spread import Tally

_MOST_REASONS = 20


class Counting:
    """One shard's counts. Its thread alone counts; those of threads before it in this process stay.

    The fires of `jobs` are counted by name too.
    """

    def __init__(self, jobs: Iterable[str] = ()) -> None:
        self._lateness: dict[str, Tally] = {}
        self._transactions: dict[str, Tally] = {}
        self._skips: Counter[str] = Counter()
        self._bursts: Counter[str] = Counter()
        self._job_fires: dict[bytes, int] = {name.encode(): 0 for name in jobs}
        self._fires = self._reloads = self._fenced = self._suspects = self._failed = 0
        self._jobs_of: tuple[int, int, int] | None = None
        self._jobs: dict[str, int] = {}
        self._counted = False
        """Whether anything was since the counts were last shown."""
        self.counts = Counts()
        self.now = ShardNow()

    # What happens, told by the thread.

    def committed(self, batch: Batch, now: Instant, took_ms: int, *, suspect: bool) -> None:
        """Count a transaction that committed at `now`."""
        self._counted = True
        kind = "staged" if batch.at is not None else "fresh" if batch.piece is None else "caught_up"
        self._fires += batch.fires
        self._suspects += suspect
        self._reloads += batch.kind == "change"
        if batch.at is not None:
            self._bursts["landed"] += 1
        if batch.dues:
            tally = self._lateness.setdefault(kind, Tally(LATENESS_SECONDS))
            tally.add_ages(now, batch.dues)
        for reason, times in batch.reasons.items():
            self._skip(reason, times)
        if self._job_fires and batch.fires:
            self._count_jobs(batch.outgoing[: batch.fires])
        self._transactions.setdefault(batch.kind, Tally(TRANSACTION_SECONDS)).add(took_ms / 1000)

    def given_up(self) -> None:
        """Count a burst that was staged and is aborted."""
        self._counted = True
        self._bursts["given_up"] += 1

    def failure(self, *, fenced: bool) -> None:
        """Count a step that failed."""
        self._counted = True
        self._failed += 1
        self._fenced += fenced

    # What is shown.

    def show(self, shard: Shard | None, epoch: Epoch | None = None) -> None:
        """Replace what is shown; the counts when there are others."""
        if self._counted:
            self.counts, self._counted = self._sums(), False
        self.now = ShardNow() if shard is None else self._of(shard, epoch)

    def _sums(self) -> Counts:
        return Counts(
            self._fires,
            dict(self._skips),
            {kind: tally.frozen() for kind, tally in self._lateness.items()},
            {kind: tally.frozen() for kind, tally in self._transactions.items()},
            dict(self._bursts),
            {name.decode(): count for name, count in self._job_fires.items()},
            self._reloads,
            self._fenced,
            self._suspects,
            self._failed,
        )

    def _of(self, shard: Shard, epoch: Epoch | None) -> ShardNow:
        position, held = shard.state.position, shard.changing.held
        if position is None:
            return ShardNow()
        return ShardNow(
            position.revision,
            position.change,
            shard.clock_hold,
            None if held is None else held.text,
            self._jobs_in(shard, position.change),
            epoch,
        )

    def _jobs_in(self, shard: Shard, change: int) -> dict[str, int]:
        """Return how many jobs there are by state; they are gone through when that may have changed."""
        records, paused = shard.state.records, shard.state.paused
        mark = (change, len(records), len(paused))
        if mark != self._jobs_of:
            enabled = sum(one.job.trigger.enabled for one in records.values())
            stopped = sum(name in records and records[name].job.trigger.enabled for name in paused)
            self._jobs = {
                "enabled": enabled - stopped,
                "disabled": len(records) - enabled,
                "paused": stopped,
            }
            self._jobs_of = mark
        return self._jobs

    def _skip(self, reason: str, times: int) -> None:
        """Count by the first word of a reason, which the schedule has no say in."""
        word = reason.partition(":")[0]
        known = word in self._skips or len(self._skips) < _MOST_REASONS
        self._skips[word if known else "other"] += times

    def _count_jobs(self, messages: Iterable[Outgoing]) -> None:
        counts = self._job_fires
        for _, _, _, _, headers in messages:
            for name, value in headers or ():
                if name == "ce_subject":
                    if value in counts:
                        counts[value] += 1
                    break
