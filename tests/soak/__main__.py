"""`PYTHONPATH=tests python -m soak`: half an hour of load, edits and kills; then what is held, and the judge.

One dispatcher and one worker live through all of it, in the environment that their units set, and are
watched: memory, descriptors, threads. Another of each is killed again and again. In the end `dispatcher
verify --ended` must find every planned fire committed once and ended once. Ends with 1 when anything is
wrong; the logs stay in `.cache/soak` then.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from broker.cluster import ROOT, own_kafka
from broker.process import ensure_topics
from torture.load import schedule
from torture.workers import Process

from soak.watching import Growth, Watch, growth

MINUTES = 30.0
SETTLE_SECONDS = 180.0
UNITS = {"run": "dispatcher.service", "work": "dispatcher-worker@.service"}
_SESSION = ("--session-seconds", "3")


def variables(command: str) -> dict[str, str]:
    """Return what the unit that runs a command sets in its environment, but for our own settings."""
    unit = (ROOT / "systemd" / UNITS[command]).read_text()
    found = re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE)
    return {name: value for name, value in found if not name.startswith("DISPATCHER_")}


@dataclass
class Result:
    """What a run came to; anything in `wrong` fails it."""

    seconds: float
    seed: int
    edits: int = 0
    kills: int = 0
    growths: list[Growth] = field(default_factory=list)
    verified: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Yard:
    """The installation: two dispatchers, two workers, of which the second of each is there to be killed."""

    def __init__(self, bootstrap: str, directory: Path, scale: int) -> None:
        self._where = ("--bootstrap-servers", bootstrap, "--prefix", "soak")
        self._file = directory / "schedule.json"
        self._scale = scale
        self.edits = 0
        ensure_topics(bootstrap, "soak")
        self.edit()
        common = (*self._where, "--lock-dir", str(directory), *_SESSION)
        run = ("dispatcher", "run", *common, "--schedule", str(self._file), "--removal-share", "1")
        work = ("dispatcher", "work", *common)
        effects = directory / "effects"
        self.steady = [
            Process(name, directory, command, effects, variables(command[1]))
            for name, command in (("dispatcher", run), ("worker", work))
        ]
        self.doomed = [
            Process(name, directory, command, effects, variables(command[1]))
            for name, command in (("doomed-dispatcher", run), ("doomed-worker", work))
        ]

    @property
    def processes(self) -> list[Process]:
        """All of them, dispatchers first."""
        return sorted((*self.steady, *self.doomed), key=lambda one: "worker" in one.name)

    def edit(self) -> None:
        """Bring the next version of the file."""
        self.edits += 1
        self._put(schedule(self.edits, self._scale))

    def empty(self) -> None:
        """Bring a file without jobs: nothing more is planned."""
        self._put('{"jobs": []}')

    def verify(self, *flags: str) -> tuple[int, dict[str, Any], str]:
        """Ask the judge; return its exit code, its counts and what else it said."""
        done = subprocess.run(
            [sys.executable, "-m", "dispatcher", "verify", "--json", *self._where, *flags],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        try:
            return done.returncode, json.loads(done.stdout), done.stderr
        except json.JSONDecodeError:
            return done.returncode, {}, done.stdout[-2000:] + done.stderr[-2000:]

    def _put(self, text: str) -> None:
        whole = self._file.with_suffix(".new")
        whole.write_text(text)
        whole.replace(self._file)


def torment(yard: Yard, result: Result, chance: random.Random, ended: threading.Event) -> None:
    """Edit every few seconds and kill every half minute or so, until it ends."""
    next_kill = time.monotonic() + chance.uniform(15, 45)
    while not ended.wait(chance.uniform(2, 6)):
        yard.edit()
        if time.monotonic() < next_kill:
            continue
        doomed = chance.choice(yard.doomed)
        if doomed.code is not None:
            result.wrong.append(f"{doomed.name} ended by itself with {doomed.code}")
        else:
            doomed.end(signal.SIGKILL)
            result.kills += 1
        doomed.start()
        next_kill = time.monotonic() + chance.uniform(15, 45)


def soak(bootstrap: str, directory: Path, seconds: float, seed: int, scale: int) -> Result:
    """Run it all; return what it came to."""
    yard, result = Yard(bootstrap, directory, scale), Result(seconds, seed)
    ended = threading.Event()
    for one in yard.processes:
        one.start()
    watch = Watch({one.name: one.pid for one in yard.steady})
    try:
        watch.start()
        tormentor = threading.Thread(
            target=torment, args=(yard, result, random.Random(seed), ended), daemon=True
        )
        tormentor.start()
        told(watch, result, seconds)
        ended.set()
        tormentor.join()
        watch.stop()
        result.edits, result.wrong = yard.edits, result.wrong + watch.gone
        if not watch.gone:
            result.growths = [growth(who, seen, seconds) for who, seen in watch.seen.items()]
            result.wrong += [each for one in result.growths for each in one.wrong]
        settle(yard, result)
        stop(yard, result)
    finally:
        for one in yard.processes:
            if one.code is None:
                one.end(signal.SIGKILL)
    return result


def told(watch: Watch, result: Result, seconds: float) -> None:
    """Wait for the end of the time, saying each minute how things stand."""
    pause, begun = threading.Event(), time.monotonic()
    while (left := begun + seconds - time.monotonic()) > 0 and not watch.gone:
        pause.wait(min(60.0, left))
        now = {who: seen[-1] for who, seen in watch.seen.items() if seen}
        held = ", ".join(
            f"{who} {one.mib:.1f} MiB {one.descriptors} descriptors {one.threads} threads"
            for who, one in now.items()
        )
        print(f"{time.monotonic() - begun:6.0f} s  {result.kills} kills  {held}", flush=True)


def settle(yard: Yard, result: Result) -> None:
    """Plan nothing more, and wait until every fire has ended."""
    yard.empty()
    pause, deadline = threading.Event(), time.monotonic() + SETTLE_SECONDS
    while True:
        code, result.verified, said = yard.verify("--ended")
        if code == 0 and not result.verified.get("pending"):
            return
        if time.monotonic() > deadline:
            result.wrong.append(f"verify ends with {code}: {said or result.verified}")
            return
        pause.wait(2.0)


def stop(yard: Yard, result: Result) -> None:
    """Stop everybody in good order."""
    for one in reversed(yard.processes):
        if one.code is not None:
            result.wrong.append(f"{one.name} ended by itself with {one.code}")
        elif code := one.end(signal.SIGTERM):
            result.wrong.append(f"{one.name} ended with {code} on SIGTERM")


def table(result: Result) -> str:
    """Return what was watched as Markdown, and the judge's counts."""
    lines = [
        "| process | samples | MiB at a third | at the end | more | descriptors | threads |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.who} | {one.samples} | {one.begin.mib:.1f} | {one.end.mib:.1f} | {one.mib:+.1f}"
        f" | {one.begin.descriptors} to {one.end.descriptors} | {one.begin.threads} to {one.end.threads} |"
        for one in result.growths
    ]
    done = f"{result.kills} kills, {result.edits} edits; verify: {counts(result.verified)}"
    return "\n".join((*lines, "", done))


