"""The schedule file's shape: one field per line, with its rule in words.

The models check types and limits and are the source of the JSON Schema that editors read. They are never
read themselves: a job is made from its entry (`core.job`), so a default here only tells the reader what
absence means. `null` is not absence, and nothing is converted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

JOB_NAME = r"^[A-Za-z0-9._\-]+( +[A-Za-z0-9._\-]+)*$"
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,200}$"
TOPIC = r"^([A-Za-z0-9_\-]|\.[A-Za-z0-9_\-]|\.\.[A-Za-z0-9._\-])[A-Za-z0-9._\-]*$"
RULE = "errorMessage"
"""Where a field's rule lies in its schema; editors show it too."""
LONGEST_NAME = 200
LONGEST_DESCRIPTION = 10_000
LONGEST_SECONDS = 315_360_000
"""Ten years: more than any window of a job, less than what overflows."""


def rule(must: str, meaning: str, default: Any = None, **limits: Any) -> Any:
    """Return a field that must be what `must` says. None as default: absence has no value of its own."""
    return Field(
        default,
        description=f"{meaning} {must[0].upper()}{must[1:]}.",
        json_schema_extra={RULE: must},
        **limits,
    )


def _optional(meaning: str, **named: Any) -> Any:
    return Field(None, description=meaning, **named)


def seconds(
    meaning: str,
    default: Any = None,
    *,
    most: tuple[int, str] = (LONGEST_SECONDS, "ten years"),
    **limits: Any,
) -> Any:
    """Return a field that holds a number of seconds, at most so many, which is so long in words."""
    least = "more than 0" if "gt" in limits else "0 or more"
    must = f"a number of seconds, {least}, at most {most[1]}"
    return rule(must, meaning, default, le=most[0], **limits)


