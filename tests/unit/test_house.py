"""The tree is the architecture: these tests fail when a module leaves its place or breaks a house rule.

Each rule is a function from a module to its faults, tried on the package and on a line that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp
import pytest

PACKAGE = Path(__file__).parents[2] / "dispatcher"
STATIONS = {"feed", "produce", "kafka", "work", "observe", "api"}
RANKS = (
    {"errors"},
    {"core"},
    {"ports", "clock", "service", "masking", "locking", "notify", "standstill", "heap"},
    STATIONS,
    {"settings", "logs"},
    {"daemon", "worker"},
    {"cli"},
    {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
LONGEST_MODULE = 350
LONGEST_FUNCTION = 40

PURE = {
    *("__future__", "abc", "base64", "binascii", "bisect", "calendar", "collections", "dataclasses"),
    *("datetime", "difflib", "enum", "functools", "hashlib", "heapq", "itertools", "json", "math"),
    *("operator", "re", "string", "struct", "types", "typing", "unicodedata", "zlib"),
    *("croniter", "dispatcher"),
}
"""What the core may import: nothing here reads a clock, does I/O, starts a thread or logs."""

EXCEPTIONS = {
    ("core.zone", "importlib"): "reads the packaged zone data, which is part of the program",
    ("core.zone", "zoneinfo"): "only parses the packaged data it is given",
    ("core.walls", "importlib"): "reads the version of the cron engine",
    ("core.walls", "threading"): "a lock around the engine's state; starts no thread",
}

UNSAFE_MODULES = {
    *("pickle", "marshal", "shelve", "dill", "yaml", "imp", "cloudpickle", "jsonpickle", "joblib", "copyreg"),
    *("multiprocessing", "code", "codeop", "runpy", "xmlrpc", "pdb"),
}
"""What makes objects, or code, of what it reads; multiprocessing sends pickles."""
UNSAFE_NAMES = {"eval", "exec", "compile", "__import__"}
UNSAFE_CALLS = {
    *(("builtins", name) for name in UNSAFE_NAMES),
    *(("os", name) for name in ("system", "popen", "spawnl", "spawnv", "spawnvp")),
    *(("subprocess", name) for name in ("getoutput", "getstatusoutput")),
    ("tempfile", "mktemp"), ("ssl", "_create_unverified_context"), ("ssl", "CERT_NONE"),
}  # fmt: skip
UNSAFE_KEYWORDS = {("shell", True), ("verify", False), ("check_hostname", False)}
WALL_CLOCKS = {
    ("time", "time"), ("time", "time_ns"), ("time", "ctime"), ("time", "localtime"), ("time", "gmtime"),
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    name: str
    """Dotted, without the package: `core.cron`; empty for the package itself."""
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def place(self) -> str:
        return self.name.partition(".")[0]


Rule = Callable[[Module], Iterator[str]]


def modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.read_text(encoding="utf-8")))
    return found


def imported(module: Module) -> Iterator[str]:
    """Yield every module imported, lazily and for types too; `from x import y` as `x.y`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def houses(module: Module) -> Iterator[str]:
    """Yield the places of the package that a module imports from."""
    for name in imported(module):
        parts = name.split(".")
        if parts[0] == "dispatcher" and len(parts) > 1:
            yield parts[1]


def flows_one_way(module: Module) -> Iterator[str]:
    if not module.name:
        return
    if module.place not in RANK:
        yield f"{module.name} has no place in the house; give it one in RANKS and in pyproject.toml"
        return
    for place in houses(module):
        if RANK.get(place, -1) > RANK[module.place]:
            yield f"{module.name} imports {place}, which comes after it"


def stations_are_strangers(module: Module) -> Iterator[str]:
    if module.place in STATIONS:
        for place in set(houses(module)) & STATIONS - {module.place}:
            yield f"{module.name} imports {place}; stations meet in the daemon"


def settings_know_no_station(module: Module) -> Iterator[str]:
    if module.place in {"settings", "logs"}:
        for place in set(houses(module)) & (STATIONS | {"core", "daemon"}):
            yield f"{module.name} imports {place}"


def client_library_stays_in_kafka(module: Module) -> Iterator[str]:
    if module.place != "kafka" and any(name.split(".")[0] == "confluent_kafka" for name in imported(module)):
        yield f"{module.name} imports confluent_kafka"


def core_is_pure(module: Module) -> Iterator[str]:
    if module.place not in {"core", "errors"}:
        return
    for name in {name.split(".")[0] for name in imported(module)} - PURE:
        if (module.name, name) not in EXCEPTIONS:
            yield f"{module.name} imports {name}"


def nothing_sleeps(module: Module) -> Iterator[str]:
    if "time.sleep" in imported(module) or "sleep" in {used[1] for used in attributes(module)}:
        yield f"{module.name} sleeps; wait for an event instead"


def time_comes_from_the_clock(module: Module) -> Iterator[str]:
    if module.name == "clock":
        return
    used = {*attributes(module), *(tuple(name.split(".")[-2:]) for name in imported(module) if "." in name)}
    for owner, name in used & WALL_CLOCKS:
        yield f"{module.name} uses {owner}.{name}; take a Clock, or `now` as an argument"


def attributes(module: Module) -> set[tuple[str, str]]:
    """Return what is used as `owner.name`, the owner being a name or the last of several."""
    return {
        (owner.id if isinstance(owner, ast.Name) else owner.attr, node.attr)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(owner := node.value, (ast.Name, ast.Attribute))
    }


