"""Telling of a replica's health when it changes."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from dispatcher.core.health import Health
from dispatcher.service import Loop, Looped

_LOOK_SECONDS = 1.0


class HealthWatch(Looped):
    """A service that looks at a replica's health every second and logs each change, once."""

    def __init__(self, look: Callable[[], Health], *, failed: Callable[[str, BaseException], None]) -> None:
        self._look = look
        self._healthy = True
        self._say = structlog.get_logger()
        self._loop = Loop("health", self._step, failed=failed)

    def _step(self) -> float:
        health = self._look()
        if health.healthy != self._healthy:
            self._healthy = health.healthy
            if health.healthy:
                self._say.info("health.back")
            else:
                self._say.error("health.lost", reasons=list(health.reasons))
        return _LOOK_SECONDS
