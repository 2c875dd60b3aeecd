"""`dispatcher adopt` and `dispatcher accept-clock`: a word to every shard, and what they answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from dispatcher import logs
from dispatcher.cli.asking import (
    Answers,
    Asker,
    asking,
    expires_option,
    expiry,
    new_id,
    tell,
    timeout_option,
)
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.core.command import Command
from dispatcher.errors import DispatcherError
from dispatcher.feed.file import revision_of
from dispatcher.settings import InForce

_SETTINGS = ("bootstrap_servers", "prefix", "shards", "log_level", "log_format", "kafka")
_NOTHING_HELD = "no shard holds a file"


@click.command(
    short_help="Let a schedule file that is held take force.",
    epilog=example("dispatcher adopt --bootstrap-servers localhost:9092"),
)
@click.option("--schedule", "file", type=click.Path(path_type=Path), help="Adopt this file and no other.")
@click.option("--revision", metavar="SHA256", help="Adopt this revision and no other.")
@expires_option
@timeout_option
@settings_options(*_SETTINGS)
@json_option
def adopt(
    in_force: InForce,
    file: Path | None,
    revision: str | None,
    expires_ms: int,
    timeout: float,
    *,
    as_json: bool,
) -> None:
    """Let a schedule file that is held take force: one that removes many jobs, or a superseded one.

    The shards are asked which file they hold, and told to adopt that one: a file that changes in between
    is not adopted unseen. --schedule or --revision says itself which one is meant. Exits with 1 when no
    shard answers in time, none held a file, or another one is held.
    """
    if file is not None and revision is not None:
        raise click.UsageError("give --schedule or --revision, not both: each says which file is meant")
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    wanted = revision_of(str(file), int(settings.max_file_bytes)) if file is not None else revision
    command = Command("adopt", new_id(), wanted, expiry(expires_ms))
    with asking(in_force, timeout, "Asking the shards to adopt") as asker:
        answers = _adopt_what_is_held(asker, command) if wanted is None else asker.ask(command)
        tell(asker, command, answers, idle=_NOTHING_HELD, as_json=as_json)


@click.command(
    name="accept-clock",
    short_help="Let shards held by a jump of the clock go on.",
    epilog=example("dispatcher accept-clock --bootstrap-servers localhost:9092"),
)
@expires_option
@timeout_option
@settings_options(*_SETTINGS)
@json_option
def accept_clock(in_force: InForce, expires_ms: int, timeout: float, *, as_json: bool) -> None:
    """Let shards that were held because the clock jumped go on by the clock as it is now.

    Fires between the last committed one and now are then missed fires, settled by `catchUp`. To give them
    up instead, run `dispatcher missed --drop` first: it waits for this. Exits with 1 when no shard answers
    in time or none was held.
    """
    settings = in_force.settings
    logs.configure(settings.log_level, settings.log_format)
    command = Command("accept-clock", new_id(), expires=expiry(expires_ms))
    with asking(in_force, timeout, "Asking the shards to accept the clock") as asker:
        tell(asker, command, asker.ask(command), idle="no shard is held by its clock", as_json=as_json)


def _adopt_what_is_held(asker: Asker, command: Command) -> Answers:
    """Ask what is held, and have each shard adopt just that."""
    found = asker.ask(Command("ask-held", new_id(), expires=command.expires))
    held = {shard: found.of[shard].data["held"]["revision"] for shard in found.done}
    if not held:
        if found.silent:
            why = "whether they hold a file is not known: ask again when a dispatcher runs"
            raise asker.unanswered("adopt", found.silent, why)
        raise DispatcherError(f"adopt: nothing to do, {_NOTHING_HELD}")
    answers = asker.ask_each({shard: replace(command, revision=revision) for shard, revision in held.items()})
    return Answers({**found.of, **answers.of}, tuple(sorted({*found.silent, *answers.silent})))
