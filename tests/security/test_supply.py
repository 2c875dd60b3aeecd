"""What comes from elsewhere is pinned by hash, listed, and refused if it differs; builds are repeatable."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / ".ci/requirements").glob("*.txt"))
EPOCH = "1700000000"
OWN = "kafka-cron-dispatcher"


def build(project: Path, target: Path) -> dict[str, bytes]:
    """Build sdist and wheel of a project; return their bytes by name."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    made = subprocess.run(
        [sys.executable, project / ".ci/dist", target],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return {file.name: file.read_bytes() for file in target.iterdir()}


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with our own wheel in it."""
    target = tmp_path_factory.mktemp("wheelhouse")
    build(ROOT, target)
    return target


def test_the_same_sources_give_the_same_bytes_wherever_and_whenever(wheelhouse: Path, tmp_path: Path) -> None:
    copy = tmp_path / "somewhere else"
    for name in ("pyproject.toml", "README.md", "LICENSE", "dispatcher", ".ci/dist"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    for file in copy.rglob("*"):
        file.chmod(0o770)
        os.utime(file, (86_400, 86_400))
    (copy / "dispatcher" / "__pycache__").mkdir()
    (copy / "secrets.env").write_text("hunter2")
    first = {file.name: file.read_bytes() for file in wheelhouse.iterdir()}
    assert build(copy, tmp_path / "made") == first
    assert sorted(name.rpartition("-")[2] for name in first) == ["0.1.0.tar.gz", "any.whl"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_the_lock_is_pinned_by_hash_and_names_no_place(lock: Path) -> None:
    entries = [one for one in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text().strip()) if one[0] != "#"]
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[^\]]+\])?==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        assert "://" not in entry


def test_the_project_is_set_up_from_the_lock_alone() -> None:
    made = (ROOT / "Makefile").read_text()
    installs = [
        line for line in made.splitlines() if re.search(r"pip install", line) and "pip-tools" not in line
    ]
    assert len(installs) == 2
    assert "--require-hashes -r .ci/requirements/dev.txt" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]


def install(wheelhouse: Path, target: Path, digest: str) -> subprocess.CompletedProcess[str]:
    """Install our own wheel offline, as the lock would have it: by its hash."""
    wanted = target.with_suffix(".txt")
    wanted.write_text(f"{OWN}=={metadata.version(OWN)} --hash=sha256:{digest}\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    return subprocess.run(
        [*pip, "--no-compile", "--find-links", str(wheelhouse), "--require-hashes", "--only-binary", ":all:",
         "--no-deps", "--target", str(target), "-r", str(wanted)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_one_flipped_digit_of_a_hash_keeps_a_package_out(wheelhouse: Path, tmp_path: Path) -> None:
    (wheel,) = wheelhouse.glob("*.whl")
    digest = sha256(wheel.read_bytes()).hexdigest()
    good = install(wheelhouse, tmp_path / "good", digest)
    assert good.returncode == 0, good.stderr
    assert (tmp_path / "good" / "dispatcher").is_dir()
    flipped = install(wheelhouse, tmp_path / "bad", digest[:-1] + ("0" if digest[-1] != "0" else "1"))
    assert flipped.returncode != 0
    assert "DO NOT MATCH THE HASHES" in flipped.stderr
    assert not (tmp_path / "bad" / "dispatcher").exists()


def bill(*words: str) -> dict[str, Any]:
    told = subprocess.run([sys.executable, ROOT / ".ci/sbom", *words], capture_output=True, check=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def needed(requirements: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Yield every package that some requirements need here, at any depth, by what is installed."""
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if found not in seen:
            seen.add(found)
            yield found
            yield from needed(metadata.requires(found) or [], seen)


def test_the_bill_of_materials_lists_exactly_what_is_installed_to_run() -> None:
    made = bill()
    listed = {one["name"]: one for one in made["components"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(listed) == set(needed(project["dependencies"], set()))
    for name, one in listed.items():
        assert one["version"] == metadata.version(name)
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"
        assert one["hashes"]
        assert one["licenses"]
    refs = {one["purl"] for one in listed.values()} | {made["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in made["dependencies"]} == refs
    assert {ref for one in made["dependencies"] for ref in one["dependsOn"]} <= refs
    assert [one["name"] for one in listed["confluent-kafka"]["components"]] == ["librdkafka"]
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert bill() == made


def test_a_lock_that_is_not_what_is_installed_gives_no_bill(tmp_path: Path) -> None:
    other = tmp_path / "lock.txt"
    other.write_text(f"click==0.0.1 \\\n    --hash=sha256:{'0' * 64}\n")
    told = subprocess.run(
        [sys.executable, ROOT / ".ci/sbom", other], capture_output=True, text=True, check=False
    )
    assert told.returncode != 0
    assert "the lock pins 0.0.1" in told.stderr
