"""`PYTHONPATH=tests python -m torture.workers`: kills workers while they run what was fired, then judges.

Every committed fire must end in exactly one terminal event; what is run more often than it was asked for must
not be more than what the killed workers had in hand. It is counted which of that did not say so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from broker.cluster import ROOT, own_kafka
from broker.process import ensure_topics
from broker.starting import start

from dispatcher.core.log_record import Record
from dispatcher.core.message import TopicNames
from dispatcher.kafka.config import Connection
from dispatcher.kafka.history import HistoryReader
from torture.effecting import ATTEMPTS, EFFECTS

SEATS, JOBS, SHARDS = 8, 24, 2
TERMINAL = {"run.succeeded", "run.dead", "run.cancelled", "run.expired", "run.skipped"}
_TESTS = str(Path(__file__).resolve().parents[1])
_SETTLE_S = 120.0
"""Runs of a job that follow one another take their time; so long without any end is a finding."""
_ENOUGH = 20
_COUNTS = {
    "kills": "kills", "stops": "stops", "freezes": "freezes", "aborts": "aborts", "fires": "fires",
    "messages": "attempts", "run": "executions", "run again": "extra", "unmarked": "unmarked",
}  # fmt: skip
"""What the table shows, and where a verdict has it."""


@dataclass
class Verdict:
    """What a run came to; anything in `wrong` fails it."""

    kills: int = 0
    stops: int = 0
    freezes: int = 0
    aborts: int = 0
    """Processes that an assertion of the client library has ended."""
    fires: int = 0
    attempts: int = 0
    executions: int = 0
    extra: int = 0
    unmarked: int = 0
    """Runs beyond what was sent that did not say that they may be repetitions."""
    open: int = 0
    """Fires that have not ended yet."""
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Process:
    """One process of the installation, started again and again."""

    def __init__(
        self,
        name: str,
        directory: Path,
        command: Sequence[str],
        effects: Path,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        self._command = [sys.executable, "-X", "faulthandler", "-m", *command, "--instance", name]
        paths = [_TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._variables = {
            **variables, "DISPATCHER_LOG_FORMAT": "json", "PYTHONPATH": os.pathsep.join(paths),
        }  # fmt: skip
        self._effects = effects
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        inherited = {name: one for name, one in os.environ.items() if not name.startswith("DISPATCHER_")}
        with self._log.open("ab") as log:
            self._process = start(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._log.parent,
                env={**inherited, **self._variables, EFFECTS: str(self._effects)},
            )  # fmt: skip

    def end(self, number: signal.Signals, seconds: float = 30) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)
            return self._process.wait(10)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        return None if self._process is None else self._process.poll()


class Yard:
    """An installation: one dispatcher, some workers, the file in which handlers leave their lines."""

    def __init__(self, bootstrap: str, prefix: str, directory: Path, workers: int) -> None:
        self.bootstrap, self.prefix = bootstrap, prefix
        self.effects = directory / "effects"
        flags = ("--shards", str(SHARDS), "--partitions-jobs", str(2 * SHARDS))
        ensure_topics(bootstrap, prefix, *flags)
        self._file = directory / "schedule.json"
        self.schedule(JOBS)
        common = ("--bootstrap-servers", bootstrap, "--prefix", prefix, "--lock-dir", str(directory), *flags)
        run = ("dispatcher", "run", *common, "--schedule", str(self._file), "--removal-share", "1")
        work = ("torture.effecting", "work", *common, "--seats-least", "1", "--seats-most", str(SEATS),
                "--session-seconds", "1.5")  # fmt: skip
        self.dispatcher = Process("d0", directory, run, self.effects)
        self.workers = [Process(f"w{number}", directory, work, self.effects) for number in range(workers)]

    def await_progress(self, pause: threading.Event, seconds: float = 30) -> None:
        """Wait until handlers have run something since now; a while in vain is a finding for the judge."""
        deadline = time.monotonic() + seconds
        size = self._size()
        while self._size() <= size and time.monotonic() < deadline:
            pause.wait(0.05)

    def _size(self) -> int:
        return self.effects.stat().st_size if self.effects.exists() else 0

    def schedule(self, jobs: int) -> None:
        backoff = {"type": "exponential", "delayMs": 100, "maxDelayMs": 1_000}
        made = [
            {
                "jobName": f"job-{number}", "every": "2s", "job": "effect", "priority": number % 11,
                "overlap": ("allow", "allow", "queue", "forbid")[number % 4],
                "retry": {"attempts": ATTEMPTS, "backoff": backoff},
            }
            for number in range(jobs)
        ]  # fmt: skip
        whole = self._file.with_suffix(".new")
        whole.write_text(json.dumps({"jobs": made}))
        whole.replace(self._file)

    def records(self) -> dict[str, list[Record]]:
        """Return the committed records of the topics, by topic."""
        reader = HistoryReader(Connection(self.bootstrap), 30)
        names = TopicNames(self.prefix)
        lanes = [f"{self.prefix}.jobs.{lane}" for lane in ("critical", "high", "normal", "low")]
        counts = reader.partitions([names.events, names.dead, *lanes])
        found: dict[str, list[Record]] = defaultdict(list)
        for batch in reader.read(reader.extents(counts)):
            for record in batch:
                found[record.topic].append(record)
        return found


def torment(yard: Yard, kills: int, chance: random.Random, verdict: Verdict) -> None:
    """Kill, stop and freeze workers at random until so many were killed; each has worked a little before."""
    pause = threading.Event()
    while verdict.kills < kills and len(verdict.wrong) < _ENOUGH:
        worker = chance.choice(yard.workers)
        yard.await_progress(pause)
        pause.wait(chance.choice((0.0, 0.3, 1.5)) * chance.random())
        draw = chance.random()
        if worker.code == -signal.SIGABRT:
            verdict.aborts += 1
        elif worker.code is not None:
            verdict.wrong.append(f"{worker.name} ended by itself with {worker.code}")
        elif draw < 0.85:
            worker.end(signal.SIGKILL)
            verdict.kills += 1
        elif draw < 0.93:
            code = worker.end(signal.SIGTERM)
            verdict.stops += 1
            if code not in (0, -signal.SIGTERM):  # which comes before a process knows the signal
                verdict.wrong.append(f"{worker.name} ended a stop with {code}")
        else:
            worker.send(signal.SIGSTOP)
            pause.wait(chance.uniform(0.5, 4))
            worker.send(signal.SIGCONT)
            verdict.freezes += 1
            continue
        worker.start()


def storm(yard: Yard, seconds: float, chance: random.Random, verdict: Verdict) -> None:
    """Have workers leave and join every two seconds or so, for so long: a rebalance each time."""
    pause = threading.Event()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        worker = chance.choice(yard.workers)
        code = worker.end(signal.SIGTERM)
        verdict.stops += 1
        if code not in (0, -signal.SIGTERM):
            verdict.wrong.append(f"{worker.name} ended a stop with {code}")
        worker.start()
        pause.wait(2.0)


def judge(yard: Yard, verdict: Verdict) -> bool:
    """Hold fires against ends, and what was run against what was asked; return whether all have ended."""
    records = yard.records()
    ends: dict[str, list[str]] = defaultdict(list)
    retries: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for record in records[f"{yard.prefix}.events"]:
        head = {name: value.decode() for name, value in record.headers}
        if "/workers/" not in head["ce_source"]:
            continue
        if head["ce_type"] in TERMINAL:
            ends[head["fire"]].append(head["ce_type"])
        retries[head["fire"]] += head["ce_type"] == "run.retrying"
    for topic, found in records.items():
        if ".jobs." in topic:
            for record in found:
                asked[dict(record.headers)["ce_id"].decode()] += 1
    verdict.fires, verdict.attempts = len(asked), asked.total()
    verdict.ends = Counter(kind for kinds in ends.values() for kind in kinds)
    verdict.open = sum(not ends[fire] for fire in asked)
    if verdict.open:
        return False
    _judge_ends(verdict, ends, asked, retries)
    _judge_effects(yard, verdict, asked, ends)
    return True


def _judge_ends(
    verdict: Verdict, ends: Mapping[str, list[str]], asked: Counter[str], retries: Counter[str]
) -> None:
    for fire, kinds in ends.items():
        if kinds and len(kinds) != 1:
            verdict.wrong.append(f"{fire} has {len(kinds)} ends: {kinds}")
        if kinds and fire not in asked:
            verdict.wrong.append(f"{fire} has an end and was never fired")
    for fire, count in asked.items():
        if count != retries[fire] + 1:
            verdict.wrong.append(f"{fire} was sent {count} times with {retries[fire]} retries")


def _judge_effects(yard: Yard, verdict: Verdict, asked: Counter[str], ends: Mapping[str, list[str]]) -> None:
    """What was run beyond what was sent must be at most what killed workers had in hand, and be marked."""
    lines = [line.split("\t") for line in yard.effects.read_text().splitlines()]
    ran: dict[str, list[bool]] = defaultdict(list)
    for fire, _, redelivered in lines:
        ran[fire].append(redelivered == "1")
    verdict.executions = len(lines)
    for fire, marks in ran.items():
        skipped = ends[fire] in (["run.skipped"], ["run.cancelled"], ["run.expired"])
        extra = len(marks) - (asked[fire] - int(skipped))
        if extra > 0:
            verdict.extra += extra
            verdict.unmarked += max(0, extra - sum(marks))
    for fire, count in asked.items():
        if ends[fire] == ["run.succeeded"] and len(ran[fire]) < count:
            verdict.wrong.append(f"{fire} succeeded, sent {count} times, but was run {len(ran[fire])} times")
    if verdict.unmarked:
        verdict.wrong.append(f"{verdict.unmarked} repetitions do not say that they may be some")
    most = (verdict.kills + verdict.stops + verdict.freezes) * SEATS
    if verdict.extra > most:
        verdict.wrong.append(f"{verdict.extra} runs too many, more than the {most} in hand at faults")


def torture(
    bootstrap: str, directory: Path, kills: int, seed: int, storm_seconds: float = 0, workers: int = 3
) -> Verdict:
    """Run it all in an installation named like its directory; return the verdict."""
    prefix = directory.name
    yard, verdict, chance = Yard(bootstrap, prefix, directory, workers), Verdict(), random.Random(seed)
    for one in (yard.dispatcher, *yard.workers):
        one.start()
    try:
        torment(yard, kills, chance, verdict)
        storm(yard, storm_seconds, chance, verdict)
        yard.schedule(0)
        settle(yard, verdict)
        for one in (*yard.workers, yard.dispatcher):
            code = one.end(signal.SIGTERM)
            if code:
                verdict.wrong.append(f"{one.name} ended with {code}")
    finally:
        for one in (*yard.workers, yard.dispatcher):
            if one.code is None:
                one.end(signal.SIGKILL)
    return verdict


def settle(yard: Yard, verdict: Verdict) -> None:
    """Let all fires end, as long as some do."""
    pause = threading.Event()
    fewest, since = sys.maxsize, time.monotonic()
    while not judge(yard, verdict):
        if verdict.open < fewest:
            fewest, since = verdict.open, time.monotonic()
        elif time.monotonic() - since > _SETTLE_S:
            verdict.wrong.append(f"{verdict.open} fires have no end; none has ended for {_SETTLE_S:g} s")
            return
        pause.wait(2.0)


def in_yards(
    bootstrap: str, directory: Path, kills: int, seed: int, *, yards: int, storm_seconds: float
) -> Verdict:
    """Run it in several installations at once; return what they came to together."""
    whole = Verdict()
    lock = threading.Lock()

    def one(number: int) -> None:
        place = directory / f"yard-{number}"
        place.mkdir()
        verdict = torture(bootstrap, place, kills // yards, seed + number, storm_seconds)
        with lock:
            for name in _COUNTS.values():
                setattr(whole, name, getattr(whole, name) + getattr(verdict, name))
            whole.ends += verdict.ends
            whole.wrong += [f"{place.name}: {each}" for each in verdict.wrong]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(yards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return whole


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="torture.workers", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument(
        "--storm", type=float, default=0, metavar="MINUTES", help="leave and join for so long"
    )
    parser.add_argument("--yards", type=int, default=2, help="installations at once")
    given = parser.parse_args()
    directory = ROOT / ".cache/torture" / f"workers-{given.seed}"
    directory.mkdir(parents=True)
    began = time.monotonic()
    print(f"seed {given.seed}, logs in {directory}", flush=True)
    with own_kafka(1) as cluster:
        verdict = in_yards(
            cluster.bootstrap, directory, given.kills, given.seed,
            yards=given.yards, storm_seconds=60 * given.storm,
        )  # fmt: skip
    counts = " | ".join(str(getattr(verdict, name)) for name in _COUNTS.values())
    print(f"| {' | '.join(_COUNTS)} | ends | seconds |")
    print(f"| {counts} | {dict(verdict.ends)} | {time.monotonic() - began:.0f} |")
    print("\n".join(verdict.wrong[:50]) or "nothing is wrong")
    if not verdict.wrong:
        shutil.rmtree(directory)
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
