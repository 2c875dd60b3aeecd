"""What each client is told: one pure function per kind builds its librdkafka dictionary.

Time-outs, back-offs and isolation are the ground the promise stands on, so they are set here and nowhere
else; `dispatcher.kafka.properties` refuses them from settings.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Config = dict[str, Any]

RETRY_BACKOFF_MS = 300
"""How long the library waits before it repeats a transaction request by itself."""

SUSPECT_COMMIT_SECONDS = 0.7 * RETRY_BACKOFF_MS / 1000
"""A commit that took longer may hide a repeated EndTxn: measured, one costs at least 0.8 of the back-off."""

TRANSACTION_TIMEOUT_MS = 10_000
SESSION_MS = 6_000
HEARTBEAT_MS = 300
REBALANCE_MS = 10_000
WORK_POLL_MS = 120_000
STATISTICS_MS = 1_000
WORK_STATISTICS_MS = 2_000
PRODUCER_STATISTICS_MS = 5_000
"""How often a shard's producer tells of itself; every two seconds took a tenth of an idle process's time."""
WORK_FETCH_BYTES = 16_384
LARGEST_MESSAGE_BYTES = 100_000_000
PROPAGATION_MS = 3_000
CLIENT_LOG = logging.getLogger("dispatcher.kafka.client")


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach Kafka: brokers, the name of this client, and properties passed through to the library.

    `fetch_wait_ms` is how long a broker may hold a fetch that finds nothing; the embedded broker does not
    end the wait when data comes, so there it must be short. Properties may be secret: no `repr` shows them.
    `group` is what consumers name that join none: the library asks who coordinates it all the same.
    """

    bootstrap: str
    client_id: str = "dispatcher"
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    fetch_wait_ms: int = 100
    group: str = "dispatcher.unused"

    def named(self, part: str) -> Connection:
        """Return the connection under a client id of its own, `<client id>-<part>`."""
        return replace(self, client_id=f"{self.client_id}-{part}")


def shard_producer(connection: Connection, transactional_id: str) -> Config:
    """Return the settings of the transactional producer of one shard.

    An unknown topic fails after `PROPAGATION_MS`, well inside the transaction time-out, so that the error
    names the topic instead of a producer the broker has timed out.
    """
    return {
        **_base(connection),
        **_sending(),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
    }


def plain_producer(connection: Connection) -> Config:
    """Return the settings of an idempotent producer without transactions."""
    return {
        **_base(connection),
        **_sending(),
        "enable.idempotence": True,
        "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
    }


def reader(connection: Connection) -> Config:
    """Return the settings of a consumer that is assigned partitions: committed records, ends announced."""
    return {
        **_base(connection),
        **_fetching(connection),
        "group.id": connection.group,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }


def follower(connection: Connection) -> Config:
    """Return the settings of a `reader` that lives long: fewer and longer fetches make idling cheap."""
    return {**reader(connection), "fetch.wait.max.ms": 5 * connection.fetch_wait_ms}


def member(connection: Connection, group: str, session_ms: int = SESSION_MS) -> Config:
    """Return the settings of the consumer that only learns which shards are this replica's.

    The session decides how soon a dead member is missed; brokers refuse one below their
    `group.min.session.timeout.ms` (6 s unless set otherwise) or above `group.max.session.timeout.ms`. The
    heartbeat interval decides how soon the others learn that a member left, whatever the session is; five
    heartbeats must fit into a session, so that a few late ones do not end it. The longest pause between
    polls is also how long a rebalance waits for a member that does not answer, and bounds the wait for the
    answer to a request to join: nothing here takes long between polls, so it is short. The statistics tell
    when brokers last answered.
    """
    return {
        **_base(connection),
        "group.id": group,
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": min(HEARTBEAT_MS, session_ms // 5),
        "max.poll.interval.ms": max(REBALANCE_MS, session_ms),
        "statistics.interval.ms": STATISTICS_MS,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "latest",
    }


def worker(connection: Connection, group: str, session_ms: int = SESSION_MS) -> Config:
    """Return the settings of the consumer of a worker: fires are delivered to it by its group.

    Offsets are committed by the worker's transactions alone. It polls all the time, whatever its handlers do;
    the longest pause between polls is that of a slow transaction. Records that were to be read and are gone
    are told, not passed over in silence. The statistics tell when brokers last answered. It fetches little of
    a partition at once: what is fetched and not delivered is thrown away when the partition has to wait.
    """
    return {
        **_base(connection),
        **_fetching(connection),
        "group.id": group,
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": min(HEARTBEAT_MS, session_ms // 5),
        "max.poll.interval.ms": max(WORK_POLL_MS, session_ms),
        "statistics.interval.ms": WORK_STATISTICS_MS,
        "auto.offset.reset": "error",
        "fetch.message.max.bytes": WORK_FETCH_BYTES,
    }


def admin(connection: Connection) -> Config:
    """Return the settings of an administrative client."""
    return _base(connection)


def _base(connection: Connection) -> Config:
    return {
        **connection.properties,
        "bootstrap.servers": connection.bootstrap,
        "client.id": connection.client_id,
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1_000,
        "retry.backoff.ms": RETRY_BACKOFF_MS,
        "allow.auto.create.topics": False,
        "logger": CLIENT_LOG,
    }


def _sending() -> Config:
    return {
        "acks": "all",
        "compression.type": "lz4",
        "linger.ms": 0,
        "queue.buffering.max.messages": 1_000_000,
        "message.max.bytes": LARGEST_MESSAGE_BYTES,
        "topic.metadata.propagation.max.ms": PROPAGATION_MS,
    }


def _fetching(connection: Connection) -> Config:
    return {
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "fetch.wait.max.ms": connection.fetch_wait_ms,
        "fetch.error.backoff.ms": 100,
        "fetch.queue.backoff.ms": 10,  # a full queue postpones the next fetch; by default for a second
        "queued.max.messages.kbytes": 16_384,
    }
