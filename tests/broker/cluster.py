"""A real Apache Kafka for tests and benchmarks, from the jars that `make .cache/kafka/libs/.ready` fetches.

Everything lies in a directory of its own and on free loopback ports, so that any number of clusters can
run beside one another. The nodes die with the process that started them where `setpriv` is at hand.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from string import Template
from types import MappingProxyType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker.starting import start

ROOT = Path(__file__).resolve().parents[2]
LIBS = ROOT / ".cache/kafka/libs"
TEMPLATES = Path(__file__).with_name("kafka")
BOOTSTRAP = "DISPATCHER_TEST_BOOTSTRAP"
START_SECONDS = 60.0
USUAL: Mapping[str, str] = MappingProxyType({})
QUICK: Mapping[str, str] = MappingProxyType({"broker.session.timeout.ms": "1500"})
"""For brokers that are killed: their controller misses them, and takes them back, sooner.

Too short for one that nobody kills: a busy machine lets it pass, and partitions of a lone broker that its
controller gave up have no leader; Kafka completes a commit without its markers then (KAFKA-20734).
"""
_JVM = (
    *("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:-UsePerfData", "-Xshare:auto", "-Djava.awt.headless=true"),
)


class NoKafka(Exception):
    """No broker can be had on this machine; the text says what is missing."""


def missing() -> str | None:
    """Say what is missing to start a broker here, or None when one can be started."""
    if shutil.which("java") is None:
        return "no java (17 or newer) on the path"
    if not (LIBS / ".ready").exists():
        return "no Kafka jars: run `make .cache/kafka/libs/.ready`"
    return None


class Node:
    """One broker-and-controller process, with its ports and its directory."""

    def __init__(self, number: int, directory: Path, *, proxied: bool = False) -> None:
        self.number = number
        self.port, self.controller_port, self.proxied_port, self.proxy_port = free_ports(4)
        self._proxied = proxied
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients reach the node."""
        return f"127.0.0.1:{self.port}"

    @property
    def voter(self) -> str:
        """The node as the quorum knows it."""
        return f"{self.number}@127.0.0.1:{self.controller_port}"

    def prepare(self, cluster_id: str, voters: str, replicas: int, settings: Mapping[str, str]) -> None:
        """Write the node's settings, the given ones over the usual ones, and format its storage.

        What may stand in the usual ones, `${port}` for instance, may stand in the given ones.
        """
        self.directory.mkdir(parents=True)
        given = "".join(f"{name}={value}\n" for name, value in settings.items())
        template = Template((TEMPLATES / "server.properties").read_text() + given)
        self._settings.write_text(
            template.substitute(
                node=self.number, voters=voters, port=self.port, controller_port=self.controller_port,
                data=self.directory / "data", replicas=replicas, in_sync=min(2, replicas),
                behind=f",PROXIED://127.0.0.1:{self.proxied_port}" if self._proxied else "",
                before=f",PROXIED://127.0.0.1:{self.proxy_port}" if self._proxied else "",
            )
        )  # fmt: skip
        formatted = subprocess.run(
            _java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._settings)),
            capture_output=True, check=False, timeout=START_SECONDS,
        )  # fmt: skip
        if formatted.returncode != 0:
            raise NoKafka(f"storage cannot be formatted: {formatted.stdout + formatted.stderr!r}")

    def start(self) -> None:
        """Start the process; it is ready when the cluster answers."""
        with self._log.open("ab") as log:
            self._process = start(
                _java("kafka.Kafka", str(self._settings)),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None, "the node was never started"
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        """End the process by a signal and wait until it is gone; it may be gone already."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(START_SECONDS)
        finally:
            self._process.kill()
            self._process = None

    def check(self) -> None:
        """Raise NoKafka with the end of its log when the process has died by itself."""
        if self._process is not None and self._process.poll() is not None:
            lines = [line[:500] for line in self._log.read_text().splitlines()]
            bad = [line for line in lines if "ERROR" in line or "FATAL" in line or "Exception" in line]
            raise NoKafka("\n".join([f"node {self.number} died:", *bad[-20:], *lines[-20:]]))

    @property
    def _settings(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"


class Cluster:
    """A cluster of its own for one test: it may be stopped, killed, paused and started again.

    `nodes` are reached one by one for what happens to one broker alone. Those `proxied` listen at one more
    port, `proxied_port`, and tell who comes there that they are reached at `proxy_port`.
    """

    def __init__(
        self, directory: Path, nodes: int = 1, settings: Mapping[str, str] = USUAL, *, proxied: bool = False
    ) -> None:
        self.nodes = tuple(
            Node(number, directory / f"node{number}", proxied=proxied) for number in range(1, nodes + 1)
        )
        self.bootstrap = ",".join(node.address for node in self.nodes)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "x")
        for node in self.nodes:
            node.prepare(cluster_id, ",".join(each.voter for each in self.nodes), nodes, settings)

    def start(self) -> None:
        """Start every node and return when the cluster answers. Raises NoKafka."""
        for node in self.nodes:
            node.start()
        self._wait()

    def stop(self) -> None:
        """Stop every node in good order (SIGTERM)."""
        for node in self.nodes:
            node.end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill every node (SIGKILL)."""
        for node in self.nodes:
            node.end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill every node and start it again with its data, on its ports."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze every node (SIGSTOP): its sockets stay open and nothing answers."""
        for node in self.nodes:
            node.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let frozen nodes go on (SIGCONT)."""
        for node in self.nodes:
            node.send(signal.SIGCONT)

    def heal(self) -> None:
        """Start every node that is down and let frozen ones go on; return when the cluster answers."""
        for node in self.nodes:
            if node.running:
                node.send(signal.SIGCONT)
            else:
                node.start()
        self._wait()

    def _wait(self) -> None:
        admin = AdminClient({
            "bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 200, "log_level": 0,
        })  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while True:
            for node in self.nodes:
                node.check()
            try:
                if len(admin.list_topics(timeout=2).brokers) == len(self.nodes):
                    return
            except KafkaException:
                pass  # not yet; the deadline below has the last word
            if time.monotonic() > end:
                raise NoKafka(f"no answer from {self.bootstrap} within {START_SECONDS:.0f} s")
            admin.poll(0.1)


@contextmanager
def own_kafka(
    nodes: int = 1,
    settings: Mapping[str, str] = USUAL,
    *,
    proxied: bool = False,
    within: Path | None = None,
) -> Iterator[Cluster]:
    """Run a cluster that belongs to the caller alone; it is killed and removed at the end. Raises NoKafka.

    `settings` of the brokers go over the usual ones of the tests. Its directory is made `within` another one.
    """
    if lack := missing():
        raise NoKafka(lack)
    with tempfile.TemporaryDirectory(
        prefix="dispatcher-kafka-", dir=within or _scratch(), ignore_cleanup_errors=True
    ) as directory:
        cluster = Cluster(Path(directory), nodes, settings, proxied=proxied)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()


@contextmanager
def running_kafka(nodes: int = 1) -> Iterator[str]:
    """Yield the bootstrap address of a Kafka to share: that of the environment, or one started here."""
    if address := os.environ.get(BOOTSTRAP):
        yield address
        return
    with own_kafka(nodes) as cluster:
        yield cluster.bootstrap


def _scratch() -> str | None:
    """Return a directory in memory where there is plenty: disks take seconds to delete so many files."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of its own name is made in it
    plenty = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 1024**3
    return str(memory) if plenty and os.access(memory, os.W_OK) else None


def _java(main: str, *arguments: str) -> list[str]:
    log4j = f"-Dlog4j2.configurationFile={TEMPLATES / 'log4j2.properties'}"
    return ["java", *_JVM, log4j, "-cp", f"{LIBS}/*", main, *arguments]


def free_ports(count: int) -> list[int]:
    """Return ports below those that clients are given: a client may not take one while its node is down."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as each, suppress(OSError):
            each.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)
