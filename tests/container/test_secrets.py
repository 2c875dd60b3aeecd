"""What `compose.secure.yaml` has made for it: certificates that hold, passwords for one user each."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from programs import program

from container.files import DOCKER, compose

USERS = ("setup", "dispatcher", "worker", "ui")


@pytest.fixture(autouse=True, scope="module")
def openssl() -> None:
    """See to the program that makes them."""
    program("openssl", "openssl")


def run(made: Path) -> str:
    owner = f"{os.getuid()}:{os.getgid()}"
    done = subprocess.run(
        ["sh", DOCKER / "secrets.sh", made],
        env={"PATH": os.environ["PATH"], "OWNER": owner, "KAFKA_OWNER": owner},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    for name in ("kafka", *USERS):
        (directory / name).mkdir()
    assert run(directory) == "secrets: made\n"
    return directory


def password(made: Path, user: str) -> str:
    return (made / user / "kafka.sasl.password").read_text()


@pytest.mark.parametrize("host", ["kafka", "localhost"])
def test_the_brokers_certificate_holds_for_its_names(made: Path, host: str) -> None:
    key, _, text = (made / "kafka" / "server.pem").read_text().partition("-----END PRIVATE KEY-----\n")
    assert key.startswith("-----BEGIN PRIVATE KEY-----")
    (made / "server.crt").write_text(text)
    authority, certificate = str(made / "setup" / "authority.pem"), str(made / "server.crt")
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        authority,
        "-verify_hostname",
    ]
    subprocess.run([*command, host, certificate], check=True, capture_output=True)
    assert (
        subprocess.run([*command, "elsewhere", certificate], check=False, capture_output=True).returncode != 0
    )


def test_each_user_has_a_password_that_the_broker_knows(made: Path) -> None:
    users = (made / "kafka" / "users.properties").read_text()
    known = dict(re.findall(r'user_(\w+)="([0-9a-f]{48})"', users))
    assert set(known) == {"broker", *USERS}
    assert {user: password(made, user) for user in USERS} == {user: known[user] for user in USERS}
    assert len(set(known.values())) == len(known)
    assert f'password="{known["broker"]}"' in (made / "kafka" / "client.properties").read_text()
    assert f'password="{known["ui"]}"' in (made / "ui" / "cluster.yaml").read_text()


def test_nobody_else_may_read_them(made: Path) -> None:
    files = [path for path in made.rglob("*") if path.is_file() and path.name != "server.crt"]
    assert len(files) == 13
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_the_authoritys_key_is_gone(made: Path) -> None:
    keys = [path for path in made.rglob("*") if path.is_file() and "PRIVATE KEY" in path.read_text()]
    assert keys == [made / "kafka" / "server.pem"]


def test_a_second_time_nothing_is_made_anew(made: Path) -> None:
    before = {user: password(made, user) for user in USERS}
    assert run(made) == "secrets: made already\n"
    assert {user: password(made, user) for user in USERS} == before


def test_each_directory_is_somebodys_volume() -> None:
    volumes = compose("compose.yaml", "compose.secure.yaml")["services"]["secrets"]["volumes"][1:]
    assert set(volumes) == {f"secrets-{name}:/made/{name}" for name in ("kafka", *USERS)}
