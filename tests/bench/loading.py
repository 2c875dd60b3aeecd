"""Loads a file as the dispatcher does, but without Kafka, and says in JSON what that took.

python -m bench.loading <file> <cap>
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

from bench import process
from bench.world import SHARDS
from dispatcher.core.ledger import Cursor
from dispatcher.core.plan import Plan
from dispatcher.core.record import JobRecord
from dispatcher.core.schedule import ChangeSet, ShardBase
from dispatcher.daemon import COLLECTOR
from dispatcher.feed.compare import Comparer, Sighting


def main() -> None:
    """Load, plan, tell."""
    file, cap = sys.argv[1:]
    gc.set_threshold(*COLLECTOR)
    comparer = Comparer(file, shards=SHARDS, cap=int(cap))
    comparer.prepare()
    time.sleep(1)  # the child that waits is started
    began = time.monotonic()
    now = time.time_ns() // 1_000_000
    bases = [ShardBase(shard, 0, "", ()) for shard in range(SHARDS)]
    compared = comparer.compare(bases, Sighting(now, witnessed=True))
    delivered = time.monotonic()
    plans = [planned(change, now) for change in compared.changes]
    ended = time.monotonic()
    assert compared.done is not None
    told = {
        "seconds": ended - began,
        "compared": delivered - began,
        "planned": ended - delivered,
        "child seconds": compared.done.seconds,
        "child MiB": compared.done.peak_bytes / 1024 / 1024,
        "parent MiB": process.memory(os.getpid()),
        "parent peak MiB": process.memory(os.getpid(), "VmHWM"),
        "next": min(filter(None, (plan.next_due() for plan in plans))) - now,
    }
    comparer.close()
    del compared, plans
    print(json.dumps({**told, "parse": parse(file)}))


def planned(change: ChangeSet, now: int) -> Plan:
    """Return the plan of a shard whose jobs are those of a change set."""
    records = [JobRecord(job, 1, change.revision, now, now) for job in change.added]
    return Plan(Cursor(now), records)


def parse(file: str) -> float:
    """Return the seconds the standard library takes to parse the file."""
    text = Path(file).read_text(encoding="utf-8")
    began = time.monotonic()
    json.loads(text)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
