"""The `sql` handler on a real PostgreSQL: locks, deadlocks, time limits, lost connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
from handler_world import FIRE, cancelled_meanwhile, failed, run, succeeded, task_of, until

from broker.postgres import PASSWORD
from dispatcher.core.outcome import Outcome
from dispatcher.work.handlers.sql import Sql

pytestmark = pytest.mark.timeout(120)

INJECTIONS = [
    "'; DROP TABLE t; --",
    "' OR '1'='1",
    "$$; DROP TABLE t",
    "\\'; DROP TABLE t",
    ":id",
    "%s",
    "%(id)s",
]


@pytest.fixture
def admin(postgres: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the test's own, and an empty table."""
    with closing(psycopg.connect(postgres, autocommit=True)) as connection:
        connection.execute("DROP TABLE IF EXISTS t")
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, text text CHECK (text <> 'bad'))")
        yield connection


@pytest.fixture
def sql(postgres: str, admin: psycopg.Connection[Any]) -> Sql:
    return Sql({"test": postgres})


def ran(sql: Sql, statement: str, parameters: dict[str, Any] | None = None, **more: Any) -> Outcome:
    return run(sql, {"database": "test", "statement": statement, "parameters": parameters or {}, **more})


def going_on(admin: psycopg.Connection[Any], text: str, state: str = "active") -> Callable[[], bool]:
    """Return whether a statement with a text goes on in the server."""

    def look() -> bool:
        found = admin.execute(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'dispatcher'"
            " AND query LIKE %s AND state = %s",
            [f"%{text}%", state],
        ).fetchone()
        return found is not None

    return look


def rows_of(admin: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return admin.execute("SELECT id, text FROM t ORDER BY id").fetchall()


class Aside:
    """A run in a thread of its own."""

    def __init__(self, sql: Sql, statement: str, **more: Any) -> None:
        self._outcomes: list[Outcome] = []
        self._task = task_of(sql, {"database": "test", "statement": statement, **more})
        self._thread = threading.Thread(target=lambda: self._outcomes.append(sql.run(self._task)))
        self._thread.start()

    def outcome(self) -> Outcome:
        self._thread.join(30)
        return self._outcomes[0]


def test_rows_of_all_kinds_are_the_result(sql: Sql) -> None:
    row = succeeded(
        ran(
            sql,
            "SELECT 1 AS i, 2.50::numeric AS n, 'x' AS t, NULL AS z, true AS b, '{\"a\": [1]}'::jsonb AS j,"
            " ARRAY[1, 2] AS a, '2026-01-02'::date AS d, '\\x00ff'::bytea AS y, 'NaN'::float8 AS f",
        )
    )["rows"][0]
    assert row == {
        "i": 1, "n": "2.50", "t": "x", "z": None, "b": True, "j": {"a": [1]}, "a": [1, 2],
        "d": "2026-01-02", "y": "\\x00ff", "f": "nan",
    }  # fmt: skip


def test_a_change_is_committed_and_counted(sql: Sql, admin: psycopg.Connection[Any]) -> None:
    changes: list[tuple[str, Any, list[Any]]] = [
        ("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 3) i", 3, []),
        ("/* why */ -- and how\nUPDATE t SET text = 'b' WHERE id > 1;", 2, []),
        ("DELETE FROM t WHERE id = 3 RETURNING id", 1, [{"id": 3}]),
        ("CREATE TABLE IF NOT EXISTS u ()", None, []),
        ("DO $$ BEGIN PERFORM 1; END $$", None, []),
        ("INSERT INTO t VALUES (9, 'returning')", None, []),
        ("WITH x AS (SELECT 8) INSERT INTO t SELECT * FROM x", None, []),
        ("SELECT 1 WHERE false", 0, []),
    ]
    for statement, count, rows in changes:
        assert succeeded(ran(sql, statement)) == {"rows": rows, "rowCount": count}, statement
    assert rows_of(admin) == [(1, "a"), (2, "b"), (8, None), (9, "returning")]


def test_fire_attempt_and_planned_are_there_if_they_are_named(sql: Sql) -> None:
    statement = "SELECT :fire_id::text AS f, :attempt + 1 AS a, :planned AT TIME ZONE 'Europe/Berlin' AS p"
    row = succeeded(run(sql, {"database": "test", "statement": statement}, attempt=6))["rows"][0]
    assert row == {"f": FIRE, "a": 7, "p": "2026-11-20T03:00:00"}


def test_a_second_attempt_does_nothing_new_by_the_fires_id(sql: Sql, admin: psycopg.Connection[Any]) -> None:
    admin.execute("DROP TABLE IF EXISTS once; CREATE TABLE once (fire text PRIMARY KEY)")
    statement = "INSERT INTO once VALUES (:fire_id) ON CONFLICT DO NOTHING"
    counts = [succeeded(ran(sql, statement))["rowCount"] for _ in range(2)]
    assert counts == [1, 0]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_parameter_stays_a_value(sql: Sql, admin: psycopg.Connection[Any], text: str) -> None:
    succeeded(ran(sql, "INSERT INTO t VALUES (:id, :text)", {"id": 1, "text": text}))
    assert rows_of(admin) == [(1, text)]


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("SELECT 1; INSERT INTO t VALUES (1, 'a')", {}),
        ("INSERT INTO t VALUES (1, 'a'); SELECT 1", {}),
        ("INSERT INTO t VALUES (:id, 'a'); COMMIT", {"id": 1}),
        ("SELECT :id; COMMIT; INSERT INTO t VALUES (1, 'a')", {"id": 1}),
        ("COMMIT; INSERT INTO t VALUES (1, 'a') RETURNING 1", {}),
    ],
)
def test_a_second_statement_is_refused(
    sql: Sql, admin: psycopg.Connection[Any], statement: str, parameters: dict[str, Any]
) -> None:
    outcome = failed(ran(sql, statement, parameters))
    assert outcome.final
    assert "multiple commands" in outcome.reason
    assert rows_of(admin) == []


