"""The `sql` handler on SQLite, and what it makes of payloads and settings, without a server."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from handler_world import FIRE, cancelled_meanwhile, failed, run, succeeded, task_of, until
from pydantic import ValidationError

from dispatcher.core.outcome import Outcome
from dispatcher.errors import InvalidSettings
from dispatcher.work.handlers.sql import Sql
from dispatcher.work.handlers.sql_request import Rows, SqlPayload

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
INJECTIONS = [
    "'; DROP TABLE t; --",
    '" OR 1=1 --',
    "x'; DELETE FROM t WHERE 'a'='a",
    ":id",
    "%s",
    "%(id)s",
    "\\",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "test.db"
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, CHECK (text <> 'bad'))")
    return path


def execute(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


@pytest.fixture
def sql(file: Path) -> Sql:
    return Sql({"test": f"sqlite:///{file}"})


def ran(sql: Sql, statement: str, parameters: dict[str, Any] | None = None, **more: Any) -> Outcome:
    return run(sql, {"database": "test", "statement": statement, "parameters": parameters or {}, **more})


def test_rows_are_the_result(sql: Sql) -> None:
    result = succeeded(ran(sql, "SELECT 1 AS a, 'x' AS b, NULL AS c, 0.5 AS d, x'00ff' AS e"))
    assert result == {"rows": [{"a": 1, "b": "x", "c": None, "d": 0.5, "e": "\\x00ff"}], "rowCount": 1}


def test_a_change_is_committed_and_counted(sql: Sql, file: Path) -> None:
    assert succeeded(ran(sql, "INSERT INTO t (text) VALUES ('a'), ('b')")) == {"rows": [], "rowCount": 2}
    assert succeeded(ran(sql, "UPDATE t SET text = 'c' RETURNING id"))["rows"] == [{"id": 1}, {"id": 2}]
    assert succeeded(ran(sql, "CREATE TABLE u (id)"))["rowCount"] is None
    assert execute(file, "SELECT text FROM t") == [("c",), ("c",)]


def test_fire_attempt_and_planned_are_there_if_they_are_named(sql: Sql) -> None:
    payload = {"database": "test", "statement": "SELECT :fire_id AS f, :attempt AS a, :planned AS p"}
    row = succeeded(run(sql, payload, attempt=7))["rows"][0]
    assert row == {"f": FIRE, "a": 7, "p": "2026-11-20T02:00:00Z"}


@pytest.mark.parametrize("text", [*INJECTIONS, "{{7*7}}", "${7*7}"])
def test_a_parameter_stays_a_value(sql: Sql, file: Path, text: str) -> None:
    statement = "INSERT INTO t (text) VALUES (:text) RETURNING text"
    assert succeeded(ran(sql, statement, {"text": text}))["rows"] == [{"text": text}]
    assert execute(file, "SELECT text FROM t") == [(text,)]


def test_colons_and_percents_in_a_statement_stay(sql: Sql) -> None:
    row = succeeded(ran(sql, "SELECT '%s %% 12:30 \\:x' AS a, :y AS b", {"y": 1}))["rows"][0]
    assert row == {"a": "%s %% 12:30 :x", "b": 1}


@pytest.mark.parametrize(
    ("statement", "parameters", "told"),
    [("SELECT :a, :b", {"a": 1}, ":b"), ("SELECT 1", {"a": 1}, ":a"), ("SELECT ':x'", {}, "written \\:")],
)
def test_parameters_that_do_not_fit_are_told(
    sql: Sql, statement: str, parameters: dict[str, Any], told: str
) -> None:
    outcome = failed(ran(sql, statement, parameters))
    assert outcome.final
    assert told in outcome.reason


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1; DROP TABLE t", "INSERT INTO t (text) VALUES ('a'); SELECT 1", "SELECT :a; DELETE FROM t"],
)
def test_a_second_statement_is_refused(sql: Sql, file: Path, statement: str) -> None:
    outcome = failed(ran(sql, statement, {"a": 1} if ":a" in statement else {}))
    assert outcome.final
    assert execute(file, "SELECT * FROM t") == []


@pytest.mark.parametrize(
    "statement",
    [
        *("ATTACH 'canary.db' AS x", "DETACH main", "COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT a", "VACUUM"),
        *(
            "VACUUM INTO 'canary.db'",
            "PRAGMA journal_mode",
            "SELECT load_extension('x')",
            "SELECT * FROM nix",
        ),
        *("SELEC 1", "SELECT 'a", "   ", "--", "SELECT * FROM pragma_table_info('t')"),
    ],
)
def test_what_is_wrong_with_the_statement_itself_is_final(
    sql: Sql, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = ran(sql, statement)
    if statement.strip() in {"", "--"}:
        assert succeeded(outcome)["rows"] == []
    else:
        assert failed(outcome).final
    assert not (tmp_path / "canary.db").exists()


def test_a_constraint_rolls_back_and_is_not_final(sql: Sql, file: Path) -> None:
    outcome = failed(ran(sql, "INSERT INTO t (text) VALUES ('good'), ('bad')"))
    assert not outcome.final
    assert "CHECK constraint" in outcome.reason
    assert execute(file, "SELECT * FROM t") == []


@pytest.mark.parametrize("value", [2**70, "\ud800"])
def test_a_value_that_the_database_does_not_take_is_told(sql: Sql, value: Any) -> None:
    assert failed(ran(sql, "SELECT :a", {"a": value})).final


def test_a_huge_result_is_counted_but_not_kept(sql: Sql) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i FROM n"
    result = succeeded(ran(sql, many, maxRows=3))
    assert result == {"rows": [{"i": 1}, {"i": 2}, {"i": 3}], "rowCount": 100_000, "truncated": True}


def test_rows_are_kept_as_far_as_64_kib_and_texts_as_far_as_4096(sql: Sql) -> None:
    result = succeeded(ran(sql, "SELECT printf('%.*c', 100000, 'x') AS a"))
    assert result["rows"] == [{"a": "x" * 4096}]
    assert result["truncated"]
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 900)"
    many += " SELECT printf('%.*c', 999, 'x') a FROM n"
    result = succeeded(ran(sql, many, maxRows=1000))
    assert result["rowCount"] == 900
    assert len(json.dumps(result)) < 70_000


def test_a_value_that_is_too_large_is_refused(sql: Sql) -> None:
    assert "too big" in failed(ran(sql, "SELECT zeroblob(100000000)")).reason


def test_columns_of_the_same_name_are_all_there(sql: Sql) -> None:
    assert succeeded(ran(sql, "SELECT 1 AS a, 2 AS a, 3 AS a"))["rows"] == [{"a": 1, "a_2": 2, "a_3": 3}]


def test_a_statement_that_takes_too_long_ends(sql: Sql) -> None:
    since = time.monotonic()
    outcome = failed(ran(sql, ENDLESS, timeoutSeconds=0.3))
    assert time.monotonic() - since < 5
    assert outcome.reason == "not done within 0.3 s, so nothing was changed"
    assert not outcome.final


def test_a_statement_that_goes_on_is_cancelled_at_once(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = real(*arguments, **options)
        made.set_trace_callback(lambda statement: begun.set() if "RECURSIVE" in statement else None)
        return made

    monkeypatch.setattr(sql._databases["test"], "_connect", connect)
    cancelled_meanwhile(sql, {"database": "test", "statement": ENDLESS}, begun.is_set)


def test_a_run_that_is_cancelled_before_it_commits_changes_nothing(sql: Sql, file: Path) -> None:
    task = task_of(sql, {"database": "test", "statement": "INSERT INTO t (text) VALUES ('a')"})
    task.cancel.set("the job was cancelled")
    sql.run(task)
    assert execute(file, "SELECT * FROM t") == []


@pytest.fixture
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Another connection that has the database for itself."""
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


