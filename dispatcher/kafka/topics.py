"""Comparing the cluster's topics with the plan, creating them, and telling which cluster this is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    TopicDescription,
)

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.complaints import Complaints
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import NO_TOPIC, TOPIC_REFUSED, UNANSWERED, absent, error_of, text_of
from dispatcher.kafka.permitted import require
from dispatcher.kafka.rights import Kind, Operation, Right, lack
from dispatcher.kafka.topic_plan import Rule, TopicPlan, TopicShape


@dataclass(frozen=True, slots=True)
class Identity:
    """Which cluster this is and which topics: a re-created topic has the same name but another id."""

    cluster: str
    topics: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ensured:
    """What `ensure` did, and the faults that are left because it cannot or must not mend them."""

    done: tuple[str, ...]
    left: tuple[str, ...]


class KafkaTopics:
    """The topics of a real cluster. Calls raise KafkaUnreachable when no broker answers in `seconds`."""

    def __init__(self, connection: Connection, seconds: float = 10.0) -> None:
        self._bootstrap = connection.bootstrap
        self._seconds = seconds
        self._complaints = Complaints()
        self._admin = AdminClient(self._complaints.added(config.admin(connection.named("topics"))))

    def check(self, plan: TopicPlan) -> tuple[str, ...]:
        """Return a sentence for each topic that is missing, out of reach or not as it must be."""
        described = self._describe(plan.names())
        settings = self._settings([name for name, found in described.items() if not isinstance(found, str)])
        faults: list[str] = []
        for shape in plan.shapes:
            found, own = described[shape.name], settings.get(shape.name, {})
            if isinstance(found, str):
                faults.append(found)
            elif isinstance(own, str):
                faults.extend((*shape.count_faults(len(found.partitions)), own))
            else:
                faults.extend(shape.faults(len(found.partitions), own))
        known = {name: own for name, own in settings.items() if not isinstance(own, str)}
        return (*faults, *plan.history_faults(known))

    def ensure(self, plan: TopicPlan, replication: int | None = None) -> Ensured:
        """Create the topics that are missing and mend settings; partition counts are never changed.

        `replication` is that of new topics, the broker's default when None.
        """
        described = self._describe(plan.names())
        missing = [shape for shape in plan.shapes if isinstance(described[shape.name], str)]
        done, failed = self._create(missing, replication)
        if missing and not failed:
            self._await(lambda: self._all_described([shape.name for shape in missing]))
        broken = self._broken([shape for shape in plan.shapes if shape not in missing])
        for shape, rules in broken:
            mended, refused = self._mend(shape, rules)
            done, failed = (*done, *mended), (*failed, *refused)
        if broken and not failed:
            self._await(lambda: not self._broken([shape for shape, _ in broken]))
        return Ensured(done, (*failed, *(fault for fault in self.check(plan) if fault not in failed)))

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions a topic has, None when it is missing or may not be described."""
        found = self._describe([topic])[topic]
        return None if isinstance(found, str) else len(found.partitions)

    def require(self, wanted: Iterable[Right], names: Sequence[str]) -> None:
        """Return when this user has the rights wanted, as far as brokers tell. Raises RightsMissing.

        `names` are the topics that rights on all of a prefix are looked up for.
        """
        require(self._admin, wanted, names, self._seconds)

    def identity(self, names: Iterable[str]) -> Identity:
        """Return the cluster's id and the ids of those of the topics that exist."""
        cluster = self._answer(self._admin.describe_cluster(request_timeout=self._seconds))
        described = self._describe(list(names))
        topics = {
            name: str(found.topic_id) for name, found in described.items() if not isinstance(found, str)
        }
        return Identity(str(cluster.cluster_id), topics)

    def _describe(self, names: Sequence[str]) -> dict[str, TopicDescription | str]:
        """Return each topic's description, or the sentence that says why there is none."""
        if not names:
            return {}
        futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=self._seconds)
        found: dict[str, TopicDescription | str] = {}
        for name, future in futures.items():
            answer = self._try(future)
            found[name] = _absent(name, answer) if isinstance(answer, KafkaError) else answer
        return found

    def _settings(self, names: Sequence[str]) -> dict[str, dict[str, str] | str]:
        """Return each topic's settings, or the sentence that says why they cannot be read."""
        if not names:
            return {}
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=self._seconds)
        found: dict[str, dict[str, str] | str] = {}
        for resource, future in futures.items():
            answer = self._try(future)
            if isinstance(answer, KafkaError):
                why = _refusal(resource.name, Operation.DESCRIBE_CONFIGS, answer)
                found[resource.name] = f"topic {resource.name}: its settings cannot be read: {why}"
            else:
                found[resource.name] = {name: entry.value or "" for name, entry in answer.items()}
        return found

    def _create(
        self, shapes: Sequence[TopicShape], replication: int | None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Create topics; return what was done and what failed."""
        if not shapes:
            return (), ()
        new = [_new(shape, replication) for shape in shapes]
        futures = self._admin.create_topics(
            new, request_timeout=self._seconds, operation_timeout=self._seconds
        )
        done, failed = [], []
        for name, future in futures.items():
            answer = self._try(future)
            if not isinstance(answer, KafkaError):
                done.append(f"created topic {name}")
            elif answer.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                failed.append(
                    f"topic {name} could not be created: {_refusal(name, Operation.CREATE, answer)}"
                )
        return tuple(done), tuple(failed)

    def _await(self, condition: Callable[[], bool]) -> None:
        """Wait until brokers tell of what was just changed: they learn of it a little later."""
        end = time.monotonic() + self._seconds
        while not condition() and time.monotonic() < end:
            self._admin.poll(0.05)

    def _all_described(self, names: Sequence[str]) -> bool:
        return not any(isinstance(found, str) for found in self._describe(names).values())

    def _broken(self, shapes: Sequence[TopicShape]) -> list[tuple[TopicShape, tuple[Rule, ...]]]:
        """Return the shapes whose topics break rules, with the rules."""
        settings = self._settings([shape.name for shape in shapes])
        known = [(shape, own) for shape in shapes if not isinstance(own := settings[shape.name], str)]
        return [(shape, rules) for shape, own in known if (rules := shape.broken(own))]

    def _mend(self, shape: TopicShape, broken: Sequence[Rule]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Set settings to what new topics get; return what was done and what failed."""
        entries = [
            ConfigEntry(rule.setting, rule.value, incremental_operation=AlterConfigOpType.SET)
            for rule in broken
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, shape.name, incremental_configs=entries)
        futures = self._admin.incremental_alter_configs([resource], request_timeout=self._seconds)
        answer = self._try(futures[resource])
        if isinstance(answer, KafkaError):
            why = _refusal(shape.name, Operation.ALTER_CONFIGS, answer)
            return (), (f"topic {shape.name}: settings could not be changed: {why}",)
        return tuple(f"topic {shape.name}: set {rule.setting} to {rule.value}" for rule in broken), ()

    def _try(self, future: Future[Any]) -> Any:
        """Return the answer, or the KafkaError a broker gave; raise KafkaUnreachable when none answered."""
        try:
            return future.result()
        except KafkaException as failure:
            error = error_of(failure)
            if error.code() in UNANSWERED:
                self._admin.poll(0)
                why = self._complaints.why(error)
                raise KafkaUnreachable(
                    f"no broker at {self._bootstrap} answered within {self._seconds:g} s ({why})"
                ) from failure
            return error

    def _answer(self, future: Future[Any]) -> Any:
        answer = self._try(future)
        if isinstance(answer, KafkaError):
            raise KafkaUnreachable(
                f"the cluster at {self._bootstrap} does not say which it is: {text_of(answer)}"
            )
        return answer


def wait_for_kafka(connection: Connection, seconds: float) -> str:
    """Return the cluster's id once a broker answers. Raises KafkaUnreachable if none has in `seconds`."""
    complaints = Complaints()
    admin = AdminClient(complaints.added(config.admin(connection.named("waiting"))))
    try:
        return str(admin.list_topics(timeout=seconds).cluster_id)
    except KafkaException as failure:
        admin.poll(0)
        why = complaints.why(error_of(failure))
        raise KafkaUnreachable(
            f"no broker at {connection.bootstrap} answered within {seconds:g} s ({why})"
        ) from failure


def _absent(name: str, error: KafkaError) -> str:
    if error.code() in NO_TOPIC:
        return absent(name, error)
    return f"topic {name} cannot be described: {text_of(error)}"


def _refusal(topic: str, operation: Operation, error: KafkaError) -> str:
    """Return why something was not done with a topic: the right that is missing, or what brokers said."""
    return lack(Kind.TOPIC, topic, operation) if error.code() in TOPIC_REFUSED else text_of(error)


def _new(shape: TopicShape, replication: int | None) -> NewTopic:
    settings = shape.settings()
    if replication is not None and replication >= 3:
        settings["min.insync.replicas"] = "2"
    return NewTopic(
        shape.name,
        num_partitions=shape.partitions,
        replication_factor=-1 if replication is None else replication,
        config=settings,
    )
