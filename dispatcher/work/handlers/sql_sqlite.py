"""SQLite under the `sql` handler."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import URL, Dialect

from dispatcher.core.outcome import Failed, Outcome, Succeeded
from dispatcher.work.handlers.limit import Limit
from dispatcher.work.handlers.sql_request import Rows

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_BUSY_SECONDS = 0.05
_INSTRUCTIONS = 10_000
"""After so many it is asked whether the run has to end: a fraction of a millisecond."""
_LONGEST_VALUE = 16_777_216
_DENIED = frozenset({
    sqlite3.SQLITE_ATTACH,  # would open files that the settings do not name
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
    sqlite3.SQLITE_PRAGMA,  # some hold for the whole process
})  # fmt: skip


class Sqlite:
    """One SQLite database. Each run has a connection of its own, so that none leaves anything behind."""

    def __init__(self, url: URL) -> None:
        kind: Any = url.get_dialect()
        self.dialect: Dialect = kind(dbapi=kind.import_dbapi(), paramstyle="named")
        self._arguments, self._options = self.dialect.create_connect_args(url)
        self._connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def run(self, statement: str, values: Mapping[str, Any], rows: Rows, limit: Limit) -> Outcome:
        """Run a statement in a transaction; while another one has the lock, begin anew now and then.

        Raises Ended or Overdue when the run has to end; nothing is changed then.
        """
        while True:
            try:
                self._once(statement, values, rows, limit)
            except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError) as error:
                limit.check()
                if not _is_busy(error):
                    return Failed(f"the database says: {error}", final=_is_final(error))
                limit.cancel.wait(min(_BUSY_SECONDS, limit.left()))
            else:
                return Succeeded(rows.result())

    def _once(self, statement: str, values: Mapping[str, Any], rows: Rows, limit: Limit) -> None:
        options = {**self._options, "timeout": _BUSY_SECONDS, "isolation_level": None}
        with contextlib.closing(self._connect(*self._arguments, **options)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
            connection.set_progress_handler(
                lambda: int(limit.cancel.is_set() or limit.left() <= 0), _INSTRUCTIONS
            )
            connection.execute("BEGIN")
            connection.set_authorizer(_authorize)
            self._read(connection.execute(statement, values), rows)
            limit.check()
            connection.set_authorizer(None)
            connection.execute("COMMIT")

    def _read(self, cursor: sqlite3.Cursor, rows: Rows) -> None:
        if cursor.description is None:
            rows.count = cursor.rowcount if cursor.rowcount >= 0 else None
            return
        columns = [column[0] for column in cursor.description]
        for row in cursor:
            rows.add(columns, row)


def _authorize(action: int, *_: object) -> int:
    return sqlite3.SQLITE_DENY if action in _DENIED else sqlite3.SQLITE_OK


def _code(error: BaseException) -> int:
    """Return the primary code of an error, 0 when the library raised it by itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: BaseException) -> bool:
    return _code(error) in _BUSY


def _is_final(error: BaseException) -> bool:
    """Return whether the statement itself is wrong: its words, its number, its values, its rights."""
    return _code(error) in {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_TOOBIG}
