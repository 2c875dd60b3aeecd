"""What the statistics of a client of the library tell: how long brokers are silent, a producer's epoch.

No hearer may refer to its client: the client refers to it, and would never go.
"""

from __future__ import annotations

import json
import re
import time

from dispatcher.core.shard_figures import Epoch

_EPOCH = re.compile(r'"producer_id": ?([0-9]+), ?"producer_epoch": ?([0-9]+)')


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


class EpochHearing:
    """Listens to the statistics of one producer, whose epoch stays the same for as long as it lives.

    It never raises: that would come out of a flush.
    """

    def __init__(self) -> None:
        self.epoch: Epoch | None = None

    def hear(self, statistics: str) -> None:
        """Learn the epoch; there is none before the coordinator has given it out."""
        if self.epoch is None and (found := _EPOCH.search(statistics)) is not None:
            self.epoch = Epoch(int(found[1]), int(found[2]))
