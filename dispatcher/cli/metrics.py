"""`dispatcher metrics`: the page of every metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from dispatcher.cli.options import example
from dispatcher.observe.metric_table import TABLE, Metric, Role

_HEAD = """\
# Metrics: what `/metrics` shows

Made by `dispatcher metrics` from the table in the code; a test fails when the program shows anything else.

A dispatcher shows its own with `address` set, a worker its own with `work_address`. Beside them stand
`process_*` and `python_gc_*`, as prometheus-client has them. Counters begin at 0 with each process; what a
shard counted stays when it moves to another replica.

How many series there are does not grow with the jobs. Labels hold shards, lanes, handlers, kinds and reasons,
all of them few; names of jobs only where the setting `metrics_per_job` names them, at most 100.
"""
_BUCKETS = """\
## Buckets of histograms

Upper bounds; beyond the last one there is `+Inf`.
"""


@click.command(short_help="Print the page of every metric.", epilog=example("dispatcher metrics"))
def metrics() -> None:
    """Print every metric of dispatchers and workers, with kind, labels, unit and meaning, in Markdown."""
    click.echo("\n".join(_page()))


def _page() -> Iterator[str]:
    yield _HEAD
    for title, role in (("Dispatcher", Role.DISPATCHER), ("Worker", Role.WORKER)):
        yield f"## {title}\n"
        yield from _table("metric | kind | labels | unit | meaning", map(_row, _of(role)))
        yield ""
    yield _BUCKETS
    rows = (
        f"`{one.name}` | {', '.join(f'{bound:g}' for bound in one.buckets)}" for one in TABLE if one.buckets
    )
    yield from _table("metric | bounds", rows)


def _bounds(one: Metric) -> str:
    return ", ".join(f"{bound:g}" for bound in one.buckets)


def _of(role: Role) -> Iterable[Metric]:
    return (one for one in TABLE if one.role is role)


def _row(one: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in one.labels)
    return f"`{one.name}` | {one.kind} | {labels} | {one.unit} | {one.text}"


def _table(headings: str, rows: Iterable[str]) -> Iterator[str]:
    yield f"| {headings} |"
    yield f"|{' --- |' * (headings.count(' | ') + 1)}"
    yield from (f"| {row} |" for row in rows)
