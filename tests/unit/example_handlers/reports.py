"""A handler that sends a report. Its package offers it in pyproject.toml:

[project.entry-points."dispatcher.handlers"]
report = "example_handlers.reports:report"
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from dispatcher.work.custom import CustomRun, Fail, Retry


class Report(BaseModel):
    """What `payload` holds in the schedule file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipient: str
    pages: int = 1


def report(run: CustomRun) -> object | None:
    """Send a report once for each fire, whatever happens in between."""
    wanted: Report = run.payload
    if wanted.pages > 100:
        raise Fail(f"{wanted.pages} pages are more than anybody reads")
    if wanted.recipient == "busy":
        raise Retry("the printer is busy", after_seconds=30)
    print(f"printing {wanted.pages} pages for {wanted.recipient}")
    return {
        "sent": f"{run.fire}/{run.attempt}",
        "to": wanted.recipient,
        "planned": run.planned.isoformat(),
        "seconds": run.seconds,
        "job": run.job,
    }


report.payload = Report  # type: ignore[attr-defined]  # how a handler names the model of its payload
