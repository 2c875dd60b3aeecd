from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import eventually, is_running, nothing_left

from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.work.children import Children, Upbringing
from dispatcher.work.handlers.plain import Anything
from dispatcher.work.handlers.python import Python, PythonPayload
from dispatcher.work.handling import Cancel, Task
from dispatcher.work.payloads import read
from dispatcher.work.ward import MOST_KEPT

MISCHIEF = "example_handlers.mischief"
Call = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have every test leave nothing: no process, zombie, open file or directory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with nothing_left(tmp_path):
        yield tmp_path


class Names(dict[str, str]):
    """Every name is an entry point, and leads to what the examples call so."""

    def get(self, name: str, _default: Any = None) -> Any:
        return f"{MISCHIEF}:{name}"


class Everything(set[str]):
    def __contains__(self, _name: object) -> bool:
        return True


@contextmanager
def bringing_up(**values: Any) -> Iterator[tuple[Call, Children]]:
    children = Children(Upbringing(**{"grace": 0.3, **values}))
    handler = Python(Everything(), Names(), children)

    def call(
        name: str, seconds: float | None = 20, cancel: Cancel | None = None, **arguments: Any
    ) -> Outcome:
        payload = read(PythonPayload, {"callable": name, "arguments": arguments})
        return handler.run(Task("j@1", 1, "j", 1000, payload, cancel or Cancel(), seconds))

    try:
        yield call, children
    finally:
        children.close()
    assert len(children) == 0


@pytest.fixture
def call() -> Iterator[Call]:
    with bringing_up() as (call, _):
        yield call


def pid(outcome: Outcome) -> int:
    assert isinstance(outcome, Succeeded)
    assert isinstance(outcome.result, int)
    return outcome.result


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


def test_a_child_is_used_again(call: Call) -> None:
    assert pid(call("who")) == pid(call("who"))


def test_arguments_go_in_and_results_come_out(call: Call) -> None:
    assert call("add", one=3, other=4) == Succeeded(7)


def test_arguments_that_do_not_fit_are_final(call: Call) -> None:
    outcome = failed(call("add", two=3))
    assert outcome.final
    assert outcome.reason == "it does not take these arguments: missing a required argument: 'one'"


def test_children_end_after_so_many_runs() -> None:
    with bringing_up(runs=2) as (call, children):
        assert pid(call("who")) == pid(call("who"))
        assert len(children) == 0
        call("who")
        assert len(children) == 1


def test_children_that_are_idle_end_after_a_while() -> None:
    with bringing_up(idle_seconds=0.3) as (call, children):
        first = pid(call("who"))
        assert len(children) == 1
        assert eventually(lambda: len(children) == 0)
        assert not is_running(first)
        assert pid(call("who")) != first
        assert eventually(lambda: len(children) == 0)


def test_there_are_as_many_children_as_runs_at_once() -> None:
    with bringing_up() as (call, children):
        cancels = [Cancel() for _ in range(4)]
        threads = [
            threading.Thread(target=call, args=("hang",), kwargs={"cancel": cancel, "seconds": None})
            for cancel in cancels
        ]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(children) == 4)
        for cancel in cancels:
            cancel.set("enough")
        for thread in threads:
            thread.join()
        assert len(children) == 0


def test_no_more_are_kept_than_wanted() -> None:
    children = Children(Upbringing(), most=0)
    handler = Python(Everything(), Names(), children)
    payload = read(PythonPayload, {"callable": "who"})
    assert isinstance(handler.run(Task("j@1", 1, "j", 1000, payload, Cancel())), Succeeded)
    assert len(children) == 0
    children.close()


def test_nothing_is_kept_after_the_close() -> None:
    with bringing_up() as (call, children):
        children.close()
        assert isinstance(call("who"), Succeeded)
        assert len(children) == 0


def test_an_idle_child_that_died_is_replaced(call: Call) -> None:
    first = pid(call("who"))
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: not is_running(first))
    assert eventually(lambda: isinstance(call("who"), Succeeded))
    assert pid(call("who")) != first


