"""The Kafka side of a worker: one group consumer and one transactional producer, in one thread.

Outcomes and offsets are one transaction, so a run is either told of and never delivered again, or neither.
The same rule holds as for shards: whatever was not quick and clean costs the producer, for a late EndTxn of
it could end the next transaction. Then the group's committed offsets say what became of the transaction:
each carries a mark of its own in its metadata.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from dispatcher.core.message import Outgoing, TopicNames
from dispatcher.core.run import Delivery
from dispatcher.errors import Fenced, KafkaUnreachable
from dispatcher.kafka import config
from dispatcher.kafka.config import SESSION_MS, SUSPECT_COMMIT_SECONDS, Connection
from dispatcher.kafka.faults import (
    OUT_OF_RANGE,
    error_of,
    failed_transaction,
    is_fenced,
    is_unsendable,
    text_of,
    unread,
)
from dispatcher.kafka.hearing import Hearing
from dispatcher.kafka.letting_go import close_reader
from dispatcher.kafka.reading import BATCH, headers_in
from dispatcher.kafka.transaction import Fault, Patience, Transactor
from dispatcher.ports import Place, WorkHooks

_LOG = logging.getLogger("dispatcher.kafka")
_ASK_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_MARK = "|"
USUAL = Patience()


@dataclass(frozen=True, slots=True)
class WorkPlan:
    """What a worker reads, and as whom.

    A group without a committed offset is new, or its offsets have expired: it begins with all that is kept,
    or, with `latest`, with what comes from now on. Either is said aloud.
    """

    topics: tuple[str, ...]
    instance: str
    latest: bool = False
    session_ms: int = SESSION_MS


def group_of_workers(topics: TopicNames) -> str:
    """Return the consumer group of an installation's workers."""
    return f"{topics.prefix}.workers"


