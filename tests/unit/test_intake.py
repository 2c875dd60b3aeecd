from __future__ import annotations

import json

from pool_world import Instant, Some
from run_world import delivery

from dispatcher.core.run import LARGEST_KEPT, Run, RunReader
from dispatcher.work.intake import Intake


def test_large_definitions_are_not_kept() -> None:
    reader, intake = RunReader(4), Intake(Some(Instant()))
    for size, kept in ((10, 1), (LARGEST_KEPT, 1), (LARGEST_KEPT, 1)):
        run = reader.read(delivery(json.dumps({"job": "noop", "description": "x" * size}).encode()))
        assert isinstance(run, Run)
        assert not isinstance(intake.ready(run), str)
        assert len(intake._known) == kept


def test_of_the_versions_of_a_job_the_last_is_kept() -> None:
    reader, intake = RunReader(4), Intake(Some(Instant()))
    for version in range(50):
        run = reader.read(delivery(json.dumps({"job": "noop", "timeoutSeconds": 1 + version}).encode()))
        assert isinstance(run, Run)
        assert run.spec.timeout_ms == 1_000 * (1 + version)
        assert not isinstance(intake.ready(run), str)
    assert (len(reader._specs), len(intake._known)) == (1, 1)
