"""Telling of a replica's health when it changes."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from dispatcher.core.health import Health
from dispatcher.service import Deadline, Loop

_LOOK_SECONDS = 1.0


class HealthWatch:
    """A service that looks at a replica's health every second and logs each change, once."""

    def __init__(self, look: Callable[[], Health], *, failed: Callable[[str, BaseException], None]) -> None:
        self._look = look
        self._healthy = True
        self._say = structlog.get_logger()
        self._loop = Loop("health", self._step, failed=failed)

    def start(self) -> None:
        """Begin to look; a replica that starts counts as healthy until it was silent for too long."""
        self._loop.start()

    def stop(self) -> None:
        """Ask the service to end."""
        self._loop.stop()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end of the service."""
        return self._loop.join(deadline)

    def _step(self) -> float:
        health = self._look()
        if health.healthy != self._healthy:
            self._healthy = health.healthy
            if health.healthy:
                self._say.info("health.back")
            else:
                self._say.error("health.lost", reasons=list(health.reasons))
        return _LOOK_SECONDS
