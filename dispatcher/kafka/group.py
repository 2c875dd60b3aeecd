"""Who is in a consumer group now, and what each member has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AdminClient,
    MemberDescription,
)

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import error_of, text_of

_NAME = re.compile(r"^dispatcher-(?P<instance>.+?)-(?:member|worker)-[0-9a-f]{8}$")


@dataclass(frozen=True, slots=True)
class Member:
    """One process in a group: its instance, where it is, and how many partitions of each topic it has."""

    instance: str
    host: str
    partitions: tuple[tuple[str, int], ...]


def group_members(connection: Connection, group: str, seconds: float) -> list[Member]:
    """Return the members by name, none of a group that is not there. Raises KafkaUnreachable."""
    admin = AdminClient(config.admin(connection.named("status")))
    try:
        found = admin.describe_consumer_groups([group], request_timeout=seconds)[group].result().members
    except KafkaException as failure:
        error = error_of(failure)
        if error.code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise KafkaUnreachable(f"group {group} cannot be described: {text_of(error)}") from failure
    return sorted(map(_member, found), key=lambda one: one.instance)


def _member(found: MemberDescription) -> Member:
    name = _NAME.match(found.client_id)
    assigned = found.assignment.topic_partitions if found.assignment else ()
    places = tuple(sorted((each.topic, each.partition) for each in assigned or ()))
    return Member(found.client_id if name is None else name["instance"], found.host.strip("/"), places)
