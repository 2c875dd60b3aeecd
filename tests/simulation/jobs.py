"""The jobs that histories are about: few and small, each read once for all histories."""

from __future__ import annotations

import json
import random
from typing import Any

from dispatcher.core.instant import from_text, to_text
from dispatcher.core.job import Entry, Job, JobReader, encode_definition

START = from_text("2026-11-20T12:00:00Z")
NAMES = "abcdef"
CRON = ("* * * * * *", "*/5 * * * * *", "*/20 * * * * *")
POLICIES = [(catch_up, grace) for catch_up in ("none", "latest", "all") for grace in (0, 3, 60)]


class SharedReader(JobReader):
    """Reads each definition once."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, Job] = {}

    def read(self, definition: bytes, key_hash: int | None = None) -> Job:
        """Return the job of a definition."""
        job = self._known.get(definition)
        if job is None:
            if len(self._known) > 50_000:
                self._known.clear()
            job = self._known[definition] = super().read(definition, key_hash)
        return job


READER = SharedReader()


def some_job(chance: random.Random, name: str, old: Job | None) -> Job:
    """Return a job of that name with some trigger and policy; often only the payload differs."""
    entry: dict[str, Any] = {"jobName": name, "job": "noop"}
    if old is not None and chance.random() < 0.4:
        before: Entry = json.loads(old.definition)
        entry |= {key: before[key] for key in ("cronTime", "every", "at", "jitterSeconds") if key in before}
    else:
        entry |= some_trigger(chance)
    catch_up, grace = chance.choice(POLICIES)
    if chance.random() < 0.15:
        entry["key"] = "k"
    entry |= {"catchUp": catch_up, "misfireGraceSeconds": grace, "payload": chance.randrange(4)}
    return READER.read(encode_definition(entry))


def some_trigger(chance: random.Random) -> dict[str, Any]:
    """Return the fields of a trigger; nearly all fire together now and then."""
    jitter = chance.choice([0, 0, 0, 2, 9])
    kind = chance.random()
    if kind < 0.7:
        trigger: dict[str, Any] = {"every": f"{chance.choice([1, 2, 3, 5, 7, 30])}s"}
    elif kind < 0.8:
        trigger = {"cronTime": chance.choice(CRON)}
    else:
        trigger = {"at": to_text(START + 1_000 * chance.randrange(60))}
    return trigger | ({"jitterSeconds": jitter} if jitter else {})
