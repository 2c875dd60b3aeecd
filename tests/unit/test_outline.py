"""Jobs of a restored ledger are outlines: what a fire needs of them is read when the first asks for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher.core.job import Job, JobReader, encode_definition


class Counting(JobReader):
    """Counts the definitions it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def read(self, definition: bytes, key_hash: int | None = None) -> Job:
        self.count += 1
        return super().read(definition, key_hash)


def definition(name: str, **fields: Any) -> bytes:
    return encode_definition({"jobName": name, "cronTime": "* * * * *", "job": "noop", **fields})


def outline(reader: JobReader, name: str, digest: str, **fields: Any) -> Job:
    return reader.outline(name, definition(name, **fields), digest)


@pytest.fixture
def reader() -> Counting:
    return Counting()


@pytest.fixture
def digest() -> str:
    return JobReader().read(definition("any")).trigger.digest


def test_an_outline_is_the_job_its_definition_says(reader: Counting, digest: str) -> None:
    fields = {"priority": 9, "key": "k", "catchUp": "all", "headers": {"a": "b"}}
    outline(reader, "first", digest)
    assert outline(reader, "second", digest, **fields) == JobReader().read(definition("second", **fields))


def test_an_outline_is_read_once_and_only_when_it_is_used(reader: Counting, digest: str) -> None:
    jobs = [outline(reader, f"job-{number}", digest) for number in range(10)]
    assert all(one.trigger is jobs[0].trigger for one in jobs)
    assert reader.count == 1, "the first, for its trigger"
    assert {jobs[5].route.lane, jobs[5].policy.catch_up, jobs[5].key_hash}
    assert jobs[5].key == "job-5"
    assert reader.count == 2


def test_an_outline_has_the_delay_of_its_own_name(reader: Counting) -> None:
    whole = [JobReader().read(definition(name, jitterSeconds=60)) for name in "ab"]
    found = [outline(reader, one.name, one.trigger.digest, jitterSeconds=60) for one in whole]
    assert [one.delay_ms for one in found] == [one.delay_ms for one in whole]
    assert found[0].delay_ms != found[1].delay_ms


def test_a_digest_of_another_reading_of_triggers_is_not_trusted(reader: Counting) -> None:
    daily = definition("daily", cronTime="0 0 * * *")
    assert reader.outline("any", definition("any"), "of an older engine").trigger.digest
    assert reader.outline("daily", daily, "of an older engine") == JobReader().read(daily)


def test_an_outline_has_no_more_than_a_job(reader: Counting, digest: str) -> None:
    outline(reader, "first", digest)
    second = outline(reader, "second", digest)
    with pytest.raises(AttributeError):
        second.nothing  # type: ignore[attr-defined]  # noqa: B018 - that is the test
    assert json.loads(second.definition)["jobName"] == "second"
