"""The committed records of an installation, by a reader of their own, and the judge of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from dispatcher.core.log_record import Record
from dispatcher.observe.checker import Checker
from dispatcher.observe.verdict import Verdict

__all__ = ["History", "Verdict", "millis", "read_history"]

LANES = ("critical", "high", "normal", "low")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVER = 1 << 60


def millis(text: str) -> int:
    """Return an ISO instant as milliseconds."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


@dataclass
class History:
    """What was planned, by the events, and every committed fire; `gone` are topics that are deleted."""

    checker: Checker
    records: list[Record]
    gone: set[str]
    events: list[Record] = field(default_factory=list)

    @property
    def fires(self) -> Counter[tuple[str, int]]:
        """Return how often each fire (job, planned instant) was committed."""
        heads = [dict(record.headers) for record in self.records]
        return Counter((head["ce_subject"].decode(), millis(head["ce_time"].decode())) for head in heads)

    @property
    def jobs(self) -> set[str]:
        """Return the names of all jobs that were ever in force."""
        return {name.decode() for shard in self.checker.history.shards for name in shard.tenures()}

    def judge(self, end: int) -> Verdict:
        """Hold what is there against all that was planned up to an end; nothing of it may be pending."""
        tally = self.checker.tally(until=end)
        for topic in self.gone:
            tally.cut(topic, _EVER)
        for record in self.records:
            tally.fire(record)
        for record in self.events:
            tally.event(record)
        for record in self.records if tally.verdict().doubled else ():
            tally.trace(record)
        return tally.verdict()


def read_history(bootstrap: str, prefix: str) -> History:
    """Read every committed event and fire of an installation, those in topics of jobs' own too."""
    events = _committed(bootstrap, [f"{prefix}.events"])
    checker = Checker(prefix, 1 + max((record.partition for record in events), default=0))
    for record in events:
        checker.event(record)
    lanes = [f"{prefix}.jobs.{lane}" for lane in LANES]
    records = _committed(bootstrap, [*lanes, *checker.topics])
    known = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics
    return History(checker, records, checker.topics - known.keys(), events)


def _record(message: Message) -> Record:
    headers = cast("list[tuple[str, bytes]]", message.headers() or [])
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Record(topic, partition, offset, message.timestamp()[1], headers, message.value(), message.key())


def _committed(bootstrap: str, topics: Iterable[str]) -> list[Record]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "history",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    found = []
    known = {topic: consumer.list_topics(topic, timeout=10).topics[topic] for topic in topics}
    left = {(topic, number) for topic, one in known.items() if one.error is None for number in one.partitions}
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in left])
    deadline = time.monotonic() + 120
    while left:
        assert time.monotonic() < deadline, f"partitions {left} have no end"
        for message in consumer.consume(2000, 0.5):
            if message.error() is not None:
                left.discard((message.topic() or "", message.partition() or 0))
            else:
                found.append(_record(message))
    consumer.close()
    return found
