from __future__ import annotations

import pytest

from dispatcher import worker
from dispatcher.core.command import Command, encode_command
from dispatcher.core.message import TopicNames
from dispatcher.kafka.config import Connection
from dispatcher.kafka.live import Seen
from dispatcher.service import Deadline

FIRES = [f"job@2026-11-20T02:00:0{number}Z" for number in range(5)]


class SlowReader:
    """Gives one command at a time."""

    def __init__(self, *_: object) -> None:
        self._left = list(FIRES)

    @property
    def at_end(self) -> bool:
        return not self._left

    def take(self, _seconds: float) -> list[Seen]:
        if not self._left:
            return []
        value = encode_command(Command("cancel", "x", fire=self._left.pop(0)))
        return [Seen("d.commands", 0, 0, 5, None, value, [])]

    def close(self) -> None:
        return


def test_what_was_cancelled_before_is_known_before_anything_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FireReader", SlowReader)
    found: list[str] = []
    failed: list[object] = []
    cancels = worker.Cancels(
        Connection(""), TopicNames("d"), 0, lambda fire, _: found.append(fire),
        failed=lambda _, error: failed.append(error),
    )  # fmt: skip
    cancels.start()
    assert (found, failed) == (FIRES, [])
    cancels.stop()
    assert cancels.join(Deadline(5))
