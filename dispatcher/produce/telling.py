"""What a shard's thread tells: of its transactions, and of trouble with owners and clocks."""

from __future__ import annotations

import logging

from structlog.typing import FilteringBoundLogger

from dispatcher.core.batch import Batch
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.ledger import Owner
from dispatcher.core.message import fire_in, job_of
from dispatcher.core.shard import Shard

_AHEAD_TOLD_MS = 60_000


def tell_committed(say: FilteringBoundLogger, batch: Batch, shard: Shard) -> None:
    """Say what a transaction brought that is worth a line."""
    if say.is_enabled_for(logging.DEBUG):
        _tell_each(say, batch)
    if batch.skips:
        say.info("fires.skipped", count=batch.skips, kind=batch.kind)
    position, held = shard.state.position, shard.changing.held
    if batch.kind == "change" and position is not None:
        say.info("schedule.applied", revision=position.revision[:12], jobs=len(shard.state.records))
    elif batch.kind == "held" and held is not None:
        say.warning("schedule.held", reason=held.reason, why=held.text)


def _tell_each(say: FilteringBoundLogger, batch: Batch) -> None:
    """Say which fires a transaction sent, so that each can be followed by its id."""
    say.debug("batch.committed", kind=batch.kind, fires=batch.fires, skips=batch.skips)
    for topic, _, _, partition, headers in batch.outgoing if batch.fires else ():
        fire = fire_in(headers or ())
        if fire is not None:
            attempt = int(dict(headers or ()).get("attempt", b"1"))
            say.debug(
                "fire.committed",
                fire=fire,
                job=job_of(fire),
                attempt=attempt,
                topic=topic,
                partition=partition,
                kind=batch.kind,
            )


def tell_of_taker(say: FilteringBoundLogger, owner: Owner | None, *, instance: str) -> None:
    """Say who took a shard of `instance` meanwhile; loudly when it bears the very same name."""
    if owner is None:
        return
    at = to_text(owner.taken)
    if owner.instance != instance:
        say.warning("shard.was_taken", by=owner.instance, at=at)
        return
    advice = "another process bears the same name: give each replica a DISPATCHER_INSTANCE of its own"
    say.error("instance.doubled", instance=instance, at=at, advice=advice)


def tell_if_ahead(say: FilteringBoundLogger, cursor: Instant, now: Instant) -> None:
    """Say it when the cursor lies ahead of the clock: what is due before it was settled already."""
    if cursor - now > _AHEAD_TOLD_MS:
        why = "fires up to then were settled by another clock"
        say.error("clock.behind", why=why, until=to_text(cursor))
