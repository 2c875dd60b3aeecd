"""`dispatcher schema`, `dispatcher settings`, `dispatcher completion`: what the program says of itself."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import write_json, write_table
from dispatcher.feed import schema as feed_schema
from dispatcher.settings import InForce


@click.command(epilog=example("dispatcher schema > schedule/schedule.schema.json"))
def schema() -> None:
    """Print the JSON Schema of the schedule file.

    Editors that know it complete and check the file while it is typed.
    """
    write_json(feed_schema.schema())


@click.command(
    "settings",
    short_help="Show every setting, its value and where it came from.",
    epilog=example("DISPATCHER_SHARDS=8 dispatcher settings --partitions-jobs 24"),
)
@settings_options()
@json_option
def show_settings(in_force: InForce, *, as_json: bool) -> None:
    """Show every setting, its value in force and where it came from; secrets are masked."""
    rows = in_force.rows()
    if as_json:
        write_json({row.name: {"value": row.value, "origin": row.origin} for row in rows})
    else:
        write_table(("setting", "value", "from"), [(row.name, row.value, row.origin) for row in rows])


@click.command(
    short_help="Print the script that completes commands in a shell.",
    epilog=example('eval "$(dispatcher completion bash)"'),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "dispatcher", "_DISPATCHER_COMPLETE").source())
