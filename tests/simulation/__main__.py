"""Lives through random histories of several replicas, and tells of the first that breaks the promise.

`PYTHONPATH=tests python -m simulation --histories 100000 --seed 1 --jobs 2`; `--replay SEED` tells one.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

from simulation.history import live, operations, shrink
from simulation.mutations import MUTATIONS
from simulation.quiet import quiet
from simulation.run import Tally, first_failure, run_in_processes


def replay(seed: int) -> int:
    """Print what happens in a history, in as few operations as fail, if it does."""
    failing = bool(live(seed).faults)
    todo = shrink(seed) if failing else operations(seed)
    result = live(seed, todo, tell=True)
    print("\n".join(result.trace))
    print(f"seed {seed}, {len(todo)} of {len(operations(seed))} operations")
    print("\n".join(result.faults) or "nothing is wrong")
    return int(failing)


def progress(tally: Tally) -> None:
    """Print how far it is."""
    print(
        f"\r{tally.histories} histories, {tally.counts['fires']} fires, "
        f"{sum(tally.crashes.values())} crashes, {len(tally.failed)} failed",
        end="",
        file=sys.stderr,
        flush=True,
    )


def report(tally: Tally) -> None:
    """Print what many histories did."""
    print(f"\nhistories        {tally.histories}")
    print(f"a second, core   {tally.histories / tally.seconds:.0f}")
    for name, times in sorted(tally.counts.items()):
        print(f"{name:<24} {times}")
    for name, times in sorted(tally.crashes.items()):
        print(f"crash {name:<18} {times}")
    print(f"failed           {len(tally.failed)} {tally.failed[:10] or ''}")


def try_mutations(most: int) -> int:
    """Take every rule away in turn; print after how many histories that broke the promise."""
    missed = 0
    for name in MUTATIONS:
        tally = first_failure(name, most)
        missed += tally.found is None
        with MUTATIONS[name]():
            why = live(tally.found).faults[-1].splitlines()[0] if tally.found is not None else "NOT NOTICED"
        print(f"{name:36} {tally.histories:6} histories {tally.seconds:5.1f} s  {why:.100}", flush=True)
    return int(missed > 0)


def many(seeds: range, jobs: int) -> int:
    """Live through many histories; print what they did, and the first that failed."""
    tally = run_in_processes(seeds, jobs, progress)
    report(tally)
    if tally.failed:
        return replay(tally.failed[0])
    if unseen := tally.unseen():
        print(f"proves nothing: it never came to {', '.join(unseen)}; take more histories")
    return int(bool(unseen))


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=20_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--replay", type=int, metavar="SEED", help="tell one history, shrunk if it fails")
    parser.add_argument(
        "--mutation", choices=[*MUTATIONS, "all"], help="take a safety rule away: alone or with --replay"
    )
    given = parser.parse_args()
    with quiet():
        if given.mutation == "all":
            return try_mutations(given.histories)
        if given.mutation and given.replay is None:
            given.replay = first_failure(given.mutation, given.histories).found
        if given.replay is not None:
            with MUTATIONS[given.mutation]() if given.mutation else nullcontext():
                return replay(given.replay)
        return many(range(given.seed, given.seed + given.histories), given.jobs)


if __name__ == "__main__":
    sys.exit(main())
