"""What lies under docker/, read as those read it who use it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
MANIFESTS = DOCKER / "kubernetes"
PINNED = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)?:[\w.-]+@sha256:[0-9a-f]{64}")
"""An image by tag and digest, and without the name of a host."""


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its lines joined, and the number of its stage."""

    name: str
    rest: str
    stage: int


def instructions(text: str) -> list[Instruction]:
    found, stage = [], -1
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        stage += name == "FROM"
        found.append(Instruction(name, re.sub(r"\s+", " ", rest).strip(), stage))
    return found


class Over(dict[str, Any]):
    """What replaces an earlier file's value as a whole, under the key `value`."""


class _Loader(yaml.SafeLoader):
    """YAML with the tags of Compose for what replaces and what removes."""


def _over(loader: _Loader, _tag: str, node: yaml.Node) -> Over:
    if isinstance(node, yaml.MappingNode):
        return Over(value=loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return Over(value=loader.construct_sequence(node, deep=True))
    return Over(value=None)


_Loader.add_multi_constructor("!", _over)


def compose(*names: str) -> dict[str, Any]:
    """Return Compose files laid over one another, as `docker compose config` would."""
    merged: Any = {}
    for name in names:
        merged = _merged(merged, yaml.load((DOCKER / name).read_text(), _Loader))  # noqa: S506 - a SafeLoader
    assert isinstance(merged, dict)
    return merged


def _merged(under: Any, over: Any) -> Any:
    if isinstance(over, Over):
        return over["value"]
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {**under, **{name: _merged(under.get(name), value) for name, value in over.items()}}
    if isinstance(under, list) and isinstance(over, list):
        return [*under, *over]
    if isinstance(over, Mapping):
        return {name: _merged(None, value) for name, value in over.items()}
    return over


@cache
def manifests() -> tuple[dict[str, Any], ...]:
    """Return every Kubernetes object, in the order of the files."""
    return tuple(
        each for path in sorted(MANIFESTS.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())
    )
