"""The size of the ledger over a run that is compacted many times: it grows to a plateau, not for ever."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from broker.cluster import own_kafka
from confluent_kafka.admin import (  # type: ignore[attr-defined] # they are there, though not in __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from bench import schedules
from bench.disk import on_disk
from bench.figure import Figure
from bench.harness import alone
from bench.world import SHARDS, World, applied
from dispatcher.core.message import TopicNames

SECONDS, LOOK_SECONDS = 240, 2.0
JOBS, BEATING, EDITED = 2_000, 40, 100
"""Jobs in all, those that fire every second (a transaction each), and those changed with every edit."""
EDIT_SECONDS = 4.0
FAST = {
    "segment.ms": "5000", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "5000", "delete.retention.ms": "10000",
}  # fmt: skip
"""A day of the usual settings in minutes: segments, compaction, the life of tombstones."""


def measure(world: World) -> list[Figure]:
    """Fire and edit for minutes; look at the files of a broker of its own, for only it compacts so fast."""
    with own_kafka() as cluster:
        here = replace(world, bootstrap=cluster.bootstrap)
        with here.installation() as names:
            sizes, shrunk = _sizes(here, names, cluster.nodes[0].directory)
    return _judge(world, sizes, shrunk)


def _judge(world: World, sizes: list[float], shrunk: int) -> list[Figure]:
    middle = sizes[len(sizes) // 3 : 2 * len(sizes) // 3]
    last = sizes[2 * len(sizes) // 3 :]
    growth = max(last) / max(middle)
    facts = {"seconds": round(world.scaled(SECONDS)), "sizes KiB": [round(size) for size in sizes]}
    beside = f"{max(middle):.0f} and {max(last):.0f} KiB at most, {shrunk} times smaller than just before"
    return [
        Figure(
            "plateau", "ledger on disk, the last third of the run against the second", growth, "x", 1.1,
            beside=beside, facts=facts,
        ),
        Figure("plateau", "compactions seen", shrunk, "", 5.0, at_least=True),
    ]  # fmt: skip


def _sizes(world: World, names: TopicNames, files: Path) -> tuple[list[float], int]:
    """Return the ledger's size in KiB at each look, and how often a partition was smaller than before."""
    file = world.directory / "schedule.json"
    _write(file, 0)
    sizes: list[float] = []
    before = [0] * SHARDS
    shrunk = 0
    with world.dispatcher(names, file) as dispatcher:
        applied(dispatcher, 120)
        _compact_fast(world.bootstrap, names.ledger)  # a start would refuse such settings
        began = edited = time.monotonic()
        version = 0
        while time.monotonic() - began < world.scaled(SECONDS):
            time.sleep(LOOK_SECONDS)
            if time.monotonic() - edited > EDIT_SECONDS:
                version, edited = version + 1, time.monotonic()
                _write(file, version)
            now = [on_disk(files, f"{names.ledger}-{shard}") for shard in range(SHARDS)]
            shrunk += sum(new < old for new, old in zip(now, before, strict=True))
            before = now
            sizes.append(sum(now) / 1024)
            if len(sizes) % 10 == 0:
                world.tell(f"{sizes[-1]:.0f} KiB, {version} edits, {shrunk} times smaller")
        dispatcher.terminate(30)
    return sizes, shrunk


def _compact_fast(bootstrap: str, topic: str) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in FAST.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def _write(file: Path, version: int) -> None:
    entries = list(schedules.spread(JOBS, BEATING))
    for entry in entries[:BEATING]:
        entry.pop("cronTime")
        entry.update(every="1s", jitterSeconds=1)
    for number in range(EDITED):
        entries[(version * EDITED + number) % JOBS]["payload"]["version"] = version
    schedules.write(file, entries)


if __name__ == "__main__":
    alone(measure)
