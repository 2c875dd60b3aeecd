"""What is flat passes, what grows is found; peaks in between do not count."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from soak.__main__ import variables
from soak.watching import Sample, growth, sample

SECONDS = 1_800.0


def samples(**slopes: float) -> list[Sample]:
    """Return samples that grow by so much over a run, with a peak in every tenth."""
    found = []
    for number in range(900):
        share, peak = number / 900, 40 * (number % 10 == 0)
        found.append(
            Sample(
                2.0 * number,
                100 + share * slopes.get("mib", 0) + peak,
                round(50 + share * slopes.get("descriptors", 0)) + peak,
                round(20 + share * slopes.get("threads", 0)) + peak,
            )
        )
    return found


def wrong(found: Iterable[Sample]) -> list[str]:
    return growth("it", list(found), SECONDS).wrong


def test_what_is_flat_is_well() -> None:
    assert wrong(samples()) == []
    assert wrong(samples(mib=10)) == [], "between a third and the end that is less than 8"


@pytest.mark.parametrize(("what", "slope"), [("mib", 16), ("descriptors", 4), ("threads", 2)])
def test_what_grows_is_found(what: str, slope: float) -> None:
    (told,) = wrong(samples(**{what: slope}))
    assert ("MiB more" if what == "mib" else what) in told


def test_what_was_not_seen_is_no_good_news() -> None:
    with pytest.raises(AssertionError, match="too short"):
        wrong(samples()[:100])


def test_a_look_at_a_process_sees_what_it_holds() -> None:
    before = sample(os.getpid(), 1.0)
    ends = [os.pipe() for _ in range(4)]
    ballast = b"x" * (32 << 20)
    after = sample(os.getpid(), 2.0)
    assert after.descriptors == before.descriptors + 8
    assert after.mib > before.mib + 16, len(ballast)
    assert after.threads == before.threads
    for pair in ends:
        for one in pair:
            os.close(one)


@pytest.mark.parametrize("command", ["run", "work"])
def test_what_is_watched_has_the_environment_of_its_unit(command: str) -> None:
    found = variables(command)
    assert "MALLOC_ARENA_MAX" in found
    assert not [name for name in found if name.startswith("DISPATCHER_")], "settings are the rig's own"
