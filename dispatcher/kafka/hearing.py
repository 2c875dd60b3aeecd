"""How long brokers have been silent, by the statistics of a client of the library."""

from __future__ import annotations

import json
import time


class Hearing:
    """Listens to the statistics of one client; any thread may ask."""

    def __init__(self) -> None:
        self._heard = time.monotonic()

    def hear(self, statistics: str) -> None:
        """Learn when a broker last sent anything: the library tells it in microseconds ago."""
        brokers = json.loads(statistics)["brokers"].values()
        ages = [age for broker in brokers if (age := broker["rxidle"]) >= 0]
        if ages:
            self._heard = max(self._heard, time.monotonic() - min(ages) / 1e6)

    def silence(self) -> float:
        """Return for how many seconds no broker has answered."""
        return time.monotonic() - self._heard
