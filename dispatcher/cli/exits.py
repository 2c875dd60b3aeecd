"""Exit codes: the one place where an error becomes a number."""

from __future__ import annotations

from dispatcher import errors

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INVALID = 3
KAFKA_UNFIT = 4

MEANING = {
    DONE: "done",
    FAILED: "failed",
    WRONG_USAGE: "wrong usage",
    INVALID: "invalid schedule or settings",
    KAFKA_UNFIT: "Kafka unreachable, or its topics or ledger unfit",
}

_CODES: dict[type[errors.DispatcherError], int] = {
    errors.InvalidCron: INVALID,
    errors.InvalidSchedule: INVALID,
    errors.ScheduleUnreadable: INVALID,
    errors.InvalidSettings: INVALID,
    errors.KafkaUnreachable: KAFKA_UNFIT,
    errors.RightsMissing: KAFKA_UNFIT,
    errors.TopicsUnfit: KAFKA_UNFIT,
    errors.LedgerUnfit: KAFKA_UNFIT,
}


def exit_code(error: errors.DispatcherError) -> int:
    """Return the exit code of an error, by its class or the nearest class above it."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), FAILED)
