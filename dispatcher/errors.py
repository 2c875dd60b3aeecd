"""Every error the dispatcher raises on purpose, on one page.

DispatcherError
├── InvalidCron             an expression that is not the dialect
├── InvalidSchedule         a schedule file with one or more problems
├── ScheduleUnreadable      the file cannot be read now; the last good schedule stays in force
├── InvalidSettings         a flag, variable or settings file that cannot be used
├── InvalidPayload          a job's payload that its handler does not take
├── InstanceTaken           another process of this machine runs under this instance name
├── KafkaUnreachable        no broker answers
├── RightsMissing           brokers refuse this user something that it needs
├── TopicsUnfit             a topic is missing or has the wrong shape
├── LedgerUnfit             the ledger is not one this process may continue
│   ├── LedgerNewer         a newer dispatcher wrote it
│   └── LedgerBroken        it was lost, cut off, moved or restored: `dispatcher recover` mends that
└── TransactionFailed       a transaction whose outcome only the ledger knows
    ├── Fenced              another process took the shard, or the broker timed the transaction out
    └── Unsendable          the broker refused a message for what it is
"""

from __future__ import annotations

from dataclasses import dataclass


class DispatcherError(Exception):
    """Base of every error raised on purpose; its text is meant for the person who can mend it."""


class InvalidCron(DispatcherError):
    """An expression that is not the dialect of `dispatcher.core.cron`.

    `field` is the name of the offending field ("minute", "day-of-week" …) or None when the whole
    expression is at fault, `value` the offending text, `advice` what to write instead.
    """

    def __init__(self, what: str, *, field: str | None = None, value: str = "", advice: str = "") -> None:
        self.what = what
        self.field = field
        self.value = value
        self.advice = advice
        told = ": ".join(part for part in (field, what) if part)
        super().__init__(f"{told}; {advice}" if advice else told)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a schedule file.

    `line` and `column` are 1-based and count characters; `job` is the job's name when one is known.
    `what` says what is wrong, with the value, and what to do.
    """

    line: int
    column: int
    job: str | None
    what: str

    def text(self, file: str) -> str:
        """Return the problem as `file:line:column: job "name": what`."""
        job = f'job "{self.job}": ' if self.job is not None else ""
        return f"{file}:{self.line}:{self.column}: {job}{self.what}"


class InvalidSchedule(DispatcherError):
    """A schedule file that is refused; `problems` holds every reason at once, in file order."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(problem.text(file) for problem in problems))


class ScheduleUnreadable(DispatcherError):
    """The schedule file is missing, not a regular file, too large or not readable now."""


class InvalidSettings(DispatcherError):
    """A setting that cannot be used; the text names it, where it came from, and what to do."""


class InvalidPayload(DispatcherError):
    """A payload that its handler does not take; the text names each field and what is wrong with it."""


class InstanceTaken(DispatcherError):
    """Another process of this machine runs as this instance of the installation."""


class KafkaUnreachable(DispatcherError):
    """No broker answered within the time given."""


class RightsMissing(DispatcherError):
    """Rights that brokers refuse this user; `faults` lists one sentence for each, with what grants it."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


class TopicsUnfit(DispatcherError):
    """Topics that are missing or have the wrong shape; `faults` lists one sentence for each."""

    def __init__(self, faults: tuple[str, ...], mend: str) -> None:
        self.faults = faults
        self.mend = mend
        super().__init__("\n".join([*faults, f"mend with: {mend}"]))


class LedgerUnfit(DispatcherError):
    """A ledger this process must not continue: of another cluster or shard count, newer, or cut off."""


class LedgerNewer(LedgerUnfit):
    """A ledger with records of a newer format: an upgrade reads it, nothing else mends it."""


class LedgerBroken(LedgerUnfit):
    """A ledger that was lost, cut off, moved or restored; `faults` lists one sentence for each place.

    `mend` is the command that says what going on would cost, and then does it.
    """

    def __init__(self, faults: tuple[str, ...], mend: str = "dispatcher recover") -> None:
        self.faults = faults
        self.mend = mend
        super().__init__("\n".join([*faults, f"mend with: {mend}, which first says what that costs"]))


class TransactionFailed(DispatcherError):
    """A transaction that did not commit cleanly. Its producer is gone; only the ledger knows the outcome."""


class Fenced(TransactionFailed):
    """The broker refused this producer: a newer one holds the shard, or a transaction timed out there."""


class Unsendable(TransactionFailed):
    """The broker or client refused a message for what it is: unknown topic, no right, too large.

    `index` is its place among the records of the transaction, or None when the broker does not say.
    """

    def __init__(self, reason: str, index: int | None = None) -> None:
        self.reason = reason
        self.index = index
        super().__init__(reason)
