"""`dispatcher rights`: the least that each user needs to be allowed, as commands that allow it."""

from __future__ import annotations

import click

from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import write_json
from dispatcher.kafka import rights as table
from dispatcher.kafka.rights import ANYBODY, Role
from dispatcher.settings import InForce


@click.command(
    "rights",
    short_help="Print the commands that give each role its least rights.",
    epilog=example(
        "dispatcher rights dispatcher --principal User:dispatcher --bootstrap-servers localhost:9092",
        "dispatcher rights worker --principal User:worker --own reports",
    ),
)
@click.argument("roles", nargs=-1, type=click.Choice([role.value for role in Role]), metavar="[ROLE]...")
@click.option(
    "--principal", default=ANYBODY, show_default=True, help="Whom to allow it, as the brokers know them."
)
@click.option("--own", multiple=True, metavar="TOPIC", help="A topic that jobs name themselves; repeatable.")
@settings_options("bootstrap_servers", "prefix")
@json_option
def show_rights(
    in_force: InForce, roles: tuple[str, ...], principal: str, own: tuple[str, ...], *, as_json: bool
) -> None:
    """Print the `kafka-acls.sh` commands that give a ROLE the least it needs; all roles when none is named.

    The roles are dispatcher (run, recover), worker (work), reader (verify, tail, next, missed), operator
    (trigger, pause, cancel, adopt, dead and the like), and setup (topics ensure). Nothing is asked of Kafka.
    """
    settings = in_force.settings
    chosen = [Role(role) for role in roles] or list(Role)
    found = {role: table.rights(role, settings.prefix, own) for role in chosen}
    if as_json:
        write_json({role: [_facts(right) for right in some] for role, some in found.items()})
        return
    where = (settings.bootstrap_servers,) if settings.bootstrap_servers else ()
    for role, some in found.items():
        click.echo(f"# {role}")
        for line in table.commands(some, principal, *where):
            click.echo(line)


def _facts(right: table.Right) -> dict[str, object]:
    kind, pattern = right.kind, "prefixed" if right.prefixed else "literal"
    return {"kind": kind, "name": right.name, "pattern": pattern, "operation": right.operation}
