"""A shard on a ledger in memory, driven by hand: what the tests of the core stand on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dispatcher.core.batch import Batch, Encoder, Limits, Rest
from dispatcher.core.codec import decode
from dispatcher.core.instant import Instant
from dispatcher.core.job import Job, JobReader, encode_definition
from dispatcher.core.ledger import Identity
from dispatcher.core.message import MessageMaker, Outgoing, TopicNames
from dispatcher.core.schedule import ChangeSet
from dispatcher.core.shard import Shard
from dispatcher.core.state import ShardState

TOPICS = TopicNames("t")
IDENTITY = Identity("cluster", {"t.ledger": "id"}, 1, "2026f", "croniter 7")
QUIET = Limits(heartbeat_ms=10**15, stage_ahead_ms=0)


def job(name: str, **fields: Any) -> Job:
    """Return a job; without a trigger it fires every minute."""
    if not fields.keys() & {"cronTime", "every", "at"}:
        fields["cronTime"] = "* * * * *"
    entry = {"jobName": name, "job": "noop", **fields}
    return JobReader().read(encode_definition(entry))


class World:
    """One shard, its ledger and what readers of the committed records see."""

    def __init__(self, *, instance: str = "a", limits: Limits = QUIET) -> None:
        self.instance = instance
        self.limits = limits
        self.ledger: dict[bytes, bytes] = {}
        self.fires: list[str] = []
        self.messages: list[Outgoing] = []
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.batches: list[Batch] = []
        self.missing_topics: set[str] = set()
        self.shard: Shard
        self.identity = IDENTITY

    def start(self, now: Instant) -> None:
        """Take the shard anew from the ledger alone, as after a crash."""
        state = ShardState()
        state.restore(decode(key, value) for key, value in self.ledger.items())
        maker = MessageMaker(TOPICS, 0, lambda topic: None if topic in self.missing_topics else 12)
        encoder = Encoder(TOPICS, 0)
        self.shard = Shard(0, state, maker, encoder, instance=self.instance, limits=self.limits)
        self.commit(self.shard.claim(now, self.identity), now)
        self.shard.resume()
        missed = self.shard.missed(now)
        if missed is not None:
            self.commit(missed, now)

    def commit(self, batch: Batch, now: Instant) -> None:
        """Perform a batch in full and remember it."""
        assert batch.at is None or now >= batch.at, "committed before its instant"
        self.write(batch)
        self.shard.remember(batch, now)

    def write(self, batch: Batch) -> None:
        """Perform a batch without remembering it: what a crash right after the commit leaves."""
        self.batches.append(batch)
        for outgoing in batch.outgoing:
            topic, value, key, _, headers = outgoing
            if topic == TOPICS.ledger:
                assert key is not None
                self.ledger.pop(key, None)
                if value is not None:
                    self.ledger[key] = value
            elif topic == TOPICS.events:
                head = dict(headers or ())
                assert value is not None
                subject = head.get("ce_subject", b"").decode()
                self.events.append((head["ce_type"].decode(), subject, json.loads(value)))
            else:
                self.messages.append(outgoing)
                self.fires.append(dict(headers or ())["ce_id"].decode())

    def run(self, now: Instant) -> Rest:
        """Let the shard do all there is to do at `now`; what it would stage goes out when it is due."""
        for _ in range(100_000):
            decision = self.shard.decide(now)
            if isinstance(decision, Rest):
                return decision
            if decision.at is not None:
                return Rest(decision.at)
            self.commit(decision, now)
        raise AssertionError("the shard finds no rest")

    def run_until(self, start: Instant, end: Instant) -> None:
        """Let the virtual clock go from rest to rest."""
        now = start
        while now <= end:
            rest = self.run(now)
            while self.shard.prepare(now):
                pass
            if rest.until is None or rest.until > end:
                return
            now = max(now + 1, rest.until)

    def offer(
        self, jobs: Iterable[Job], *, revision: str, seen: Instant, witnessed: bool = True
    ) -> ChangeSet:
        """Offer the shard a file with these jobs, compared with what is in force."""
        base = self.shard.base()
        assert base is not None
        old = {one.name: one for one in base.jobs}
        new = {one.name: one for one in jobs}
        removed = tuple(name for name in old if name not in new)
        change = ChangeSet(
            shard=0,
            base=base.change,
            revision=revision,
            seen=seen,
            witnessed=witnessed,
            added=tuple(one for name, one in new.items() if name not in old),
            changed=tuple(
                one for name, one in new.items() if name in old and old[name].definition != one.definition
            ),
            removed=removed,
            removed_in_all=len(removed),
            in_force_in_all=len(old),
        )
        self.shard.offer(change)
        self.shard.looked(revision)
        return change

    def looked(self) -> None:
        """Tell the shard that the file holds what is in force."""
        assert self.shard.state.position is not None
        self.shard.looked(self.shard.state.position.revision)

    def events_of(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Return (subject, data) of every event of a type."""
        return [(subject, data) for found, subject, data in self.events if found == kind]


def with_limits(**changes: Any) -> Limits:
    """Return quiet limits with changes."""
    return replace(QUIET, **changes)
