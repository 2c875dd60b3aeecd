"""Kills a dispatcher at random times under load, again and again, and counts what became of every fire.

    python tests/broker/kills.py --kills 50

prints a table and exits with 1 when a fire was lost or doubled.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker.cluster import running_kafka
from broker.history import Verdict, read_history
from broker.process import Dispatcher, ensure_topics, until
from dispatcher.observe.verdict import KINDS

STEADY, BURST = 300, 1_500


@dataclass(frozen=True)
class Outcome:
    """What a run of kills came to."""

    kills: int
    edits: int
    seconds: float
    verdict: Verdict


def schedule(edit: int) -> str:
    """Return the schedule of an edit: steady jobs of all policies, a burst, and jobs that come and go."""
    policies = ("all", "latest", "none")
    jobs = [
        {
            "jobName": f"steady-{number}",
            "every": "1s",
            "job": "noop",
            "payload": {"edit": edit},
            "catchUp": policies[number % 3],
            "misfireGraceSeconds": 3,
            "priority": number % 11,
            **({"jitterSeconds": 3} if number % 5 == 0 else {}),
        }
        for number in range(STEADY)
    ]
    jobs += [
        {"jobName": f"burst-{number}", "every": "7s", "job": "noop", "catchUp": "all"}
        for number in range(BURST)
    ]
    jobs += [
        {"jobName": f"guest-{number}", "every": f"{1 + edit % 3}s", "job": "noop"}
        for number in range(edit % 7 * 5)
    ]
    return json.dumps({"jobs": jobs})


def run_kills(
    bootstrap: str, prefix: str, kills: int, seed: int, directory: Path, tell: Callable[[str], None]
) -> Outcome:
    """Kill a dispatcher so many times at random moments; edit its file now and then; judge the history."""
    chance = random.Random(seed)
    file = directory / "schedule.json"
    file.write_text(schedule(0))
    ensure_topics(bootstrap, prefix)
    dispatcher = Dispatcher(bootstrap, prefix, file, directory / "dispatcher.log")
    began = time.monotonic()
    edits = 0
    for kill in range(kills):
        at = len(dispatcher.text())
        dispatcher.start()
        if chance.random() < 0.85:
            dispatcher.says("shard.taken", 60, after=at)
        time.sleep(chance.choice([0.05, 0.5, 2.0, 5.0]) * chance.random())
        if chance.random() < 0.5:
            edits += 1
            whole = file.with_suffix(".new")
            whole.write_text(schedule(edits))
            whole.replace(file)
            time.sleep(chance.random() * 0.5)
        dispatcher.kill()
        tell(f"kill {kill + 1} of {kills}, {edits} edits, {time.monotonic() - began:.0f} s")
    _settle(dispatcher)
    end = (time.time_ns() // 1_000_000) - 5_000
    assert dispatcher.terminate() == 0, dispatcher.text()[-3000:]
    verdict = read_history(bootstrap, prefix).judge(end)
    return Outcome(kills, edits, time.monotonic() - began, verdict)


def _settle(dispatcher: Dispatcher) -> None:
    """Let the last start catch up with everything, then run on for a while."""
    at = len(dispatcher.text())
    dispatcher.start()
    until(lambda: dispatcher.text()[at:].count("shard.taken") == 4, "all shards taken", 60)
    time.sleep(25)


def main() -> int:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=None)
    given = arguments.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as directory, running_kafka() as bootstrap:
        outcome = run_kills(bootstrap, "kills", given.kills, seed, Path(directory), print)
    verdict = outcome.verdict
    names = ("kills", "edits", "seconds", "planned", "committed", "skipped", *KINDS)
    print(f"\n| {' | '.join(names)} |")
    print(f"|{'---|' * len(names)}")
    counts = (verdict.planned, verdict.committed, verdict.skipped)
    wrong = (verdict.lost, verdict.doubled, verdict.early, verdict.unexpected, verdict.miscounted)
    row = (outcome.kills, outcome.edits, round(outcome.seconds), *counts, *wrong)
    print(f"| {' | '.join(map(str, row))} |")
    for one in verdict.wrong:
        print(one)
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
