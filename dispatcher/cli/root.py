"""The root command: turns errors into prose on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

import click

from dispatcher.cli.exits import FAILED, MEANING, exit_code
from dispatcher.cli.options import example
from dispatcher.cli.show import printable_lines
from dispatcher.errors import DispatcherError, InvalidSchedule

_CODES = "; ".join(f"{code} {meaning}" for code, meaning in MEANING.items())

_FIRST_STEPS = (
    "dispatcher validate schedule.json",
    "dispatcher topics ensure --bootstrap-servers localhost:9092",
    "dispatcher run --bootstrap-servers localhost:9092 --schedule schedule.json",
)


class Dispatcher(click.Group):
    """A group whose commands may raise any DispatcherError."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of ours ends it with its text and exit code, without a traceback."""
        try:
            return self._invoke(ctx)
        except DispatcherError as error:
            click.echo(_told(error), err=True)
            ctx.exit(exit_code(error))
        except BrokenPipeError:
            # Whoever read us has seen enough. What is still buffered must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(FAILED)

    def _invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        finally:
            sys.stdout.flush()


def _told(error: DispatcherError) -> str:
    """Return what is said of an error; each problem of a schedule begins its line, so that it is a link."""
    text = printable_lines(str(error))
    return text if isinstance(error, InvalidSchedule) else f"Error: {text}"


@click.group(
    cls=Dispatcher,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{example(*_FIRST_STEPS)}\n\nExit codes: {_CODES}.",
)
@click.version_option(version("kafka-cron-dispatcher"), prog_name="dispatcher")
def root() -> None:
    """Cron for Kafka.

    Every planned fire of every job becomes exactly one committed Kafka record for read_committed readers,
    or one recorded, counted skip with its reason: through restarts, kill -9, broker restarts, fail-over
    and reloads.
    """
