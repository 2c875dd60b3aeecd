"""One broker with a door for each kind of trouble: rights, passwords, certificates, names, bad lines.

All doors lead to the same cluster. Who comes by the usual one is trusted with everything; who comes by the
others gets there through a `Link`, which the test may cut, slow or lead elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.cluster import Cluster, free_ports, own_kafka

from faults.link import Link
from faults.papers import Papers, make_papers

NAME = "kafka.faults.test"
"""The host by which one door makes itself known; only who is told its address knows it."""
CERTIFICATES = ("good", "expired", "alien", "misnamed")
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class Odd:
    """The broker and its doors. `sealed` leads to the door of the good certificate."""

    cluster: Cluster
    papers: Papers
    plain: Link
    guarded: Link
    sealed: Link
    named: Link
    tls_ports: dict[str, int]
    astray: str
    """An address that answers, and sends everybody on to one where nobody listens."""


@contextmanager
def odd_kafka(directory: Path) -> Iterator[Odd]:
    """Run it. Raises NoKafka, NoPapers."""
    papers = make_papers(directory / "papers")
    plain, guarded, named, astray, nowhere, *tls = free_ports(5 + len(CERTIFICATES))
    plain_link, guarded_link, sealed_link, named_link = free_ports(4)
    doors = {
        "LINKED": (plain, plain_link), "GUARDED": (guarded, guarded_link), "ASTRAY": (astray, nowhere),
        **{kind.upper(): (port, sealed_link) for kind, port in zip(CERTIFICATES, tls, strict=True)},
    }  # fmt: skip
    protocols = {
        **dict.fromkeys(("CONTROLLER", "PLAINTEXT", "LINKED", "NAMED", "ASTRAY"), "PLAINTEXT"),
        "GUARDED": "SASL_PLAINTEXT", **{kind.upper(): "SSL" for kind in CERTIFICATES},
    }  # fmt: skip
    own = {
        "listeners": "PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller_port}"
        f",NAMED://127.0.0.1:{named}"
        + "".join(f",{door}://127.0.0.1:{port}" for door, (port, _) in doors.items()),
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:${{port}},NAMED://{NAME}:{named_link}"
        + "".join(f",{door}://127.0.0.1:{known}" for door, (_, known) in doors.items()),
        "listener.security.protocol.map": ",".join(f"{door}:{kind}" for door, kind in protocols.items()),
        "sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.guarded.scram-sha-256.sasl.jaas.config": _SCRAM,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    for kind in CERTIFICATES:
        own[f"listener.name.{kind}.ssl.keystore.type"] = "PEM"
        own[f"listener.name.{kind}.ssl.keystore.location"] = str(papers.keystore(kind))
    tls_ports = dict(zip(CERTIFICATES, tls, strict=True))
    with (
        own_kafka(settings=own) as cluster,
        Link(plain_link, plain) as unguarded,
        Link(guarded_link, guarded) as watched,
        Link(sealed_link, tls_ports["good"]) as sealed,
        Link(named_link, named) as renamed,
    ):
        yield Odd(cluster, papers, unguarded, watched, sealed, renamed, tls_ports, f"127.0.0.1:{astray}")
