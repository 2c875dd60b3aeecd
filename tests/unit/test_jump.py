from __future__ import annotations

import pytest

from dispatcher.core.instant import from_text
from dispatcher.core.jump import apart_from_broker, jump_between

T = from_text("2026-11-20T12:00:00Z")
LIMIT = 60_000


@pytest.mark.parametrize(
    ("wall", "monotonic", "told"),
    [
        (0, 0, None),
        (5_000, 5_000, None),
        (LIMIT, 0, None),
        (LIMIT + 1, 0, "jumped forward by 60 s"),
        (0, LIMIT, None),
        (0, LIMIT + 1, "jumped back by 60 s"),
        (86_400_000, 86_400_000, None),
        (-3_600_000, 1_000, "jumped back by 3601 s"),
        (3_600_000, 1_000, "jumped forward by 3599 s"),
    ],
)
def test_a_jump_is_what_the_wall_moved_beside_the_monotonic_clock(
    wall: int, monotonic: int, told: str | None
) -> None:
    found = jump_between((T, 7), (T + wall, 7 + monotonic), LIMIT)
    assert (found is None) == (told is None)
    if told is not None:
        assert told in (found or "")
        assert "from 2026-11-20T12:00:00Z to " in (found or "")
        assert "the limit is 60 s" in (found or "")


@pytest.mark.parametrize(
    ("ahead", "told"), [(0, False), (LIMIT, False), (-LIMIT, False), (LIMIT + 1, True), (-LIMIT - 1, True)]
)
def test_a_clock_apart_from_the_brokers_is_told_with_both_times(ahead: int, *, told: bool) -> None:
    found = apart_from_broker(T, T + ahead, LIMIT)
    assert (found is not None) == told
    if found is not None:
        assert "this machine says 2026-11-20T12:00:00Z, the broker stamped 2026-11-20T1" in found
        assert "more than 60 s apart" in found
