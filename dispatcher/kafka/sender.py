"""Sending single messages outside of any transaction: each is waited for until the brokers have it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dispatcher.errors import KafkaUnreachable, Unsendable
from dispatcher.kafka import config
from dispatcher.kafka.config import Connection
from dispatcher.kafka.faults import TOPIC_REFUSED, UNANSWERED, error_of, is_fenced, text_of
from dispatcher.kafka.letting_go import let_go
from dispatcher.kafka.rights import Kind, Operation, lack

_SLICE_SECONDS = 0.05
"""How long one look for delivery reports takes; another sender's look may have served ours meanwhile."""
_GIVEN_UP = UNANSWERED | {KafkaError._MSG_TIMED_OUT}  # noqa: SLF001 - so the library marks its own codes

Headers = Sequence[tuple[str, bytes]]


class Sender:
    """Sends from any thread, by one idempotent producer that is made once it is needed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection.named("sender")
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, seconds: float
    ) -> None:
        """Send a message; return once the brokers have it.

        Raises Unsendable when it is refused for what it is, and KafkaUnreachable when that cannot be found
        out in time: then it may still arrive.
        """
        end = time.monotonic() + seconds
        producer, report = self._made(), _Report()
        try:
            producer.produce(topic, value, key, headers=list(headers), on_delivery=report)
            while not report.done and time.monotonic() < end:
                producer.poll(max(0.0, min(_SLICE_SECONDS, end - time.monotonic())))
        except BufferError as error:
            raise KafkaUnreachable(f"a message to {topic} cannot be queued: too many wait already") from error
        except KafkaException as failure:
            raise self._told(topic, error_of(failure), producer) from failure
        if not report.done:
            raise KafkaUnreachable(f"a message to {topic} was not acknowledged in time; it may still arrive")
        if report.error is not None:
            raise self._told(topic, report.error, producer)

    def close(self) -> None:
        """Let go of the producer within a fraction of a second; what still waits is not sent."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            let_go(producer, abort=False)

    def _made(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = Producer(config.plain_producer(self._connection))
            return self._producer

    def _told(self, topic: str, error: KafkaError, producer: Producer) -> KafkaUnreachable | Unsendable:
        """Return the exception for an error; the next send replaces a producer that has lost its power."""
        what = f"a message to {topic}: {text_of(error)}"
        if is_fenced(error):
            with self._lock:
                if self._producer is producer:
                    self._producer = None
            return KafkaUnreachable(f"{what}; it may have arrived")
        if error.code() in _GIVEN_UP or error.retriable():
            return KafkaUnreachable(f"{what}; it may still arrive")
        if error.code() in TOPIC_REFUSED:
            what = f"{what}; {lack(Kind.TOPIC, topic, Operation.WRITE)}"
        return Unsendable(what)


class _Report:
    """What became of a message. It never raises: that would come out of somebody else's poll."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = False
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, _message: Message) -> None:
        """Note it."""
        self.error = error
        self.done = True
