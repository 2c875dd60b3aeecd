"""Programs of the machine that tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """Return where a program lies; skip loudly where it is missing, fail on a build machine."""
    found = shutil.which(name)
    if found is None:
        why = f"{name} is not installed (Debian package `{package}`): nothing was checked by it"
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    return found
