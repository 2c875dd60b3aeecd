"""A copy of a ledger: what it reads only once, and what it keeps no longer than it reads."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.core import codec
from dispatcher.core.codec import encode
from dispatcher.core.compact_json import read_json
from dispatcher.core.job import JobReader, encode_definition
from dispatcher.core.ledger import JobVersions, Version
from dispatcher.core.ledger_copy import LedgerCopy, RawRecord
from dispatcher.core.state import fresh_position


def records(names: range, change: int) -> list[RawRecord]:
    """Return the records of jobs with one trigger that came with one change, and a position."""
    reader, found = JobReader(), [encode(fresh_position())]
    for number in names:
        definition = encode_definition({"jobName": f"job-{number}", "job": "noop", "every": "1s"})
        trigger = reader.read(definition).trigger.digest
        version = Version(change, f"r{change}", definition, trigger, 1_000, 1_000)
        found.append(encode(JobVersions(f"job-{number}", (version,))))
    return found


@pytest.fixture
def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the lines of jobs that are read as JSON from now on."""
    found: list[bytes] = []

    def read(line: bytes) -> Any:
        if b'"versions"' in line:
            found.append(line)
        return read_json(line)

    monkeypatch.setattr(codec, "read_json", read)
    return found


def test_what_many_records_share_is_read_once_and_kept_while_they_are_read(lines_read: list[bytes]) -> None:
    copy = LedgerCopy()
    copy.take(records(range(100), 1) + records(range(100, 200), 2), 202)
    while not copy.decode(30):
        assert copy._lines
    assert len(lines_read) == 2
    assert not copy._lines
    copy.take(records(range(50), 3), 253)
    assert len(lines_read) == 3
    assert not copy._lines


def test_lines_that_no_two_records_share_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_LINES_KEPT", 10)
    copy = LedgerCopy()
    for number in range(40):
        copy.take(records(range(number, number + 1), number + 1), 2 * number)
    most = 0
    while not copy.decode(1):
        most = max(most, len(copy._lines))
    assert most == 10
