"""The bill of materials of the image: valid, whole, and the same bytes for the same content."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from container.files import DOCKER, PROJECT

STATUS = """Package: libssl3
Status: install ok installed
Architecture: amd64
Version: 3.0.17-1~deb12u3
Depends: libc6 (>= 2.34)
Description: Secure Sockets Layer toolkit - shared libraries
 This package is part of the OpenSSL project's implementation.
"""


@pytest.fixture(scope="module")
def python() -> bytes:
    return subprocess.run([sys.executable, PROJECT / ".ci" / "sbom"], capture_output=True, check=True).stdout


def bill(python: bytes, directory: Path) -> bytes:
    command = [sys.executable, "-I", str(DOCKER / "bill.py"), str(directory)]
    return subprocess.run(command, input=python, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("status.d")
    (directory / "libssl3").write_text(STATUS)
    return directory


@pytest.fixture(scope="module")
def made(python: bytes, directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bill(python, directory))
    return found


def test_it_is_valid(made: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None


def test_it_lists_the_locked_packages_and_debians(made: dict[str, Any]) -> None:
    names = [each["name"] for each in made["components"]]
    assert names[-1] == "libssl3"
    assert "confluent-kafka" in names
    assert made["metadata"]["component"]["name"] == "kafka-cron-dispatcher"
    assert {each["bom-ref"] for each in made["components"]} < {each["ref"] for each in made["dependencies"]}


def test_debians_packages_are_named_as_scanners_know_them(made: dict[str, Any]) -> None:
    [package] = [each for each in made["components"] if each["name"] == "libssl3"]
    assert package["purl"] == "pkg:deb/debian/libssl3@3.0.17-1~deb12u3?arch=amd64&distro=debian-12"


def test_the_same_content_gives_the_same_bytes_and_other_another_number(
    python: bytes, directory: Path, made: dict[str, Any]
) -> None:
    assert json.loads(bill(python, directory)) == made
    (directory / "libssl4").write_text(STATUS.replace("libssl3", "libssl4"))
    assert json.loads(bill(python, directory))["serialNumber"] != made["serialNumber"]
