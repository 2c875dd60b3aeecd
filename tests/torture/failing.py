"""`python -m torture.failing run …`: the dispatcher's own command line, made to fail where it is told to.

`DISPATCHER_FAILPOINT=after-flush:3` kills it with SIGKILL when that point is reached for the third time;
a file named by `DISPATCHER_TORTURE_CLOCK` holds the milliseconds by which its wall clock is wrong. Nothing
of this is in the package: its classes are replaced before the command begins.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

import dispatcher.daemon
from dispatcher.cli import main
from dispatcher.clock import Reading, SystemClock
from dispatcher.core.batch import Limits
from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.kafka.config import Config, Connection
from dispatcher.kafka.offsets import PartitionEnds
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.transaction import Fault, Means, Transactor
from dispatcher.ports import Chunk, Committed, LedgerRecord
from dispatcher.produce.host import ShardHost
from dispatcher.service import Deadline
from torture.points import CLOCK, HITS, LIMITS, WHERE, Failpoint, failpoint

_COMMIT_S, _FENCE_S, _ASSIGN_S, _REVOKE_S = 0.003, 0.05, 0.5, 0.02

POINT = Failpoint()


class FailingProducer(Producer):
    """Dies before and after a transaction begins, and between its fires and its ledger records."""

    _fires = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)

    def init_transactions(self, *arguments: Any) -> None:
        with POINT.during("during-fence", _FENCE_S):
            super().init_transactions(*arguments)

    def begin_transaction(self, *arguments: Any) -> None:
        POINT.reach("before-begin")
        super().begin_transaction(*arguments)
        self._fires = False
        POINT.reach("after-begin")

    def produce(self, topic: str, *arguments: Any) -> None:
        if ".jobs." in topic:
            self._fires = True
        elif self._fires and topic.endswith(".ledger"):
            self._fires = False
            if POINT.comes("after-fire-produced"):
                self.flush(5)
                POINT.die("after-fire-produced")
        super().produce(topic, *arguments)


class FailingTransactor(Transactor):
    """Dies with every record produced, and with every record acknowledged."""

    def _flush(self) -> Fault | None:
        POINT.reach("after-ledger-produced")
        fault = super()._flush()
        if fault is None:
            POINT.reach("after-flush")
        return fault


class FailingLog(KafkaShardLog):
    """Dies around commits, with a transaction staged, in the middle of a change, while reading the ledger."""

    _open = False

    def __init__(
        self, connection: Connection, topics: TopicNames, shard: int, *, ends: PartitionEnds
    ) -> None:
        super().__init__(connection, topics, shard, means=Means(producer=FailingProducer), ends=ends)

    def commit(self, outgoing: Sequence[Outgoing], *, isolate: bool = False) -> Committed:
        self._open = False
        part = _part_of_change(outgoing) if POINT.name.endswith(("change", "flip")) else ""
        if part == "flip":
            POINT.reach("before-flip")
        committed = super().commit(outgoing, isolate=isolate)
        if part:
            POINT.reach("after-flip" if part == "flip" else "during-change")
        return committed

    def stage(self, outgoing: Sequence[Outgoing], at: int, over: float = 0.0) -> None:
        super().stage(outgoing, at, over)
        self._open = True
        POINT.reach("staged")

    def seal(self) -> Committed:
        with POINT.during("sealing" if self._open else "commit-sent", _COMMIT_S, late="commit-acked"):
            committed = super().seal()
        self._open = False
        POINT.reach("commit-acked")
        return committed

    def read(self, start: int, until: int) -> Iterator[LedgerRecord]:
        POINT.reach("during-replay")
        for record in super().read(start, until):
            POINT.reach("during-replay")
            yield record

    def chunks(self, start: int, until: int) -> Iterator[Chunk]:
        for record in self.read(start, until):
            yield [(record.key, record.value)], record.offset + 1


class FailingHost(ShardHost):
    """Dies while shards come and go."""

    def take(self, shards: list[int]) -> None:
        super().take(shards)
        if shards:
            POINT.soon("during-assignment", _ASSIGN_S)

    def give_up(self, shards: list[int], deadline: Deadline) -> None:
        if shards:
            POINT.soon("during-revocation", _REVOKE_S)
        super().give_up(shards, deadline)


class SteppedClock:
    """The machine's clocks, the wall clock off by what a file says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._clock = SystemClock()

    def read(self) -> Reading:
        reading = self._clock.read()
        return Reading(reading.now + int(self._file.read_text() or 0), reading.monotonic)


def _part_of_change(outgoing: Sequence[Outgoing]) -> str:
    """Return `flip` for a transaction that puts a change in force, `piece` for one with a part of it."""
    kinds = {dict(each[4]).get("ce_type", b"") for each in outgoing if each[4]}
    if b"schedule.applied" in kinds:
        return "flip"
    return "piece" if any(kind.startswith(b"job.") for kind in kinds) else ""


def arm() -> None:
    """Replace what fails. The variables go, so that no child sees them and no setting is taken for one."""
    global POINT  # noqa: PLW0603 - one process has one point, and its classes are made before it is known
    POINT = failpoint(os.environ.pop(WHERE, ""), os.environ.pop(HITS, ""))
    limits = json.loads(os.environ.pop(LIMITS, "{}"))
    clock = os.environ.pop(CLOCK, "")
    put = _replace
    put(dispatcher.daemon, "KafkaShardLog", FailingLog)
    put(dispatcher.daemon, "ShardHost", FailingHost)
    put(importlib.import_module("dispatcher.kafka.shard_log"), "Transactor", FailingTransactor)
    put(importlib.import_module("dispatcher.cli.run"), "Limits", partial(Limits, **limits))
    if clock:
        put(dispatcher.daemon, "SystemClock", partial(SteppedClock, Path(clock)))


def _replace(module: object, name: str, value: object) -> None:
    """Replace what a module calls by a name; a name that is gone must not go unseen."""
    getattr(module, name)
    setattr(module, name, value)


if __name__ == "__main__":
    arm()
    main()
