"""`PYTHONPATH=tests python -m simulation --histories N --seed S`: live through histories, or replay one."""

from __future__ import annotations

import argparse
import sys

from simulation.history import live, operations, shrink
from simulation.quiet import quiet
from simulation.run import run


def replay(seed: int) -> None:
    """Print what happens in a history; in as few operations as fail, if it does."""
    todo = shrink(seed) if live(seed).faults else operations(seed)
    result = live(seed, todo, tell=True)
    print("\n".join(result.trace))
    print(f"seed {seed}, {len(todo)} of {len(operations(seed))} operations")
    print("\n".join(result.faults) or "nothing is wrong")


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation")
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=int)
    given = parser.parse_args()
    with quiet():
        if given.replay is not None:
            replay(given.replay)
            return 0
        tally = run(range(given.seed, given.seed + given.histories), until_failure=True)
        print(tally.histories, tally.seconds, tally.histories / tally.seconds)
        print(tally.counts)
        print(tally.crashes)
        for seed in tally.failed[:1]:
            replay(seed)
    return 1 if tally.failed else 0


sys.exit(main())
