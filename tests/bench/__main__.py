"""All benchmarks: `make bench`, or `PYTHONPATH=tests python -m bench --help`."""

from __future__ import annotations

import sys

from bench import (
    burst,
    capacity,
    catch_up,
    idle,
    lateness,
    million,
    plateau,
    pool,
    ready,
    recovery,
    reload,
    scrape,
    staged,
    takeover,
    takeover_size,
    verify,
)
from bench.harness import run

run(
    {
        "catch-up": catch_up.measure,
        "burst": burst.measure,
        "staged": staged.measure,
        "million": million.measure,
        "reload": reload.measure,
        "idle": idle.measure,
        "lateness": lateness.measure,
        "takeover": takeover.measure,
        "takeover-size": takeover_size.measure,
        "recovery": recovery.measure,
        "ready": ready.measure,
        "capacity": capacity.measure,
        "scrape": scrape.measure,
        "plateau": plateau.measure,
        "verify": verify.measure,
        "pool": pool.measure,
    },
    sys.argv[1:],
    {"takeover": takeover.broker},
)
