"""Finding where in a file something lies that others found wrong with jobs which are valid for the feed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dispatcher.errors import Problem
from dispatcher.feed.entries import Places, decode
from dispatcher.feed.prose import named
from dispatcher.feed.strict_json import Text
from dispatcher.feed.syntax import Path, Scan, skip


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one job: where in its entry, at the key itself or at its value, and what."""

    path: Path
    what: str
    at_key: bool = False


def located(data: bytes, findings: Mapping[str, Sequence[Finding]]) -> tuple[Problem, ...]:
    """Return the findings about jobs, by their names, as problems of a valid file, in its order.

    What stands in no entry, because it comes from the defaults, is shown at the job.
    """
    text = decode(data)
    offsets = _offsets(text, findings)
    found = [
        (_place(Scan(text, offsets[job]).spans, finding), job, finding.what)
        for job, all_of_it in findings.items()
        for finding in all_of_it
    ]
    places = Places(text)
    return tuple(Problem(*places.of(offset), named(job), what) for offset, job, what in sorted(found))


def _offsets(text: str, wanted: Mapping[str, object]) -> dict[str, int]:
    """Return where the entries of some jobs begin."""
    walk = Text(text, lambda _offset, _what: None, skip(text, 0))
    found = {}
    for member, _ in walk.members():
        if member != "jobs":
            walk.value()
            continue
        for offset in walk.elements():
            if (name := walk.value()["jobName"]) in wanted:
                found[name] = offset
    return found


def _place(spans: Mapping[Path, tuple[int, int]], finding: Finding) -> int:
    path = finding.path
    while path not in spans:
        path = path[:-1]
    return spans[path][0 if finding.at_key and path == finding.path else 1]
