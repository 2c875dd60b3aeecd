"""`dispatcher`, but that a loop hangs in a step after SIGUSR1, and counts as still after so many seconds.

Usage: hanging.py shard|pool SECONDS ARGUMENTS
"""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from typing import Any

import dispatcher.cli.supervised_work as of_workers
import dispatcher.cli.supervision as of_daemons
from dispatcher.cli import main
from dispatcher.produce.shard_thread import ShardThread
from dispatcher.standstill import Spared, standstills
from dispatcher.work.pool import Pool


def hang(kind: type[Any], step: str, told: threading.Event) -> None:
    """Have a step of a class never come back once it is told so."""
    real = getattr(kind, step)

    def hanging(self: object, *arguments: object) -> object:
        if told.is_set():
            threading.Event().wait()
        return real(self, *arguments)

    setattr(kind, step, hanging)


def run() -> None:
    """Run the command line with its loops prepared."""
    told = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: told.set())
    what, limit = sys.argv.pop(1), float(sys.argv.pop(1))
    limited = partial(standstills, limit=limit)
    setattr(of_daemons, "standstills", limited)  # noqa: B010 - a name that the module imported
    setattr(of_workers, "standstills", limited)  # noqa: B010 - the same
    setattr(of_workers, "Spared", partial(Spared, limit=limit))  # noqa: B010 - the same
    if what == "shard":
        hang(ShardThread, "_turn", told)
    else:
        hang(Pool, "_collect", told)
    main()


if __name__ == "__main__":
    run()
