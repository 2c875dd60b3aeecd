"""What the package logs, read from its source: every call that names an event, with levels and fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "dispatcher"
LEVELS = {"debug", "info", "warning", "error", "critical"}
LOGGERS = {"_say", "say", "_log"}
"""Names of structlog's loggers; `_LOG` is the library's, whose lines arrive as `library.logged`."""

Function = ast.FunctionDef | ast.Module


@dataclass
class Logged:
    """What calls with one event's name say: the fields that all of them have, and those that some have."""

    levels: set[str] = field(default_factory=set)
    always: set[str] | None = None
    sometimes: set[str] = field(default_factory=set)

    def add(self, levels: set[str], fields: set[str], maybe: set[str]) -> None:
        self.levels |= levels
        self.always = set(fields) if self.always is None else self.always & fields
        self.sometimes |= fields | maybe

    @property
    def maybe(self) -> set[str]:
        return self.sometimes - (self.always or set())


def logged(texts: dict[str, str]) -> dict[str, Logged]:
    """Return what modules log, by event. `texts` are their sources by name."""
    found: dict[str, Logged] = {}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    bound = {word for tree in trees.values() for word in _bound(tree)}
    for name, tree in trees.items():
        for function, call in _calls(tree):
            levels = _levels(call, function)
            if levels is None:
                continue
            fields, maybe = _fields(call, function, name)
            if _is_of_a_shard(name, tree):
                fields |= bound
            for event in _events(call, function, name):
                found.setdefault(event, Logged()).add(levels, fields, maybe)
    return found


def sources() -> dict[str, str]:
    return {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")
    }


def _calls(tree: ast.Module) -> Iterator[tuple[Function, ast.Call]]:
    """Yield every call with the innermost function it stands in."""

    def walk(node: ast.AST, function: Function) -> Iterator[tuple[Function, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            inner = child if isinstance(child, ast.FunctionDef) else function
            if isinstance(child, ast.Call):
                yield function, child
            yield from walk(child, inner)

    return walk(tree, tree)


def _levels(call: ast.Call, function: Function) -> set[str] | None:
    """Return the levels that a call logs at, None when it is no call of a logger."""
    match call.func:
        case ast.Attribute(value=owner, attr="log") if _is_logger(owner):
            return LEVELS
        case ast.Attribute(value=owner, attr=level) if level in LEVELS and _is_logger(owner):
            return {level}
        case ast.Name(id=name):
            chosen = [level for value in _assigned(name, function) for level in _chosen(value)]
            return set(chosen) or None
    return None


def _chosen(value: ast.expr) -> list[str]:
    """Return the levels of `a.error if … else a.warning`, where methods of a logger are chosen from."""
    if isinstance(value, ast.IfExp):
        return [*_chosen(value.body), *_chosen(value.orelse)]
    if isinstance(value, ast.Attribute) and value.attr in LEVELS and _is_logger(value.value):
        return [value.attr]
    return []


def _is_logger(owner: ast.expr) -> bool:
    match owner:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in LOGGERS
        case ast.Call(func=ast.Attribute(attr="get_logger")):
            return True
    return False


def _events(call: ast.Call, function: Function, module: str) -> list[str]:
    first = call.args[1 if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else 0]
    events = _texts(first, function)
    assert events, f"{module}:{call.lineno}: the name of an event stands where it is logged, as a literal"
    return events


def _texts(value: ast.expr, function: Function) -> list[str]:
    match value:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return [*_texts(body, function), *_texts(orelse, function)]
        case ast.Name(id=name):
            return [text for one in _assigned(name, function) for text in _texts(one, function)]
    return []


def _assigned(name: str, function: Function) -> list[ast.expr]:
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]


def _fields(call: ast.Call, function: Function, module: str) -> tuple[set[str], set[str]]:
    """Return the fields that a call always has, and those that it may have."""
    always: set[str] = set()
    maybe: set[str] = set()
    for keyword in call.keywords:
        if keyword.arg is not None:
            always.add("exception" if keyword.arg == "exc_info" else keyword.arg)
            continue
        spread = keyword.value
        names = _assigned(spread.id, function) if isinstance(spread, ast.Name) else [spread]
        assert names, f"{module}:{call.lineno}: the fields of an event stand where it is logged"
        for one in names:
            (maybe if isinstance(one, ast.IfExp) else always).update(_keys(one, f"{module}:{call.lineno}"))
    return always, maybe


def _keys(value: ast.expr, place: str) -> set[str]:
    match value:
        case ast.IfExp(body=body, orelse=orelse):
            return _keys(body, place) | _keys(orelse, place)
        case ast.Dict(keys=keys):
            names = {key.value for key in keys if isinstance(key, ast.Constant)}
            assert len(names) == len(keys), f"{place}: the names of fields are literals"
            return {"exception" if name == "exc_info" else str(name) for name in names}
    raise AssertionError(f"{place}: the fields of an event stand where it is logged")


def _bound(tree: ast.Module) -> Iterator[str]:
    """Yield the fields that loggers are bound to, which then stand in all of their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "bind":
            inner = node.func.value
            if isinstance(inner, ast.Call) and _is_logger(inner):
                yield from (keyword.arg for keyword in node.keywords if keyword.arg)


def _is_of_a_shard(module: str, tree: ast.Module) -> bool:
    """Return whether a module logs by a bound logger: its own, or one that a shard gives it."""
    given = any(
        one.arg == "say"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for one in [*node.args.args, *node.args.kwonlyargs]
    )
    return bool(list(_bound(tree))) or (given and module.startswith("produce/"))