def counts(verified: Mapping[str, Any]) -> str:
    """Return what the judge counted, in a line."""
    found = {name: verified.get(name) for name in ("planned", "committed", "skipped", "pending")}
    found |= {name: count for name, count in (verified.get("runs") or {}).items() if count}
    found |= {kind: told["count"] for kind, told in verified.get("wrong", {}).items()}
    return ", ".join(f"{name} {count}" for name, count in found.items())


def plain(result: Result) -> dict[str, Any]:
    """Return it as JSON takes it."""
    return {**asdict(result), "wrong": result.wrong, "more_mib": {one.who: one.mib for one in result.growths}}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--scale", type=int, default=1, help="times 75 fires a second")
    parser.add_argument("--json", type=Path, help="write the result here too")
    return parser.parse_args(words)


def main() -> int:
    """Run from the command line."""
    given = arguments(sys.argv[1:])
    directory = ROOT / ".cache/soak" / str(given.seed)
    directory.mkdir(parents=True)
    print(f"seed {given.seed}, logs in {directory}", flush=True)
    with own_kafka() as cluster:
        result = soak(cluster.bootstrap, directory, 60 * given.minutes, given.seed, given.scale)
    print(f"\n{table(result)}\n")
    print("\n".join(result.wrong[:50]) or "nothing is wrong")
    if given.json:
        given.json.write_text(json.dumps(plain(result), indent=1) + "\n")
    if not result.wrong:
        shutil.rmtree(directory)
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
