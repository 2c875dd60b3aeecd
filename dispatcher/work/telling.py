"""What a worker tells of each run, to those who asked for it: `log_level` is `debug`."""

from __future__ import annotations

import logging

from structlog.typing import FilteringBoundLogger

from dispatcher.core.message import fire_in, job_of
from dispatcher.ports import End, Witness


def told_by(say: FilteringBoundLogger) -> Witness:
    """Return the witness that says how every run ended."""

    def tell(end: End) -> None:
        if say.is_enabled_for(logging.DEBUG):
            _tell(say, end)

    return tell


def both(one: Witness, other: Witness) -> Witness:
    """Return the witness that is two."""

    def witness(end: End) -> None:
        one(end)
        other(end)

    return witness


def _tell(say: FilteringBoundLogger, end: End) -> None:
    delivery, (started, ended) = end.delivery, end.times or (0, 0)
    fire = fire_in([(name, value) for name, value in delivery.headers if value is not None])
    say.debug(
        "run.ended",
        fire=fire,
        job=None if fire is None else job_of(fire),
        attempt=end.settled.attempt,
        outcome=end.settled.kind,
        handler=end.handler,
        topic=delivery.topic,
        partition=delivery.partition,
        offset=delivery.offset,
        took=ended - started,
    )
