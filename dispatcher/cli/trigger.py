"""`dispatcher trigger`, `pause`, `resume` and `cancel`: a word about one job or fire, to its shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dispatcher import logs
from dispatcher.cli.asking import (
    Answer,
    Asker,
    asking,
    expires_option,
    expiry,
    new_id,
    timeout_option,
    until,
)
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import printable, write_json
from dispatcher.core.command import BadCommandError, Command, CommandType, decode_command, encode_command
from dispatcher.core.message import job_of
from dispatcher.core.partitioner import shard_of
from dispatcher.errors import DispatcherError
from dispatcher.kafka.live import Seen
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "shards", "log_level", "log_format", "kafka")


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what all of these take."""
    ident = click.option(
        "--id", "ident", metavar="ID", help="An id of your own for the request; default: one nobody has."
    )
    for option in (json_option, settings_options(*_SETTINGS), timeout_option, expires_option, ident):
        command = option(command)
    return command


@click.command(
    short_help="Fire a job now.",
    epilog=example("dispatcher trigger nightly-report --id after-the-outage"),
)
@click.argument("job")
@_options
def trigger(
    in_force: InForce, job: str, ident: str | None, expires_ms: int, timeout: float, *, as_json: bool
) -> None:
    """Fire JOB now, beside what it is planned for.

    The fire's id is `JOB!ID`. It goes out though the job is disabled or paused. With the same --id it goes
    out once, however often it is asked for within six hours. Exits with 1 when the job is not in force, or
    its shard does not answer in time.
    """
    command = _command(in_force, "trigger", ident, expires_ms, job=job)
    answer = _ask(in_force, command, job, timeout)
    repeated = "; it was asked for before, and goes out once" if answer.data.get("repeated") else ""
    _tell(command, answer, f"{answer.data['fire']} is fired{repeated}", "", as_json=as_json)


@click.command(
    short_help="Have a job's planned fires skipped until it is resumed.",
    epilog=example("dispatcher pause nightly-report"),
)
@click.argument("job")
@_options
def pause(
    in_force: InForce, job: str, ident: str | None, expires_ms: int, timeout: float, *, as_json: bool
) -> None:
    """Have the planned fires of JOB skipped, from now on until `dispatcher resume`.

    Each becomes a recorded skip, `paused`. What is asked for by `trigger` or `retry` goes out all the same.
    Exits with 1 when the job is not in force or is paused already, or its shard does not answer in time.
    """
    command = _command(in_force, "pause", ident, expires_ms, job=job)
    answer = _ask(in_force, command, job, timeout)
    _tell(command, answer, f"{job} is paused", f"{job} is paused already", as_json=as_json)


@click.command(
    short_help="Let a paused job fire again.",
    epilog=example("dispatcher resume nightly-report"),
)
@click.argument("job")
@_options
def resume(
    in_force: InForce, job: str, ident: str | None, expires_ms: int, timeout: float, *, as_json: bool
) -> None:
    """Let JOB, which is paused, fire again as planned.

    What was skipped meanwhile is not made up for. Exits with 1 when the job is not paused, or its shard does
    not answer in time.
    """
    command = _command(in_force, "resume", ident, expires_ms, job=job)
    answer = _ask(in_force, command, job, timeout)
    _tell(command, answer, f"{job} fires again", f"{job} is not paused", as_json=as_json)


@click.command(
    short_help="Cancel a fire that waits or runs.",
    epilog=example("dispatcher cancel nightly-report@2026-11-20T02:00:00Z"),
)
@click.argument("fire")
@_options
def cancel(
    in_force: InForce, fire: str, ident: str | None, expires_ms: int, timeout: float, *, as_json: bool
) -> None:
    """Cancel FIRE: a retry or a trigger that waits for its time, or the run of it that a worker holds.

    Its shard is asked first; when nothing of it waits there, the workers have until --timeout to say that
    they cancelled it. Exits with 1 when nobody knew it.
    """
    command = _command(in_force, "cancel", ident, expires_ms, fire=fire)
    job = job_of(fire)
    with asking(in_force, timeout, "Asking for its end") as asker:
        answer = _answer(asker, command, _shard(in_force, job))
        told = asker.listen(lambda seen: _cancels(seen, fire))
    if not told and answer is None:
        raise asker.unanswered("cancel", [_shard(in_force, job)], "no worker cancelled it either")
    if not told:
        raise DispatcherError(
            f"cancel: nobody knew {fire}: nothing of it waits in its shard, and no worker said within"
            f" {timeout:g} s that it cancelled it"
        )
    if as_json:
        ends = [{"attempt": int(attempt), "by": by} for attempt, by in map(_end, told)]
        write_json({"command": "cancel", "id": command.id, "fire": fire, "cancelled": ends})
        return
    for attempt, by in map(_end, told):
        click.echo(f"{printable(fire)}, attempt {attempt}, is cancelled by {printable(by)}")


def _command(
    in_force: InForce, kind: CommandType, ident: str | None, expires_ms: int, **about: str
) -> Command:
    """Return the command that is meant. Raises a usage error for one that no shard would read."""
    logs.configure(in_force.settings.log_level, in_force.settings.log_format)
    command = Command(kind, ident or new_id(), expires=expiry(expires_ms), **about)  # type: ignore[arg-type] # texts
    try:
        return decode_command(encode_command(command))
    except BadCommandError as error:
        raise click.UsageError(str(error)) from error


def _shard(in_force: InForce, job: str) -> int:
    return shard_of(job, in_force.settings.shards)


def _ask(in_force: InForce, command: Command, job: str, timeout: float) -> Answer:
    """Ask a job's shard, and no other. Raises DispatcherError when it refuses, or is silent."""
    shard = _shard(in_force, job)
    with asking(in_force, timeout, f"Asking shard {shard}") as asker:
        answer = _answer(asker, command, shard)
        if answer is None:
            why = f"it will when a dispatcher runs, the command is kept{until(command)}"
            raise asker.unanswered(command.type, [shard], why)
    return answer


def _answer(asker: Asker, command: Command, shard: int) -> Answer | None:
    answer = asker.ask_each({shard: command}).of.get(shard)
    if answer is not None and answer.refused is not None:
        raise DispatcherError(f"{command.type}: refused by shard {shard}: {answer.refused}")
    return answer


def _tell(command: Command, answer: Answer, done: str, idle: str, *, as_json: bool) -> None:
    """Print what a shard made of a command; raise when there was nothing to do."""
    if as_json:
        facts: dict[str, Any] = {
            name: one for name, one in answer.data.items() if name not in ("v", "cursor")
        }
        write_json({"id": command.id, **facts})
    elif answer.done:
        click.echo(f"{command.type}: {printable(done)}")
    if not answer.done:
        raise DispatcherError(f"{command.type}: nothing to do, {idle}")


def _cancels(seen: Seen, fire: str) -> bool:
    headers = dict(seen.headers)
    return headers.get("ce_type") == b"run.cancelled" and headers.get("fire") == fire.encode()


def _end(seen: Seen) -> tuple[str, str]:
    """Return which attempt an event says is cancelled, and who says so."""
    headers = {name: value.decode(errors="replace") for name, value in seen.headers}
    return headers.get("attempt", "1"), headers.get("ce_source", "")
