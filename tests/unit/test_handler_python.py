from __future__ import annotations

from typing import Any

import pytest

from dispatcher.core.outcome import Failed
from dispatcher.errors import InvalidPayload
from dispatcher.work.children import Children
from dispatcher.work.handlers.python import Python, PythonPayload
from dispatcher.work.handling import Cancel, Task
from dispatcher.work.payloads import read


def run(name: str) -> Failed:
    children = Children()
    handler = Python(("nightly", "gone"), {"nightly": "x:y", "other": "os:system"}, children)
    payload = read(PythonPayload, {"callable": name})
    outcome = handler.run(Task("j@1", 1, "j", 0, payload, Cancel()))
    assert len(children) == 0  # no process was begun
    assert isinstance(outcome, Failed)
    assert outcome.final
    return outcome


def test_an_installed_callable_that_is_not_allowed_is_not_called() -> None:
    assert run("other").reason == "`other` is not allowed: name it in python_allow"


def test_an_allowed_callable_that_is_not_installed_is_told() -> None:
    assert run("gone").reason == (
        "`gone` is allowed, but no installed package has it as an entry point of dispatcher.tasks"
    )


@pytest.mark.parametrize("name", ["os.system", "nightly2", "Nightly", "nightl"])
def test_only_exact_names_are_allowed(name: str) -> None:
    assert "is not allowed" in run(name).reason


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:eval", "__import__", "x:__class__", "../x", "a b", "nightly\n", "", "x" * 300, 1],
)
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidPayload, match="`callable`"):
        read(PythonPayload, {"callable": name})


@pytest.mark.parametrize(
    "payload",
    [None, {}, {"callable": "x", "arguments": [1]}, {"callable": "x", "kwargs": {}}, {"function": "x"}],
)
def test_bad_payloads_are_refused(payload: Any) -> None:
    with pytest.raises(InvalidPayload):
        read(PythonPayload, payload)
