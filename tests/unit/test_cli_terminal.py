"""What commands look like on a terminal: the program in a pseudo-terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

DISPATCHER = Path(sys.executable).with_name("dispatcher")
ESCAPE = "\x1b["


def on_terminal(*words: str, **environment: str) -> str:
    """Run the program with all its streams on one terminal; return what it wrote there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [DISPATCHER, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "60", **environment},
    ):
        os.close(theirs)
        return b"".join(_until_closed(ours)).decode()


def _until_closed(descriptor: int) -> list[bytes]:
    read = []
    try:
        while chunk := os.read(descriptor, 4096):
            read.append(chunk)
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(descriptor)
    return read


@pytest.fixture
def schedule(tmp_path: Path) -> str:
    path = tmp_path / "schedule.json"
    names = ["short", "a-name-that-is-so-long-that-it-has-no-room-on-a-narrow-terminal"]
    jobs = [{"jobName": name, "every": "1h", "job": "noop"} for name in names]
    path.write_text(json.dumps({"jobs": jobs}), encoding="utf-8")
    return str(path)


def test_tables_are_laid_out_and_lose_nothing(schedule: str) -> None:
    shown = on_terminal("next", "--schedule", schedule, "--count", "2", "--from", "2026-11-20T12:00:00Z")
    assert ESCAPE in shown
    assert "\t" not in shown
    assert "a-name-that-is-so-long-that-it-has-no-room-on-a-narrow-terminal" in shown
    assert shown.count("2026-11-20T13:00:00Z") == 4


def test_colours_can_be_refused() -> None:
    coloured, plain = on_terminal("settings"), on_terminal("settings", NO_COLOR="1")
    assert f"{ESCAPE}1" in coloured
    assert f"{ESCAPE}3" not in plain
    assert "poll_seconds" in plain
