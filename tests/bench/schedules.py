"""Schedule files of many jobs, as their authors would write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Put a schedule in place at once, one job a line."""
    whole = path.with_suffix(".new")
    with whole.open("w", encoding="utf-8") as file:
        file.write('{"jobs": [\n')
        for number, entry in enumerate(entries):
            file.write(",\n" if number else "")
            file.write(json.dumps(entry))
        file.write("\n]}\n")
    whole.replace(path)


def job(number: int, **fields: Any) -> Entry:
    """Return one job of about 200 bytes; priorities spread over all lanes."""
    return {
        "jobName": f"job-{number:07}",
        **fields,
        "priority": number % 11,
        "job": "http",
        "payload": {"url": f"https://example.com/reports/{number}", "method": "POST", "body": {"tries": 3}},
        "labels": {"team": "bi"},
    }


def quiet_crons(count: int, hours: int = 2) -> list[str]:
    """Return so many distinct cron expressions, none of which fires within the next hours."""
    now = datetime.now(UTC)
    busy = {(now + timedelta(hours=hour)).hour for hour in range(-1, hours + 1)}
    return list(islice(_crons([hour for hour in range(24) if hour not in busy]), count))


def spread(count: int, triggers: int, **fields: Any) -> Iterator[Entry]:
    """Yield so many jobs that share so many quiet cron expressions."""
    crons = quiet_crons(triggers)
    for number in range(count):
        yield job(number, cronTime=crons[number % triggers], **fields)


def _crons(hours: list[int]) -> Iterator[str]:
    for days in ("* * *", "1 * *", "* * 1-5"):
        for hour in hours:
            for minute in range(60):
                yield f"{minute} {hour} {days}"
