"""`dispatcher validate`: every problem of schedule files, before they are put in force."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import click

from dispatcher.cli.exits import INVALID
from dispatcher.cli.files import STDIN, STDIN_NAME, load_schedule
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import printable_lines, write_json
from dispatcher.core.schedule import Schedule
from dispatcher.errors import InvalidSchedule, Problem, ScheduleUnreadable
from dispatcher.settings import InForce


@click.command(
    epilog=example("dispatcher validate schedule/schedule.json", "dispatcher validate --json - < new.json")
)
@click.argument("files", nargs=-1, metavar="[FILE…|-]")
@settings_options("schedule", "max_file_bytes")
@json_option
@click.pass_context
def validate(ctx: click.Context, in_force: InForce, files: tuple[str, ...], *, as_json: bool) -> None:
    """Check schedule files and tell all their problems.

    Without FILE the schedule of the settings is checked; - is standard input. Exits with 3 when a file
    is refused.
    """
    names = files or (str(in_force.settings.schedule),)
    verdicts = [_verdict(name, in_force.settings.max_file_bytes) for name in names]
    if as_json:
        write_json([verdict.facts() for verdict in verdicts])
    else:
        for verdict in verdicts:
            click.echo(printable_lines(verdict.text()), err=verdict.schedule is None)
    if any(verdict.schedule is None for verdict in verdicts):
        ctx.exit(INVALID)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be said of one file: its schedule, or why there is none."""

    file: str
    schedule: Schedule | None
    problems: tuple[Problem, ...] = ()
    unreadable: str | None = None

    def text(self) -> str:
        if self.schedule is not None:
            return f"{self.file}: valid, {len(self.schedule.jobs)} jobs, revision {self.schedule.revision}"
        return self.unreadable or "\n".join(problem.text(self.file) for problem in self.problems)

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"file": self.file, "valid": self.schedule is not None}
        if self.schedule is not None:
            facts |= {"jobs": len(self.schedule.jobs), "revision": self.schedule.revision}
        problems = [asdict(problem) for problem in self.problems]
        return {**facts, "unreadable": self.unreadable, "problems": problems}


def _verdict(file: str, cap: int) -> _Verdict:
    name = STDIN_NAME if file == STDIN else file
    try:
        return _Verdict(name, load_schedule(file, cap))
    except InvalidSchedule as error:
        return _Verdict(name, None, error.problems)
    except ScheduleUnreadable as error:
        return _Verdict(name, None, unreadable=str(error))
