"""Asking the brokers which of the rights that a role needs this user lacks: all of them at once, at a start.

Brokers tell what one may do with a topic or a group. Of transactional ids they do not; whether those may be
used is learnt when a producer is fenced, and `dispatcher.kafka.faults` says it in the same words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from dispatcher.errors import RightsMissing
from dispatcher.kafka.faults import error_of
from dispatcher.kafka.rights import Kind, Operation, Right, lack

_REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
_IMPLY_DESCRIBE = frozenset({Operation.READ, Operation.WRITE})


def require(admin: AdminClient, wanted: Iterable[Right], topics: Collection[str], seconds: float) -> None:
    """Return when this user has the rights wanted, as far as brokers tell.

    `topics` are those that rights on all of a prefix are looked up for. Raises RightsMissing with a sentence
    for each right that is missing. What does not exist, and brokers that keep no rights, are let pass.
    """
    faults = missing(admin, wanted, topics, seconds)
    if faults:
        raise RightsMissing(tuple(lack(right.kind, right.name, right.operation) for right in faults))


def missing(
    admin: AdminClient, wanted: Iterable[Right], topics: Collection[str], seconds: float
) -> tuple[Right, ...]:
    """Return the rights on topics and groups that this user lacks; those of a prefix topic by topic."""
    by_name: dict[tuple[Kind, str], list[Operation]] = defaultdict(list)
    for right in wanted:
        for name in _names(right, topics):
            by_name[right.kind, name].append(right.operation)
    groups = [name for kind, name in by_name if kind is Kind.GROUP]
    names = [name for kind, name in by_name if kind is Kind.TOPIC]
    answers: dict[tuple[Kind, str], Future[Any]] = {}
    if names:
        found = admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=seconds
        )
        answers.update({(Kind.TOPIC, name): future for name, future in found.items()})
    if groups:
        told = admin.describe_consumer_groups(
            groups, include_authorized_operations=True, request_timeout=seconds
        )
        answers.update({(Kind.GROUP, name): future for name, future in told.items()})
    lacking: list[Right] = []
    for place, future in answers.items():
        may = _allowed(future)
        if may is not None:
            lacking += [Right(*place, operation) for operation in by_name[place] if operation not in may]
    return tuple(lacking)


def _names(right: Right, topics: Collection[str]) -> list[str]:
    if right.kind is Kind.TRANSACTIONAL_ID:
        return []
    if not right.prefixed:
        return [right.name]
    return [name for name in topics if right.kind is Kind.TOPIC and name.startswith(right.name)]


def _allowed(future: Future[Any]) -> Collection[Operation] | None:
    """Return what this user may do with a thing, None where that is not told."""
    try:
        told = future.result().authorized_operations
    except KafkaException as failure:
        return () if error_of(failure).code() in _REFUSED else None
    if not told:
        return None
    names = {operation.name for operation in told}
    may = {operation for operation in Operation if operation.name in names}
    return may | ({Operation.DESCRIBE} if may & _IMPLY_DESCRIBE else set())
