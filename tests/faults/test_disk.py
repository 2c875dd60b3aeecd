"""Group B, what brokers do by themselves: a full disk, ids that expire, too few copies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker.cluster import QUICK, Cluster, NoKafka, own_kafka
from broker.process import ensure_topics, until
from broker.test_daemon_faults import Place, job, now

from faults.running import SECONDS, running

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
SMALL = "size=96m"
EXPIRING = {
    "transactional.id.expiration.ms": "3000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
    "producer.id.expiration.ms": "3000",
    "producer.id.expiration.check.interval.ms": "500",
}


@contextmanager
def small_disk(directory: Path) -> Iterator[Path | None]:
    """Mount a small disk; None where that is not allowed."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", SMALL, "small", str(directory)], check=False, capture_output=True
    )
    try:
        yield directory if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path | None]]:
    """A broker on a small disk, and that disk; ids that nobody uses for three seconds expire there."""
    try:
        with (
            small_disk(tmp_path_factory.mktemp("disk") / "disk") as disk,
            own_kafka(settings=EXPIRING, within=disk) as cluster,
        ):
            yield cluster, disk
    except NoKafka as lack:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Kafka in CI: {lack}", pytrace=False)
        pytest.skip(f"no Kafka: {lack}")


@pytest.mark.long
def test_f17_an_id_that_expired_while_nothing_was_due_is_taken_anew_and_each_fire_is_sent_once(
    cramped: tuple[Cluster, Path | None], prefix: str, tmp_path: Path
) -> None:
    cluster, _ = cramped
    ensure_topics(cluster.bootstrap, prefix, "--shards", "1")
    place = Place(cluster.bootstrap, prefix, tmp_path, 1)
    place.schedule(job("seldom", every="8s", catchUp="all"))
    with place.daemon("a", "--shards", "1") as daemon:
        daemon.says("schedule.applied", SECONDS)
        begun = now()
        until(lambda: len([at for _, at in place.fires() if at > begun]) >= 2, "two fires", SECONDS)
        end = now() - 1_000
        assert daemon.terminate() == 0
        assert "transaction.failed" in daemon.text(), "no id ever expired"
    verdict = place.history().judge(end)
    assert verdict.clean, verdict
    assert verdict.skipped == 0


@pytest.mark.long
def test_f14_a_full_disk_stops_the_broker_and_costs_no_fire_once_there_is_room(
    cramped: tuple[Cluster, Path | None], prefix: str, tmp_path: Path
) -> None:
    cluster, disk = cramped
    if disk is None:
        pytest.skip("no file system may be mounted here")
    ensure_topics(cluster.bootstrap, prefix)
    place = Place(cluster.bootstrap, prefix, tmp_path)
    with running(place) as scene:
        at = scene.at
        filler = disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free - 64 * 1024))
        until(lambda: not cluster.nodes[0].running, "the broker gives up")
        with scene.unhurried():
            scene.tells("health.lost", after=at)
        filler.unlink()
        cluster.restart()
        scene.beats_on()


@pytest.mark.long
def test_f12_below_the_least_copies_in_sync_nothing_counts_as_done(prefix: str, tmp_path: Path) -> None:
    with own_kafka(3, QUICK) as cluster:
        ensure_topics(cluster.bootstrap, prefix, "--replication", "3")
        place = Place(cluster.bootstrap, prefix, tmp_path)
        with running(place) as scene:
            at = scene.at
            for node in cluster.nodes[1:]:
                node.send(signal.SIGSTOP)
            scene.tells("transaction.failed", after=at)
            frozen = now()
            until(lambda: now() > frozen + 10_000, "a while without enough copies")
            thawed = now()
            for node in cluster.nodes[1:]:
                node.send(signal.SIGCONT)
            scene.beats_on()
            arrived = [at for record, at in scene.live.seen(prefix) if ".jobs." in record.topic]
            assert not [at for at in arrived if frozen < at < thawed], "fires that too few copies hold"
