"""The unit files say what systemd understands, expose little, and agree with the program they start."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.cli.exits import INVALID, KAFKA_UNFIT, WRONG_USAGE
from dispatcher.cli.files import load_schedule
from dispatcher.settings import CONFIG_VARIABLE, Settings, env_name, load

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
INSTALL = UNITS / "install"
DISPATCHER = str(Path(sys.executable).with_name("dispatcher"))
SERVICES = ("dispatcher.service", "dispatcher-worker@.service")
EXPOSURES = {"dispatcher.service": 11, "dispatcher-worker@.service": 15}
"""In tenths: the most that `systemd-analyze security` may find exposed."""


@pytest.fixture(scope="session")
def analyze() -> str:
    path = shutil.which("systemd-analyze")
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("no systemd-analyze in CI: apt-get install systemd", pytrace=False)
    if path is None:
        pytest.skip("NO SYSTEMD-ANALYZE: the unit files were NOT verified; apt-get install systemd")
    return path


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, starting the program where it is here; a template as its instance."""
    for path in (*UNITS.glob("*.service"), *UNITS.glob("*.slice")):
        text = path.read_text(encoding="utf-8").replace("/usr/local/bin/dispatcher", DISPATCHER)
        name = path.name.replace("@.", "@9465.")
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def verified(analyze: str, folder: Path, name: str) -> str:
    """Return what `systemd-analyze verify` says: it ends with 0 for a misspelt key too."""
    done = subprocess.run(
        [analyze, "verify", "--man=no", f"./{name}"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


def values(name: str, key: str) -> list[str]:
    text = (UNITS / name).read_text(encoding="utf-8")
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "name",
    ["dispatcher.service", "dispatcher-worker@9465.service", "dispatcher.slice", "dispatcher-workers.slice"],
)
def test_systemd_has_nothing_to_say_to_a_unit(analyze: str, units: Path, name: str) -> None:
    assert verified(analyze, units, name) == ""


def test_systemd_would_say_something(analyze: str, units: Path) -> None:
    path = units / "dispatcher.service"
    path.write_text(path.read_text(encoding="utf-8").replace("WatchdogSec", "WatchDogSec"), encoding="utf-8")
    assert "WatchDogSec" in verified(analyze, units, path.name)


@pytest.mark.parametrize(("name", "most"), EXPOSURES.items())
def test_little_is_exposed(analyze: str, units: Path, name: str, most: int) -> None:
    def exposed(threshold: int) -> subprocess.CompletedProcess[str]:
        command = [analyze, "security", "--offline=true", f"--threshold={threshold}"]
        path = f"./{name.replace('@.', '@9465.')}"
        return subprocess.run([*command, path], cwd=units, capture_output=True, text=True, check=False)

    found = exposed(most)
    assert found.returncode == 0, found.stdout
    assert exposed(most - 6).returncode != 0  # the threshold does count


@pytest.mark.parametrize("name", SERVICES)
def test_a_restart_goes_by_the_exit_code(name: str) -> None:
    assert values(name, "Restart") == ["on-failure"]
    assert values(name, "RestartPreventExitStatus") == [f"{WRONG_USAGE} {INVALID}"]
    (after,) = values(name, "ExecStopPost")
    assert after.startswith(f"""/bin/sh -c 'test "$EXIT_STATUS" != {KAFKA_UNFIT} || """)
    assert values(name, "StartLimitIntervalSec") == ["0"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_stop_has_longer_than_the_program_takes_for_it(name: str) -> None:
    (limit,) = values(name, "TimeoutStopSec")
    assert float(limit) >= 2 * load({}).settings.stop_seconds
    assert values(name, "KillMode") == ["mixed"]
    assert values(name, "LimitCORE") == ["0"]


def test_every_variable_is_a_setting() -> None:
    known = {env_name(name) for name in Settings.model_fields} | {CONFIG_VARIABLE}
    texts = [path.read_text(encoding="utf-8") for path in (*UNITS.glob("*.service"), *UNITS.glob("*/*.env"))]
    used = {found for text in texts for found in re.findall(r"DISPATCHER_[A-Z_]+", text)}
    assert used - known == set()
    assert {"DISPATCHER_INSTANCE", "DISPATCHER_ADDRESS", "DISPATCHER_SHELL_ALLOW"} <= used


def test_the_settings_and_schedule_to_begin_with_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DISPATCHER_")]:
        monkeypatch.delenv(name)
    in_force = load({}, UNITS / "examples" / "dispatcher.toml")
    assert str(in_force.settings.schedule) == "/etc/dispatcher/schedule/schedule.json"
    schedule = UNITS / "examples" / "schedule.json"
    assert load_schedule(str(schedule), 1000).jobs == {}
    assert json.loads(schedule.read_bytes())["$schema"] == "./schedule.schema.json"


def test_every_unit_is_installed() -> None:
    (listed,) = re.findall(r"^units=\((.*)\)$", INSTALL.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed.split()) == sorted(
        path.name for path in UNITS.iterdir() if "." in path.name and path.is_file()
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make users")
def test_settings_are_roots_to_write_and_secrets_roots_to_read(analyze: str, tmp_path: Path) -> None:
    del analyze
    root = f"--root={tmp_path}"
    users, folders = UNITS / "sysusers.d/dispatcher.conf", UNITS / "tmpfiles.d/dispatcher.conf"
    (tmp_path / "etc/dispatcher/schedule").mkdir(parents=True)
    (tmp_path / "etc/dispatcher/dispatcher.toml").touch(mode=0o666)
    (tmp_path / "etc/dispatcher/schedule/schedule.json").touch(mode=0o666)
    for command in (
        ["systemd-sysusers", root, str(users)],
        ["systemd-tmpfiles", root, "--create", str(folders)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    groups = dict(line.split(":")[0:3:2] for line in (tmp_path / "etc/group").read_text().splitlines())
    assert {
        str(path.relative_to(tmp_path)): (
            path.stat().st_mode & 0o777,
            path.stat().st_uid,
            str(path.stat().st_gid),
        )
        for path in sorted((tmp_path / "etc/dispatcher").rglob("*"))
    } == {
        "etc/dispatcher/credentials": (0o700, 0, "0"),
        "etc/dispatcher/credentials/dispatcher": (0o700, 0, "0"),
        "etc/dispatcher/credentials/worker": (0o700, 0, "0"),
        "etc/dispatcher/dispatcher.toml": (0o640, 0, groups["dispatcher"]),
        "etc/dispatcher/schedule": (0o750, 0, groups["dispatcher"]),
        "etc/dispatcher/schedule/schedule.json": (0o640, 0, groups["dispatcher"]),
    }
    members = [
        line for line in (tmp_path / "etc/group").read_text().splitlines() if line.startswith("dispatcher:")
    ]
    assert members[0].endswith(":dispatcher-worker")


def test_an_uninstall_leaves_what_is_the_operators(tmp_path: Path) -> None:
    kept = tmp_path / "etc/dispatcher/dispatcher.toml"
    others = tmp_path / "usr/lib/systemd/system/other.service"
    gone = [
        tmp_path / "usr/lib/systemd/system/dispatcher.service",
        tmp_path / "usr/lib/systemd/system/dispatcher-workers.slice",
        tmp_path / "usr/lib/sysusers.d/dispatcher.conf",
        tmp_path / "usr/lib/dispatcher/bin/dispatcher",
        tmp_path / "usr/share/doc/dispatcher/README.md",
    ]
    for path in (kept, others, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/dispatcher").symlink_to("../lib/dispatcher/bin/dispatcher")
    for _ in range(2):
        done = subprocess.run(
            [INSTALL, "uninstall"], capture_output=True, text=True, check=False,
            env={**os.environ, "DESTDIR": str(tmp_path), "PREFIX": "/usr"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"Left are {tmp_path}/etc/dispatcher" in done.stdout
    left = [path for path in tmp_path.rglob("*") if path.is_symlink() or path.is_file()]
    assert sorted(left) == sorted([kept, others])
