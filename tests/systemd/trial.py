"""The whole installation tried on a clean machine, as `.ci/try-install` prepares one.

Usage: python -m systemd.trial ROOT
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker.cluster import ROOT, own_kafka
from broker.tools import committed

from dispatcher.cli.exits import WRONG_USAGE
from systemd.machine import Failed, Machine

DISPATCHER, WORKER = "dispatcher.service", "dispatcher-worker@9465.service"
ETC = "/etc/dispatcher"
SCHEDULE = f"{ETC}/schedule/schedule.json"
VENV = "/usr/local/lib/dispatcher"
HANGS = f"""[Service]
ExecStart=
ExecStart={VENV}/bin/python /src/tests/systemd/hanging.py shard 1 run
WatchdogSec=4
"""


def main() -> int:
    """Try everything; return the exit code."""
    root = Path(sys.argv[1]).resolve()
    with own_kafka() as kafka, Machine(root, ROOT) as machine:
        trial = Trial(machine, kafka.bootstrap)
        for step in (
            trial.install, trial.owners, trial.units, trial.start, trial.credentials, trial.roles,
            trial.reload, trial.work, trial.figures, trial.killed, trial.hanging, trial.invalid,
            trial.unreachable, trial.upgrade, trial.stop, trial.uninstall,
        ):  # fmt: skip
            began = time.monotonic()
            try:
                told = step()
            except Failed as failure:
                print(f"FAILED {step.__name__}: {failure}", flush=True)
                return 1
            print(f"ok  {step.__name__:<12} {time.monotonic() - began:5.1f} s  {told}", flush=True)
    return 0


def expect(condition: object, what: str) -> None:
    """Raise Failed unless something is so."""
    if not condition:
        raise Failed(what)


class Trial:
    """The steps, in order; each returns what it has seen."""

    def __init__(self, machine: Machine, bootstrap: str) -> None:
        self._machine = machine
        self._bootstrap = bootstrap

    def install(self) -> str:
        self._make("install")
        return self._machine.do("/usr/local/bin/dispatcher", "--version")

    def owners(self) -> str:
        """Settings and schedule are root's to write and the dispatcher's to read, secrets root's alone."""
        found = self._machine.do("stat", "-c", "%a %U:%G", ETC, SCHEDULE, f"{ETC}/dispatcher.toml")
        expect(
            found.split("\n") == ["750 root:dispatcher", "640 root:dispatcher", "640 root:dispatcher"], found
        )
        folders = [f"{ETC}/credentials", f"{ETC}/credentials/dispatcher", f"{ETC}/credentials/worker"]
        found = self._machine.do("stat", "-c", "%a %U:%G", *folders)
        expect(found.split("\n") == ["700 root:root"] * 3, found)
        found = self._machine.do("find", VENV, "!", "-user", "root", "-o", "-perm", "/022", "!", "-type", "l")
        expect(found == "", f"others may change {found}")
        return "settings 640 root:dispatcher, credentials 700 root"

    def units(self) -> str:
        told = self._machine.run("systemd-analyze", "verify", "--man=no", DISPATCHER, WORKER)
        expect(told.stdout + told.stderr == "", told.stdout + told.stderr)
        found = []
        for unit, most in ((DISPATCHER, "11"), (WORKER, "15")):
            found.append(
                self._machine.do("systemd-analyze", "security", f"--threshold={most}", unit).split("\n")[-1]
            )
        return "; ".join(line.partition("level for ")[2] for line in found)

    def start(self) -> str:
        self._edit(f"{ETC}/dispatcher.toml", "localhost:9092", self._bootstrap)
        secret = self._machine.path(f"{ETC}/credentials/dispatcher/kafka.client.rack")
        secret.write_text("of-a-credential\n", encoding="utf-8")
        self._machine.do(
            "/usr/local/bin/dispatcher", "topics", "ensure", "--config", f"{ETC}/dispatcher.toml"
        )
        self._machine.do("systemctl", "start", DISPATCHER)
        status = self._machine.show(DISPATCHER, "StatusText")
        expect(status.startswith("at work on shards 0, 1, 2, 3 of 4, schedule "), status)
        return status

    def credentials(self) -> str:
        """The service has its secret, and its user's other processes do not."""
        pid = self._machine.show(DISPATCHER, "MainPID")
        variables = self._machine.do("cat", f"/proc/{pid}/environ").split("\0")
        folder = next(one.partition("=")[2] for one in variables if one.startswith("CREDENTIALS_DIRECTORY="))
        expect("NOTIFY_SOCKET=" in str(variables), "no socket")
        listed = self._machine.do("ls", "-l", folder)
        expect("-r--------" in listed, listed)
        expect(listed.endswith("dispatcher_kafka.client.rack"), listed)
        shown = self._machine.do(
            *("env", f"CREDENTIALS_DIRECTORY={folder}", "/usr/local/bin/dispatcher", "settings"),
            *("--config", f"{ETC}/dispatcher.toml"),
        )
        expect("kafka.client.rack\tof-a-credential\tcredential kafka.client.rack" in shown, shown)
        limits = self._machine.do("cat", f"/proc/{pid}/limits")
        expect(
            any(line.split()[:5] == ["Max", "core", "file", "size", "0"] for line in limits.split("\n")),
            limits,
        )
        return folder

    def roles(self) -> str:
        """A command that is no service gets the secrets of its role as the example says."""
        page = (ROOT / "systemd/examples/credentials.md").read_text(encoding="utf-8")
        (wrapper,) = re.findall(r"^dispatcher_as\(\) \{.*?^\}$", page, re.MULTILINE | re.DOTALL)
        folder = self._machine.path(f"{ETC}/credentials/setup")
        folder.mkdir(mode=0o700)
        (folder / "kafka.client.rack").write_text("of-setup\n", encoding="utf-8")

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            text = f'{wrapper.replace("sudo ", "")}\ndispatcher_as setup "$@"'
            return self._machine.run("bash", "-c", text, "bash", *words)

        shown = run("settings")
        expect("kafka.client.rack\tof-setup\tcredential kafka.client.rack" in shown.stdout, str(shown))
        checked = run("topics", "check")
        expect(checked.returncode == 0, str(checked))
        refused = run("topics", "check", "--no-such-flag")
        expect(refused.returncode == WRONG_USAGE, str(refused))
        return checked.stdout.strip().split("\n")[-1]

    def reload(self) -> str:
        job = {"jobName": "who", "every": "1s", "job": "shell", "payload": {"command": ["/usr/bin/id"]}}
        before = self._machine.show(DISPATCHER, "StatusText")
        self._schedule(json.dumps({"jobs": [job]}))
        self._machine.do("systemctl", "reload", DISPATCHER)
        self._status(DISPATCHER, lambda text: text.startswith("at work") and text != before)
        good = self._machine.path(SCHEDULE).read_text(encoding="utf-8")
        self._schedule('{ "jobs": [')
        self._machine.do("systemctl", "reload", DISPATCHER)
        refused = self._status(DISPATCHER, lambda text: text.startswith("reload refused: "))
        self._schedule(good)
        self._machine.do("systemctl", "reload", DISPATCHER)
        self._status(DISPATCHER, lambda text: text.startswith("at work"))
        return refused

    def work(self) -> str:
        """A worker runs a program as its own user."""
        with self._machine.path(f"{ETC}/worker.env").open("a", encoding="utf-8") as settings:
            settings.write("DISPATCHER_SHELL_ALLOW=/usr/bin/id\n")
        self._machine.do("systemctl", "start", WORKER)
        ended: list[dict[str, Any]] = []

        def ran() -> bool:
            events = [
                one for shard in range(4) for one in committed(self._bootstrap, "dispatcher.events", shard)
            ]
            told = [json.loads(one.value() or b"{}") for one in events]
            ended.extend(one for one in told if one.get("result") == {"exit": 0})
            return bool(ended)

        self._machine.until(ran, "a run that succeeded")
        expect("(dispatcher-worker)" in ended[0]["output"], str(ended[0]))
        return str(ended[0]["output"]).strip()

    def figures(self) -> str:
        """What the units have them answer, on this host alone."""
        for path in (
            "9464/health",
            "9464/ready",
            "9464/metrics",
            "9465/health",
            "9465/ready",
            "9465/metrics",
        ):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{path}", timeout=5) as answer:
                    expect(answer.status == 200, f"{path}: {answer.status}")
                    figures = b"process_resident_memory_bytes" in answer.read()
                    expect(figures or not path.endswith("/metrics"), f"{path}: nothing of the process")
            except OSError as error:
                raise Failed(f"{path}: {error}") from error
        return "127.0.0.1:9464 and 127.0.0.1:9465 answer"

    def killed(self) -> str:
        self._machine.do("systemctl", "kill", "-s", "KILL", "--kill-who=main", DISPATCHER)
        self._restarted(1)
        return "restarted"

    def hanging(self) -> str:
        """The watchdog ends a dispatcher whose loops hang, with what every thread was at; it starts anew."""
        folder = self._machine.path(f"/etc/systemd/system/{DISPATCHER}.d")
        folder.mkdir()
        (folder / "hangs.conf").write_text(HANGS, encoding="utf-8")
        self._machine.do("systemctl", "daemon-reload")
        self._machine.do("systemctl", "restart", DISPATCHER)
        self._machine.do("systemctl", "kill", "-s", "USR1", "--kill-who=main", DISPATCHER)
        self._restarted(1)
        journal = self._machine.ask("journalctl", "--no-pager", "-u", DISPATCHER)
        expect("Failed with result 'watchdog'" in journal, journal[-3000:])
        expect("most recent call first" in journal, journal[-3000:])
        shutil.rmtree(folder)
        self._machine.do("systemctl", "daemon-reload")
        self._machine.do("systemctl", "restart", DISPATCHER)
        return "ended by the watchdog, restarted"

    def invalid(self) -> str:
        self._machine.do("systemctl", "stop", DISPATCHER)
        self._edit(f"{ETC}/dispatcher.toml", "wait_seconds = 120", 'wait_seconds = "long"')
        expect(self._machine.run("systemctl", "start", DISPATCHER).returncode != 0, "it started")
        state = self._machine.show(DISPATCHER, "SubState"), self._machine.show(DISPATCHER, "ExecMainStatus")
        expect(state == ("failed", "3"), str(state))
        return "exit 3, not started again"

    def unreachable(self) -> str:
        self._edit(f"{ETC}/dispatcher.toml", 'wait_seconds = "long"', "wait_seconds = 1")
        self._edit(f"{ETC}/dispatcher.toml", self._bootstrap, "127.0.0.1:1")
        expect(self._machine.run("systemctl", "start", DISPATCHER).returncode != 0, "it started")
        expect(self._machine.show(DISPATCHER, "Restart") == "on-failure", "no restart")
        said = self._machine.show(DISPATCHER, "StatusText")
        expect(said.startswith("failed: no broker") or "waiting for Kafka" in said, said)
        self._edit(f"{ETC}/dispatcher.toml", "127.0.0.1:1", self._bootstrap)
        self._edit(f"{ETC}/dispatcher.toml", "wait_seconds = 1", "wait_seconds = 120")
        self._status(DISPATCHER, lambda text: text.startswith("at work"))
        return "exit 4, started again after a while"

    def upgrade(self) -> str:
        """To install again keeps what is the operator's, and the running service."""
        before = self._machine.do("sh", "-c", f"cd {ETC} && find . -type f -exec sha256sum {{}} +")
        pid = self._machine.show(DISPATCHER, "MainPID")
        self._make("install")
        expect(
            self._machine.do("sh", "-c", f"cd {ETC} && find . -type f -exec sha256sum {{}} +") == before,
            "changed",
        )
        expect(self._machine.show(DISPATCHER, "MainPID") == pid, "it was restarted")
        self._machine.do("systemctl", "restart", DISPATCHER, WORKER)
        return "settings kept, services go on"

    def stop(self) -> str:
        began = time.monotonic()
        self._machine.do("systemctl", "stop", WORKER, DISPATCHER)
        took = time.monotonic() - began
        for unit in (DISPATCHER, WORKER):
            result = self._machine.show(unit, "Result"), self._machine.show(unit, "ExecMainStatus")
            expect(result == ("success", "0"), f"{unit}: {result}")
        return f"both within {took:.1f} s"

    def uninstall(self) -> str:
        self._machine.do("systemctl", "enable", "--now", DISPATCHER, WORKER)
        told = self._make("uninstall")
        expect(f"Left are {ETC}" in told, told)
        left = self._machine.do(
            *("find", "/usr", "/etc/systemd", "/var/lib", "/run/systemd/system", "-iname", "*dispatcher*"),
            *("!", "-path", "/usr/share/dbus*", "!", "-path", "*networkd-dispatcher*"),
        )
        expect(left == "", f"left behind: {left}")
        expect(self._machine.show(DISPATCHER, "LoadState") == "not-found", "the unit is still there")
        expect(self._machine.path(SCHEDULE).exists(), "the schedule is gone")
        return told.split("\n")[-2]

    def _make(self, target: str) -> str:
        pip = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
        return self._machine.do("env", "HOME=/root", *pip, "make", "-C", "/src", target)

    def _edit(self, name: str, before: str, after: str) -> None:
        path = self._machine.path(name)
        text = path.read_text(encoding="utf-8")
        expect(before in text, f"{name} does not say {before}")
        path.write_text(text.replace(before, after), encoding="utf-8")

    def _schedule(self, text: str) -> None:
        self._machine.path(SCHEDULE).write_text(text, encoding="utf-8")

    def _status(self, unit: str, wanted: Callable[[str], bool]) -> str:
        self._machine.until(lambda: wanted(self._machine.show(unit, "StatusText")), f"status of {unit}")
        return self._machine.show(unit, "StatusText")

    def _restarted(self, times: int) -> None:
        self._machine.until(
            lambda: (
                int(self._machine.show(DISPATCHER, "NRestarts")) >= times
                and self._machine.show(DISPATCHER, "SubState") == "running"
            ),
            "a restart",
        )


if __name__ == "__main__":
    sys.exit(main())
