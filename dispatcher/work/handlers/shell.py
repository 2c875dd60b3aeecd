"""`shell`: runs a program that the operator allows, with arguments that no shell ever sees."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.service import Deadline
from dispatcher.work.handling import Payload, Task
from dispatcher.work.surroundings import LANG, PATH, told_of
from dispatcher.work.ward import MOST_KEPT, Bell, End, Order, Unstartable, Ward

LONGEST_SECONDS = 315_360_000
_RESERVED = re.compile(
    r"PATH|HOME|TMPDIR|LANG|TRACEPARENT|DISPATCHER_.*|IFS|ENV|BASH_.*|SHELLOPTS|BASHOPTS|PS4|CDPATH"
    r"|LD_.*|DYLD_.*|GLIBC_.*|GCONV_PATH|MALLOC_.*|LOCPATH|NLSPATH|HOSTALIASES|RES_OPTIONS|LOCALDOMAIN"
    r"|PYTHON.*|PERL.*|RUBY.*|GEM_.*|NODE_.*|JAVA_.*|JDK_.*|_JAVA_OPTIONS|CLASSPATH|LUA_.*|PHP.*"
    r"|GIT_.*|SSH_.*|PAGER|EDITOR|VISUAL|BROWSER|LESSOPEN|LESSCLOSE"
)
"""What would change which program runs, or make an allowed one run another: not for the schedule to say."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it must not hold a NUL character")
    return text


def _not_reserved(name: str) -> str:
    if _RESERVED.fullmatch(name):
        raise ValueError(
            f"`{name}` is reserved: it would change what is run; set it in a script that is allowed"
        )
    return name


Text = Annotated[str, AfterValidator(_without_nul)]
Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"), AfterValidator(_not_reserved)
]


class ShellPayload(Payload):
    """What to run: `command` is the program and its arguments, as a list; nothing in it is interpreted."""

    model_config = ConfigDict(alias_generator=to_camel)

    command: Annotated[list[Text], Field(min_length=1, max_length=1000)]
    environment: dict[Name, Text] = Field({}, max_length=100)
    input: str | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] | None = None
    grace_seconds: Annotated[float, Field(ge=0, le=8)] = 5.0
    max_output_bytes: Annotated[int, Field(ge=0, le=MOST_KEPT)] = MOST_KEPT
    expect_exit: list[Annotated[int, Field(ge=0, le=255)]] = Field([0], min_length=1)


class Shell:
    """The handler. `allow` holds the absolute paths of the programs that it may run.

    `command` names one by its whole path, or by the last part of it if that is one program's alone.
    """

    name: str = "shell"
    instant: bool = False
    payload: type[Payload] = ShellPayload

    def __init__(self, allow: Iterable[str]) -> None:
        paths = [path for path in allow if path.startswith("/")]
        short = [path.rpartition("/")[2] for path in paths]
        self._allowed = {
            name: path for name, path in zip(short, paths, strict=True) if short.count(name) == 1
        }
        self._allowed |= {path: path for path in paths}

    def run(self, task: Task) -> Outcome:
        """Run the program once, and end all it started."""
        payload = task.payload
        assert isinstance(payload, ShellPayload)
        path = self._allowed.get(payload.command[0])
        if path is None:
            allowed = ", ".join(f"`{path}`" for path in sorted({*self._allowed.values()})) or "nothing"
            return Failed(
                f"{payload.command[0]!r:.200} is not allowed; shell_allow has {allowed}", final=True
            )
        limits = [limit for limit in (task.seconds, payload.timeout_seconds) if limit is not None]
        limit = min(limits, default=None)
        try:
            ward = Ward(_order(path, payload, task))
        except Unstartable as error:
            return Failed(f"{path} {error}")
        try:
            return _watched(ward, task, payload, limit)
        finally:
            ward.close()

    def close(self) -> None:
        """Nothing is kept between runs."""


def _order(path: str, payload: ShellPayload, task: Task) -> Order:
    told = {name: value for name, value in told_of(task).items() if value}
    return Order(
        [path, *payload.command[1:]],
        {**payload.environment, "PATH": PATH, "LANG": LANG, **told},
        input=payload.input,
        keep=payload.max_output_bytes,
        grace=payload.grace_seconds,
    )


def _watched(ward: Ward, task: Task, payload: ShellPayload, limit: float | None) -> Outcome:
    with Bell(task.cancel) as bell:
        end = ward.wait(bell, None if limit is None else Deadline(limit))
    if end is not None:
        return _outcome(end, payload)
    end = ward.end(payload.grace_seconds)
    if task.cancel.is_set():
        return Cancelled(task.cancel.reason, output=end.output)
    return Failed(f"it took longer than {limit:g} s and {end.text()}", output=end.output)


def _outcome(end: End, payload: ShellPayload) -> Outcome:
    if end.code in payload.expect_exit:
        left: dict[Literal["ended"], int] = {"ended": end.left} if end.left else {}
        return Succeeded({"exit": end.code, **left}, output=end.output)
    wanted = " or ".join(map(str, payload.expect_exit))
    expected = "" if end.code is None else f", {wanted} was expected"
    return Failed(f"{payload.command[0]!r:.200} {end.text()}{expected}", output=end.output)