class KafkaWorkLog:
    """`WorkLog` on a real cluster. The hooks are called from within `take`, by the same thread."""

    def __init__(
        self,
        connection: Connection,
        topics: TopicNames,
        plan: WorkPlan,
        hooks: WorkHooks,
        patience: Patience = USUAL,
    ) -> None:
        self._connection = connection.named("worker")
        self._topics = topics
        self._plan = plan
        self._hooks = hooks
        self._patience = patience
        self._id = f"{topics.prefix}-work-{plan.instance}"
        self._token = uuid.uuid4().hex[:8]
        self._serial = count()
        self._places: set[Place] = set()
        self._changed: set[Place] = set()
        """Partitions that came or went since the first message of a batch."""
        self._doubtful: Mapping[Place, tuple[int, str]] = {}
        """The offsets of a transaction of which it is not known whether it is committed."""
        self._closing = False
        self._transactor: Transactor | None = None
        unique = self._connection.named(self._token)
        self._hearing = Hearing()
        settings = config.worker(unique, group_of_workers(topics), plan.session_ms)
        self._consumer = Consumer({**settings, "stats_cb": self._hearing.hear})
        self._membership = self._consumer.consumer_group_metadata()
        """The membership that the assignment known here belongs to. The library may have joined anew since,
        which is told within `take`: what is no longer this worker's must not be committed by that one."""
        self._consumer.subscribe(
            list(plan.topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    # Reading.

    def take(self, seconds: float) -> list[Delivery]:
        """Return deliveries as they come; wait for the first no longer than `seconds`."""
        found = []
        for message in self._polled(seconds):
            error = message.error()
            if error is None:
                found.append(_delivery(message))
            else:
                self._judge(message, error)
        return found

    def _polled(self, seconds: float) -> list[Message]:
        """Return messages of what is this worker's after the call.

        The group may speak between the first message and the others: then the first one belongs to what was
        before, and is delivered again. The library drops such ones from a batch by itself.
        """
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        self._changed.clear()
        others = self._consumer.consume(BATCH - 1, 0.0)
        if (first.topic() or "", first.partition() or 0) in self._changed:
            return list(others)
        return [first, *others]

    def hold(self, places: Sequence[Place]) -> None:
        """Deliver nothing more of some partitions; what the client has fetched of them it drops."""
        ours = [_partition(place) for place in places if place in self._places]
        if ours:
            self._consumer.pause(ours)

    def go_on(self, places: Sequence[Place]) -> None:
        """Deliver again."""
        ours = [_partition(place) for place in places if place in self._places]
        if ours:
            self._consumer.resume(ours)

    def positions(self) -> Mapping[Place, tuple[int, int]]:
        """Return of each partition the next offset to be delivered and the end as it is known here."""
        partitions = [_partition(place) for place in sorted(self._places)]
        found: dict[Place, tuple[int, int]] = {}
        for each in self._consumer.position(partitions) if partitions else ():
            if each.offset >= 0:
                _, high = self._consumer.get_watermark_offsets(each, cached=True)
                found[each.topic, each.partition] = (each.offset, max(high, each.offset))
        return found

    def silence(self) -> float:
        """Return for how many seconds no broker has answered; it is told of within `take`."""
        return self._hearing.silence()

    # Writing.

    def commit(self, outgoing: Sequence[Outgoing], offsets: Mapping[Place, tuple[int, str]]) -> bool:
        """Write records and offsets in one transaction; return whether it is committed for certain.

        Raises Unsendable when a record is refused, Fenced when another worker bears this one's name,
        KafkaUnreachable when nobody answers.
        """
        mark = f"{_MARK}{self._token}{next(self._serial):x}"
        sent = {place: (offset, metadata + mark) for place, (offset, metadata) in offsets.items()}
        transactor = self._ready()
        fault = transactor.stage(outgoing, isolate=False) or transactor.send_offsets(
            [TopicPartition(*place, *told) for place, told in sorted(sent.items())],
            self._membership,
        )
        if fault is not None:
            self._discard()
            self._raise_hopeless(fault)
            _LOG.warning(
                "%s: %s failed with %s; it is tried again", self._id, fault.step, text_of(fault.error)
            )
            return False
        fault, took, calls = transactor.seal()
        if fault is None and calls == 1 and took <= SUSPECT_COMMIT_SECONDS:
            return True
        self._discard()
        why = f"failed with {text_of(fault.error)}" if fault else f"took {took * 1000:.0f} ms, {calls} calls"
        self._doubtful = sent
        done = self.recall()
        _LOG.warning("%s: a commit %s; it is %s", self._id, why, "committed" if done else "not committed")
        if not done and fault is not None:
            self._raise_hopeless(fault)
        return done

    def recall(self) -> bool:
        """Return whether the last transaction, of which nobody knew, is committed after all."""
        done = bool(self._doubtful) and self._is_committed(self._doubtful)
        self._doubtful = {}
        return done

    def close(self) -> None:
        """Leave the group and let go of the clients within a bounded time."""
        self._closing = True
        self._discard()
        close_reader(self._consumer, _CLOSE_SECONDS)

    # Parts.

    def _ready(self) -> Transactor:
        """Return a producer that has its epoch; every older one of this id is powerless then."""
        if self._transactor is None:
            transactor = Transactor(self._connection, self._id, self._patience)
            error = transactor.init(self._topics.events)
            if error is not None:
                transactor.discard()
                if error.retriable():
                    raise KafkaUnreachable(
                        f"{self._id}: no transaction coordinator answered ({text_of(error)})"
                    )
                raise failed_transaction(self._id, "fencing", error)
            self._transactor = transactor
        return self._transactor

    def _discard(self) -> None:
        transactor, self._transactor = self._transactor, None
        if transactor is not None:
            transactor.discard()

    def _is_committed(self, sent: Mapping[Place, tuple[int, str]]) -> bool:
        """Fence, then ask the group: any offset with the transaction's mark says that all of it is there."""
        self._ready()
        ours = [_partition(place) for place in sent if place in self._places]
        if not ours:
            return False
        return any(
            (each.offset, each.metadata) == sent[each.topic, each.partition] for each in self._committed(ours)
        )

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        try:
            return list(self._consumer.committed(partitions, timeout=_ASK_SECONDS))
        except KafkaException as failure:
            raise KafkaUnreachable(
                f"the committed offsets of {group_of_workers(self._topics)} are not to be had:"
                f" {text_of(error_of(failure))}"
            ) from failure

    def _raise_hopeless(self, fault: Fault) -> None:
        """Raise what trying again does not mend: a record that is refused, a name that is taken."""
        if is_unsendable(fault.error):
            raise failed_transaction(self._id, fault.step, fault.error, fault.index)
        if is_fenced(fault.error):
            raise Fenced(
                f"{self._id}: fenced at {fault.step} ({text_of(fault.error)}): the broker timed it out, or"
                " another worker bears the same name; give each worker a DISPATCHER_INSTANCE of its own"
            )

    def _judge(self, message: Message, error: KafkaError) -> None:
        """Begin again where records are kept when those that were to be read are gone; tell of the rest."""
        place = (message.topic() or "", message.partition() or 0)
        if error.code() not in OUT_OF_RANGE or place not in self._places:
            why = unread(error, message.topic(), group_of_workers(self._topics))
            _LOG.log(
                logging.ERROR if why else logging.WARNING, "reading %s: %s", place, why or text_of(error)
            )
            return
        partition = _partition(place)
        low, _ = self._consumer.get_watermark_offsets(partition, timeout=_ASK_SECONDS)
        _LOG.error(
            "deliveries of %s-%s are gone: retention took them before they were run, or the topic was made"
            " anew; going on at %s", *place, low,
        )  # fmt: skip
        self._consumer.incremental_unassign([partition])
        self._hooks.lost([place])
        self._consumer.incremental_assign([TopicPartition(*place, low)])
        self._hooks.assigned({place: (low, "")})

    # What the group says, from within `take` and `close`.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._membership = consumer.consumer_group_metadata()
        starts: dict[Place, tuple[int, str]] = {}
        unknown: list[Place] = []
        for each in self._committed(partitions) if partitions else ():
            place = (each.topic, each.partition)
            if each.offset < 0:
                unknown.append(place)
            starts[place] = (max(each.offset, 0), (each.metadata or "").rpartition(_MARK)[0])
        begin = OFFSET_END if self._plan.latest else OFFSET_BEGINNING
        consumer.incremental_assign(
            [
                TopicPartition(*place, begin if place in unknown else start)
                for place, (start, _) in starts.items()
            ]
        )
        if unknown:
            self._tell_of_unknown(unknown)
        if starts:
            consumer.resume([_partition(place) for place in starts])  # a pause may outlive an assignment
        self._places.update(starts)
        self._changed.update(starts)
        self._hooks.assigned(starts)

    def _tell_of_unknown(self, places: Sequence[Place]) -> None:
        where = "what comes from now on" if self._plan.latest else "all that is kept"
        _LOG.warning(
            "no offsets are known of %s partitions: the group %s is new, or its offsets have expired;"
            " beginning with %s", len(places), group_of_workers(self._topics), where,
        )  # fmt: skip

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let partitions go. Nobody else gets them before this returns, so they may still be committed."""
        self._membership = consumer.consumer_group_metadata()
        places = [(each.topic, each.partition) for each in partitions]
        if places and not self._closing:
            self._hooks.revoked(places)
        self._gone(places)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(each.topic, each.partition) for each in partitions]
        self._gone(places)
        if places and not self._closing:
            self._hooks.lost(places)
        consumer.incremental_unassign(partitions)

    def _gone(self, places: Sequence[Place]) -> None:
        self._places.difference_update(places)
        self._changed.update(places)


def _partition(place: Place) -> TopicPartition:
    return TopicPartition(*place)


def _delivery(message: Message) -> Delivery:
    return Delivery(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_in(message),
    )
