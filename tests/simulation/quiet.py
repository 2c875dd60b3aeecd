"""What surrounds histories while they are lived through: no logs, seeded chance, shared jobs."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from unittest.mock import patch

import structlog

from dispatcher.core import codec, ledger_copy, state
from dispatcher.core.ledger import Fact
from dispatcher.core.walls import Walls
from dispatcher.produce import shard_thread
from dispatcher.produce.counting import Counting
from simulation.jobs import READER

_WALLS_KNOWN = 20_000
"""Histories all play in the same minutes: so many answers of the cron engine serve them all."""

_FACTS_KNOWN = 2_000
"""A replica that takes the shard reads what those before it have read: records of the last histories."""


class Chance:
    """Chance as the shard's thread uses it, of the history that is lived through."""

    source = random.Random(0)

    @classmethod
    def random(cls) -> float:
        """Return a number in [0, 1)."""
        return cls.source.random()


class Still:
    """The loop of a shard whose steps the world takes: no thread, nobody to wake, nobody who looks on."""

    stopping = False

    def __init__(self, *_: object, **__: object) -> None:
        self.waiter = self.motion = self

    def wake(self) -> None:
        """Nobody waits."""

    def moved(self) -> None:
        """Nobody asks."""


@contextmanager
def quiet() -> Iterator[None]:
    """Spare a history what costs time and tells nothing."""
    before = structlog.get_config()
    known = lru_cache(maxsize=_FACTS_KNOWN)(codec.decode)

    def decode(key: bytes, value: bytes | None, _lines: object = None) -> Fact:
        return known(key, value)

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    gc.disable()  # histories leave little behind in circles: `run` collects it now and then
    gc.freeze()
    try:
        with (
            patch.object(state, "JobReader", lambda: READER),
            patch.object(shard_thread, "gc", SimpleNamespace(collect=lambda _: 0, freeze=lambda: None)),
            patch.object(shard_thread, "random", Chance),
            patch.object(shard_thread, "Loop", Still),
            patch.object(Counting, "show", lambda *_: None),
            patch.object(ledger_copy, "decode", decode),
            patch.object(shard_thread, "decode", decode),
            patch.object(Walls, "after", lru_cache(maxsize=_WALLS_KNOWN)(Walls.after)),
        ):
            yield
    finally:
        structlog.configure(**before)
        gc.unfreeze()
        gc.enable()
