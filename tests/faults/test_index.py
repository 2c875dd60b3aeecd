"""The index of faults tells the truth: it is whole, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from faults.index import INDEX

TESTS = Path(__file__).parents[1]
NUMBERS = [f"F{number:02}" for number in range(1, 55)]


@cache
def functions(file: str) -> frozenset[str]:
    """Return the names of a file's test functions, those of classes too."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and is_test(node.name)
    )


def is_test(name: str) -> bool:
    return name.startswith("test_")


def test_every_fault_of_the_list_is_there_once_and_in_order() -> None:
    assert list(INDEX) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_every_test_that_stands_for_a_fault_is_there(number: str) -> None:
    fault = INDEX[number]
    assert fault.tests or fault.left, "neither a test nor a reason"
    assert len(set(fault.tests)) == len(fault.tests)
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert name in functions(file), f"{test} is not there"


def test_every_test_that_bears_a_number_stands_for_that_fault() -> None:
    for path in sorted(TESTS.glob("*/test_*.py")):
        file = path.relative_to(TESTS).as_posix()
        for name in functions(file):
            if found := re.match(r"test_f(\d\d)_", name):
                assert f"{file}::{name}" in INDEX[f"F{found[1]}"].tests, name