def test_a_child_sees_nothing_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_KAFKA__SASL_PASSWORD", "canary-3141")
    with bringing_up(environment={"REPORTS": "/srv"}) as (call, _):
        outcome = call("seen")
    assert isinstance(outcome, Succeeded)
    seen = outcome.result
    assert "canary-3141" not in str(seen)
    assert seen["environment"].items() >= {"REPORTS": "/srv", "DISPATCHER_FIRE_ID": "j@1"}.items()
    assert set(seen["environment"]) <= {
        *("PATH", "LANG", "HOME", "TMPDIR", "REPORTS", "DISPATCHER_FIRE_ID", "DISPATCHER_ATTEMPT"),
        *("DISPATCHER_JOB", "DISPATCHER_PLANNED", "DISPATCHER_SECONDS", "LC_CTYPE"),
    }
    assert seen["environment"]["HOME"] == seen["cwd"]
    assert seen["limits"] == [[0, 0], [2 << 30, 2 << 30]]
    assert len(seen["fds"]) == 4  # its streams, and the socket it answers on
    assert seen["stdin"] == ""
    assert len(seen["arguments"]) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("leave", "SystemExit: 3"),
        ("leave_at_once", "the process it ran in ended with status 7 without an answer"),
        ("abort", "the process it ran in was ended by signal 11 (SIGSEGV) without an answer"),
        ("speak_out_of_turn", "the process it ran in did not keep to its words"),
        ("return_an_object", "it returned what is not JSON: Object of type object is not JSON serializable"),
        ("return_too_much", "it returned 1000002 bytes of JSON, more than 262144: return where it lies"),
        ("missing", "example_handlers.mischief:missing cannot be imported: AttributeError"),
        ("kept", "example_handlers.mischief:kept cannot be called: it is of type list"),
    ],
)
def test_what_a_callable_does_to_its_process_hurts_no_other(call: Call, name: str, reason: str) -> None:
    outcome = failed(call(name))
    assert outcome.reason.startswith(reason)
    assert call("add", one=1) == Succeeded(2)


def test_a_module_that_cannot_be_imported_hurts_no_other_run() -> None:
    with bringing_up() as (call, children):
        broken = Python(Everything(), {"x": "example_handlers.broken:x"}, children)
        payload = read(PythonPayload, {"callable": "x"})
        outcome = failed(broken.run(Task("j@1", 1, "j", 1000, payload, Cancel())))
        assert outcome.reason == (
            "example_handlers.broken:x cannot be imported: RuntimeError: this module always fails"
        )
        assert not outcome.final
        assert len(children) == 0
        assert isinstance(call("who"), Succeeded)


def test_last_words_are_kept(call: Call) -> None:
    assert failed(call("leave_at_once")).output == "last words\n"


@pytest.mark.parametrize("name", ["hang", "hang_stubbornly", "hold_the_interpreter"])
def test_what_does_not_end_is_ended(call: Call, name: str) -> None:
    first = pid(call("who"))
    began = time.monotonic()
    assert failed(call(name, seconds=0.5)).reason == "it took longer than 0.5 s"
    assert time.monotonic() - began < 6
    assert not is_running(first)
    assert isinstance(call("who"), Succeeded)


def test_a_cancelled_run_is_ended_and_says_so(call: Call) -> None:
    cancel = Cancel()
    threading.Timer(0.3, cancel.set, ("somebody asked",)).start()
    assert call("hang", seconds=None, cancel=cancel) == Cancelled("somebody asked")


def test_a_child_that_has_grown_is_not_used_again() -> None:
    with bringing_up(recycle_bytes=100 << 20) as (call, children):
        assert pid(call("grow", megabytes=10)) == pid(call("who"))
        call("grow", megabytes=120)
        assert len(children) == 0


def test_no_child_takes_all_memory() -> None:
    with bringing_up(memory_bytes=200 << 20) as (call, children):
        outcome = failed(call("grow", megabytes=300))
        assert outcome.reason == "MemoryError"
        assert len(children) == 0
        assert isinstance(call("who"), Succeeded)


def test_flooded_output_is_cut_and_the_next_run_sees_none_of_it(call: Call) -> None:
    outcome = call("flood")
    assert isinstance(outcome, Succeeded)
    assert "bytes are left out" in outcome.output
    assert len(outcome.output.encode()) <= MOST_KEPT + 100
    assert call("add", one=1) == Succeeded(2)


@pytest.mark.parametrize("name", ["fork_and_come_back", "leave_a_thread"])
def test_a_child_that_leaves_something_running_is_ended(name: str) -> None:
    with bringing_up() as (call, children):
        first = pid(call(name))
        assert eventually(lambda: not is_running(first))
        assert len(children) == 0


def test_a_daemon_that_a_callable_leaves_behind_is_ended() -> None:
    with bringing_up() as (call, children):
        daemon = pid(call("leave_a_daemon"))
        assert not is_running(daemon)
        assert len(children) == 0


def test_the_payload_of_custom_handlers_is_any_json() -> None:
    assert read(Anything, None).value is None
