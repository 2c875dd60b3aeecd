"""What `work` shows of itself to a supervisor."""

from __future__ import annotations

from dispatcher.cli.supervision import trouble
from dispatcher.core.message import TopicNames
from dispatcher.errors import KafkaUnreachable
from dispatcher.kafka.config import Connection
from dispatcher.kafka.recovery import members_of
from dispatcher.kafka.work_log import group_of_workers
from dispatcher.notify import View
from dispatcher.standstill import Spared, standstills
from dispatcher.worker import Worker

_ASK_SECONDS = 2.0


def view_of_worker(worker: Worker, spared: Spared) -> View:
    """Return how a worker is."""
    readiness = worker.readiness()
    figures = worker.pool.figures
    busy = sum(lane.busy for lane in figures.lanes.values())
    waiting = sum(lane.waiting for lane in figures.lanes.values())
    does = f"{busy} of {figures.seats} seats busy, {waiting} runs wait"
    return View(
        "; ".join([*trouble(worker.health(), readiness), does]),
        readiness.healthy,
        spared.judge(standstills(worker.motions())),
    )


def spared_without_coordinator(connection: Connection, topics: TopicNames) -> Spared:
    """Return what spares a worker that waits for its group's coordinator: the library does without limit."""

    def answers() -> bool:
        try:
            members_of(connection, group_of_workers(topics), _ASK_SECONDS)
        except KafkaUnreachable:
            return False
        return True

    return Spared(answers)
