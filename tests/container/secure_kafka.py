"""The broker of the secure Compose variant, for real: its settings, secrets and rights, on other ports."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from broker.cluster import free_ports, own_kafka
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from container.files import DOCKER

_SECRETS = "/etc/kafka/secrets"
_GIVEN = {"process.roles", "node.id", "log.dirs"}
_KINDS = {
    "topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}  # fmt: skip


@contextmanager
def secure_kafka(directory: Path) -> Iterator[tuple[str, Path]]:
    """Run it; yield its address for users, and the directory of everybody's secrets. Raises NoKafka."""
    made = directory / "made"
    for name in ("kafka", "setup", "dispatcher", "worker", "ui"):
        (made / name).mkdir(parents=True)
    environment = {"PATH": "/usr/bin:/bin", "KAFKA_OWNER": "0:0"}
    subprocess.run(["sh", DOCKER / "secrets.sh", made], env=environment, check=True, capture_output=True)
    [port] = free_ports(1)
    text = (DOCKER / "kafka" / "server.properties").read_text().replace(_SECRETS, str(made / "kafka"))
    settings = {
        name: value.replace("$", "$$")
        for name, _, value in (line.partition("=") for line in text.splitlines())
        if value and name[0] != "#" and name not in _GIVEN
    }
    settings["listeners"] = (
        f"CLIENTS://127.0.0.1:{port},CONTROLLER://localhost:${{controller_port}},PLAINTEXT://127.0.0.1:${{port}}"
    )
    settings["advertised.listeners"] = f"CLIENTS://localhost:{port},PLAINTEXT://127.0.0.1:${{port}}"
    settings["controller.quorum.voters"] = "1@localhost:${controller_port}"
    settings["listener.security.protocol.map"] += ",PLAINTEXT:PLAINTEXT"
    with own_kafka(settings=settings):
        bootstrap = f"localhost:{port}"
        _grant(bootstrap, made)
        yield bootstrap, made


def grants() -> list[tuple[str, list[str]]]:
    """Return what `rights.sh` grants: user and words of each."""
    lines = (DOCKER / "kafka" / "rights.sh").read_text().splitlines()
    words = [shlex.split(line)[1:] for line in lines if line.startswith("grant ")]
    return [(user, rest) for user, *rest in words]


def _grant(bootstrap: str, made: Path) -> None:
    password = re.search(r'password="(\w+)"', (made / "kafka" / "client.properties").read_text())
    assert password
    admin = AdminClient({
        "bootstrap.servers": bootstrap, "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
        "sasl.username": "broker", "sasl.password": password[1],
        "ssl.ca.location": str(made / "kafka" / "authority.pem"),
    })  # fmt: skip
    for future in admin.create_acls(
        [each for user, words in grants() for each in _bindings(user, words)]
    ).values():
        future.result(20)


def _bindings(user: str, words: list[str]) -> Iterator[AclBinding]:
    prefixed = words[-2:] == ["--resource-pattern-type", "prefixed"]
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    plain = words[:-2] if prefixed else words
    operations = [after for flag, after in pairwise(plain) if flag == "--operation"]
    kind, *named = plain[2 * len(operations) :]
    name = named[0] if named else "kafka-cluster"
    for each in operations:
        operation: AclOperation = AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", each).upper()]
        where = (_KINDS[kind.removeprefix("--")], name, pattern)
        yield AclBinding(*where, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
