"""F54: clients of the views that are very many, slow and rude; fires go out as if there were none."""

from __future__ import annotations

import random
import socket
import threading
import urllib.request
from collections import deque
from contextlib import suppress
from pathlib import Path

import pytest
from broker.cluster import free_ports
from broker.process import until
from broker.test_daemon_faults import Place, now

from faults.running import Running, is_no_later, running

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
CROWD, HELD = 6, 100
"""Threads of clients, and how many connections each of them leaves hanging."""
RUDE = (
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 60_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08" * 500,
    b"GET /" + b"a" * 60_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
    b"",
)


def crowd(port: int, connections: int) -> None:
    """Connect so many times, each time in another bad way; most connections are left hanging."""

    def client(seed: int) -> None:
        chance, hanging = random.Random(seed), deque[socket.socket](maxlen=HELD)
        for _ in range(connections // CROWD):
            with suppress(OSError):
                one = socket.create_connection(("127.0.0.1", port), 2)
                if len(hanging) == HELD:
                    hanging[0].close()
                hanging.append(one)
                one.sendall(chance.choice(RUDE))
        for one in hanging:
            one.close()

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def is_crowded(kafka: str, prefix: str, directory: Path, connections: int, seconds: float) -> None:
    """Hold lateness under a crowd against the quiet before it."""
    (port,) = free_ports(1)
    place = Place(kafka, prefix, directory)
    place.install()
    with running(place, "--address", f"127.0.0.1:{port}") as scene:
        quiet = now()
        until(lambda: now() > quiet + 1_000 * seconds, "a quiet while", seconds + 10)
        crowded = now()
        crowd(port, connections)
        until(lambda: now() > crowded + 1_000 * seconds, "as long a while with a crowd", seconds + 10)
        ended = now()
        scene.beats_on()
        is_no_later(scene.late(quiet, crowded), scene.late(crowded, ended))
        answers(scene, port)


def answers(scene: Running, port: int) -> None:
    """The views answer who comes next."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        assert answer.status == 200, scene.daemon.text()[-2000:]


def test_f54_clients_without_number_and_manners_make_no_fire_later(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    is_crowded(kafka, prefix, tmp_path, 1_000, 2)


@pytest.mark.long
def test_f54_ten_thousand_of_them_make_no_fire_later(kafka: str, prefix: str, tmp_path: Path) -> None:
    is_crowded(kafka, prefix, tmp_path, 10_000, 20)