def nothing_runs_data(module: Module) -> Iterator[str]:
    for name in {name.split(".")[0] for name in imported(module)} & UNSAFE_MODULES:
        yield f"{module.name} imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_NAMES:
            yield f"{module.name}:{node.lineno} calls {node.func.id}"
        if (
            isinstance(node, ast.keyword)
            and isinstance(node.value, ast.Constant)
            and (node.arg, node.value.value) in UNSAFE_KEYWORDS
        ):
            yield f"{module.name}:{node.value.lineno} says {node.arg}={node.value.value!r}"
    used = {*attributes(module), *(tuple(name.split(".")[-2:]) for name in imported(module) if "." in name)}
    for owner, name in used & UNSAFE_CALLS:
        yield f"{module.name} uses {owner}.{name}"


def modules_are_short(module: Module) -> Iterator[str]:
    lines = module.text.count("\n")
    if lines > LONGEST_MODULE:
        yield f"{module.name} has {lines} lines, more than {LONGEST_MODULE}"


def functions_are_short(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lines = (node.end_lineno or 0) - first.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{module.name}.{node.name} has {lines} lines, more than {LONGEST_FUNCTION}"


def exceptions_to_rules_have_reasons(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.text.splitlines(), 1):
        if re.search(r"# (noqa|type: ignore)(?!\S*: [A-Z0-9, ]+ - \S|\[[a-z-]+\] {1,2}# \S)", line):
            yield f"{module.name}:{number} silences a check without a reason beside it"


RULES: dict[Rule, tuple[str, str]] = {
    flows_one_way: ("core.plan", "from dispatcher.ports import ShardLog"),
    stations_are_strangers: ("feed.watcher", "from dispatcher.kafka.topics import KafkaTopics"),
    settings_know_no_station: ("settings.model", "import dispatcher.feed.models"),
    client_library_stays_in_kafka: ("produce.shard", "from confluent_kafka import Producer"),
    core_is_pure: ("core.plan", "import os"),
    nothing_sleeps: ("produce.shard", "import time\ntime.sleep(1)"),
    time_comes_from_the_clock: ("produce.shard", "import datetime\ndatetime.datetime.now()"),
    nothing_runs_data: ("feed.loader", "eval(text)"),
    modules_are_short: ("core.plan", "pass\n" * (LONGEST_MODULE + 1)),
    functions_are_short: ("core.plan", "def f():\n" + "    pass\n" * (LONGEST_FUNCTION + 1)),
    exceptions_to_rules_have_reasons: ("core.plan", "x = 1  # noqa: E501"),
}
MORE_BREACHES: list[tuple[Rule, str, str]] = [
    (flows_one_way, "attic", "pass"),
    (flows_one_way, "kafka.topics", "import dispatcher.settings"),
    (flows_one_way, "produce.shard", "def f():\n    from dispatcher import cli"),
    (stations_are_strangers, "produce.shard", "if TYPE_CHECKING:\n    from dispatcher.feed import loader"),
    (core_is_pure, "core.plan", "from threading import Lock"),
    (core_is_pure, "core.plan", "from time import monotonic"),
    (nothing_sleeps, "kafka.topics", "from time import sleep"),
    (time_comes_from_the_clock, "feed.watcher", "from time import time"),
    (time_comes_from_the_clock, "feed.watcher", "from datetime import datetime\ndatetime.now()"),
    (nothing_runs_data, "feed.loader", "import pickle"),
    (nothing_runs_data, "feed.loader", "from yaml import load"),
    (nothing_runs_data, "work.children", "from multiprocessing import Pipe"),
    (nothing_runs_data, "work.children", "import builtins\nbuiltins.eval(text)"),
    (nothing_runs_data, "work.children", "from os import system"),
    (nothing_runs_data, "work.children", "import os\nos.popen(text)"),
    (nothing_runs_data, "work.children", "subprocess.run(text, shell=True)"),
    (nothing_runs_data, "work.handlers.http", "httpx.get(url, verify=False)"),
    (nothing_runs_data, "work.handlers.http", "import ssl\nssl._create_unverified_context()"),
    (exceptions_to_rules_have_reasons, "core.plan", "x = 1  # type: ignore"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule) -> None:
    assert [fault for module in modules() for fault in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [*((rule, *breach) for rule, breach in RULES.items()), *MORE_BREACHES],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_the_rule_finds_its_breach(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Module(name, text)))


def test_every_exception_is_still_needed() -> None:
    used = {(module.name, name.split(".")[0]) for module in modules() for name in imported(module)}
    assert EXCEPTIONS.keys() - used == set()


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph("dispatcher", cache_dir=None)
    assert cycles(graph) == []


def test_a_detour_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, target in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        graph.add_import(importer=importer, imported=target)
    assert cycles(graph) == ["a → b → c", "b → c → a", "c → a → b"]


def cycles(graph: grimp.ImportGraph) -> list[str]:
    """Return each chain that leads from an imported module back to its importer; type-only imports count."""
    found = []
    for importer in sorted(graph.modules):
        for target in sorted(graph.find_modules_directly_imported_by(importer)):
            chain = graph.find_shortest_chain(target, importer)
            if chain:
                found.append(" → ".join((importer, *chain[:-1])))
    return found
