"""`dispatcher tail`: fires as they are committed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import click

from dispatcher import logs
from dispatcher.cli.options import example, json_option, moment, settings_options
from dispatcher.cli.show import printable, write_json_line
from dispatcher.cli.topics import connection_of, mend_command, patience_of, plan_of
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.job import Lane
from dispatcher.core.message import TopicNames
from dispatcher.errors import TopicsUnfit
from dispatcher.kafka.live import FireReader, Seen
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "wait_seconds", "log_level", "log_format", "kafka")
_LONGEST_VALUE = 160
_GLANCE_SECONDS = 0.5
_EVER: Instant = 0


def _since(text: str) -> Instant:
    return _EVER if text == "beginning" else moment(text)


@click.command(
    short_help="Print fires as they are committed.",
    epilog=example("dispatcher tail --bootstrap-servers localhost:9092 --json | jq .fire"),
)
@click.option("--topic", "topics", multiple=True, help="Read this topic, not the lanes; may be repeated.")
@click.option(
    "--from", "since", type=_since, metavar="INSTANT|beginning", help="Begin there; default: at the end."
)
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many fires.")
@click.option("--no-follow", is_flag=True, help="Stop at the end instead of waiting for more.")
@settings_options(*_SETTINGS)
@json_option
def tail(
    in_force: InForce,
    topics: tuple[str, ...],
    since: Instant | None,
    count: int | None,
    *,
    no_follow: bool,
    as_json: bool,
) -> None:
    """Print fires as they are committed, one line each, until interrupted.

    Only committed records are read: what is printed was promised. With --json each line holds the record
    whole.
    """
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    reader = _reader(in_force, topics, since)
    write = _write_json if as_json else _write_line
    with contextlib.closing(reader), contextlib.suppress(KeyboardInterrupt):
        _copy(_records(reader, follow=not no_follow), write, count)


def _reader(in_force: InForce, topics: tuple[str, ...], since: Instant | None) -> FireReader:
    settings, names = in_force.settings, TopicNames(in_force.settings.prefix)
    chosen = topics or tuple(names.lane(lane) for lane in Lane)
    try:
        return FireReader(connection_of(settings), chosen, since, patience_of(settings))
    except TopicsUnfit as error:
        if set(chosen) <= set(plan_of(settings).names()):
            raise TopicsUnfit(error.faults, mend_command(in_force)) from error
        raise TopicsUnfit(error.faults, "a --topic that exists; without one the lanes are read") from error


def _copy(records: Iterator[Seen], write: Callable[[Seen], None], count: int | None) -> None:
    for number, record in enumerate(records, 1):
        write(record)
        if number == count:
            return


def _records(reader: FireReader, *, follow: bool) -> Iterator[Seen]:
    while follow or not reader.at_end:
        yield from reader.take(_GLANCE_SECONDS)


def _write_line(record: Seen) -> None:
    value = printable(_text(record.value) or "")
    short = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
    fire = printable(_headers(record).get("ce_id") or "(no fire)")
    place = f"{record.topic}[{record.partition}]@{record.offset}"
    click.echo(f"{to_text(record.timestamp)}  {fire}  {place}  {short}")


def _write_json(record: Seen) -> None:
    headers = _headers(record)
    write_json_line(
        {
            "fire": headers.get("ce_id"),
            "job": headers.get("ce_subject"),
            "planned": headers.get("ce_time"),
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": to_text(record.timestamp),
            "key": _text(record.key),
            "headers": headers,
            "value": _parsed(record.value),
        }
    )


def _headers(record: Seen) -> dict[str, str | None]:
    return {name: _text(value) for name, value in record.headers}


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


def _parsed(data: bytes | None) -> Any:
    """Return a value as the JSON it is, or as text when it is none or nested too deep to be read."""
    try:
        return None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return _text(data)
