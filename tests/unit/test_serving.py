"""What the pages of a process answer: alive, well and ready are three questions."""

from __future__ import annotations

import json

import pytest

from dispatcher.api.server import json_answer
from dispatcher.cli.serving import pages_of
from dispatcher.core.health import Health
from dispatcher.observe.exposition import Exposition

STILL = ("membership has not moved for 70 s",)
SILENT = Health(("no broker has answered for 20 s",))


@pytest.mark.parametrize(
    ("still", "health", "ready", "codes"),
    [
        ((), Health(), Health(), (200, 200)),
        ((), SILENT, SILENT, (200, 503)),
        (STILL, Health(STILL), Health(STILL), (503, 503)),
        ((), Health(), SILENT, (200, 503)),
    ],
    ids=["well", "Kafka is away", "a thread stands still", "not ready"],
)
def test_only_what_a_new_process_mends_is_not_alive(
    still: tuple[str, ...], health: Health, ready: Health, codes: tuple[int, int]
) -> None:
    pages = pages_of(lambda: still, lambda: health, lambda: ready, lambda: json_answer({}), Exposition(list))
    answers = [pages[path]() for path in ("/health", "/ready")]
    assert tuple(one.status for one in answers) == codes
    assert json.loads(answers[0].body) == {
        "alive": not still, "healthy": health.healthy, "reasons": list(health.reasons),
    }  # fmt: skip
    assert json.loads(answers[1].body) == {"ready": ready.healthy, "reasons": list(ready.reasons)}
