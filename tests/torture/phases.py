"""The phases of a torture run: one kind of fault each, on installations of its own, judged at its end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from broker.cluster import Cluster

from dispatcher.core.log_record import Record
from dispatcher.observe.verdict import Verdict
from torture import brokers, faults
from torture.brokers import BrokerRound
from torture.faults import Editing, Round
from torture.judging import disagreements, judge, place_of, unsettled
from torture.points import POINTS
from torture.reading import Live, Seen, fresh, hanging, now
from torture.site import Site

START_S, SETTLE_S = 60.0, 150.0
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Phase:
    """A kind of fault: what is done to each site, and to the brokers.

    `share` is the part of a run's faults that are this phase's. `pause` is how many seconds lie between two
    rounds at a site. `may_hang` says that Kafka itself can lose the marker of a commit by what is done
    (KAFKA-20734): an installation that this befalls cannot be judged, and is counted instead.
    """

    name: str
    torment: Round
    share: float
    pause: tuple[float, float]
    nodes: int = 1
    edit: Editing = faults.edit_now_and_then
    broker: BrokerRound | None = None
    may_hang: bool = False

    @property
    def seconds(self) -> float:
        """The most that one fault should take, on average."""
        return 4.0 if self.broker is None else 20.0


def phases() -> tuple[Phase, ...]:
    """Return all phases, those on one broker first."""
    some, points = faults.kill_some, faults.AtFailpoints
    return (
        Phase("kill", some, 0.34, (2, 6)),
        Phase("failpoint", points(), 0.32, (0.1, 1)),
        Phase("zombie", faults.freeze, 0.04, (0.5, 2)),
        Phase("due-second", some, 0.05, (2, 6), edit=faults.edit_when_due),
        Phase("storm", some, 0.05, (2, 6), edit=faults.storm),
        Phase("clock", faults.step_clock, 0.04, (0.5, 2)),
        Phase("rolling", faults.roll, 0.04, (1, 3)),
        Phase("broker-pause", some, 0.01, (10, 20), broker=brokers.pause, may_hang=True),
        Phase("broker-restart", some, 0.01, (10, 20), broker=brokers.restart, may_hang=True),
        Phase("kill-3", some, 0.10, (2, 6), nodes=3),
        Phase("failpoint-3", points(), 0.08, (0.1, 1), nodes=3),
        Phase("broker-kill-3", some, 0.01, (10, 20), nodes=3, broker=brokers.kill),
        Phase("broker-pause-3", some, 0.01, (10, 20), nodes=3, broker=brokers.pause),
        Phase("broker-restart-3", some, 0.01, (10, 20), nodes=3, broker=brokers.restart),
    )


@dataclass
class Outcome:
    """What a phase came to; anything in `wrong` fails the run."""

    phase: str
    times: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    edits: int = 0
    seconds: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)
    fenced: int = 0
    recovery_ms: int = 0
    settle_ms: int = 0
    hung: list[str] = field(default_factory=list)
    """Partitions with a transaction that nobody ends; their installations are not judged."""
    wrong: list[str] = field(default_factory=list)

    def sum(self, name: str) -> int:
        """Return the sum of a count over all sites."""
        return sum(getattr(verdict, name) for verdict in self.verdicts)

    @property
    def kills(self) -> int:
        """How many dispatchers were killed by `kill -9`, from outside or at failpoints."""
        return self.faults["kill"] + sum(self.faults[point] for point in POINTS)


class Scene:
    """A phase at work: its sites, the threads that torment them, the reader that watches."""

    def __init__(self, phase: Phase, cluster: Cluster, sites: list[Site], tell: Tell) -> None:
        self.phase, self.cluster, self.sites, self._tell = phase, cluster, sites, tell
        self.outcome = Outcome(phase.name)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._broken: list[str] = []
        self.live = Live(cluster.bootstrap, [site.prefix for site in sites])

    def run(self, count: int, seconds: float, chance: random.Random) -> Outcome:
        """Let faults happen until there were so many of them or the time is over; then heal and judge."""
        began = time.monotonic()
        try:
            self._begin()
            threads = self._threads(chance, count)
            for thread in threads:
                thread.start()
            self._ended.wait(seconds)
            self._ended.set()
            for thread in threads:
                thread.join()
            self._finish()
        finally:
            self._ended.set()
            self.live.stop()
            for site in self.sites:
                for replica in site.replicas:
                    replica.kill()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _begin(self) -> None:
        for site in self.sites:
            site.start()
        end = time.monotonic() + START_S
        while not all(self._fires(site) for site in self.sites):
            assert time.monotonic() < end, f"{self.phase.name}: no fire within {START_S:g} s"
            time.sleep(0.2)

    def _fires(self, site: Site) -> int:
        return sum(".jobs." in record.topic for record, _ in self.live.seen(site.prefix))

    # The tormentors.

    def _threads(self, chance: random.Random, count: int) -> list[threading.Thread]:
        broker = self.phase.broker
        todo: list[Callable[[], None]] = []
        for site in self.sites:
            torment, edit = random.Random(chance.random()), random.Random(chance.random())
            left = count if broker is None else None
            todo.append(partial(self._torment, site, torment, left))
            todo.append(partial(self._edit, site, edit))
        if broker is not None:
            own = random.Random(chance.random())
            todo.append(partial(self._mistreat, broker, own, count))
        return [threading.Thread(target=self._guarded, args=(one,), daemon=True) for one in todo]

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a tormentor; one that breaks ends the phase and fails it."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the top of a thread: every end must be told to somebody
            self._broken.append(f"a tormentor broke: {error!r}")
            self._ended.set()

    def _torment(self, site: Site, chance: random.Random, count: int | None) -> None:
        while not self._ended.wait(chance.uniform(*self.phase.pause)):
            times = self.phase.torment(site, chance)
            if count is not None:
                self._counted(times, count)

    def _edit(self, site: Site, chance: random.Random) -> None:
        while not self._ended.is_set():
            self.phase.edit(site, chance, self._ended)

    def _mistreat(self, broker: BrokerRound, chance: random.Random, count: int) -> None:
        while not self._ended.wait(chance.uniform(3, 8)):
            broker(self.cluster, chance)
            for site in self.sites:
                site.note("broker")
            self._counted(1, count)

    def _counted(self, times: int, count: int) -> None:
        with self._lock:
            before = self.outcome.times
            self.outcome.times += times
            if before // 10 != self.outcome.times // 10:
                self._tell(f"{self.phase.name}: {self.outcome.times} of {count}")
            if self.outcome.times >= count:
                self._ended.set()

    # The end.

    def _finish(self) -> None:
        outcome = self.outcome
        outcome.wrong += self._broken
        self.cluster.heal()
        for site in self.sites:
            site.heal()
        cutoff = now()
        unsettled = self._settle(cutoff)
        for site in self.sites:
            outcome.wrong += site.stop()
        for site in self.sites:
            self._end_of(site, unsettled.get(site.prefix, []), cutoff)
        if self.phase.torment is faults.freeze and not outcome.fenced:
            outcome.wrong.append("no producer was fenced, so nothing is known of zombies")

    def _end_of(self, site: Site, unsettled: list[str], cutoff: int) -> None:
        """Judge a site, unless a transaction hangs there by what the brokers did."""
        hung = hanging(self.cluster.bootstrap, site.prefix)
        if hung and self.phase.may_hang:
            self.outcome.hung += hung
            self._tell(f"{self.phase.name}: {site.prefix} is not judged, for a transaction hangs: {hung}")
            return
        self.outcome.wrong += [f"{place}: a transaction is open" for place in hung]
        if unsettled:
            self.outcome.wrong.append(f"{site.prefix} has not settled within {SETTLE_S:g} s: {unsettled}")
        self._judge(site, cutoff)

    def _settle(self, cutoff: int) -> dict[str, list[str]]:
        """Wait until everything planned before an instant is settled; return what keeps sites from it."""
        end = time.monotonic() + SETTLE_S
        slow = time.monotonic() + SETTLE_S / 6
        left = {site.prefix: ["not looked at"] for site in self.sites}
        while left and time.monotonic() < end:
            for site in self.sites:
                site.start()
            left = {site.prefix: why for site in self.sites if (why := self._unsettled(site, cutoff))}
            if left and time.monotonic() > slow:
                self._tell(f"{self.phase.name}: not settled yet: {left}")
                slow = end
            time.sleep(1)
        self.outcome.settle_ms = now() - cutoff
        return left

    def _unsettled(self, site: Site, cutoff: int) -> list[str]:
        seen = self.live.seen(site.prefix)
        if told := unsettled(site.prefix, site.shards, seen, cutoff):
            return told
        verdict = judge(site.prefix, site.shards, [one.record for one in seen], cutoff, {})
        waiting = verdict.pending + verdict.unknown
        return [f"{waiting} fires are pending, or not known of"] if waiting else []

    def _judge(self, site: Site, cutoff: int) -> None:
        outcome = self.outcome
        records = fresh(self.cluster.bootstrap, site.prefix)
        seen = self._caught_up(site, records)
        arrivals = {place_of(record): at + site.most_ahead for record, at in seen}
        verdict = judge(site.prefix, site.shards, records, cutoff, arrivals)
        outcome.wrong += [f"{site.prefix}: {one}" for one in verdict.wrong[:20]]
        outcome.wrong += [f"{site.prefix}: {one}" for one in disagreements(seen, records)]
        if verdict.pending or verdict.unknown or not verdict.judged:
            told = f"{verdict.pending} fires are not settled, {verdict.unknown} unknown"
            outcome.wrong.append(f"{site.prefix}: {told}")
        outcome.verdicts.append(verdict)
        outcome.faults += Counter(fault.name for fault in site.faults)
        outcome.hits += site.hits()
        outcome.edits += site.edits
        times = [self.live.recovered(site.prefix, fault.at) for fault in site.faults]
        outcome.recovery_ms = max([outcome.recovery_ms, *times])
        outcome.fenced += sum(replica.says('"kind": "Fenced"') for replica in site.replicas)
        if site.faults and not self._fired_between(site):
            outcome.wrong.append(f"{site.prefix}: no fire while faults happened, so nothing is known")

    def _caught_up(self, site: Site, records: list[Record]) -> list[Seen]:
        """Return what the live reader saw, once it had the time to see as much as the other one."""
        end = time.monotonic() + 10
        while len(seen := self.live.seen(site.prefix)) < len(records) and time.monotonic() < end:
            time.sleep(0.1)
        return seen

    def _fired_between(self, site: Site) -> bool:
        first, last = site.faults[0].at, site.faults[-1].at + 5_000
        return any(
            first < at < last for record, at in self.live.seen(site.prefix) if ".jobs." in record.topic
        )
