"""Starting processes that end with the test that needs them, whatever ends it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_GUARD = [path, "--pdeathsig", "KILL"] if (path := shutil.which("setpriv")) else []
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starting")
"""The kernel ends such a process with the *thread* that started it: this one lives as long as we do."""


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process, as `subprocess.Popen` does, that is killed when this one ends; from any thread."""

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*_GUARD, *command], **options)

    return _STARTER.submit(started).result()