def test_a_lock_is_waited_for(sql: Sql, file: Path, locked: sqlite3.Connection) -> None:
    outcomes: list[Outcome] = []
    task = task_of(sql, {"database": "test", "statement": "INSERT INTO t (text) VALUES ('a')"})
    thread = threading.Thread(target=lambda: outcomes.append(sql.run(task)))
    thread.start()
    thread.join(0.3)
    assert outcomes == []
    locked.execute("COMMIT")
    thread.join(20)
    assert succeeded(outcomes[0])["rowCount"] == 1
    assert execute(file, "SELECT text FROM t") == [("a",)]


def test_a_lock_that_stays_ends_with_the_time_or_a_cancel(sql: Sql, locked: sqlite3.Connection) -> None:
    assert locked.in_transaction
    statement = "INSERT INTO t (text) VALUES ('a')"
    assert "within 0.3 s" in failed(ran(sql, statement, timeoutSeconds=0.3)).reason
    begun = time.monotonic()
    payload = {"database": "test", "statement": statement}
    cancelled_meanwhile(sql, payload, lambda: time.monotonic() - begun > 0.2)


def test_many_runs_at_once_each_get_their_turn(sql: Sql, file: Path) -> None:
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(ran(sql, "INSERT INTO t (text) VALUES (:fire_id)")))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(outcomes) == 12, 60)
    for outcome in outcomes:
        succeeded(outcome)
    assert execute(file, "SELECT count(*) FROM t") == [(12,)]


