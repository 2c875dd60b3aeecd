"""What a result was measured on: the machine, the versions, the state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import confluent_kafka
from broker.cluster import LIBS, ROOT


def machine() -> dict[str, object]:
    """Return what the machine is, without its name."""
    return {
        "cpu": _after_colon("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _after_colon("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "load": os.getloadavg(),
    }


def versions() -> dict[str, str]:
    """Return the versions that matter."""
    kafka = [jar.stem.rpartition("-")[2] for jar in LIBS.glob("kafka_2*.jar")]
    return {
        "python": platform.python_version(),
        "confluent-kafka": str(confluent_kafka.version()),
        "librdkafka": str(confluent_kafka.libversion()[0]),
        "kafka": kafka[0] if kafka else "as the address given has it",
        "code": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _after_colon(path: str, name: str) -> str:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
