"""What a shard knows of the topics it fires into, asked anew now and then."""

from __future__ import annotations

from collections.abc import Iterable

from structlog.typing import FilteringBoundLogger

from dispatcher.core.message import TopicNames
from dispatcher.core.record import JobRecord
from dispatcher.ports import TopicDirectory

_KNOWN_MS = 5_000


class KnownTopics:
    """Partitions by topic; one that vanished must not be sent to for long. One owner: the shard's thread."""

    def __init__(self, directory: TopicDirectory, names: TopicNames) -> None:
        self._directory = directory
        self._names = names
        self._known: dict[str, int | None] = {}
        self._since = 0

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions a topic has, or None when it cannot be written."""
        if topic not in self._known:
            facts = self._directory.facts(topic)
            self._known[topic] = None if facts is None else facts.partitions
        return self._known[topic]

    def refresh(self, monotonic: int) -> None:
        """Forget what has been known for a while."""
        if monotonic - self._since > _KNOWN_MS:
            self._known, self._since = {}, monotonic

    def doubt(self) -> None:
        """Have everything asked anew, of the brokers too."""
        self._directory.forget()
        self._known = {}

    def tell_unfit(self, records: Iterable[JobRecord], say: FilteringBoundLogger) -> None:
        """Say which jobs name a topic that cannot be written; their fires will be recorded skips."""
        jobs: dict[str, list[str]] = {}
        for record in records:
            if record.job.route.topic is not None:
                jobs.setdefault(record.job.route.topic, []).append(record.name)
        for topic, names in jobs.items():
            if self._names.reserves(topic):
                why = f"topics under {self._names.prefix!r} are the dispatcher's own"
            elif self.partitions(topic) is None:
                why = "it does not exist, or this user may not describe it"
            else:
                continue
            say.error("topic.unfit", topic=topic, why=why, jobs=len(names), first=min(names))
