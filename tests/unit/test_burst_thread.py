"""Bursts in a shard's thread: written before their instant, committed at it, and given up for good reasons."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from memory_log import Commit
from shard_world import job, with_limits
from structlog.testing import capture_logs
from test_shard_thread import HOUR, MINUTE, T0, Bench, at

from dispatcher.core.batch import Limits
from dispatcher.core.command import Command
from dispatcher.core.instant import Instant, from_text
from dispatcher.core.shard import Shard
from dispatcher.errors import TransactionFailed, Unsendable

ONE = from_text("2026-11-20T12:01:00Z")
BURST = "abcdef"


def staging(**changes: Any) -> Limits:
    """Return limits under which three fires of one instant are a burst."""
    return with_limits(**{"stage_ahead_ms": 2_000, "stage_from": 3, "stage_rate": 10, **changes})


class Staging(Bench):
    """A thread for which a few fires are a burst."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or staging())

    def go(self, until: Instant) -> None:
        """Let time pass from wait to wait."""
        while self.clock.now < until:
            wait = self.step()
            assert wait is not None
            self.clock.pass_(min(until - self.clock.now, round(wait * 1000)))

    def opened(self, *names: str) -> None:
        """Bring the jobs into force and go into the window of their first instant."""
        self.started(*map(job, names or BURST))
        self.go(ONE - 500)
        assert self.is_open

    @property
    def is_open(self) -> bool:
        return self.thread._staged is not None

    def landed(self) -> list[dict[str, Any]]:
        return [data for _, data in self.events("burst.landed")]


def all_at(minute: int, names: str = BURST) -> list[str]:
    return [at(name, minute) for name in names]


def test_a_burst_is_written_before_its_instant_and_committed_at_it() -> None:
    bench = Staging()
    bench.started(*map(job, BURST))
    bench.go(ONE - 1)
    assert [instant for instant, _ in bench.broker.stagings] == [ONE]
    bench.is_exact()
    bench.go(ONE)
    bench.step()
    bench.is_exact(*all_at(1))
    assert len(bench.broker.transactions[-1]) == len(BURST) + 1, "the fires and the cursor, nothing else"