class Model(BaseModel):
    """What all parts of the file share: camelCase, no unknown fields, no conversions."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
        use_attribute_docstrings=False,
    )


class Dst(Model):
    """What happens to a fixed job when clocks change."""

    gap: Literal["run", "skip"] = rule(
        '"run" or "skip"', "Wall clocks that are jumped over: fire once after the jump, or not.", "run"
    )
    overlap: Literal["once", "twice"] = rule(
        '"once" or "twice"', "Wall clocks that are shown twice: fire the first time, or both times.", "once"
    )


class Backoff(Model):
    """How long to wait before the next attempt."""

    type: Literal["fixed", "exponential"] = rule(
        '"fixed" or "exponential"', "The same wait each time, or twice as long each time.", "exponential"
    )
    delay_ms: int = rule(
        "an integer from 0 to 86400000", "The first wait, in milliseconds.", 1000, ge=0, le=86_400_000
    )
    max_delay_ms: int = rule(
        "an integer from 0 to 86400000", "The longest wait, in milliseconds.", 60_000, ge=0, le=86_400_000
    )


class Retry(Model):
    """What the pool does with a run that fails."""

    attempts: int = rule("an integer from 1 to 1000", "How often a run is tried in all.", 1, ge=1, le=1000)
    backoff: Backoff = rule("an object with `type`, `delayMs`, `maxDelayMs`", "The waits between attempts.")


class Options(Model):
    """What a job may set and `defaults` may set for all jobs."""

    timezone: str = rule(
        'an IANA time zone such as "Europe/Berlin"',
        "The wall clock that `cronTime` reads.",
        "UTC",
        examples=["UTC", "Europe/Berlin"],
    )
    dst: Dst = rule("an object with `gap` and `overlap`", "What happens when clocks change.")
    priority: int = rule(
        "an integer from 0 to 10", "How urgent: 9-10 critical, 7-8 high, 3-6 normal, 0-2 low.", 5, ge=0, le=10
    )
    payload: Any = rule("any JSON", "Parameters for the worker; the dispatcher never looks inside.")
    task_params: Any = rule("any JSON", "The same as `payload`.")
    enabled: bool = rule("true or false", "A job that is not enabled does not fire.", default=True)
    headers: dict[
        Annotated[str, StringConstraints(pattern=HEADER_NAME)],
        Annotated[str, StringConstraints(max_length=10_000)],
    ] = rule(
        "an object whose names are letters, digits and -._ and whose values are text",
        "Headers added to each message.",
    )
    catch_up: Literal["none", "latest", "all"] = rule(
        '"none", "latest" or "all"', "Fires missed while nobody ran.", "latest"
    )
    misfire_grace_seconds: float = seconds("A fire late by less than this always goes out.", 60, ge=0)
    start_at: str = rule(
        'an instant with an offset such as "2026-01-31T08:00:00Z"',
        "No fire before this.",
        examples=["2026-01-31T08:00:00Z"],
    )
    end_at: str = rule(
        'an instant with an offset such as "2026-01-31T08:00:00Z"',
        "No fire at or after this.",
        examples=["2026-12-31T23:59:59+01:00"],
    )
    jitter_seconds: float = seconds(
        "Spreads jobs that share an instant; constant for each job.", 0, ge=0, most=(86_400, "a day")
    )
    expires_after_seconds: float = seconds("Workers leave a message alone that is older.", gt=0)
    retry: Retry = rule(
        "an object with `attempts` and `backoff`", "What the pool does with a run that fails."
    )
    timeout_seconds: float = seconds("The limit of one attempt.", gt=0)
    overlap: Literal["allow", "forbid", "queue"] = rule(
        '"allow", "forbid" or "queue"', "What the pool does when the last run has not ended.", "allow"
    )
    description: str = rule("text of at most 10000 characters", "For people.", max_length=LONGEST_DESCRIPTION)
    labels: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=200)],
        Annotated[str, StringConstraints(max_length=1000)],
    ] = rule("an object of text values", "For people and filters.")


class JobEntry(Options):
    """One job: its name, exactly one of `cronTime`, `every` and `at`, and what the worker runs."""

    job_name: Annotated[str, StringConstraints(max_length=LONGEST_NAME, pattern=JOB_NAME)] = Field(
        description="The job's name, unique: 1 to 200 letters, digits, `.`, `_`, `-` and inner spaces.",
        json_schema_extra={RULE: "1 to 200 of the characters A-Za-z0-9._- and inner spaces"},
        examples=["nightly-report"],
    )
    cron_time: str = rule(
        "a cron expression of 5 fields, of 6 with seconds first, or a macro such as @hourly",
        "When the job fires.",
        examples=["30 2 * * *", "0 9 * * MON-FRI", "*/10 * * * * *", "@hourly"],
    )
    every: str = rule(
        'a duration such as "30s", "2 minutes" or "PT1H"',
        "Fires in even steps from `startAt` or the epoch.",
        examples=["30s", "2 minutes", "PT1H"],
    )
    at: str = rule(
        'an instant with an offset such as "2026-01-31T08:00:00Z"',
        "Fires once.",
        examples=["2026-01-31T08:00:00Z"],
    )
    job: str = rule("text", "What the worker runs.", examples=["http"])
    task_name: str = rule("text", "The same as `job`.")
    topic: str = rule(
        "a topic name: 1 to 249 of the characters A-Za-z0-9._-, not `.` or `..`",
        "Own topic in place of the lane's.",
        min_length=1,
        max_length=249,
        pattern=TOPIC,
    )
    key: str = rule(
        "text of 1 to 1000 characters",
        "Own message key in place of the job's name.",
        min_length=1,
        max_length=1000,
    )


class Defaults(Options):
    """Values for the jobs that do not set them. A job's own object replaces the default's as a whole."""


class ScheduleFile(Model):
    """A schedule of the dispatcher."""

    schema_: str = _optional("Where an editor finds this schema.", alias="$schema")
    defaults: Defaults = _optional("Values for the jobs that do not set them.")
    jobs: list[JobEntry] = Field(description="The jobs.")


def field_names(model: type[Model]) -> list[str]:
    """Return the names that a part of the file may have."""
    return [field.alias or name for name, field in model.model_fields.items()]


def part_at(model: type[Model], path: tuple[str | int, ...]) -> type[Model] | None:
    """Return the model of the object that lies at a path."""
    for name in path:
        field = next((field for field in model.model_fields.values() if field.alias == name), None)
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, Model)):
            return None
        model = inner
    return model


def rule_at(model: type[Model], path: tuple[str | int, ...]) -> str:
    """Return the rule in words of the nearest field on a path."""
    found = ""
    part: type[Model] | None = model
    for depth, name in enumerate(path):
        for field in part.model_fields.values() if part is not None else ():
            if field.alias == name and isinstance(field.json_schema_extra, dict):
                found = str(field.json_schema_extra[RULE])
        part = part_at(model, path[: depth + 1])
    return found