def test_percents_and_colons_in_a_statement_stay(sql: Sql) -> None:
    row = succeeded(ran(sql, "SELECT '100%'::text AS a, '12:30' AS b, '\\:x' AS c, 7 % :n AS d", {"n": 4}))
    assert row["rows"] == [{"a": "100%", "b": "12:30", "c": ":x", "d": 3}]


@pytest.mark.parametrize(
    ("statement", "final"),
    [
        ("SELEC 1", True), ("SELECT * FROM nix", True), ("", True), ("COPY t TO STDOUT", True),
        ("COPY t FROM STDIN", True), ("VACUUM", False), ("SELECT 1/0", False),
        ("INSERT INTO t VALUES (1, 'bad')", False), ("SELECT '\\:x'::int", False),
    ],
)  # fmt: skip
def test_what_lies_in_the_statement_is_final(sql: Sql, statement: str, *, final: bool) -> None:
    outcome = failed(ran(sql, statement or ";")) if statement else ran(sql, "  ;  ")
    if statement:
        assert failed(outcome).final is final


def test_an_error_does_not_show_the_values_of_rows(sql: Sql) -> None:
    succeeded(ran(sql, "INSERT INTO t VALUES (77, 'secret-value')"))
    outcome = failed(ran(sql, "INSERT INTO t VALUES (77, 'secret-value')"))
    assert "t_pkey" in outcome.reason
    assert "77" not in outcome.reason


def test_nothing_of_a_session_is_left_for_the_next_run(sql: Sql) -> None:
    succeeded(ran(sql, "SELECT set_config('search_path', 'canary', false)"))
    succeeded(ran(sql, "SELECT pg_advisory_lock(7)"))
    assert succeeded(ran(sql, "SELECT pg_try_advisory_lock(7) AS a"))["rows"] == [{"a": True}]
    assert "canary" not in str(succeeded(ran(sql, "SHOW search_path")))


def test_a_huge_result_is_read_without_being_kept(sql: Sql) -> None:
    result = succeeded(ran(sql, "SELECT i FROM generate_series(1, 200000) i", maxRows=2))
    assert result == {"rows": [{"i": 1}, {"i": 2}], "rowCount": 200_000, "truncated": True}


def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    sql: Sql, admin: psycopg.Connection[Any]
) -> None:
    since = time.monotonic()
    outcome = failed(ran(sql, "SELECT pg_sleep(30)", timeoutSeconds=1))
    assert time.monotonic() - since < 10
    assert outcome.reason == "not done within 1 s, so nothing was changed"
    assert not outcome.final
    until(lambda: not going_on(admin, "pg_sleep")())


