"""A real PostgreSQL for tests, from the Debian package: in a directory of its own, on a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from broker.starting import start

PASSWORD = "canary-3f9a"  # noqa: S105 - guards nothing, and must never be shown
START_SECONDS = 60.0


class NoPostgres(Exception):
    """No PostgreSQL can be had on this machine; the text says what is missing."""


def binaries() -> Path:
    """Return where the newest server's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        raise NoPostgres("no /usr/lib/postgresql/*/bin/initdb: install the package postgresql")
    return found[-1].parent


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server while the context lasts; yield its address, with user and password."""
    programs = binaries()
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        user = _user(home)
        making = [
            *(*user, f"{programs}/initdb", "-D", f"{home}/data", "-U", "tester", "-A", "scram-sha-256"),
            *("--pwfile", str(_password_file(home)), "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8"),
        ]
        _run(making, home)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        serving = [
            *(*user, f"{programs}/postgres", "-D", f"{home}/data", "-k", str(home), "-h", "127.0.0.1"),
            *("-p", str(port), "-F", "-c", "deadlock_timeout=100ms", "-c", "max_connections=40"),
            *("-c", "shared_buffers=16MB"),
        ]
        with (home / "log").open("wb") as log:
            process = start(serving, stdout=log, stderr=subprocess.STDOUT, cwd=home)
        dsn = f"postgresql://tester:{PASSWORD}@127.0.0.1:{port}/postgres"
        try:
            _wait(dsn, process, home / "log")
            yield dsn
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(START_SECONDS)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _user(home: Path) -> Sequence[str]:
    """Return what comes before a command so that root does not run it; the server refuses root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        raise NoPostgres("no setpriv to leave root")
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError as error:
        raise NoPostgres("no user postgres: install the package postgresql") from error
    os.chown(home, entry.pw_uid, entry.pw_gid)
    return ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")


def _password_file(home: Path) -> Path:
    path = home / "password"
    path.write_text(PASSWORD)
    path.chmod(0o644)
    return path


def _run(command: Sequence[str], home: Path) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=START_SECONDS, cwd=home)
    if done.returncode != 0:
        raise NoPostgres(f"initdb failed: {(done.stdout + done.stderr).decode(errors='replace')[-2000:]}")


def _wait(dsn: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > end or process.poll() is not None:
                raise NoPostgres(f"no answer: {error}; {log.read_text(errors='replace')[-2000:]}") from error
            time.sleep(0.1)
        else:
            return
