"""`sql`: run one statement, in one transaction, in a database that the settings name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from sqlalchemy import URL, Dialect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.core.instant import to_datetime, to_text
from dispatcher.core.outcome import Cancelled, Failed, Outcome
from dispatcher.errors import InvalidSettings
from dispatcher.masking import MASK, is_secret
from dispatcher.work.handlers.limit import Ended, Limit, Overdue, limit_of
from dispatcher.work.handlers.sql_request import Rows, SqlPayload, Unusable, bound, unusable
from dispatcher.work.handlers.sql_sqlite import Sqlite
from dispatcher.work.handling import Payload, Task

USUAL_SECONDS = 60.0
_CAST = re.compile(r"(?<!\\)::")
"""A cast, which may follow a parameter at once: `:planned::date`."""


class Database(Protocol):
    """A database that statements can be run in."""

    dialect: Dialect

    def run(self, statement: str, values: Mapping[str, Any], rows: Rows, limit: Limit) -> Outcome:
        """Run one statement in one transaction. Raises Ended or Overdue when the run has to end."""
        ...


class Sql:
    """Runs statements. SQLAlchemy reads addresses and statements, the drivers do the rest.

    `dsns` are addresses by the names that payloads use. Raises InvalidSettings for one that cannot be used.
    """

    name = "sql"
    instant = False
    payload: type[Payload] = SqlPayload

    def __init__(self, dsns: Mapping[str, str]) -> None:
        urls = {name: _url(name, dsn) for name, dsn in dsns.items()}
        self._databases = {name: _database(name, url) for name, url in urls.items()}
        self._secrets = {name: _secrets(url) for name, url in urls.items()}

    def run(self, task: Task) -> Outcome:
        """Run the statement and commit; whatever goes wrong before the commit leaves nothing behind."""
        payload: SqlPayload = task.payload
        limit = limit_of(task, payload.timeout_seconds, USUAL_SECONDS)
        database = self._databases.get(payload.database)
        if database is None:
            return Failed(f"no database named {payload.database} in the settings of this worker", final=True)
        try:
            outcome = _run(database, task, payload, limit)
        except Unusable as error:
            return unusable(error)
        except Ended as error:
            return Cancelled(str(error))
        except Overdue:
            return Failed(f"not done within {limit.seconds:g} s, so nothing was changed")
        return self._masked(payload.database, outcome)

    def close(self) -> None:
        """Hold nothing: connections end with their runs."""

    def _masked(self, name: str, outcome: Outcome) -> Outcome:
        """Return the outcome without what the settings hide, should an error have named it."""
        if isinstance(outcome, Failed) and any(secret in outcome.reason for secret in self._secrets[name]):
            return replace(outcome, reason=f"the database refused, in words that hold a secret: {MASK}")
        return outcome


def _run(database: Database, task: Task, payload: SqlPayload, limit: Limit) -> Outcome:
    try:
        compiled = text(_CAST.sub(r"\:\:", payload.statement)).compile(dialect=database.dialect)
    except SQLAlchemyError as error:
        raise Unusable(f"the statement cannot be read: {type(error).__name__}") from error
    is_text = database.dialect.name == "sqlite"
    ours = {
        "fire_id": task.fire,
        "attempt": task.attempt,
        "planned": to_text(task.planned) if is_text else to_datetime(task.planned),
    }
    values = bound(compiled.params, payload.parameters, ours)
    return database.run(str(compiled), values, Rows(payload.max_rows), limit)


def _url(name: str, dsn: str) -> URL:
    try:
        return make_url(dsn)
    except (SQLAlchemyError, ValueError):
        pass  # the error holds the address, so it goes no further
    raise InvalidSettings(f"database {name}: not an address such as postgresql://user:password@host/name")


def _database(name: str, url: URL) -> Database:
    match url.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return Sqlite(url)
        case "postgresql" | "postgresql+psycopg" | "postgres":
            return _postgresql(name, url)
        case other:
            raise InvalidSettings(f"database {name}: {other} is not known here; use postgresql or sqlite")


def _postgresql(name: str, url: URL) -> Database:
    try:
        from dispatcher.work.handlers.sql_postgresql import PostgreSql  # noqa: PLC0415 - an extra, may be absent
    except ImportError as error:
        raise InvalidSettings(
            f"database {name}: no driver for PostgreSQL; install kafka-cron-dispatcher[postgresql]"
        ) from error
    return PostgreSql(url)


def _secrets(url: URL) -> frozenset[str]:
    """Return what must not be shown of an address."""
    queried = {
        value
        for name, given in url.query.items()
        if is_secret(name)
        for value in ([given] if isinstance(given, str) else given)
    }
    return frozenset(secret for secret in (url.password, *queried) if secret)
