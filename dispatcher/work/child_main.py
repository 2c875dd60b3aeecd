"""The child: a process that runs callables for a worker, one after another, and answers on a socket.

Started as `python -m dispatcher.work.child_main <file descriptor>` under a warden. Whatever the callables do
to their process, they do here. It ends with the socket.

    question: {"kind": "task" | "handler", "target": "module:name", "fire": …, "data": …, …}
    answer:   {"result": JSON} or {"failed": why, "final": bool, "retryAfterMs": n | null}, and "spent": bool
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any

from dispatcher.core.instant import from_text, to_datetime
from dispatcher.work import frames
from dispatcher.work.custom import CustomRun, Fail, Retry

MOST_RESULT = 256 * 1024
_LONGEST_REASON = 2_000
Answer = dict[str, Any]


def main() -> None:
    """Answer questions until there are no more."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    recycle_bytes = int(sys.argv[2])
    sys.argv = sys.argv[:1]
    os.environ.pop("PYTHONPATH", None)  # it has served: other interpreters are not to see it
    threads = threading.active_count()
    while True:
        try:
            question = frames.receive(channel)
            answer = answered(question)
            spent = answer.get("spent") or threading.active_count() > threads or _resident() > recycle_bytes
            frames.send(channel, {**answer, "spent": bool(spent)})
        except frames.Lost:
            os._exit(0)  # threads that were left running must not keep it here


def answered(question: dict[str, Any]) -> Answer:
    """Run what is asked for; whatever it raises is an answer too."""
    for name, value in question["environment"].items():
        os.environ.pop(name, None)
        if value:
            os.environ[name] = value
    own = os.getpid()
    try:
        answer = _result(_called(question))
    except BaseException as error:  # noqa: BLE001 - others' code: SystemExit too is an answer
        answer = _failure(error)
    if os.getpid() != own:
        os._exit(0)  # a copy that what was called has made of this process, and let come back
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    return answer


def _called(question: dict[str, Any]) -> Any:
    target = _target(question["target"])
    if question["kind"] == "task":
        return _task(target, question["data"])
    return target(
        CustomRun(
            question["fire"],
            question["attempt"],
            question["job"],
            to_datetime(from_text(question["planned"])),
            _checked(target, question["data"]),
            question["seconds"],
        )
    )


class _Unimportable(Exception):
    """What is to be called is not there."""


def _target(name: str) -> Callable[..., Any]:
    """Return what an entry point names. After a failed import this process is not used again."""
    module, _, attributes = name.partition(":")
    try:
        found = reduce(getattr, attributes.split("."), importlib.import_module(module))
    except BaseException as error:
        raise _Unimportable(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise _Unimportable(f"{name} cannot be called: it is of type {type(found).__name__}")
    return found


def _task(task: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        inspect.signature(task).bind(**arguments)
    except TypeError as error:
        raise Fail(f"it does not take these arguments: {error}") from error
    except ValueError:  # built-in functions may not tell what they take
        pass
    return task(**arguments)


def _checked(handle: Callable[..., Any], payload: Any) -> Any:
    """Return the payload as the handler's model takes it, if it has one."""
    model = getattr(handle, "payload", None)
    if model is None:
        return payload
    from dispatcher.errors import InvalidPayload  # noqa: PLC0415 - only who brings a model pays for the import
    from dispatcher.work.payloads import read  # noqa: PLC0415 - the same

    try:
        return read(model, payload)
    except InvalidPayload as error:
        raise Fail(str(error)) from error


def _result(value: Any) -> Answer:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Fail(f"it returned what is not JSON: {error}") from error
    if len(text) > MOST_RESULT:
        raise Fail(f"it returned {len(text)} bytes of JSON, more than {MOST_RESULT}: return where it lies")
    return {"result": value}


def _failure(error: BaseException) -> Answer:
    after = error.after_seconds if isinstance(error, Retry) else None
    plain = isinstance(error, (Fail, Retry, _Unimportable)) and str(error)
    if not plain:
        traceback.print_exception(error)
    reason = str(error) if plain else f"{type(error).__name__}: {error}".removesuffix(": ")
    return {
        "failed": reason[:_LONGEST_REASON].encode(errors="replace").decode(),
        "final": isinstance(error, Fail),
        "retryAfterMs": round(after * 1000) if after is not None and math.isfinite(after) else None,
        "spent": isinstance(error, (_Unimportable, MemoryError)),
    }


def _resident() -> int:
    """Return the bytes of memory that this process holds; 0 where the kernel does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