# Settings and payloads.


def test_a_database_that_is_not_named_in_the_settings_is_told(sql: Sql) -> None:
    outcome = failed(run(sql, {"database": "other", "statement": "SELECT 1"}))
    assert outcome.final
    assert "no database named other" in outcome.reason


@pytest.mark.parametrize(
    "dsn",
    [
        "canary",
        "mysql://u:canary@h/d",
        "canary://",
        "postgresql+asyncpg://u:canary@h/d",
        "",
        "sqlite+aiosqlite://",
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_showing_it(dsn: str) -> None:
    with pytest.raises(InvalidSettings, match="database reports: ") as refused:
        Sql({"reports": dsn})
    assert "canary@" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"database": "test"},
        {"database": "test", "statement": ""},
        {"database": "sqlite:///x", "statement": "SELECT 1"},
        {"database": "postgresql://u:p@h/d", "statement": "SELECT 1"},
        {"database": "test", "statement": "SELECT 1", "dsn": "sqlite://"},
        {"database": "test", "statement": ["SELECT 1"]},
        {"database": "test", "statement": "SELECT 1", "parameters": {"a": [1]}},
        {"database": "test", "statement": "SELECT 1", "parameters": {"a b": 1}},
        {"database": "test", "statement": "SELECT 1", "parameters": {"fire_id": 1}},
        {"database": "test", "statement": "SELECT 1", "maxRows": -1},
        {"database": "test", "statement": "SELECT 1", "maxRows": 1001},
        {"database": "test", "statement": "SELECT 1", "timeoutSeconds": 0},
        {"database": "test", "statement": "SELECT 1", "max_rows": 1},
    ],
    ids=str,
)
def test_a_payload_that_is_not_understood_is_refused(payload: Any) -> None:
    with pytest.raises(ValidationError):
        SqlPayload.model_validate(payload)


def test_every_value_has_a_form_in_json() -> None:
    rows = Rows(1)
    values = [
        *(True, 1, 2**80, float("inf"), float("nan"), Decimal("1.50"), datetime(2026, 1, 2, tzinfo=UTC)),
        *(b"\x01", memoryview(b"\x02"), [1, [None]], {"a": {1: Decimal(1)}}, {3}),
    ]
    rows.add([f"c{index}" for index in range(len(values))], values)
    row = rows.result()["rows"][0]
    assert list(json.loads(json.dumps(row, allow_nan=False)).values()) == [
        *(True, 1, 2**80, "inf", "nan", "1.50", "2026-01-02T00:00:00+00:00", "\\x01", "\\x02"),
        *([1, [None]], {"a": {"1": "1"}}, "{3}"),
    ]
