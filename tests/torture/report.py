"""What a run came to, as a table for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torture.phases import Outcome
from torture.points import POINTS

_COUNTS = ("planned", "committed", "skipped", "lost", "doubled", "early", "unexpected", "miscounted")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each phase and one for all, in Markdown."""
    heads = ("fault", "times", "kills", "edits", "seconds", *_COUNTS, "hung", "worst recovery")
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(map(str, _row(one))) for one in outcomes]
    sums = [sum(row[place] for row in map(_numbers, outcomes)) for place in range(5 + len(_COUNTS))]
    worst = max((one.recovery_ms for one in outcomes), default=0)
    lines.append(" | ".join(map(str, ("**all**", *sums, f"{worst / 1000:.1f} s"))))
    return "\n".join(f"| {line} |" for line in lines)


def _row(one: Outcome) -> tuple[object, ...]:
    return (one.phase, *_numbers(one), f"{one.recovery_ms / 1000:.1f} s")


def _numbers(one: Outcome) -> tuple[int, ...]:
    return (
        one.times,
        one.kills,
        one.edits,
        round(one.seconds),
        *(one.sum(name) for name in _COUNTS),
        len(one.hung),
    )


def seldom(outcomes: Sequence[Outcome], least: int) -> list[str]:
    """Say which failpoints were hit less often than that: of them nothing is known."""
    hits = sum((one.hits for one in outcomes if one.phase.startswith("failpoint")), Counter[str]())
    return [
        f"failpoint {name}: hit {hits[name]} times, {least} are needed"
        for name in POINTS
        if hits[name] < least
    ]


def as_json(seed: int, outcomes: Sequence[Outcome], wrong: Sequence[str]) -> dict[str, Any]:
    """Return all of it as JSON."""
    return {
        "seed": seed,
        "kills": sum(one.kills for one in outcomes),
        "wrong": list(wrong),
        "phases": [
            {
                "fault": one.phase,
                "times": one.times,
                "kills": one.kills,
                "edits": one.edits,
                "seconds": round(one.seconds, 1),
                **{name: one.sum(name) for name in _COUNTS},
                "fenced": one.fenced,
                "hung": one.hung,
                "settled_in_ms": one.settle_ms,
                "worst_recovery_ms": one.recovery_ms,
                "faults": dict(one.faults),
                "hits": dict(one.hits),
            }
            for one in outcomes
        ],
    }
