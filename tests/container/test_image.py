"""The image as it was built: what is in it, and that it works with nothing that it does not need.

`.ci/image` builds it and runs these; they need root, for the namespaces that stand in for an engine's.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from broker.process import until

from container.files import compose
from container.image import Image
from container.secure_kafka import secure_kafka

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
BIN = "/opt/dispatcher/bin/"
JOBS = [{"jobName": "tick", "every": "1s", "priority": 9, "job": "noop"}]
VERSION = version("kafka-cron-dispatcher")
SCHEDULE = "/etc/dispatcher/schedule"


@pytest.fixture(scope="module")
def image() -> Image:
    found = Image.built()
    if found is None:
        pytest.skip("no image: `make image` builds one and runs these")
    return found


def size(root: Path) -> int:
    """Return the bytes of a tree, each file once however many names it has."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            about = os.lstat(Path(directory) / name)
            if stat.S_ISREG(about.st_mode):
                found[about.st_dev, about.st_ino] = about.st_size
    return sum(found.values())


def config_map(root: Path, version: str, jobs: object) -> None:
    """Lay out a directory as a kubelet does, or swap what it shows."""
    root.chmod(0o777)
    (root / version).mkdir()
    (root / version / "schedule.json").write_text(json.dumps({"jobs": jobs}))
    (root / "..data_tmp").symlink_to(version)
    (root / "..data_tmp").rename(root / "..data")
    if not (root / "schedule.json").is_symlink():
        (root / "schedule.json").symlink_to("..data/schedule.json")


def free_address() -> str:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{each.getsockname()[1]}"


def status(address: str, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_what_an_engine_is_told(image: Image) -> None:
    config = image.config
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][-1] == f"{BIN}dispatcher"
    assert config["Cmd"] == ["run"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert re.fullmatch(r"[0-9a-f]{40}", labels["org.opencontainers.image.revision"])


def test_there_is_nothing_to_run_but_the_program(image: Image) -> None:
    found = {
        str(path.relative_to(image.root))
        for path in image.root.rglob("*")
        if path.is_file() and not path.is_symlink() and os.access(path, os.X_OK) and ".so" not in path.name
    }
    modules = {name for name in found if name.endswith(".py")}
    assert {name for name in modules if "site-packages/bin" in name} == set()
    assert found - modules == {"opt/dispatcher/bin/dispatcher", "usr/bin/python3.11", "usr/bin/tini"}
    assert not list(image.root.rglob("pip")) + list(image.root.rglob("ensurepip"))


def test_nobody_gains_rights_by_it_and_nobody_can_change_it(image: Image) -> None:
    wrong = []
    for path in image.root.rglob("*"):
        about = path.lstat()
        if stat.S_ISLNK(about.st_mode):
            continue
        loose = about.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH)
        if (loose and path != image.root / "tmp") or about.st_uid != 0:
            wrong.append((path, oct(about.st_mode), about.st_uid))
    assert wrong == []