def test_a_result_without_end_is_ended(sql: Sql, admin: psycopg.Connection[Any]) -> None:
    outcome = failed(ran(sql, "SELECT i FROM generate_series(1, 100000000000) i", timeoutSeconds=1))
    assert "within 1 s" in outcome.reason
    until(lambda: not going_on(admin, "generate_series")())


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(30)", "DO $$ BEGIN PERFORM pg_sleep(30); END $$"])
def test_a_statement_that_goes_on_is_cancelled_at_once(
    sql: Sql, admin: psycopg.Connection[Any], statement: str
) -> None:
    payload = {"database": "test", "statement": statement}
    cancelled_meanwhile(sql, payload, going_on(admin, "pg_sleep(30)"))
    until(lambda: not going_on(admin, "pg_sleep(30)")())


def test_a_lock_that_does_not_come_free_is_named(sql: Sql, postgres: str) -> None:
    with closing(psycopg.connect(postgres)) as holder:
        holder.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        outcome = failed(ran(sql, "INSERT INTO t VALUES (1, 'a')", timeoutSeconds=1))
    assert "a lock did not come free" in outcome.reason
    assert not outcome.final


def test_a_run_that_waits_for_a_lock_is_cancelled_at_once(
    sql: Sql, admin: psycopg.Connection[Any], postgres: str
) -> None:
    with closing(psycopg.connect(postgres)) as holder:
        holder.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        payload = {"database": "test", "statement": "INSERT INTO t VALUES (1, 'a')"}
        cancelled_meanwhile(sql, payload, going_on(admin, "INSERT INTO t"))
    assert rows_of(admin) == []


def test_a_deadlock_may_be_tried_again(sql: Sql, admin: psycopg.Connection[Any], postgres: str) -> None:
    admin.execute("INSERT INTO t VALUES (1, 'a'), (2, 'a')")
    backwards = (
        "DO $$ BEGIN UPDATE t SET text = 'x' WHERE id = 2; PERFORM pg_advisory_lock(99);"
        " UPDATE t SET text = 'x' WHERE id = 1; END $$"
    )
    with closing(psycopg.connect(postgres)) as holder:
        holder.execute("SET deadlock_timeout = '60s'; SELECT pg_advisory_lock(99)")
        holder.execute("UPDATE t SET text = 'y' WHERE id = 1")
        aside = Aside(sql, backwards)
        until(
            lambda: (
                admin.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
                is not None
            )
        )
        holder.execute("SELECT pg_advisory_unlock(99)")
        holder.execute("UPDATE t SET text = 'y' WHERE id = 2")
        holder.commit()
    outcome = failed(aside.outcome())
    assert "deadlock" in outcome.reason
    assert not outcome.final
    assert rows_of(admin) == [(1, "y"), (2, "y")]


def test_a_connection_that_is_killed_midway_changed_nothing(sql: Sql, admin: psycopg.Connection[Any]) -> None:
    aside = Aside(sql, "INSERT INTO t SELECT 1, pg_sleep(30)::text")
    until(going_on(admin, "pg_sleep(30)"))
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%'"
        " AND application_name = 'dispatcher'"
    )
    outcome = failed(aside.outcome())
    assert not outcome.final
    assert "may have happened" not in outcome.reason
    assert rows_of(admin) == []


