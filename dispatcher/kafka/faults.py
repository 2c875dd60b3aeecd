"""What the client library's errors mean here: which kind of failed transaction, in prose."""

# ruff: noqa: SLF001 - the library marks the codes of its own errors, as against a broker's, with an underscore
from __future__ import annotations

from collections.abc import Collection, Sequence

from confluent_kafka import KafkaError, KafkaException

from dispatcher.errors import Fenced, TransactionFailed, Unsendable
from dispatcher.kafka.rights import Kind, Operation, lack

END_OF_PARTITION = KafkaError._PARTITION_EOF
OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
NO_TOPIC = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
})  # fmt: skip
UNANSWERED = frozenset({
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._DESTROY,
    KafkaError.REQUEST_TIMED_OUT,
})  # fmt: skip
_FENCED = frozenset({
    KafkaError._FENCED,
    KafkaError._FATAL,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.TRANSACTION_COORDINATOR_FENCED,
})  # fmt: skip
_UNSENDABLE = NO_TOPIC | frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.POLICY_VIOLATION,
    KafkaError._INVALID_ARG,
})  # fmt: skip
TOPIC_REFUSED = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,  # for who may write to no topic at all, or create none
})  # fmt: skip


def timed_out() -> KafkaError:
    """Return the error of a wait of our own that has ended."""
    return KafkaError(KafkaError._TIMED_OUT)


def unknown_topic() -> KafkaError:
    """Return the error of a record whose topic or partition the cluster does not know."""
    return KafkaError(KafkaError._UNKNOWN_TOPIC, "a record's topic or partition is not there")


def broken_callback(failure: SystemError) -> KafkaError:
    """Return the error behind a callback that the library's binding ran while an error was being raised."""
    cause = failure.__cause__
    if isinstance(cause, KafkaException):
        return error_of(cause)
    return KafkaError(KafkaError._FAIL, str(failure))


def is_local_failure(error: KafkaError) -> bool:
    """Return whether a commit failed because the client itself had given up records."""
    return error.code() == KafkaError._INCONSISTENT


def error_of(failure: KafkaException) -> KafkaError:
    """Return the error an exception of the library carries."""
    error: KafkaError = failure.args[0]
    return error


def text_of(error: KafkaError) -> str:
    """Return an error as `NAME: text`."""
    return f"{error.name()}: {error.str()}"


def absent(topic: str, error: KafkaError, operation: Operation = Operation.DESCRIBE) -> str:
    """Return the sentence about a topic that is not to be found: it is missing, or hidden from this user."""
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return f"{error.name()}: {lack(Kind.TOPIC, topic, operation)}"
    return f"topic {topic} is missing, or this user may not DESCRIBE it ({error.name()})"


def unread(error: KafkaError, topic: str | None, group: str) -> str | None:
    """Return the sentence about a right to read that a consumer lacks, None when it is something else."""
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return f"{error.name()}: {lack(Kind.GROUP, group, Operation.READ)}"
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED and topic:
        return f"{error.name()}: {lack(Kind.TOPIC, topic, Operation.READ)}"
    return None


def is_fenced(error: KafkaError) -> bool:
    """Return whether the producer has lost its power; the flag of a fatal state counts as much as a code."""
    return error.fatal() or error.code() in _FENCED


def is_unsendable(error: KafkaError) -> bool:
    """Return whether a message was refused for what it is, or for where it should go."""
    return error.code() in _UNSENDABLE


def _unwritten(topics: Sequence[str]) -> str:
    if len(topics) == 1:
        return lack(Kind.TOPIC, topics[0], Operation.WRITE)
    some = ", ".join(topics) or "that it writes to"
    return f"this user has no right to Write on one of the topics {some}: see `dispatcher rights`"


def failed_transaction(
    who: str, step: str, error: KafkaError, index: int | None = None, topics: Collection[str] = ()
) -> TransactionFailed:
    """Return the exception that tells what became of a transaction of `who` at `step`.

    `topics` are those that it writes to, where that is known: brokers do not say of which a right is missing.
    """
    what = f"{who}: {step} failed with {text_of(error)}"
    if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return TransactionFailed(f"{what}; {lack(Kind.TRANSACTIONAL_ID, who, Operation.WRITE)}")
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return TransactionFailed(f"{what}; this user has no right to Read on its consumer group")
    if error.code() in TOPIC_REFUSED:
        what = f"{what}; {_unwritten(sorted(topics))}"
    if is_fenced(error):
        return Fenced(f"{what}; another producer holds the shard, or the broker timed the transaction out")
    if is_unsendable(error):
        return Unsendable(what, index)
    return TransactionFailed(f"{what}; only the ledger knows the outcome")
