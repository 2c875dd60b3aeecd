"""A broker that denies what it was not told to allow, and users that come to it in every way there is.

Each role is a user with a mechanism of its own, so that all of them are tried: mutual TLS sets up, SCRAM
dispatches, tokens work, PLAIN reads, the other SCRAM operates. Every decision of the broker is in its log.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from broker.cluster import Cluster, free_ports, own_kafka
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ is not complete
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from faults.papers import Papers, make_papers

from dispatcher.kafka.config import Connection
from dispatcher.kafka.rights import Kind, Right, Role
from security.tokens import AUDIENCE, ISSUER, Issuer

MECHANISMS: Mapping[Role, str] = {
    Role.SETUP: "mutual TLS",
    Role.DISPATCHER: "SCRAM-SHA-512",
    Role.WORKER: "OAUTHBEARER",
    Role.READER: "PLAIN",
    Role.OPERATOR: "SCRAM-SHA-256",
}
_KINDS = {
    Kind.TOPIC: ResourceType.TOPIC,
    Kind.GROUP: ResourceType.GROUP,
    Kind.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}
_Acl = TypeVar("_Acl", AclBinding, AclBindingFilter)
_MODULE = "org.apache.kafka.common.security"
_DECISION = re.compile(
    r"Principal = User:(?P<user>\S+) is (?P<what>Allowed|Denied) operation = (?P<operation>\w+)"
    r" from host = \S+ on resource = (?P<kind>\w+):LITERAL:(?P<name>\S+) for request = (?P<request>\w+)"
)


@dataclass(frozen=True)
class Decision:
    """What the broker decided once."""

    user: str
    allowed: bool
    operation: str
    kind: str
    name: str
    request: str


@dataclass(frozen=True)
class Site:
    """The broker, and what its users know."""

    cluster: Cluster
    papers: Papers
    issuer: Issuer
    sasl_port: int
    mutual_port: int
    passwords: Mapping[Role, str]
    admin: AdminClient

    def connection(self, role: Role) -> Connection:
        """Return how the user of a role comes here."""
        port = self.mutual_port if role is Role.SETUP else self.sasl_port
        return Connection(f"127.0.0.1:{port}", f"test-{role}", self.properties(role))

    def properties(self, role: Role) -> dict[str, str]:
        """Return the properties of the client library for the user of a role."""
        trusted = {"ssl.ca.location": str(self.papers.authority)}
        if role is Role.SETUP:
            return {
                **trusted, "security.protocol": "SSL",
                "ssl.certificate.location": str(self.papers.directory / "setup.pem"),
                "ssl.key.location": str(self.papers.directory / "setup.key"),
            }  # fmt: skip
        sasl = {**trusted, "security.protocol": "SASL_SSL", "sasl.mechanism": MECHANISMS[role]}
        if role is Role.WORKER:
            return {
                **sasl, "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": str(role),
                "sasl.oauthbearer.client.secret": self.issuer.secret,
                "sasl.oauthbearer.token.endpoint.url": self.issuer.url,
            }  # fmt: skip
        return {**sasl, "sasl.username": str(role), "sasl.password": self.passwords[role]}

    def config(self, role: Role, directory: Path, prefix: str) -> Path:
        """Return a settings file of the user of a role; secrets are in it."""
        file = directory / f"{role}.toml"
        lines = [
            f'bootstrap_servers = "{self.connection(role).bootstrap}"',
            f'prefix = "{prefix}"',
            "[kafka]",
        ]
        lines += [f'{name} = "{value}"' for name, value in self.properties(role).items()]
        file.write_text("\n".join(lines))
        file.chmod(0o600)
        return file

    def grant(self, role: Role, rights: Iterable[Right]) -> None:
        """Allow something to the user of a role."""
        made = [_acl(AclBinding, role, right) for right in rights]
        for future in self.admin.create_acls(made).values():
            future.result(20)

    def take(self, role: Role, rights: Iterable[Right]) -> None:
        """Take rights away again."""
        given = [_acl(AclBindingFilter, role, right) for right in rights]
        for future in self.admin.delete_acls(given).values():
            assert future.result(20), "there was no such right"

    @contextmanager
    def without(self, role: Role, right: Right) -> Iterator[None]:
        """Have the user of a role do without one right."""
        self.take(role, [right])
        try:
            yield
        finally:
            self.grant(role, [right])

    def decisions(self) -> set[Decision]:
        """Return what the broker decided so far."""
        log = (self.cluster.nodes[0].directory / "server.log").read_text(errors="replace")
        return {
            Decision(
                found["user"], found["what"] == "Allowed", found["operation"], found["kind"], found["name"],
                found["request"],
            )
            for found in _DECISION.finditer(log)
            if found["user"] != "ANONYMOUS"
        }  # fmt: skip


@contextmanager
def guarded_kafka(directory: Path) -> Iterator[Site]:
    """Run it. Raises NoKafka, NoPapers."""
    papers = make_papers(directory / "papers")
    _make_user_paper(papers, str(Role.SETUP))
    issuer = Issuer(directory, secrets.token_hex(16))
    sasl_port, mutual_port = free_ports(2)
    passwords = {role: secrets.token_hex(16) for role in Role}
    plain = f'required user_{Role.READER}="{passwords[Role.READER]}";'
    jaas = "listener.name.sasl_ssl.{}.sasl.jaas.config"
    own = {
        "listeners": "PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller_port}"
        f",SASL_SSL://127.0.0.1:{sasl_port},SSL://127.0.0.1:{mutual_port}",
        "advertised.listeners": "PLAINTEXT://127.0.0.1:${port}"
        f",SASL_SSL://127.0.0.1:{sasl_port},SSL://127.0.0.1:{mutual_port}",
        "listener.security.protocol.map":
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",
        "auto.create.topics.enable": "true",  # so that whoever asks for a topic in the wrong way makes it
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(papers.keystore("good")),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(papers.authority),
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.ssl.ssl.principal.mapping.rules": "RULE:^CN=(.*?)$$/$$1/,DEFAULT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        jaas.format("plain"): f"{_MODULE}.plain.PlainLoginModule {plain}",
        jaas.format("scram-sha-256"): f"{_MODULE}.scram.ScramLoginModule required;",
        jaas.format("scram-sha-512"): f"{_MODULE}.scram.ScramLoginModule required;",
        jaas.format("oauthbearer"): f"{_MODULE}.oauthbearer.OAuthBearerLoginModule required;",
        "listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class":
            f"{_MODULE}.oauthbearer.OAuthBearerValidatorCallbackHandler",
        "listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": issuer.keys.as_uri(),
        "listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
        "listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        named = "org.apache.kafka.sasl.oauthbearer.allowed"
        patch.setenv(
            "JAVA_TOOL_OPTIONS", f"-D{named}.urls={issuer.keys.as_uri()} -D{named}.files={issuer.keys}"
        )
        with own_kafka(settings=own) as cluster, issuer.running():
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
            site = Site(cluster, papers, issuer, sasl_port, mutual_port, passwords, admin)
            _enrol(site, Role.DISPATCHER, ScramMechanism.SCRAM_SHA_512)
            _enrol(site, Role.OPERATOR, ScramMechanism.SCRAM_SHA_256)
            yield site


def _enrol(site: Site, role: Role, mechanism: ScramMechanism) -> None:
    info = ScramCredentialInfo(mechanism, 4096)
    password = site.passwords[role].encode()
    change = UserScramCredentialUpsertion(str(role), info, password, secrets.token_bytes(16))
    for future in site.admin.alter_user_scram_credentials([change]).values():
        future.result(20)


def _make_user_paper(papers: Papers, name: str) -> None:
    directory = papers.directory
    for words in (
        ("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
         "-out", f"{name}.request"),
        ("x509", "-req", "-in", f"{name}.request", "-CA", "trusted.pem", "-CAkey", "trusted.key",
         "-CAcreateserial", "-days", "2", "-out", f"{name}.pem"),
    ):  # fmt: skip
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def _acl(kind: Callable[..., _Acl], role: Role, right: Right) -> _Acl:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    where = (_KINDS[right.kind], right.name, pattern)
    return kind(*where, f"User:{role}", "*", AclOperation[right.operation.name], AclPermissionType.ALLOW)
