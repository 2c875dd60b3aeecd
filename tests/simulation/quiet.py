"""What surrounds histories while they are lived through: no logs, seeded chance, shared jobs."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import structlog

from dispatcher.core import state
from dispatcher.produce import shard_thread
from simulation.jobs import READER


class Chance:
    """Chance as the shard's thread uses it, of the history that is lived through."""

    source = random.Random(0)

    @classmethod
    def random(cls) -> float:
        """Return a number in [0, 1)."""
        return cls.source.random()


@contextmanager
def quiet() -> Iterator[None]:
    """Spare a history what costs time and tells nothing."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    gc.disable()  # histories leave little behind in circles: `run` collects it now and then
    gc.freeze()
    try:
        with (
            patch.object(state, "JobReader", lambda: READER),
            patch.object(shard_thread, "gc", SimpleNamespace(freeze=lambda: None)),
            patch.object(shard_thread, "random", Chance),
        ):
            yield
    finally:
        structlog.configure(**before)
        gc.unfreeze()
        gc.enable()
