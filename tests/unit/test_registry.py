from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import structlog

from dispatcher.core.outcome import Outcome, Succeeded
from dispatcher.errors import InvalidPayload
from dispatcher.work import handlers
from dispatcher.work.catalogue import payload_models
from dispatcher.work.handlers.plain import Echo
from dispatcher.work.handling import Cancel, Payload, Task
from dispatcher.work.intake import Handlers
from dispatcher.work.payloads import look
from dispatcher.work.registry import HANDLERS, Means, Registry, installed, registry


def points(group: str) -> Iterable[EntryPoint]:
    if group == HANDLERS:
        yield EntryPoint("report", "example_handlers.reports:report", group)
        yield EntryPoint("echo", "example_handlers.reports:report", group)
        yield EntryPoint("shell", "example_handlers.reports:report", group)
    else:
        yield EntryPoint("add", "example_handlers.mischief:add", group)
        yield EntryPoint("leave", "example_handlers.mischief:leave", group)


sent: list[tuple[str, bytes | None]] = []


def send(
    topic: str, _key: bytes | None, value: bytes | None, _headers: Sequence[tuple[str, bytes]], _left: float
) -> None:
    sent.append((topic, value))


FULL = Means(
    send=send,
    shell_allow=("/bin/echo",),
    python_allow=("add",),
    sql_dsns={"main": "sqlite://"},
    entry_points=points,
)


@pytest.fixture
def full() -> Iterator[Registry]:
    made = registry(FULL)
    yield made
    made.close()


@pytest.fixture
def bare() -> Iterator[Registry]:
    made = registry(Means(entry_points=points))
    yield made
    made.close()


def run(made: Registry, name: str, payload: Any) -> Outcome:
    handler = made.find(name)
    assert handler is not None, made.why_not(name)
    return handler.run(Task("j@1", 1, "j", 0, made.read(handler, payload), Cancel(), 20.0))


def test_it_is_what_the_pool_asks_for(full: Registry) -> None:
    asked: Handlers = full
    assert asked.find("noop") is not None


@pytest.mark.parametrize(
    ("name", "payload", "result"),
    [
        ("noop", None, None),
        ("LogTask", {"message": "x"}, None),
        ("EchoTask", {"message": "x"}, {"message": "x"}),
        ("echo", [1], [1]),
        ("echo", None, None),
        ("shell", {"command": ["echo", "x"]}, {"exit": 0}),
        ("python", {"callable": "add", "arguments": {"one": 1, "other": 2}}, 3),
        ("rehearse", None, None),
    ],
)
def test_handlers_run_by_their_names(full: Registry, name: str, payload: Any, result: Any) -> None:
    outcome = run(full, name, payload)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == result


def test_messages_are_sent_by_what_the_means_give(full: Registry) -> None:
    sent.clear()
    assert isinstance(run(full, "kafka", {"topic": "news", "value": "x"}), Succeeded)
    assert sent == [("news", b"x")]


def test_installed_handlers_run_by_the_names_of_their_entry_points(full: Registry) -> None:
    outcome = run(full, "report", {"recipient": "ada"})
    assert isinstance(outcome, Succeeded)
    assert outcome.result["to"] == "ada"


def test_an_installed_handler_takes_nobodys_name() -> None:
    with structlog.testing.capture_logs() as logs:
        made = registry(Means(entry_points=points))
    try:
        assert run(made, "echo", 1) == Succeeded(1)
        assert made.find("shell") is None
        assert [log["handler"] for log in logs if log["event"] == "handler.name_taken"] == ["echo", "shell"]
    finally:
        made.close()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shell", "`shell` is off: name what it may run in shell_allow"),
        ("python", "`python` is off: name what it may call in python_allow"),
        ("kafka", "`kafka` is off: this worker has nothing to send with"),
        ("sql", "`sql` is off: name the databases it may use in the setting sql"),
    ],
)
def test_what_is_not_allowed_is_off(bare: Registry, name: str, why: str) -> None:
    assert bare.find(name) is None
    assert bare.why_not(name) == why


def test_an_unknown_name_is_told_with_a_guess(bare: Registry) -> None:
    assert bare.find("htp") is None
    assert bare.why_not("htp").startswith(
        "there is no handler 'htp', did you mean `http`? there are EchoTask, LogTask, echo, http, "
    )
    assert bare.why_not("\n" + "x" * 10_000).startswith("there is no handler '\\nxxx")
    assert len(bare.why_not("x" * 10_000)) < 500


def test_a_bad_payload_is_told_field_by_field(full: Registry) -> None:
    handler = full.find("shell")
    assert handler is not None
    with pytest.raises(InvalidPayload) as caught:
        full.read(handler, {"command": ["echo", 1], "enviroment": {}, "expectExit": 0})
    assert str(caught.value) == (
        "payload: `command[1]`: input should be a valid string; "
        "`expectExit`: input should be a valid array; "
        "`enviroment`: there is no such field; "
        "there are `command`, `environment`, `input`, `timeoutSeconds`, "
        "`graceSeconds`, `maxOutputBytes`, `expectExit`"
    )


def test_not_every_fault_of_a_large_payload_is_told(full: Registry) -> None:
    handler = full.find("shell")
    assert handler is not None
    with pytest.raises(InvalidPayload, match=r"; and 480 more$"):
        full.read(handler, {"command": list(range(500))})


@pytest.mark.parametrize("payload", [float("nan"), "\ud800", json.loads("[" * 500 + "]" * 500), "x", 1, None])
def test_no_payload_is_too_odd_to_be_judged(payload: Any) -> None:
    for model in payload_models().values():
        assert isinstance(look(model, payload), (list, Payload))


def test_the_models_are_those_of_the_handlers(full: Registry) -> None:
    for name, model in payload_models().items():
        handler = full.find(name)
        assert handler is not None, name
        assert handler.payload is model


def test_every_handler_that_comes_along_is_in_the_catalogue() -> None:
    own = set()
    for module in pkgutil.iter_modules(handlers.__path__):
        for made in vars(importlib.import_module(f"{handlers.__name__}.{module.name}")).values():
            if isinstance(made, type) and isinstance(model := getattr(made, "payload", None), type):
                own.add(model)
    assert own == set(payload_models().values())


def test_a_handler_that_cannot_close_keeps_no_other_from_it() -> None:
    closed = []

    class Stuck(Echo):
        def close(self) -> None:
            raise OSError("stuck")

    class Good(Echo):
        def close(self) -> None:
            closed.append(self.name)

    Registry([Stuck("a"), Good("b")]).close()
    assert closed == ["b"]


def test_installed_packages_are_asked() -> None:
    assert list(installed("dispatcher.no-such-group")) == []
