"""The JSON Schema of the schedule file, for editors: generated from the models, shipped with the project."""

from __future__ import annotations

from typing import Any

from dispatcher.feed.models import ScheduleFile

_ONE_TRIGGER = {
    "oneOf": [{"required": ["cronTime"]}, {"required": ["every"]}, {"required": ["at"]}],
    "errorMessage": "a job takes exactly one of `cronTime`, `every` and `at`",
}
_ONE_JOB = {
    "oneOf": [{"required": ["job"]}, {"required": ["taskName"]}],
    "errorMessage": "a job takes exactly one of `job` and `taskName`",
}
_NOT_BOTH = {
    "not": {"required": ["payload", "taskParams"]},
    "errorMessage": "`payload` and `taskParams` are the same; keep one",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the schedule file."""
    made = ScheduleFile.model_json_schema(by_alias=True)
    definitions = made["$defs"]
    for part in (made, *definitions.values()):
        _tidy(part)
    definitions["JobEntry"]["allOf"] = [_ONE_TRIGGER, _ONE_JOB, _NOT_BOTH]
    definitions["Defaults"].update(_NOT_BOTH)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "dispatcher schedule"}


def _tidy(part: dict[str, Any]) -> None:
    """Drop what the generator adds and no editor needs: titles, and null as the default of what has none."""
    part.pop("title", None)
    for field in part.get("properties", {}).values():
        field.pop("title", None)
        if field.get("default", 0) is None:
            del field["default"]
