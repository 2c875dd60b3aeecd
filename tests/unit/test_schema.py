"""The JSON Schema that is shipped is the one the models make, and says what the loader says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dispatcher.feed.models import Defaults, JobEntry, field_names
from dispatcher.feed.schema import schema

SHIPPED = Path(__file__).parents[2] / "schedule" / "schedule.schema.json"
OWN = {"jobName", "cronTime", "every", "at", "job", "taskName", "topic", "key"}
SHARED = {
    *("timezone", "dst", "startAt", "endAt", "jitterSeconds", "enabled"),
    *(
        "priority",
        "headers",
        "payload",
        "taskParams",
        "catchUp",
        "misfireGraceSeconds",
        "expiresAfterSeconds",
    ),
    *("retry", "timeoutSeconds", "overlap", "description", "labels"),
}


def test_the_shipped_schema_is_current() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == schema(), (
        "write it anew from dispatcher.feed.schema"
    )


def test_a_job_has_exactly_the_documented_fields() -> None:
    assert set(field_names(JobEntry)) == OWN | SHARED
    assert set(field_names(Defaults)) == SHARED


@pytest.mark.parametrize("part", ["JobEntry", "Defaults", "Retry", "Backoff", "Dst"])
def test_every_field_is_described_and_has_its_rule_in_words(part: str) -> None:
    made: dict[str, Any] = schema()["$defs"][part]
    assert made["additionalProperties"] is False
    for name, field in made["properties"].items():
        assert field["description"], name
        assert field["errorMessage"], name
        assert field.get("default", 0) is not None, name


def test_the_file_may_name_its_schema_and_must_have_jobs() -> None:
    assert schema()["required"] == ["jobs"]
    assert set(schema()["properties"]) == {"$schema", "defaults", "jobs"}
