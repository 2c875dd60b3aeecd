"""`dispatcher retry`: one fire tried again, whatever became of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import click

from dispatcher import logs
from dispatcher.cli.asking import timeout_option
from dispatcher.cli.letters import Letters, Wanted
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.progress import progress_bar, read_with
from dispatcher.cli.redrive import Outcome, Redrive, redriver
from dispatcher.cli.show import printable, write_json
from dispatcher.clock import SystemClock
from dispatcher.core.command import (
    BadCommandError,
    Command,
    decode_command,
    encode_command,
    named_retry_id,
)
from dispatcher.core.dead_letter import Filed, Letter, mark, retry_of
from dispatcher.core.instant import Instant, from_text
from dispatcher.core.job import Lane
from dispatcher.core.log_record import Record
from dispatcher.core.message import Outgoing
from dispatcher.errors import DispatcherError
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "wait_seconds", "log_level", "log_format", "kafka")
_CLOCKS_APART: Instant = 3_600_000
_LISTED = 20


@click.command(
    short_help="Have a fire tried again.",
    epilog=example(
        "dispatcher retry nightly-report@2026-11-20T02:00:00Z",
        "dispatcher retry nightly-report@2026-11-20T02:00:00Z --id after-the-outage",
    ),
)
@click.argument("fire")
@click.option("--id", "name", metavar="ID", help="An id of your own for the request; default: the attempt's.")
@click.option("--topic", "topics", multiple=True, help="Look for it in this topic too; may be repeated.")
@timeout_option
@settings_options(*_SETTINGS)
@json_option
def retry(
    in_force: InForce, fire: str, name: str | None, topics: tuple[str, ...], timeout: float, *, as_json: bool
) -> None:
    """Have a fire tried again, also one that has succeeded.

    It is looked for among the dead letters, and then in the lanes; that of a job with a topic of its own
    only there if --topic says so. It keeps its id and its message, and the count of its attempts goes on. A
    letter that is not settled is then.

    With the same --id a fire is tried again once, however often that is asked for within six hours; without
    one, each time is another attempt. There is no --expires as with other commands: the letter is settled as
    it is asked for, and a request that expired would leave it settled with nothing come of it. Exits with 1
    when the fire is not found, or its shard does not answer in time.
    """
    logs.configure(in_force.settings.log_level, in_force.settings.log_format)
    try:
        ident = None if name is None else named_retry_id(fire, name)
    except BadCommandError as error:
        raise click.UsageError(str(error)) from error
    letters = Letters(in_force)
    now = SystemClock().read().now
    filed = letters.find(Wanted((fire,)), settled=True)
    dead = [one.letter for one in filed if one.mark is None]
    seen = [one.letter.attempts for one in filed] + [one.mark.attempt for one in filed if one.mark]
    if dead:
        (found,) = letters.whole([max(dead, key=lambda one: one.attempts).place])
    else:
        found = _sent(letters, fire, topics, filed)
    if (why := why_not(letters, found)) is not None:
        raise DispatcherError(f"retry: {fire} cannot be tried again: {why}")
    attempt = 1 + max(*seen, found.attempts, 0)
    settled = mark(letters.topics, found, "retried", attempt=attempt, at=now) if dead else None
    chosen = redrive_of(found, attempt, now, settled, ident)
    with redriver(in_force, letters, timeout) as made:
        outcome = made.send([chosen], None)
    told([chosen.command], outcome, {}, as_json=as_json)
    conclude("retry", outcome, {}, timeout)


def redrive_of(
    letter: Letter, attempt: int, now: Instant, settled: Outgoing | None = None, ident: str | None = None
) -> Redrive:
    """Return a letter's fire as one to be tried again; `settled` is the mark of a letter that is filed."""
    place = letter.place if settled is not None else None
    return Redrive(retry_of(letter, attempt, now, ident), place, settled)


def why_not(letters: Letters, letter: Letter) -> str | None:
    """Return why a letter cannot be tried again, None when it can."""
    if (why := letter.why_not_retried()) is not None:
        return why
    if letters.topics.reserves(letter.topic) and letter.topic not in map(letters.topics.lane, Lane):
        return f"it lay in {letter.topic}, which is no lane"
    try:
        decode_command(encode_command(retry_of(letter, letter.attempts + 1, letter.at)))
    except BadCommandError as error:
        return str(error)
    return None


