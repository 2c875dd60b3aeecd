"""`dispatcher events`: the page of every event that the log and the events topic may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from dispatcher.cli.options import example
from dispatcher.core.event_types import EVENT_TYPES, HEADERS, EventType
from dispatcher.logs.repeats import MOST, SECONDS
from dispatcher.logs.table import BOTH, DISPATCHER, FIELDS, WORKER, LogEvent

_HEAD = """\
# Events: what the log and the events topic tell

Made by `dispatcher events` from the tables in the code; a test fails when the code tells anything else.

## The log

One line for each event on standard error: JSON where that is no terminal (`log_format`). Every line has
`timestamp` (UTC), `level` and `event`; fields in parentheses stand in some lines. What is `debug` is told
where `log_level` is `debug`: then every fire and every run has a line that bears the fire's id.

Lines that repeat themselves are told {most} times in {seconds:g} seconds. The next one, or the last one once
that time is over, has `repeated`, the number of those that were not told. Repetitions have the same event,
level and names (a shard, a job, a fire, a file …), and the same words but for their digits. What is `debug`
or `critical` is always told.
"""
_FIELDS = """\
## Fields of the log

Lines that differ in a *name* are about different things. Lines that differ in the digits of a *text* alone,
or in a *figure*, are repetitions.
"""
_KAFKA = """\
## The events topic

`<prefix>.events` holds what happened as CloudEvents 1.0 in Kafka's binary mode; the value is JSON with the
members below (in parentheses: some have it) and `v`, the version of its form, 1.
`dispatcher tail --topic <prefix>.events --json` prints them.
"""
_ONE_FIRE = """
## One fire, from its commit to its end

With `log_level` at `debug` the fire's id stands in the line of its commit, in its records, and in the line of
each run. Where a supervisor keeps the log, `journalctl -o cat` or `kubectl logs` takes the file's place:

```console
$ dispatcher tail --topic <prefix>.jobs.high --topic <prefix>.events --from 2026-11-29T12:28:00Z \\
>   --no-follow --json > kafka.jsonl
$ grep -hF nightly-report@2026-11-29T12:28:10Z dispatcher.log kafka.jsonl worker.log |
>   jq -c '[.timestamp, .event // .headers.ce_type, .attempt // .headers.attempt, .topic, .outcome]' | sort
["2026-11-29T12:28:10.001Z","dispatcher.fire","1","dispatcher.jobs.high",null]
["2026-11-29T12:28:10.016495Z","fire.committed",1,"dispatcher.jobs.high",null]
["2026-11-29T12:28:10.053825Z","run.ended",1,"dispatcher.jobs.high","retrying"]
["2026-11-29T12:28:10.193Z","run.retrying","1","dispatcher.events",null]
["2026-11-29T12:28:10.524Z","dispatcher.fire","2","dispatcher.jobs.high",null]
["2026-11-29T12:28:10.563277Z","fire.committed",2,"dispatcher.jobs.high",null]
["2026-11-29T12:28:10.599774Z","run.ended",2,"dispatcher.jobs.high","dead"]
["2026-11-29T12:28:10.669Z","run.dead","2","dispatcher.events",null]
```"""


@click.command(
    short_help="Print the page of every event that may be logged or told.",
    epilog=example("dispatcher events | grep fire.committed"),
)
def events() -> None:
    """Print every event of the log and of the events topic, with fields and meaning, in Markdown."""
    click.echo("\n".join(_page()))


def _page() -> Iterator[str]:
    yield _HEAD.format(most=MOST, seconds=SECONDS)
    for title, logged in (("Dispatcher", DISPATCHER), ("Worker", WORKER), ("Both", BOTH)):
        yield f"### {title}\n"
        yield from _table(("event", "level", "fields", "meaning"), map(_logged, sorted(logged, key=_name)))
    yield _FIELDS
    rows = ((f"`{name}`", field.role.value, field.meaning) for name, field in sorted(FIELDS.items()))
    yield from _table(("field", "is a", "meaning"), rows)
    yield _KAFKA
    yield from _table(("type", "by", "value", "meaning"), map(_told, sorted(EVENT_TYPES.values(), key=_name)))
    yield from _table(("header", "holds"), ((f"`{name}`", text) for name, text in HEADERS.items()), last=True)
    yield _ONE_FIRE


def _name(one: LogEvent | EventType) -> str:
    return one.name


def _logged(event: LogEvent) -> Sequence[str]:
    return f"`{event.name}`", ", ".join(event.levels), _fields(event.fields, event.maybe), event.meaning


def _told(one: EventType) -> Sequence[str]:
    return f"`{one.name}`", one.by, _fields(one.fields, one.maybe), one.meaning


def _fields(always: Sequence[str], maybe: Sequence[str]) -> str:
    return ", ".join([*(f"`{name}`" for name in always), *(f"(`{name}`)" for name in maybe)])


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, last: bool = False) -> Iterator[str]:
    for row in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(row)} |"
    if not last:
        yield ""
