"""PostgreSQL under the `sql` handler, by psycopg 3."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Dialect

from dispatcher.core.outcome import Failed, Outcome, Succeeded
from dispatcher.work.handlers.limit import Aside, Limit, Overdue
from dispatcher.work.handlers.sql_request import Rows, Unusable
from dispatcher.work.handlers.sql_watch import Watch

_USUAL = {
    "application_name": "dispatcher",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_LONGEST_REASON = 1000
_LONGEST_MS = 2**31 - 1
"""More the database does not take as a limit."""
_CANCEL_SECONDS = 1.0
_LOCK_SHARE = 0.9
"""Of the time that is left for waiting for locks: so that the error names the lock."""
_LIMITS = "select set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"
_FIRST = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*([A-Za-z]+)", re.DOTALL)
_WITH_ROWS = frozenset({"select", "values", "table", "with", "show", "explain", "fetch"})
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)
_LOST = ("08", "57P")
"""Classes of errors after which the server says nothing more."""
_FINAL = ("42", "0A", "2F", "54")
"""Classes of errors that lie in the statement: syntax and rights, what is not supported, limits."""
_LOST_COMMIT = (
    "the connection was lost while committing, so it may have happened; another attempt does it again,"
    " with the same :fire_id"
)

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgreSql:
    """One PostgreSQL database. Each run has a connection of its own, so that none leaves anything behind."""

    def __init__(self, url: URL) -> None:
        kind: Any = url.set(drivername="postgresql+psycopg").get_dialect()
        self.dialect: Dialect = kind(dbapi=kind.import_dbapi())
        self._arguments, given = self.dialect.create_connect_args(url)
        self._options: dict[str, Any] = {**_USUAL, **given}

    def run(self, statement: str, values: Mapping[str, Any], rows: Rows, limit: Limit) -> Outcome:
        """Run a statement in a transaction. Raises Ended or Overdue when the run has to end."""
        try:
            connection = Aside(self._connect, drop=lambda late: late.close()).get(limit)
        except psycopg.Error as error:
            return Failed(f"cannot connect: {_text(error)}")
        with closing(connection), Watch(limit, lambda: _interrupt(connection), lambda: _cut(connection)):
            transaction = _Transaction(connection, limit)
            try:
                transaction.execute(statement, values, rows)
                transaction.commit()
            except (psycopg.Error, UnicodeEncodeError) as error:
                return transaction.failed(error)
        return Succeeded(rows.result())

    def _connect(self) -> Connection:
        return psycopg.connect(*self._arguments, **self._options)


class _Transaction:
    """The one transaction of a run."""

    def __init__(self, connection: Connection, limit: Limit) -> None:
        self._connection = connection
        self._limit = limit
        self._committing = False

    def execute(self, statement: str, values: Mapping[str, Any], rows: Rows) -> None:
        """Run the statement under the server's own time limits, by the protocol that takes only one."""
        left = min(max(1, int(self._limit.left() * 1000)), _LONGEST_MS)
        self._connection.execute(_LIMITS, [str(left), str(max(1, int(left * _LOCK_SHARE)))])
        if _first_word(statement) == "copy":
            raise Unusable("COPY moves rows over the connection, which nobody reads here")
        if _brings_rows(statement):
            self._stream(statement, values, rows)
            return
        with self._connection.pipeline():
            cursor = self._connection.execute(statement, values)
        rows.count = cursor.rowcount if cursor.rowcount >= 0 else None
        if cursor.description is not None:
            rows.count = 0
            for row in cursor:
                rows.add([column.name for column in cursor.description], row)

    def commit(self) -> None:
        """Commit, unless the run was cancelled. Raises Ended or Overdue then; the server rolls back."""
        self._limit.check()
        self._committing = True
        self._connection.commit()

    def failed(self, error: psycopg.Error | UnicodeEncodeError) -> Failed:
        """Return what an error means. Raises Ended or Overdue when it came of the end of the run."""
        state = getattr(error, "sqlstate", None) or ""
        lost = isinstance(error, psycopg.OperationalError) and (not state or state.startswith(_LOST))
        if self._committing and (lost or self._connection.broken):
            return Failed(f"{_LOST_COMMIT}: {_text(error)}")
        self._limit.check()
        if isinstance(error, psycopg.errors.QueryCanceled) and "statement timeout" in str(error):
            raise Overdue
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return Failed(f"a lock did not come free in time: {_text(error)}")
        final = state.startswith(_FINAL) if state else not lost
        return Failed(f"the database says: {_text(error)}", final=final)

    def _stream(self, statement: str, values: Mapping[str, Any], rows: Rows) -> None:
        """Read the rows one by one: never is more of a result here than what is kept."""
        cursor = self._connection.cursor()
        try:
            for row in cursor.stream(statement, values):
                rows.add([column.name for column in cursor.description or ()], row)
        except psycopg.ProgrammingError as error:
            done = self._connection.info.transaction_status == TransactionStatus.INTRANS
            if error.sqlstate is not None or not done:
                raise
            rows.count = None  # done, without a result: how much it touched is not told


def _brings_rows(statement: str) -> bool:
    return _first_word(statement) in _WITH_ROWS or _RETURNING.search(statement) is not None


def _first_word(statement: str) -> str:
    first = _FIRST.match(statement)
    return "" if first is None else first[1].lower()


def _interrupt(connection: Connection) -> None:
    connection.cancel_safe(timeout=_CANCEL_SECONDS)


def _cut(connection: Connection) -> None:
    """End the connection under the thread that waits for it, which then learns that it is lost."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same, suppress(OSError):
        same.shutdown(socket.SHUT_RDWR)


def _text(error: psycopg.Error | UnicodeEncodeError) -> str:
    """Return the error in one line, without the values of rows that its details may hold."""
    told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return (told or " ".join(str(error).split()))[:_LONGEST_REASON]
