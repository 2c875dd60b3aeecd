"""Making clients where the machine may have no thread, descriptor or memory left for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaException

from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import Config
from dispatcher.kafka.faults import error_of, text_of

Client = TypeVar("Client")


def made(kind: Callable[[Config], Client], settings: Config) -> Client:
    """Return a client of a kind. Raises KafkaUnreachable when there cannot be one just now.

    Settings were tried at the start: what fails later is the machine, or a file that a setting names.
    """
    try:
        return kind(settings)
    except KafkaException as failure:
        raise KafkaUnreachable(
            f"{settings['client.id']}: no client can be made ({text_of(error_of(failure))}); look at the"
            " limits of threads, open files and memory, and at the files that `kafka` settings name"
        ) from failure
