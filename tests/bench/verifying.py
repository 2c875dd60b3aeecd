"""Judges a history of very many fires in memory, and says in JSON what that took.

python -m bench.verifying <jobs> <fires of each>
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator

from bench import process
from dispatcher.core.instant import to_text
from dispatcher.core.log_record import Record
from dispatcher.observe.checker import Checker

START = 1_800_000_000_000
SHARDS = 4
LOST = 3


def main() -> None:
    """Judge, tell."""
    jobs, fires = map(int, sys.argv[1:])
    began = time.monotonic()
    for _ in records(jobs, fires):
        pass
    making = time.monotonic() - began
    before = process.memory(os.getpid(), "VmHWM")
    began = time.monotonic()
    checker = Checker("t", SHARDS)
    for number in range(jobs):
        checker.event(added(number))
    for shard in range(SHARDS):
        checker.event(applied(shard))
    known = process.memory(os.getpid())
    tally = checker.tally(START, START + 60_000 * fires)
    for number, record in enumerate(records(jobs, fires)):
        if number >= LOST:
            tally.fire(record)
    verdict = tally.verdict()
    took = time.monotonic() - began - making
    assert (verdict.planned, verdict.lost) == (jobs * fires, LOST), verdict
    told = {
        "seconds": took,
        "making": making,
        "before MiB": before,
        "history MiB": known,
        "peak MiB": process.memory(os.getpid(), "VmHWM"),
    }
    print(json.dumps(told))


def definition(number: int) -> bytes:
    """Return the definition of a job: even ones by a period, odd ones by a cron expression."""
    trigger = f'"cronTime":"{number % 59} * * * * *"' if number % 2 else '"every":"1m"'
    return b'{"jobName":"job %d",%b,"job":"noop","payload":{"n":%d}}' % (number, trigger.encode(), number)


def added(number: int) -> Record:
    """Return the event that adds a job."""
    value = b'{"v":1,"change":1,"revision":"r","effectiveFrom":null,"definition":%b}' % definition(number)
    headers = [("ce_type", b"job.added"), ("ce_subject", b"job %d" % number)]
    return Record("t.events", number % SHARDS, number, START, headers, value)


def applied(shard: int) -> Record:
    """Return the event that the schedule is in force."""
    value = json.dumps({"change": 1, "effectiveFrom": to_text(START)}).encode()
    return Record("t.events", shard, 0, START, [("ce_type", b"schedule.applied")], value)


def records(jobs: int, fires: int) -> Iterator[Record]:
    """Yield every fire, minute by minute, with the headers that they have."""
    head = [("ce_specversion", b"1.0"), ("ce_type", b"dispatcher.fire"), ("ce_source", b"/t/shards/0")]
    tail = [("content-type", b"application/json"), ("attempt", b"1"), ("shard", b"0"), ("revision", b"r")]
    for minute in range(fires):
        begin = START + 60_000 * minute
        for number in range(jobs):
            planned = begin + (number % 59 * 1000 if number % 2 else 0)
            if planned == begin:
                planned += 60_000
            text = to_text(planned).encode()
            name = b"job %d" % number
            headers = [
                *head,
                ("ce_id", b"%b@%b" % (name, text)),
                ("ce_subject", name),
                ("ce_time", text),
                *tail,
                ("traceparent", b"00-" + text),
            ]
            yield Record("t.jobs.normal", 0, number, planned + 5, headers, definition(number))


if __name__ == "__main__":
    main()