def test_the_bill_of_materials_lists_what_is_in_it(image: Image) -> None:
    bill = json.loads((image.root / "opt/dispatcher/share/sbom.cdx.json").read_text())
    listed = {each["name"].lower().replace("_", "-") for each in bill["components"]}
    packages = image.root / "opt/dispatcher/lib/python3.11/site-packages"
    names = {
        re.split(r"-\d", path.name)[0].lower().replace("_", "-") for path in packages.glob("*.dist-info")
    }
    debian = {path.name for path in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert listed == (names - {"kafka-cron-dispatcher"}) | debian
    assert not names & {"pip", "setuptools", "wheel"}


def test_every_module_can_be_imported(image: Image) -> None:
    program = (
        "import importlib, pkgutil, dispatcher, ssl, sqlite3, uuid, zoneinfo, multiprocessing.pool, bz2\n"
        "import lzma, opentelemetry.sdk, psycopg\n"
        "names = [m.name for m in pkgutil.walk_packages(dispatcher.__path__, 'dispatcher.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\n"
        "print(len(names), ssl.create_default_context().cert_store_stats()['x509_ca'])\n"
    )
    modules, authorities = map(int, image.run("-I", "-c", program, entry=[f"{BIN}python"]).split())
    assert modules > 100
    assert authorities > 100


def test_it_can_write_nowhere_but_to_its_scratch(image: Image) -> None:
    program = (
        "import os\n"
        "def can(path):\n"
        "    try:\n"
        "        os.close(os.open(path + '/x', os.O_CREAT | os.O_WRONLY))\n"
        "    except OSError:\n"
        "        return False\n"
        "    return True\n"
        "print(*[d for d, _, _ in os.walk('/') if not d.startswith('/proc') and can(d)], os.getuid())\n"
        "print(open('/proc/self/status').read())\n"
    )
    places, _, about = image.run("-I", "-c", program, entry=[f"{BIN}python"]).partition("\n")
    assert places == "/tmp 65532"  # noqa: S108
    assert re.search(r"^CapBnd:\t0+$", about, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", about, re.MULTILINE)


def test_while_no_broker_answers_it_is_well_but_not_ready_and_ends_when_it_is_told(image: Image) -> None:
    address = free_address()
    settings = {"DISPATCHER_BOOTSTRAP_SERVERS": free_address(), "DISPATCHER_ADDRESS": address}
    with image.running("run", settings=settings) as container:
        container.until("kafka.unreachable")
        assert (status(address, "/health"), status(address, "/ready")) == (200, 503)
        assert container.end() in {0, 143}


def as_composed(service: str, bootstrap: str, made: Path) -> tuple[dict[Path, str], dict[str, str]]:
    """Return mounts and environment of a service of the secure variant, at another place."""
    about = compose("compose.yaml", "compose.secure.yaml")["services"][service]
    volumes = [volume.split(":") for volume in about["volumes"] if isinstance(volume, str)]
    mounts = {made / source.removeprefix("secrets-"): target for source, target, _ in volumes}
    return mounts, {**about["environment"], "DISPATCHER_BOOTSTRAP_SERVERS": bootstrap}


@contextmanager
def dispatching(
    image: Image, settings: Mapping[str, str], mounts: Mapping[Path, str]
) -> Iterator[tuple[Path, float]]:
    """Run a dispatcher by a simulated ConfigMap; yield that, and how long the start took."""
    with TemporaryDirectory(dir="/dev/shm") as volume:
        schedule = Path(volume)
        config_map(schedule, "..2026_01", JOBS)
        with image.running("run", settings=settings, mounts={**mounts, schedule: SCHEDULE}) as container:
            yield schedule, container.until("shard.taken")
            assert container.end() == 0


def until_fired(image: Image, job: str, settings: Mapping[str, str], mounts: Mapping[Path, str]) -> None:
    with image.running("tail", settings=settings, mounts=mounts) as tail:
        tail.until(f"{job}@")


@pytest.mark.broker
def test_it_fires_and_runs_what_a_config_map_says(image: Image, kafka: str, prefix: str) -> None:
    address, work = free_address(), free_address()
    settings = {
        "DISPATCHER_BOOTSTRAP_SERVERS": kafka, "DISPATCHER_PREFIX": prefix, "DISPATCHER_INSTANCE": "image-1",
        "DISPATCHER_ADDRESS": address, "DISPATCHER_WORK_ADDRESS": work,
    }  # fmt: skip
    health = image.config["Healthcheck"]["Test"][1:]
    image.run("topics", "ensure", settings=settings)
    with dispatching(image, settings, {}) as (schedule, started):
        until_fired(image, "tick", settings, {})
        until(lambda: status(address, "/ready") == 200, "ready")
        image.run(entry=health, settings=settings)
        config_map(schedule, "..2026_02", [{**JOBS[0], "jobName": "tock"}])
        until_fired(image, "tock", settings, {})
    with image.running("work", settings=settings) as worker:
        until(lambda: status(work, "/ready") == 200, "the worker is ready")
        image.run(entry=health, settings=settings)
        assert worker.end() == 0
    base = Path(os.environ["DISPATCHER_IMAGE_BASE"])
    print(
        f"\nimage {size(image.root) >> 20} MiB, its base {size(base) >> 20} MiB;"
        f" first shard after {started:.2f} s"
    )


@pytest.mark.broker
def test_it_fires_with_what_the_secure_variant_makes_and_grants(image: Image, tmp_path: Path) -> None:
    with secure_kafka(tmp_path) as (bootstrap, made):
        mounts, settings = as_composed("topics", bootstrap, made)
        image.run("topics", "ensure", settings=settings, mounts=mounts)
        mounts, settings = as_composed("dispatcher-1", bootstrap, made)
        settings["DISPATCHER_ADDRESS"] = free_address()
        with dispatching(image, settings, mounts):
            until_fired(image, "tick", settings, mounts)


def test_versions_agree(image: Image) -> None:
    assert VERSION in image.run("--version")
    inside = image.run("--version", entry=[f"{BIN}python"])
    assert inside.startswith("Python {}.{}.".format(*sys.version_info))
