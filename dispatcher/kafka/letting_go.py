"""Letting go of clients within a bounded time; the library's own `close` calls may wait for ever."""

from __future__ import annotations

import logging
import threading

from confluent_kafka import Consumer, KafkaException, Producer

_LOG = logging.getLogger("dispatcher.kafka")
ABORT_SECONDS = 2.0


def let_go(producer: Producer, *, abort: bool) -> None:
    """Drop what a producer still holds, within about 2.5 s; the caller then drops its last reference.

    `abort` ends an open transaction first, so that its readers need not wait for a successor. It must be
    false once a commit was tried: a commit that timed out may still arrive, and an abort would race it.
    Never `Producer.close()`: with no broker in reach that waits without limit.
    """
    try:
        if abort:
            producer.abort_transaction(ABORT_SECONDS)
        producer.purge()
        producer.flush(0.2)
    except KafkaException as error:
        # A fatal state is raised once more from any call; the producer goes either way.
        _LOG.debug("while letting go of a producer: %s", error)


def close_reader(consumer: Consumer, seconds: float = 2.0) -> None:
    """Close a consumer, but wait no longer than `seconds`: a close can hang while brokers are away."""
    closing = threading.Thread(target=_close, args=(consumer,), name="closing a reader", daemon=True)
    try:
        closing.start()
    except RuntimeError:  # no thread is left, and this one's client holds some
        _close(consumer)
        return
    closing.join(seconds)
    if closing.is_alive():
        _LOG.warning("a consumer did not close within %s s and is left to itself", seconds)


def _close(consumer: Consumer) -> None:
    try:
        consumer.close()
    except (KafkaException, RuntimeError) as error:
        _LOG.debug("while closing a consumer: %s", error)
