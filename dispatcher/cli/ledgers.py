"""What the ledger says of every shard, as the command line reads it."""

from __future__ import annotations

import contextlib

from dispatcher.cli.preflight import identity_of, preflight
from dispatcher.cli.topics import connection_of
from dispatcher.core.ledger import Identity
from dispatcher.core.ledger_copy import LedgerCopy
from dispatcher.core.message import TopicNames
from dispatcher.core.state import ShardState
from dispatcher.kafka.rights import Role
from dispatcher.kafka.shard_log import KafkaShardLog
from dispatcher.kafka.topics import KafkaTopics
from dispatcher.produce.ledger import check_identity, read_to_end
from dispatcher.settings import InForce, Settings


def ledger_states(in_force: InForce) -> list[ShardState]:
    """Return what the ledger says of every shard. Raises TopicsUnfit or LedgerUnfit as a start does."""
    settings, connection = in_force.settings, connection_of(in_force.settings)
    preflight(in_force, connection, Role.READER)
    expected = identity_of(KafkaTopics(connection), TopicNames(settings.prefix), settings.shards)
    return [_state(settings, shard, expected) for shard in range(settings.shards)]


def _state(settings: Settings, shard: int, expected: Identity) -> ShardState:
    log = KafkaShardLog(connection_of(settings), TopicNames(settings.prefix), shard)
    with contextlib.closing(log):
        state = read_to_end(log, LedgerCopy())
    check_identity(state.identity, expected)
    return state
