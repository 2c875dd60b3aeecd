"""Says whether the dispatcher or the worker of this container is healthy: exit code 0, or 1 and why.

An image is both, so whichever of the two answers is asked. Little is imported: it runs every few seconds.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException

_ADDRESSES = {"DISPATCHER_ADDRESS": "127.0.0.1:9464", "DISPATCHER_WORK_ADDRESS": "127.0.0.1:9465"}
_SECONDS = 4.0


def main() -> int:
    """Ask `/health` where the environment says that it is told."""
    lacks = []
    for name, usual in _ADDRESSES.items():
        host, _, port = (os.environ.get(name) or usual).rpartition(":")
        here = "127.0.0.1" if host in {"", "0.0.0.0"} else "::1" if host == "[::]" else host.strip("[]")  # noqa: S104
        try:
            status, text = _asked(here, int(port))
        except (OSError, HTTPException) as error:
            lacks.append(f"{here}:{port}: {error}")
            continue
        sys.stdout.write(f"{text}\n")
        return 0 if status == 200 else 1
    sys.stdout.write("; ".join(lacks) + "\n")
    return 1


def _asked(host: str, port: int) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode(errors="replace")
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