def told(sent: Sequence[Command], outcome: Outcome, impossible: Mapping[str, str], *, as_json: bool) -> None:
    """Print what is tried again."""
    lacking = {*outcome.refused, *outcome.silent, *outcome.unsendable}
    done = [one for one in sent if one.id not in lacking]
    if as_json:
        write_json({
            "retried": [_facts(one, outcome) for one in done],
            "refused": outcome.refused,
            "silent": outcome.silent,
            "unsendable": outcome.unsendable,
            "impossible": impossible,
        })  # fmt: skip
        return
    for one in done[:_LISTED]:
        click.echo(f"{printable(one.fire or '')} {_words(one, outcome)}")
    if len(done) > _LISTED:
        click.echo(f"… and {len(done) - _LISTED} more")


def _facts(one: Command, outcome: Outcome) -> dict[str, object]:
    if one.id not in outcome.repeated:
        return {"fire": one.fire, "attempt": one.attempt}
    return {"fire": one.fire, "attempt": outcome.repeated[one.id], "repeated": True}


def _words(one: Command, outcome: Outcome) -> str:
    if one.id not in outcome.repeated:
        return f"is tried again, as attempt {one.attempt}"
    if outcome.repeated[one.id] is None:
        return "was tried again by this id before: nothing is done"
    return (
        f"was to be tried again as attempt {one.attempt} before: that goes out once, or not at all where it"
        " was cancelled meanwhile"
    )


def conclude(what: str, outcome: Outcome, impossible: Mapping[str, str], timeout: float) -> None:
    """Raise for everything that was meant and not done."""
    faults = [f"{place} cannot be tried again: {why}" for place, why in impossible.items()]
    faults += [f"{ident} is refused: {why}" for ident, why in outcome.refused.items()]
    faults += [f"{ident} cannot be sent: {why}" for ident, why in outcome.unsendable.items()]
    if outcome.silent:
        faults.append(
            f"{len(outcome.silent)} were not answered within {timeout:g} s; they will be when a dispatcher"
            " runs, the commands are kept"
        )
    if faults:
        more = [f"… and {len(faults) - _LISTED} more"] if len(faults) > _LISTED else []
        raise DispatcherError("\n".join(f"{what}: {fault}" for fault in [*faults[:_LISTED], *more]))


def _sent(letters: Letters, fire: str, topics: Sequence[str], filed: Sequence[Filed]) -> Letter:
    """Return a fire as it was sent last, as if it were a letter; where that is gone, its last letter."""
    found: Letter | None = None
    for record in _records(letters, fire, topics):
        text = dict(record.headers).get("attempt", b"1")
        attempt = int(text) if text.isdigit() else 1
        if found is None or attempt >= found.attempts:
            found = _as_letter(record, attempt)
    if found is None and filed:
        (found,) = letters.whole([filed[-1].letter.place])
    if found is None:
        raise DispatcherError(
            f"retry: {fire} was found neither in the lanes nor among the dead letters; that of a job with a"
            " topic of its own is looked for where --topic says"
        )
    return found


def _records(letters: Letters, fire: str, topics: Sequence[str]) -> Iterator[Record]:
    """Yield the committed records of a fire; nothing was sent long before the instant in its id."""
    reader, wanted = letters.reader, fire.encode(errors="replace")
    counts = reader.partitions([*map(letters.topics.lane, Lane), *topics])
    extents = reader.extents(counts)
    with contextlib.suppress(ValueError):  # a fire that was asked for names no instant
        extents = reader.since(extents, from_text(fire.rpartition("@")[2]) - _CLOCKS_APART)
    with progress_bar() as progress:
        for record in read_with(progress, reader, "fires", extents, {}):
            if ("ce_id", wanted) in record.headers:
                yield record


def _as_letter(record: Record, attempts: int) -> Letter:
    return Letter(
        place=(record.partition, record.offset),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        reason="",
        attempts=attempts,
        at=record.timestamp,
        by="",
    )
