"""`python` and custom handlers: callables of installed packages, in child processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from dispatcher.core.instant import to_text
from dispatcher.core.outcome import Failed, Outcome
from dispatcher.work.children import Children
from dispatcher.work.handlers.plain import Anything
from dispatcher.work.handling import Payload, Task
from dispatcher.work.surroundings import told_of

TASKS = "dispatcher.tasks"
"""The entry-point group of callables for `python`."""


class PythonPayload(Payload):
    """Which callable to call, by the name of its entry point, and with which named arguments."""

    callable: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,199}$")]
    arguments: dict[str, Any] = Field({}, max_length=1000)


class Python:
    """The handler `python`. `tasks` are the installed callables, `allow` the names that may be called."""

    name: str = "python"
    instant: bool = False
    payload: type[Payload] = PythonPayload

    def __init__(self, allow: Collection[str], tasks: Mapping[str, str], children: Children) -> None:
        self._allow = allow
        self._tasks = tasks
        self._children = children

    def run(self, task: Task) -> Outcome:
        """Call it once."""
        payload = task.payload
        assert isinstance(payload, PythonPayload)
        name = payload.callable
        if name not in self._allow:
            return Failed(f"`{name}` is not allowed: name it in python_allow", final=True)
        target = self._tasks.get(name)
        if target is None:
            return Failed(
                f"`{name}` is allowed, but no installed package has it as an entry point of {TASKS}",
                final=True,
            )
        question = _question("task", target, task, payload.arguments)
        return self._children.ask(question, task.cancel, task.seconds)

    def close(self) -> None:
        """Keep nothing: the children are closed by whoever made them."""


class Custom:
    """A handler that an installed package offers under a name of its own; `target` is `module:name`."""

    instant: bool = False
    payload: type[Payload] = Anything

    def __init__(self, name: str, target: str, children: Children) -> None:
        self.name = name
        self._target = target
        self._children = children

    def run(self, task: Task) -> Outcome:
        """Have it handle the run once."""
        assert isinstance(task.payload, Anything)
        question = _question("handler", self._target, task, task.payload.value)
        return self._children.ask(question, task.cancel, task.seconds)

    def close(self) -> None:
        """Keep nothing: the children are closed by whoever made them."""


def _question(kind: str, target: str, task: Task, data: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "target": target,
        "fire": task.fire,
        "attempt": task.attempt,
        "job": task.job,
        "planned": to_text(task.planned),
        "seconds": task.seconds,
        "data": data,
        "environment": told_of(task),
    }
