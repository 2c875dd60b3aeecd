"""`dispatcher validate`: every problem of schedule files, before they are put in force."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import click

from dispatcher.cli.exits import INVALID
from dispatcher.cli.files import STDIN, STDIN_NAME, load_with_text
from dispatcher.cli.literal_secrets import literal_secrets
from dispatcher.cli.options import example, json_option, settings_options
from dispatcher.cli.show import printable_lines, write_json
from dispatcher.core.compact_json import read_json
from dispatcher.core.schedule import Schedule
from dispatcher.errors import InvalidSchedule, Problem, ScheduleUnreadable
from dispatcher.feed.locate import Finding, located
from dispatcher.settings import InForce
from dispatcher.work.catalogue import payload_models
from dispatcher.work.handling import Payload
from dispatcher.work.payloads import look


@click.command(
    epilog=example("dispatcher validate schedule/schedule.json", "dispatcher validate --json - < new.json")
)
@click.argument("files", nargs=-1, metavar="[FILE…|-]")
@settings_options("schedule", "max_file_bytes")
@json_option
@click.pass_context
def validate(ctx: click.Context, in_force: InForce, files: tuple[str, ...], *, as_json: bool) -> None:
    """Check schedule files and tell all their problems.

    Without FILE the schedule of the settings is checked; - is standard input. Payloads are checked too, of
    jobs that a handler of `dispatcher work` runs: the dispatcher fires them all the same, but their runs
    would fail. What looks like a password in a payload is warned of, since it is no secret there. Exits with
    3 when a file is refused or a payload is wrong.
    """
    names = files or (str(in_force.settings.schedule),)
    verdicts = [_verdict(name, in_force.settings.max_file_bytes) for name in names]
    if as_json:
        write_json([verdict.facts() for verdict in verdicts])
    else:
        for verdict in verdicts:
            click.echo(printable_lines(verdict.text()), err=verdict.schedule is None)
            for problem in verdict.payloads:
                click.echo(printable_lines(problem.text(verdict.file)), err=True)
            for problem in verdict.warnings:
                click.echo(printable_lines(f"Warning: {problem.text(verdict.file)}"), err=True)
    if any(verdict.schedule is None or verdict.payloads for verdict in verdicts):
        ctx.exit(INVALID)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be said of one file: its schedule, or why there is none; what is wrong with payloads."""

    file: str
    schedule: Schedule | None
    problems: tuple[Problem, ...] = ()
    unreadable: str | None = None
    payloads: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    def text(self) -> str:
        if self.schedule is not None:
            return f"{self.file}: valid, {len(self.schedule.jobs)} jobs, revision {self.schedule.revision}"
        return self.unreadable or "\n".join(problem.text(self.file) for problem in self.problems)

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"file": self.file, "valid": self.schedule is not None}
        if self.schedule is not None:
            facts |= {"jobs": len(self.schedule.jobs), "revision": self.schedule.revision}
        problems = [asdict(problem) for problem in self.problems]
        payloads = [asdict(problem) for problem in self.payloads]
        facts |= {"unreadable": self.unreadable, "problems": problems, "payloads": payloads}
        return {**facts, "warnings": [asdict(problem) for problem in self.warnings]}


def _verdict(file: str, cap: int) -> _Verdict:
    name = STDIN_NAME if file == STDIN else file
    try:
        schedule, data = load_with_text(file, cap)
        payloads, warnings = _wrong_payloads(schedule, data), literal_secrets(schedule, data)
        return _Verdict(name, schedule, payloads=payloads, warnings=warnings)
    except InvalidSchedule as error:
        return _Verdict(name, None, error.problems)
    except ScheduleUnreadable as error:
        return _Verdict(name, None, unreadable=str(error))


def _wrong_payloads(schedule: Schedule, data: bytes) -> tuple[Problem, ...]:
    """Return what is wrong with the payloads of jobs that go to lanes and name a handler that comes along."""
    models = payload_models()
    found = {}
    for job in schedule.jobs.values():
        if job.route.topic is not None:
            continue  # whoever reads that topic has payloads of its own
        entry = read_json(job.definition)
        model = models.get(entry.get("job", entry.get("taskName")))
        if model is not None and (wrong := _findings(model, entry)):
            found[job.name] = wrong
    return located(data, found) if found else ()


def _findings(model: type[Payload], entry: dict[str, Any]) -> list[Finding]:
    member = "taskParams" if "taskParams" in entry else "payload"
    faults = look(model, entry.get(member))
    if not isinstance(faults, list):
        return []
    return [
        Finding((member, *fault.path), f"payload: {fault.text()}", at_key=fault.extra) for fault in faults
    ]
