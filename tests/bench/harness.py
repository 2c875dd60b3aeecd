"""Running benchmarks: a broker, progress on standard error, a Markdown table, and JSON to keep."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from broker.cluster import running_kafka

from bench.figure import Figure, table
from bench.machine import machine, versions
from bench.warm import warm_up
from bench.world import World

RESULTS = Path(__file__).with_name("results")
REPEAT = 3

Measure = Callable[[World], list[Figure]]
Broker = Callable[[], AbstractContextManager[str]]
NONE: Mapping[str, Broker] = MappingProxyType({})


def alone(measure: Measure, broker: Broker = running_kafka) -> None:
    """Run one benchmark from its module's command line."""
    run({measure.__module__: measure}, sys.argv[1:], {measure.__module__: broker})


def run(
    benches: Mapping[str, Measure], arguments: Sequence[str], brokers: Mapping[str, Broker] = NONE
) -> None:
    """Run benchmarks from the command line; each has a broker of its own unless an address is given.

    `brokers` names those that need a special one, whatever address is given.
    """
    options = _options(benches).parse_args(arguments)
    chosen = {name: benches[name] for name in options.only or benches}
    figures: list[Figure] = []
    began = time.monotonic()
    for name, measure in chosen.items():
        broker = brokers.get(name, running_kafka)
        figures += _measured(name, measure, broker, options.scale, options.repeat)
    result = {
        "command": f"make bench{_flags(options)}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
        "scale": options.scale,
        "machine": machine(),
        "versions": versions(),
        "figures": [figure.plain() for figure in figures],
    }
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(table(figures))


def _measured(name: str, measure: Measure, broker: Broker, scale: float, repeat: int) -> Iterable[Figure]:
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{name} {time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    with broker() as bootstrap, tempfile.TemporaryDirectory(prefix="dispatcher-bench-") as directory:
        tell("warming the broker up")
        warm_up(bootstrap)
        figures = measure(World(bootstrap, Path(directory), scale, repeat, tell))
    tell("done")
    return figures


def _options(benches: Mapping[str, Measure]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure what the dispatcher promises.")
    parser.add_argument(
        "--only", action="append", choices=list(benches), help="one benchmark; may be repeated"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the jobs and times, e.g. 0.05")
    parser.add_argument("--repeat", type=int, default=REPEAT, help="how often the two sides take turns")
    parser.add_argument("--json", help="the file the results are kept in")
    return parser


def _flags(options: argparse.Namespace) -> str:
    only = " ONLY=" + " ".join(options.only) if options.only else ""
    return only + (f" SCALE={options.scale:g}" if options.scale != 1 else "")
