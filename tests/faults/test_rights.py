"""F16: rights that are taken away, a password that is changed, certificates that are not to be trusted."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest
from broker.process import Dispatcher, ensure_topics, until
from broker.test_daemon_faults import Place, job
from broker.tools import create
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from faults.odd import Odd
from faults.running import SECONDS, beats, running

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
USER = "night-shift"
PREFIXED, LITERAL = ResourcePatternType.PREFIXED, ResourcePatternType.LITERAL
Right = tuple[ResourceType, str, ResourcePatternType, AclOperation]


class Porter:
    """Gives and takes rights and passwords."""

    def __init__(self, odd: Odd) -> None:
        self._admin = AdminClient({"bootstrap.servers": odd.cluster.bootstrap})

    def password(self, text: str) -> None:
        """Set the user's password."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        changes: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(USER, info, text.encode(), secrets.token_bytes(16))
        ]
        for future in self._admin.alter_user_scram_credentials(changes).values():
            future.result(20)

    def give(self, rights: Sequence[Right]) -> None:
        """Allow something to the user."""
        made = [AclBinding(*(*right[:3], f"User:{USER}", "*", right[3], ALLOW)) for right in rights]
        for future in self._admin.create_acls(made).values():
            future.result(20)

    def take(self, right: Right) -> None:
        """Take one right away."""
        given = AclBindingFilter(*(*right[:3], f"User:{USER}", "*", right[3], ALLOW))
        for future in self._admin.delete_acls([given]).values():
            assert future.result(20), "there was no such right"


ALLOW = AclPermissionType.ALLOW


def rights(prefix: str) -> dict[str, Right]:
    """Return what a dispatcher needs."""
    topic, group, ident = (
        ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID,
    )  # fmt: skip
    return {
        "read": (topic, prefix, PREFIXED, AclOperation.READ),
        "write": (topic, prefix, PREFIXED, AclOperation.WRITE),
        "look": (topic, prefix, PREFIXED, AclOperation.DESCRIBE_CONFIGS),
        "own": (topic, f"own-{prefix}", LITERAL, AclOperation.WRITE),
        "group": (group, prefix, PREFIXED, AclOperation.READ),
        "id": (ident, prefix, PREFIXED, AclOperation.WRITE),
    }


def test_f16_rights_and_passwords_that_change_while_it_runs_are_told_by_name_and_it_goes_on(
    odd: Odd, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    porter, right = Porter(odd), rights(prefix)
    password, other = f"first-{secrets.token_hex(8)}", f"second-{secrets.token_hex(8)}"
    porter.password(password)
    porter.give(list(right.values()))
    ensure_topics(odd.cluster.bootstrap, prefix)
    own = create(odd.cluster.bootstrap, f"own-{prefix}")
    for name, value in (
        ("SECURITY_PROTOCOL", "SASL_PLAINTEXT"), ("SASL_MECHANISM", "SCRAM-SHA-256"),
        ("SASL_USERNAME", USER), ("SASL_PASSWORD", password),
    ):  # fmt: skip
        monkeypatch.setenv(f"DISPATCHER_KAFKA__{name}", value)
    place = Place(odd.guarded.address, prefix, tmp_path)
    near = Place(odd.cluster.bootstrap, prefix, tmp_path)
    jobs = [*beats(), job("own", topic=own)]
    with running(place, "--session-seconds", "1.5", jobs=jobs, reader=near.bootstrap) as scene:
        porter.take(right["own"])
        until(lambda: near.skipped("own"), "a skip of what may not be written", SECONDS)
        (why,) = {reason for name, reason, _ in near.skips() if name == "own"}
        assert own in why
        porter.give([right["own"]])
        for lost in ("id", "group"):
            at = scene.at
            porter.take(right[lost])
            odd.guarded.reset()
            until(lambda: "AUTHORIZATION" in scene.daemon.text()[at:], f"{lost} is told", SECONDS)  # noqa: B023
            porter.give([right[lost]])
            scene.beats_on()
        at = scene.at
        porter.password(other)
        odd.guarded.reset()
        until(lambda: "uthentication failed" in scene.daemon.text()[at:], "the password is told", SECONDS)
        porter.password(password)
        scene.beats_on()
        text = scene.daemon.text()
    assert password not in text
    assert other not in text


def sealed(odd: Odd) -> tuple[str, ...]:
    """Return the flags by which a client trusts the broker's authority."""
    return (
        *("--kafka", "security.protocol=SSL"),
        *("--kafka", f"ssl.ca.location={odd.papers.authority}"),
    )


@pytest.mark.parametrize("kind", ["expired", "alien", "misnamed"])
def test_f16_a_certificate_that_is_not_to_be_trusted_is_told_at_the_start(
    odd: Odd, tmp_path: Path, kind: str
) -> None:
    odd.sealed.target = odd.tls_ports[kind]
    file = tmp_path / "schedule.json"
    file.write_text('{"jobs": []}')
    flags = ("--wait-seconds", "1", *sealed(odd))
    with Dispatcher(odd.sealed.address, "sealed", file, tmp_path / "log", *flags) as daemon:
        assert daemon.wait(30) == 4
        assert "certificate verify failed" in daemon.text().splitlines()[-1]
        assert "has expired, is of another host or of an authority" in daemon.text().splitlines()[-1]


@pytest.mark.long
def test_f16_a_certificate_that_expires_while_it_runs_is_told_and_it_goes_on_with_the_next(
    odd: Odd, prefix: str, tmp_path: Path
) -> None:
    ensure_topics(odd.cluster.bootstrap, prefix)
    place = Place(odd.sealed.address, prefix, tmp_path)
    flags = ("--session-seconds", "1.5", *sealed(odd))
    with running(place, *flags, reader=odd.cluster.bootstrap) as scene:
        at = scene.at
        odd.sealed.target = odd.tls_ports["expired"]
        odd.sealed.reset()
        until(lambda: "certificate verify failed" in scene.daemon.text()[at:], "the certificate is told")
        odd.sealed.target = odd.tls_ports["good"]
        scene.beats_on()
