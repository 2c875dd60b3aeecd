"""What can happen to an installation: one round of each kind of fault, for its replicas, file and clock."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from torture.load import BURST_MS
from torture.points import POINTS
from torture.reading import now
from torture.replica import Replica
from torture.site import Site, pick

Round = Callable[[Site, random.Random], int]
"""Does one round of a fault to a site and returns how many times it happened."""

Editing = Callable[[Site, random.Random, threading.Event], None]
"""Edits a site's file once, in its own way, and returns after the pause until the next time."""

SESSION_S = 6.0
_HIT_S = 20.0
_FROZEN_AT = ("after-begin", "after-fire-produced", "after-flush", "commit-acked", "staged", "during-replay")
_MOST_REACHED = {
    **dict.fromkeys(("during-assignment", "during-revocation", "staged", "sealing"), 1),
    **dict.fromkeys(("before-flip", "after-flip"), 1),
    **dict.fromkeys(("during-fence", "during-replay"), 2),
}
_STARTED = '"daemon.started"'
_TAKEN = '"shard.taken"'
_EDITED = ("during-change", "before-flip", "after-flip")


def kill(site: Site, chance: random.Random) -> int:
    """Kill a replica and start it again at once; now and then again while it starts."""
    site.kill(pick(chance, site))
    return 1


def kill_all(site: Site, chance: random.Random) -> int:
    """Kill every replica; now and then they stay away for longer than jobs have grace."""
    for replica in site.replicas:
        if replica.running:
            site.note("kill")
            replica.kill()
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, 5))
    site.start()
    return len(site.replicas)


def kill_some(site: Site, chance: random.Random) -> int:
    """Mostly kill one replica, sometimes all at once."""
    return kill_all(site, chance) if chance.random() < 0.15 else kill(site, chance)


class AtFailpoints:
    """Kills replicas at failpoints, each time at the one that was hit least; every point is asked for."""

    def __init__(self) -> None:
        self.hits = Counter[str]()
        self._tried = Counter[str]()
        self._lock = threading.Lock()

    def __call__(self, site: Site, chance: random.Random) -> int:
        return self.next(site, chance)[0]

    def next(self, site: Site, chance: random.Random) -> tuple[int, bool]:
        """Do one round; return the kills in it, and whether a point was hit for the first time."""
        with self._lock:
            point = min(POINTS, key=lambda one: (self.hits[one] + self._tried[one] / 100, chance.random()))
            self._tried[point] += 100
        kills, hit = die_at(site, chance, point)
        with self._lock:
            self._tried[point] -= 99
            self.hits[hit] += 1
            return kills, hit != "" and self.hits[hit] == 1


def die_at(site: Site, chance: random.Random, point: str) -> tuple[int, str]:
    """Have one replica die at a point, or kill it if it never gets there; return kills, and what it hit."""
    replica = pick(chance, site)
    kills = 1
    if replica.running:
        site.note("kill")
        replica.kill()
        kills = 2
    taken, before = replica.says(_TAKEN), site.hits()
    site.fail(replica, point, chance.randint(1, _MOST_REACHED.get(point, 6)))
    died = provoke(site, replica, point, taken)
    replica.kill()
    hit = next(iter(site.hits() - before), "")
    site.note(hit if died and hit else "kill")
    replica.start()
    return kills, hit


def provoke(site: Site, replica: Replica, point: str, taken: int) -> bool:
    """Do what brings a replica to a point; return whether it died there within the time.

    It had taken shards so many times before: one that is to lose them must have some.
    """
    end = time.monotonic() + _HIT_S
    while time.monotonic() < end:
        if point in _EDITED:
            site.edit()
        if point == "during-revocation" and replica.says(_TAKEN) > taken:
            for other in site.replicas:
                if other is not replica:
                    other.terminate()
                    other.start()
        if replica.died(2.0):
            return True
        if not replica.running:
            return False
    return False


def freeze(site: Site, chance: random.Random) -> int:
    """Freeze a replica, often for longer than its session, and let the zombie go on."""
    replica = pick(chance, site)
    if chance.random() < 0.5:
        replica.kill()
        site.fail(replica, chance.choice(_FROZEN_AT), chance.randint(1, 5), "stop")
        end = time.monotonic() + _HIT_S
        while not replica.frozen and time.monotonic() < end:
            time.sleep(0.02)
        if not replica.frozen:  # it could still come to the place, and stop there with nobody to let it go on
            site.kill(replica)
            return 1
        seconds = SESSION_S + chance.uniform(1, 4)
    else:
        seconds = chance.choice((chance.uniform(0.1, 3), SESSION_S + chance.uniform(1, 4)))
    site.note("freeze")
    replica.send(signal.SIGSTOP)
    time.sleep(seconds)
    replica.send(signal.SIGCONT)
    return 1


def step_clock(site: Site, chance: random.Random) -> int:
    """Step the wall clock of all replicas; now and then kill one just then."""
    site.note("step")
    site.set_clock(chance.choice((-20_000, -3_000, -700, 0, 700, 3_000, 12_000)))
    time.sleep(chance.uniform(1, 6))
    if chance.random() < 0.3:
        site.kill(pick(chance, site))
    return 1


def roll(site: Site, chance: random.Random) -> int:
    """Restart every replica in good order, one after the other, each once the one before is up."""
    for replica in site.replicas:
        site.note("restart")
        before = replica.says(_STARTED)
        code = replica.terminate()
        if code not in (0, 4, -signal.SIGTERM, -signal.SIGABRT):  # the last: it had only just begun to start
            replica.ends.append(code)
        replica.start()
        end = time.monotonic() + _HIT_S
        while replica.says(_STARTED) == before and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.5, 3))
    return len(site.replicas)


def edit_now_and_then(site: Site, chance: random.Random, ended: threading.Event) -> None:
    """Bring an edit every few seconds."""
    ended.wait(chance.uniform(1, 7))
    site.edit()


def edit_when_due(site: Site, chance: random.Random, ended: threading.Event) -> None:
    """Bring edits in the very second that jobs are due: about the instant of a burst."""
    left = BURST_MS - now() % BURST_MS
    ended.wait(max(0.0, left / 1000 + chance.uniform(-1.2, 0.4)))
    for _ in range(chance.choice((1, 1, 2, 4))):
        site.edit()
        ended.wait(chance.uniform(0, 0.15))
    ended.wait(0.5)


def storm(site: Site, chance: random.Random, ended: threading.Event) -> None:
    """Bring many edits in a second or two: valid, invalid, half-written, empty; a valid one comes last."""
    until = time.monotonic() + chance.uniform(0.5, 2)
    while time.monotonic() < until and not ended.is_set():
        text = site.text()
        match chance.randrange(5):
            case 0:
                site.edit(text[: chance.randrange(len(text))])
            case 1:
                site.file.write_text(text[: len(text) // 2])
            case 2:
                site.edit('{"jobs": []}')
            case _:
                site.edit()
        ended.wait(chance.uniform(0.01, 0.1))
    site.edit()
    ended.wait(chance.uniform(1, 4))
