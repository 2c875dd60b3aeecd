"""Group C, the network, and the cold starts of group B: partitions, bad lines, names that lead nowhere."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker.process import Dispatcher, ensure_topics, until
from broker.test_daemon_faults import Place, now, taken

from faults.odd import NAME, Odd
from faults.running import SECONDS, Running, beats, running

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
BRIEF = ("--session-seconds", "1.5")
SHARDS = {0, 1, 2, 3}


def installed(odd: Odd, prefix: str, directory: Path) -> Place:
    place = Place(odd.plain.address, prefix, directory)
    ensure_topics(odd.cluster.bootstrap, prefix)
    return place


@pytest.fixture
def scene(odd: Odd, prefix: str, tmp_path: Path) -> Iterator[Running]:
    """A dispatcher that reaches its broker through a link alone."""
    with running(installed(odd, prefix, tmp_path), *BRIEF, reader=odd.cluster.bootstrap) as scene:
        yield scene


@pytest.mark.long
@pytest.mark.parametrize("ways", [("requests", "answers"), ("answers",)], ids=["both ways", "answers alone"])
def test_f23_who_is_cut_off_loses_its_shards_and_two_never_own_one(
    odd: Odd, prefix: str, tmp_path: Path, ways: tuple[str, ...]
) -> None:
    place = installed(odd, prefix, tmp_path)
    near = Place(odd.cluster.bootstrap, prefix, tmp_path)
    with running(place, *BRIEF, reader=odd.cluster.bootstrap) as scene, near.daemon("b", *BRIEF) as other:
        until(lambda: len(taken(scene.daemon)) == len(taken(other)) == 2, "the shards are shared", SECONDS)
        begun = now()
        odd.plain.silence(*ways)
        until(lambda: taken(other) == SHARDS and not taken(scene.daemon), "the other has all", SECONDS)
        scene.tells("shards.lost", after=0)
        scene.beats_on()
        odd.plain.heal()
        until(lambda: len(taken(scene.daemon)) == len(taken(other)) == 2, "they are shared again", SECONDS)
        scene.beats_on()
        assert other.terminate() == 0, other.text()[-3000:]
        until(lambda: taken(scene.daemon) == SHARDS, "one has all", SECONDS)
    assert now() - begun < 60_000


@pytest.mark.long
def test_f26_resets_half_open_and_slow_lines_cost_no_fire_and_raise_no_storm(
    odd: Odd, scene: Running
) -> None:
    for _ in range(3):
        odd.plain.reset()
        scene.beats_on()
    at = scene.at
    odd.plain.forget()
    scene.beats_on()
    opened, slow = odd.plain.accepted, now()
    odd.plain.delay = 1.0
    until(lambda: bool(scene.told("commit.suspect", "transaction.failed", after=at)), "it notices", SECONDS)
    until(lambda: now() > slow + 8_000, "a while on a slow line")
    odd.plain.delay, odd.plain.rate = 0.0, 1_000
    until(lambda: now() > slow + 12_000, "a while on a thin line")
    odd.plain.heal()
    assert odd.plain.accepted - opened < 100, "connections are opened without end"
    scene.beats_on()
    assert max(scene.late(slow)) > 1_000, "a slow line makes late"
    assert len(scene.told("transaction.failed", after=at)) < 30


@pytest.mark.long
def test_f04_a_stop_while_nobody_answers_takes_no_longer_than_it_may_and_a_second_signal_ends_it(
    odd: Odd, prefix: str, tmp_path: Path
) -> None:
    place = installed(odd, prefix, tmp_path)
    place.schedule(*beats())
    with place.daemon("a", "--stop-seconds", "3") as daemon:
        daemon.says("schedule.applied", SECONDS)
        odd.plain.silence()
        begun = now()
        daemon.terminate(20)
        assert now() - begun < 8_000
        odd.plain.heal()
        daemon.start()
        until(lambda: daemon.text().count("daemon.started") == 2, "started again", SECONDS)
        odd.plain.silence()
        begun = now()
        daemon.send(signal.SIGTERM)
        daemon.says("daemon.stopping", after=daemon.text().rindex("daemon.started"))
        daemon.send(signal.SIGTERM)
        assert daemon.wait(5) == 128 + signal.SIGTERM
        assert now() - begun < 2_500


@pytest.fixture(autouse=True)
def insecure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are not the machine's own are refused without TLS otherwise."""
    monkeypatch.setenv("DISPATCHER_KAFKA_ALLOW_INSECURE", "true")


def boot(bootstrap: str, directory: Path, *flags: str) -> tuple[int, str]:
    """Start a dispatcher that cannot get far; return its exit code and its log."""
    (directory / "schedule.json").write_text('{"jobs": []}')
    log = directory / "boot.log"
    with Dispatcher(
        bootstrap, "boot", directory / "schedule.json", log, "--wait-seconds", "1", *flags
    ) as one:
        return one.wait(30), one.text()


def test_f22_a_name_that_is_not_resolved_is_told_at_the_start(tmp_path: Path) -> None:
    code, text = boot("kafka.faults.invalid:9092", tmp_path)
    assert code == 4
    assert "Failed to resolve 'kafka.faults.invalid:9092'" in text.splitlines()[-1]


def test_f22_an_advertised_listener_that_leads_astray_is_told_at_the_start(odd: Odd, tmp_path: Path) -> None:
    code, text = boot(odd.astray, tmp_path)
    assert code == 4
    assert "advertised.listeners" in text.splitlines()[-1]


@pytest.mark.long
def test_f22_names_that_are_resolved_no_more_while_it_runs_are_told_and_it_goes_on(
    odd: Odd, prefix: str, tmp_path: Path
) -> None:
    """The dispatcher gets hosts and resolvers of its own, in a mount namespace."""
    hosts, resolvers = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
    resolvers.write_text("options timeout:1 attempts:1\n")
    bind = 'mount --bind $0 /etc/hosts && mount --bind $1 /etc/resolv.conf && shift 1 && exec "$@"'
    apart = ["unshare", "--mount", "sh", "-c", bind, str(hosts), str(resolvers)]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no mount namespace may be made here")

    def renamed(daemon: Dispatcher) -> Dispatcher:
        daemon._command = [*apart, *daemon._command]
        return daemon

    place = Place(odd.named.address.replace("127.0.0.1", NAME), prefix, tmp_path)
    ensure_topics(odd.cluster.bootstrap, prefix)
    with running(place, *BRIEF, reader=odd.cluster.bootstrap, make=renamed) as scene:
        at = scene.at
        hosts.write_text("127.0.0.1 localhost\n")
        odd.named.reset()
        scene.tells("transaction.failed", after=at)
        until(lambda: "resolve" in scene.daemon.text()[at:].lower(), "the name is told")
        hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
        scene.beats_on()
