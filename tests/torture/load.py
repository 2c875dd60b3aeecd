"""The schedules a torture run works on: every policy, jitter, bursts, and jobs that come, go and change."""

from __future__ import annotations

import json
from typing import Any

BURST_MS = 5_000
STEADY, BURST, CRON = 24, 240, 6
_POLICIES = ("all", "latest", "none")


def schedule(edit: int, scale: int = 1) -> str:
    """Return the schedule of an edit: its number decides what is in it, so that no two are the same."""
    jobs = [*_steady(edit, STEADY * scale), *_burst(edit, BURST * scale), *_cron(edit), *_guests(edit)]
    return json.dumps({"jobs": jobs})


def _steady(edit: int, count: int) -> list[dict[str, Any]]:
    return [
        _job(
            f"steady-{number}",
            every="1s",
            payload={"edit": edit if number % 3 == 0 else edit // 4},
            catchUp=_POLICIES[number % 3],
            misfireGraceSeconds=number % 4,
            priority=number % 11,
            **({"jitterSeconds": 2} if number % 5 == 0 else {}),
            **({"key": "shared"} if number % 7 == 0 else {}),
        )
        for number in range(count)
    ]


def _burst(edit: int, count: int) -> list[dict[str, Any]]:
    """Return jobs due together; every third edit changes them all, every fifth re-times some."""
    return [
        _job(
            f"burst-{number}",
            every="10s" if number % 20 == edit // 5 % 20 else "5s",
            payload={"edit": edit // 3},
            catchUp=_POLICIES[number % 2],
        )
        for number in range(count)
    ]


def _cron(edit: int) -> list[dict[str, Any]]:
    return [
        _job(
            f"cron-{number}",
            cronTime=f"*/{2 + (number + edit // 2) % 3} * * * * *",
            timezone="Europe/Berlin",
            catchUp=_POLICIES[number % 3],
            enabled=(number + edit) % 5 != 0,
        )
        for number in range(CRON)
    ]


def _guests(edit: int) -> list[dict[str, Any]]:
    return [
        _job(f"guest-{number}", every=f"{1 + edit % 3}s", catchUp="all") for number in range(edit % 7 * 3)
    ]


def _job(name: str, **fields: Any) -> dict[str, Any]:
    return {"jobName": name, "job": "noop", **fields}
