"""The worker as its users run it: a process of its own, started by the command line."""

from __future__ import annotations

import sys
from pathlib import Path

from broker.process import Dispatcher


class Worker(Dispatcher):
    """One `dispatcher work`; its log goes to a file."""

    def __init__(self, bootstrap: str, prefix: str, log: Path, *flags: str) -> None:
        super().__init__(bootstrap, prefix, log, log, *flags)
        self._command = [
            *(sys.executable, "-m", "dispatcher", "work", "--bootstrap-servers", bootstrap),
            *("--prefix", prefix, "--session-seconds", "6", *flags),
        ]
