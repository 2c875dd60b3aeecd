"""What a scrape costs with very many jobs, and that there are no more series than with few."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.process import Dispatcher, until

from bench import process, schedules
from bench.figure import Figure, number, quantile
from bench.harness import alone
from bench.world import World, applied

JOBS, FEW, TRIGGERS, SCRAPES = 1_000_000, 40, 2_000, 200
CAP = 512 * 1024 * 1024


def measure(world: World) -> list[Figure]:
    """Scrape a dispatcher with few jobs and one with very many."""
    jobs = world.scaled(JOBS)
    _, _, few, _ = _scraped(world, FEW)
    took, status, series, looks = _scraped(world, jobs)
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    beside = f"median {number(p50)} ms; /status {number(status)} ms; the watch takes {looks:.2f} % of a core"
    return [
        Figure("scrape", f"{jobs} jobs, p99 of {SCRAPES} scrapes", p99, "ms", 50.0,
               beside=beside, samples=tuple(round(one, 2) for one in took)),
        Figure("scrape", f"series with {jobs} jobs against {FEW}", series / few, "x", 1.0,
               beside=f"{series} against {few}; process_* and python_gc_* are not counted"),
    ]  # fmt: skip


def _scraped(world: World, jobs: int) -> tuple[list[float], float, int, float]:
    """Return the milliseconds of scrapes, of the status, how many series, and what the watch costs."""
    file = world.directory / "schedule.json"
    schedules.write(file, schedules.spread(jobs, min(jobs, TRIGGERS)))
    with _served(world, file) as (dispatcher, base):
        until(lambda: _knows_every_shard(base), "the next fire of every shard", 120)
        before, began = process.spent(dispatcher.pid), time.monotonic()
        took = [_milliseconds(f"{base}/metrics") for _ in range(SCRAPES)]
        spent = process.spent(dispatcher.pid).since(before).by_name().get("absence", 0.0)
        looks = 100 * spent / (time.monotonic() - began)
        series = [line for line in _get(f"{base}/metrics").decode().splitlines() if _counts(line)]
        world.tell(f"{jobs} jobs: {len(series)} series, median {quantile(took, 0.5):.1f} ms")
        return took, _milliseconds(f"{base}/status"), len(series), looks


@contextmanager
def _served(world: World, file: Path) -> Iterator[tuple[Dispatcher, str]]:
    with (
        world.installation() as names,
        world.dispatcher(names, file, "--max-file-bytes", str(CAP), "--address", "127.0.0.1:0") as dispatcher,
    ):
        applied(dispatcher, 900)
        served = next(line for line in dispatcher.text().splitlines() if "views.served" in line)
        yield dispatcher, f"http://127.0.0.1:{json.loads(served)['port']}"
        dispatcher.terminate(60)


def _counts(line: str) -> bool:
    """Return whether a line is a series; kinds of transactions differ, for large changes come in pieces."""
    return line.startswith("dispatcher_") and "transaction_seconds" not in line


def _knows_every_shard(base: str) -> bool:
    return all(shard.get("nextDue") for shard in json.loads(_get(f"{base}/status"))["shards"])


def _milliseconds(url: str) -> float:
    began = time.monotonic()
    _get(url)
    return 1000 * (time.monotonic() - began)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
        body: bytes = answer.read()
        return body


if __name__ == "__main__":
    alone(measure)
