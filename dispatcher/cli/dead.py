"""`dispatcher dead`: what workers gave up, and what is to become of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import click

from dispatcher import logs
from dispatcher.cli.asking import timeout_option
from dispatcher.cli.letters import Letters, Wanted, place_of
from dispatcher.cli.options import example, json_option, moment, settings_options
from dispatcher.cli.redrive import MOST_TOGETHER, Outcome, Redrive, redriver, writer_of
from dispatcher.cli.retry import conclude, redrive_of, told, why_not
from dispatcher.cli.show import printable, write_json, write_table
from dispatcher.clock import SystemClock
from dispatcher.core.command import Command
from dispatcher.core.dead_letter import Filed, Letter, mark
from dispatcher.core.instant import Instant, to_text
from dispatcher.errors import DispatcherError
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "wait_seconds", "log_level", "log_format", "kafka")
_LONGEST_REASON = 100
_Function = Callable[..., None]


def _chosen(*more: Callable[[_Function], _Function]) -> Callable[[_Function], _Function]:
    """Give a command the options that say which letters are meant."""
    options: tuple[Callable[[_Function], _Function], ...] = (
        click.option("--job", metavar="NAME", help="Only letters of this job."),
        click.option("--reason", metavar="TEXT", help="Only letters whose reason has this in it."),
        click.option("--since", type=moment, metavar="INSTANT", help="Only letters that died then or later."),
        *more,
        settings_options(*_SETTINGS),
        json_option,
    )

    def decorate(command: _Function) -> _Function:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_acting = (
    click.option("--all", "everything", is_flag=True, help="All letters that are not settled."),
    click.option("--yes", is_flag=True, help="Do it without asking."),
    click.option("--dry-run", is_flag=True, help="Only say which letters are meant; change nothing."),
)


@click.group(epilog=example("dispatcher dead list --job nightly-report", "dispatcher dead retry --all --yes"))
def dead() -> None:
    """See what workers gave up; have it tried again, or drop it.

    A letter is named by its fire, e.g. nightly@2026-11-20T02:00:00Z, or by where it lies, e.g.
    dispatcher.dead[3]@17, 3@17, or the place of the message that was given up.
    """


@dead.command(name="list", epilog=example("dispatcher dead list --reason timeout --json | jq .[].fire"))
@_chosen(click.option("--all", "settled", is_flag=True, help="Show those that are settled too."))
def list_letters(
    in_force: InForce,
    job: str | None,
    reason: str | None,
    since: Instant | None,
    *,
    settled: bool,
    as_json: bool,
) -> None:
    """List the letters that are not settled, the oldest first."""
    letters = _letters(in_force)
    found = letters.find(Wanted(job=job, reason=reason, since=since), settled=settled)
    if as_json:
        write_json([_facts(filed, letters.topics.dead) for filed in found])
    else:
        _write_list(found, letters.topics.dead, settled=settled)


@dead.command(epilog=example("dispatcher dead show nightly-report@2026-11-20T02:00:00Z"))
@click.argument("letter")
@settings_options(*_SETTINGS)
@json_option
def show(in_force: InForce, letter: str, *, as_json: bool) -> None:
    """Show one letter whole: headers, value and reason.

    Of several letters of a fire it is the last one.
    """
    letters = _letters(in_force)
    found = letters.find(Wanted((letter,)), settled=True)
    if not found:
        raise DispatcherError(f"dead show: there is no letter {letter}")
    filed = found[-1]
    for whole in letters.whole([filed.letter.place]):
        facts = _facts(Filed(whole, filed.mark), letters.topics.dead)
        if as_json:
            write_json({**facts, **_content(whole)})
        else:
            _write_letter(facts, whole)


@dead.command(epilog=example("dispatcher dead retry --job nightly-report --yes --rate 50"))
@click.argument("names", metavar="[LETTER]...", nargs=-1)
@_chosen(
    *_acting,
    click.option("--rate", type=click.IntRange(min=1), help="At most so many a second."),
    timeout_option,
)
def retry(in_force: InForce, rate: int | None, timeout: float, *, as_json: bool, **choice: Any) -> None:
    """Have fires tried again that were given up, and settle their letters.

    A fire keeps its id, its message, and the count of its attempts. The dispatcher is asked for it and the
    letter is settled in one transaction; a running dispatcher then sends the message to the topic it came
    from. What is no fire cannot be tried again. Asks first, unless letters are named or --yes is given.
    Exits with 1 when something meant was not done.
    """
    letters = _letters(in_force)
    found = _found(letters, choice, "retry", as_json=as_json)
    now, topic = SystemClock().read().now, letters.topics.dead
    impossible = {place_of(one, topic): why for one in found if (why := why_not(letters, one)) is not None}
    possible = [one for one in _latest(found) if place_of(one, topic) not in impossible]
    if choice["dry_run"]:
        _tell_plan("retry", possible, topic, as_json=as_json)
        conclude("dead retry", Outcome(), impossible, timeout)
        return
    sent: list[Command] = []
    with redriver(in_force, letters, timeout) as made:
        outcome = made.send(_redrives(letters, possible, now, sent), rate)
    told(sent, outcome, impossible, as_json=as_json)
    conclude("dead retry", outcome, impossible, timeout)


@dead.command(epilog=example("dispatcher dead drop --reason 'unknown handler' --yes"))
@click.argument("names", metavar="[LETTER]...", nargs=-1)
@_chosen(*_acting)
def drop(in_force: InForce, *, as_json: bool, **choice: Any) -> None:
    """Settle letters: nothing is to become of them. They stay in the topic for as long as it keeps them.

    Asks first, unless letters are named or --yes is given.
    """
    letters = _letters(in_force)
    found = _found(letters, choice, "drop", as_json=as_json)
    if not choice["dry_run"]:
        now = SystemClock().read().now
        left = iter(found)
        with contextlib.closing(writer_of(in_force, letters.topics)) as writer:
            while batch := list(islice(left, MOST_TOGETHER)):
                writer.write(
                    [mark(letters.topics, one, "dropped", attempt=one.attempts, at=now) for one in batch]
                )
    if choice["dry_run"] or as_json:
        _tell_plan("drop", found, letters.topics.dead, as_json=as_json)
    else:
        click.echo(f"{len(found)} letters are dropped")


def _letters(in_force: InForce) -> Letters:
    logs.configure(in_force.settings.log_level, in_force.settings.log_format)
    return Letters(in_force)


def _found(letters: Letters, choice: dict[str, Any], verb: str, *, as_json: bool) -> list[Letter]:
    """Return the letters that are meant, once whoever asked is sure."""
    names, topic = choice["names"], letters.topics.dead
    wanted = Wanted(names, choice["job"], choice["reason"], choice["since"])
    filtered = any(one is not None for one in (wanted.job, wanted.reason, wanted.since))
    if not (names or filtered or choice["everything"]):
        raise click.UsageError("say which letters: name them, or give --job, --reason, --since or --all")
    if names and choice["everything"]:
        raise click.UsageError("name letters or give --all, not both")
    found = [filed.letter for filed in letters.find(wanted)]
    if missing := wanted.missing(topic, found):
        raise DispatcherError(f"dead {verb}: there is no letter {', '.join(missing)} that is not settled")
    if not found:
        raise DispatcherError(f"dead {verb}: nothing to do, there is no such letter that is not settled")
    if not (names or choice["yes"] or choice["dry_run"]):
        if as_json:
            raise click.UsageError("with --json nothing is asked: give --yes, or --dry-run to see")
        click.confirm(f"{len(found)} letters: {verb} them?", abort=True)
    return found


def _latest(found: Iterable[Letter]) -> list[Letter]:
    """Return one letter of each fire, the one that was tried most often: the others go the same way."""
    latest: dict[str, Letter] = {}
    for one in found:
        known = latest.get(one.fire)
        if known is None or one.attempts >= known.attempts:
            latest[one.fire] = one
    return list(latest.values())


def _redrives(
    letters: Letters, found: Sequence[Letter], now: Instant, sent: list[Command]
) -> Iterator[Redrive]:
    """Yield letters as redrives; note what is asked, without the messages."""
    for one in letters.whole([one.place for one in found]):
        settled = mark(letters.topics, one, "retried", attempt=one.attempts + 1, at=now)
        redrive = redrive_of(one, one.attempts + 1, now, settled)
        sent.append(replace(redrive.command, parcel=None))
        yield redrive


def _tell_plan(verb: str, found: Sequence[Letter], topic: str, *, as_json: bool) -> None:
    if as_json:
        write_json({verb: [_facts(Filed(one), topic) for one in found]})
    else:
        _write_list([Filed(one) for one in found], topic, settled=False)


def _facts(filed: Filed, topic: str) -> dict[str, object]:
    letter, settled = filed.letter, filed.mark
    return {
        "letter": place_of(letter, topic),
        "fire": letter.fire or None,
        "job": letter.job or None,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "at": to_text(letter.at),
        "by": letter.by,
        "from": {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset},
        "settled": None if settled is None else {"how": settled.settled, "at": to_text(settled.at)},
    }


def _content(letter: Letter) -> dict[str, object]:
    return {
        "key": _text(letter.key),
        "headers": {name: _text(value) for name, value in letter.headers},
        "value": _parsed(letter.value),
    }


def _write_list(found: Sequence[Filed], topic: str, *, settled: bool) -> None:
    rows = []
    for filed in found:
        one, how = filed.letter, None if filed.mark is None else filed.mark.settled
        row = (to_text(one.at), one.fire or "(no fire)", one.attempts, place_of(one, topic))
        rows.append((*row, *([how] if settled else []), _shortened(one.reason)))
    headings = ("died", "fire", "attempts", "letter", *(["settled"] if settled else []), "reason")
    write_table(headings, rows)


def _write_letter(facts: dict[str, Any], letter: Letter) -> None:
    settled, origin = facts["settled"], facts["from"]
    lines = {
        "letter": facts["letter"],
        "fire": facts["fire"] or "(no fire)",
        "reason": letter.reason,
        "attempts": letter.attempts,
        "died": f"{facts['at']} in {letter.by}",
        "lay in": f"{origin['topic']}[{origin['partition']}]@{origin['offset']}",
        "settled": "no" if settled is None else f"{settled['how']} at {settled['at']}",
        "key": _text(letter.key),
        **{f"  {name}": _text(value) for name, value in letter.headers},
    }
    write_table(("what", "content"), lines.items())
    click.echo()
    click.echo(printable(_text(letter.value) or "(no value)"))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


def _parsed(data: bytes | None) -> Any:
    """Return a value as the JSON it is, or as text when it is none or nested too deep to be read."""
    try:
        return None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return _text(data)