def test_a_constraint_that_is_checked_at_the_end_is_no_lost_connection(
    sql: Sql, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("ALTER TABLE t ADD UNIQUE (text) DEFERRABLE INITIALLY DEFERRED")
    outcome = failed(ran(sql, "INSERT INTO t VALUES (1, 'a'), (2, 'a')"))
    assert "may have happened" not in outcome.reason
    assert rows_of(admin) == []


class Proxy:
    """Stands before the server; cuts or holds the line at a text of the client, passed on or not."""

    def __init__(self, port: int, at: bytes, *, pass_on: bool, hold: bool = False) -> None:
        self._target, self._at, self._pass_on, self._hold = port, at, pass_on, hold
        self.reached = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listening, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                threading.Thread(target=self._forth, args=(client, server), daemon=True).start()
                threading.Thread(target=self._back, args=(client, server), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self._at in data:
                    self.reached.set()
                    if not self._hold:
                        client.shutdown(socket.SHUT_RDWR)
                    if self._pass_on:
                        server.sendall(data)
                    if not self._hold:
                        server.shutdown(socket.SHUT_WR)
                    continue
                server.sendall(data)

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not self.reached.is_set():
                    client.sendall(data)


@pytest.fixture
def through(postgres: str) -> Iterator[Callable[..., tuple[Sql, Proxy]]]:
    """A handler that reaches the server through a proxy which fails it at some text."""
    made: list[Proxy] = []

    def make(at: bytes, **how: bool) -> tuple[Sql, Proxy]:
        port = int(postgres.rpartition(":")[2].partition("/")[0])
        made.append(Proxy(port, at, **how))
        dsn = postgres.replace(f":{port}/", f":{made[0].port}/") + "?sslmode=disable"
        return Sql({"test": dsn}), made[0]

    yield make
    for proxy in made:
        proxy.close()


@pytest.mark.parametrize("passed", [True, False])
def test_a_connection_that_is_lost_after_commit_was_sent_may_have_done_it(
    through: Callable[..., tuple[Sql, Proxy]], admin: psycopg.Connection[Any], *, passed: bool
) -> None:
    sql, _ = through(b"COMMIT", pass_on=passed)
    outcome = failed(ran(sql, "INSERT INTO t VALUES (1, 'a')"))
    assert "it may have happened" in outcome.reason
    assert ":fire_id" in outcome.reason
    assert not outcome.final
    if passed:
        until(lambda: rows_of(admin) == [(1, "a")])
    else:
        until(lambda: not going_on(admin, "INSERT", "idle in transaction")())
        assert rows_of(admin) == []


def test_a_connection_that_is_lost_before_changed_nothing(
    through: Callable[..., tuple[Sql, Proxy]], admin: psycopg.Connection[Any]
) -> None:
    sql, _ = through(b"INSERT INTO t", pass_on=True)
    outcome = failed(ran(sql, "INSERT INTO t VALUES (1, 'a')"))
    assert "may have happened" not in outcome.reason
    until(lambda: not going_on(admin, "INSERT INTO t")())
    assert rows_of(admin) == []


@pytest.mark.parametrize("at", [b"INSERT INTO t", b"COMMIT", b"set_config", b"tester"])
def test_a_server_that_says_nothing_more_is_given_up(
    through: Callable[..., tuple[Sql, Proxy]], at: bytes
) -> None:
    sql, _ = through(at, pass_on=False, hold=True)
    since = time.monotonic()
    outcome = failed(ran(sql, "INSERT INTO t VALUES (1, 'a')", timeoutSeconds=0.5))
    assert time.monotonic() - since < 8
    assert ("may have happened" in outcome.reason) is (at == b"COMMIT")


@pytest.mark.parametrize("at", [b"INSERT INTO t", b"tester"])
def test_a_run_on_a_server_that_says_nothing_more_can_be_cancelled(
    through: Callable[..., tuple[Sql, Proxy]], at: bytes
) -> None:
    sql, proxy = through(at, pass_on=False, hold=True)
    payload = {"database": "test", "statement": "INSERT INTO t VALUES (1, 'a')"}
    cancelled_meanwhile(sql, payload, proxy.reached.is_set, within=8)


@pytest.mark.parametrize(
    "change",
    [
        lambda dsn: dsn.replace(PASSWORD, "canary-wrong"),
        lambda dsn: dsn.replace("tester:", "nobody:"),
        lambda dsn: dsn.replace("/postgres", "/nix"),
        lambda dsn: dsn.replace("127.0.0.1", "nowhere.invalid"),
        lambda dsn: dsn.replace(dsn.rpartition(":")[2], "1/postgres"),
        lambda dsn: dsn + "?sslmode=require",
        lambda dsn: dsn + "?sslpassword=canary-ssl&sslmode=bogus",
    ],
    ids=["password", "user", "database", "host", "port", "tls", "option"],
)
def test_a_failure_to_connect_is_told_without_the_password(
    postgres: str, change: Callable[[str], str]
) -> None:
    outcome = failed(ran(Sql({"test": change(postgres)}), "SELECT 1", timeoutSeconds=20))
    assert outcome.reason.startswith("cannot connect: ")
    assert "canary" not in outcome.reason
    assert not outcome.final


def test_too_many_connections_may_be_tried_again(sql: Sql, postgres: str) -> None:
    taken: list[psycopg.Connection[Any]] = []
    try:
        with suppress(psycopg.OperationalError):
            while len(taken) < 100:
                taken.append(psycopg.connect(postgres))
        outcome = failed(ran(sql, "SELECT 1"))
    finally:
        for one in taken:
            one.close()
    assert "too many" in outcome.reason
    assert not outcome.final
