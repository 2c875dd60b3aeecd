"""A dispatcher whose clock is behind: what it leaves in the ledger is old when the next one starts.

    python -m bench.past <bootstrap> <prefix> <schedule> <seconds behind>

It spares a benchmark the waiting for fires to be missed. SIGTERM ends it.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from dispatcher import logs
from dispatcher.cli.run import cluster_of, plant_of
from dispatcher.cli.topics import connection_of
from dispatcher.clock import Reading, SystemClock
from dispatcher.daemon import Daemon
from dispatcher.settings import Settings


class BehindClock:
    """The machine's clock, so many milliseconds behind."""

    def __init__(self, behind_ms: int) -> None:
        self._behind = behind_ms
        self._clock = SystemClock()

    def read(self) -> Reading:
        """Return both clocks; only the wall is behind."""
        reading = self._clock.read()
        return Reading(reading.now - self._behind, reading.monotonic)


def main() -> None:
    """Run until SIGTERM."""
    bootstrap, prefix, schedule, seconds = sys.argv[1:]
    told = {"bootstrap_servers": bootstrap, "prefix": prefix, "schedule": Path(schedule)}
    settings = Settings.model_validate(told)
    logs.configure("info", "json")
    connection = connection_of(settings)
    clock = BehindClock(round(float(seconds) * 1000))
    daemon = Daemon(cluster_of(settings, connection), plant_of(settings), clock)
    signal.signal(signal.SIGTERM, lambda *_: daemon.stop())
    daemon.run()


if __name__ == "__main__":
    main()
