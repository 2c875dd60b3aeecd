"""What can happen to brokers. Of one broker alone nothing is killed: Kafka itself can lose a marker then."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from broker.cluster import Cluster, Node
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

BrokerRound = Callable[[Cluster, random.Random], None]
_WHOLE_S = 60.0


def pause(cluster: Cluster, chance: random.Random) -> None:
    """Freeze one broker for a moment, or for longer than transactions may last."""
    seconds = chance.choice((chance.uniform(0.1, 1), chance.uniform(1, 5), 12.0))
    freeze(chance.choice(cluster.nodes), seconds)


def freeze(node: Node, seconds: float) -> None:
    """Freeze a broker for so long."""
    node.send(signal.SIGSTOP)
    time.sleep(seconds)
    node.send(signal.SIGCONT)


def restart(cluster: Cluster, chance: random.Random) -> None:
    """Stop one broker in good order and start it again."""
    node = chance.choice(cluster.nodes)
    node.end(signal.SIGTERM)
    cluster.heal()


def kill(cluster: Cluster, chance: random.Random) -> None:
    """Kill one of several brokers; the next one only when every partition has all its copies again."""
    node = chance.choice(cluster.nodes)
    node.end(signal.SIGKILL)
    time.sleep(chance.uniform(0, 5))
    cluster.heal()
    whole(cluster)


def whole(cluster: Cluster) -> None:
    """Wait until every replica of every partition is in sync."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    end = time.monotonic() + _WHOLE_S
    while time.monotonic() < end:
        try:
            topics = admin.list_topics(timeout=5).topics
        except KafkaException:
            continue
        partitions = [one for topic in topics.values() for one in topic.partitions.values()]
        if all(len(one.isrs) == len(one.replicas) for one in partitions):
            return
        time.sleep(0.2)
    raise AssertionError(f"not within {_WHOLE_S:g} s: every copy in sync")
