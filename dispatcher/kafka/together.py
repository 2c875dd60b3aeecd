"""Records that belong together, written by a command line: each batch in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import TopicPartition

from dispatcher.core.message import Outgoing
from dispatcher.errors import KafkaUnreachable, TransactionFailed, Unsendable
from dispatcher.kafka.config import SUSPECT_COMMIT_SECONDS, Connection
from dispatcher.kafka.faults import failed_transaction, text_of
from dispatcher.kafka.reading import read_partition
from dispatcher.kafka.transaction import REAL, Fault, Means, Patience, Transactor

_TRIES = 3
_USUAL = Patience()


class TogetherWriter:
    """Writes batches, each as a whole or not at all.

    A commit that was not clean may be one that did not happen. Then a new producer takes over the id, behind
    which the old one can decide nothing any more, and the last record is looked for: if it is not there, all
    is written again. `topic` is any that exists.
    """

    def __init__(
        self,
        connection: Connection,
        transactional_id: str,
        topic: str,
        patience: Patience = _USUAL,
        means: Means = REAL,
    ) -> None:
        self._connection = connection.named("together")
        self._id = transactional_id
        self._topic = topic
        self._patience = patience
        self._means = means
        self._transactor: Transactor | None = None

    def write(self, outgoing: Sequence[Outgoing]) -> None:
        """Write records in one transaction, and return when they are committed.

        Raises Unsendable, with the index of the record where it is known, KafkaUnreachable, and
        TransactionFailed when it does not succeed.
        """
        failure = TransactionFailed(f"{self._id}: no commit was clean")
        for tried in range(_TRIES):
            fault, offset = self._try(self._ready(), outgoing, isolate=tried > 0)
            if offset is None:
                return
            self.close()
            if fault is not None:
                topics = {one[0] for one in outgoing}
                failure = failed_transaction(self._id, fault.step, fault.error, fault.index, topics)
            if isinstance(failure, Unsendable) and (failure.index is not None or tried > 0):
                raise failure
            if offset >= 0 and self._landed(outgoing[-1], offset):
                return
        raise failure

    def close(self) -> None:
        """Let go of the producer within about 2.5 s; an open transaction is aborted."""
        if self._transactor is not None:
            self._transactor.discard()
        self._transactor = None

    def _try(
        self, transactor: Transactor, outgoing: Sequence[Outgoing], *, isolate: bool
    ) -> tuple[Fault | None, int | None]:
        """Return what went wrong, and where the last record lies: None when it was clean, -1 if nowhere."""
        fault = transactor.stage(outgoing, isolate=isolate)
        if fault is not None:
            return fault, -1
        fault, took, calls = transactor.seal()
        clean = fault is None and calls == 1 and took < SUSPECT_COMMIT_SECONDS
        return fault, None if clean else transactor.outcome.offset

    def _landed(self, last: Outgoing, offset: int) -> bool:
        """Return whether the last record of a transaction is committed; asked once nobody can change that."""
        self._ready()
        start = TopicPartition(last[0], last[3], offset)
        batches = read_partition(self._connection, start, offset + 1, self._patience.stall)
        return any(message.offset() == offset for batch in batches for message in batch)

    def _ready(self) -> Transactor:
        if self._transactor is None:
            made = Transactor(self._connection, self._id, self._patience, self._means)
            error = made.init(self._topic)
            if error is not None:
                made.discard()
                if error.retriable():
                    raise KafkaUnreachable(
                        f"{self._id}: no transaction coordinator answered for {self._patience.fence:g} s"
                        f" ({text_of(error)}); check that the brokers at {self._connection.bootstrap} are up"
                    )
                raise failed_transaction(self._id, "fencing", error)
            self._transactor = made
        return self._transactor
