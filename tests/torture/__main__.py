"""`PYTHONPATH=tests python -m torture`: kills, pauses and misleads replicas and brokers, then judges.

Ends with 1 when a fire was lost or doubled or anything else was wrong; and when a failpoint was hit too
seldom, for then nothing is known. The logs of a run that went wrong stay in `.cache/torture`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from pathlib import Path

from broker.cluster import QUICK, ROOT, USUAL, own_kafka

from torture.phases import Outcome, phases
from torture.report import as_json, seldom, table
from torture.run import Plan, run_phases


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    names = [phase.name for phase in phases()]
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="faults in all, nearly all of them kills")
    parser.add_argument("--minutes", type=float, default=120, help="phases are cut short after that")
    parser.add_argument("--nodes", type=int, choices=(1, 3), help="only the phases on so many brokers")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--sites", type=int, default=4, help="installations at once")
    parser.add_argument("--only", default="", help=f"phases, by commas: {', '.join(names)}")
    parser.add_argument("--json", type=Path, help="write the outcome here too")
    parser.add_argument("--keep", action="store_true", help="keep the logs in any case")
    given = parser.parse_args()
    if unknown := set(filter(None, given.only.split(","))) - set(names):
        parser.error(f"no such phase: {', '.join(unknown)}; there are {', '.join(names)}")
    return given


def main() -> int:
    """Run from the command line."""
    given = arguments()
    only = set(filter(None, given.only.split(",")))
    wanted = [one for one in phases() if (not only or one.name in only) and given.nodes in (None, one.nodes)]
    directory = ROOT / ".cache/torture" / str(given.seed)
    directory.mkdir(parents=True)
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    tell(f"seed {given.seed}, logs in {directory}")
    whole = sum(phase.share for phase in wanted)
    until = began + 60 * given.minutes
    plan = Plan(given.kills / whole, until, given.sites, given.seed, directory, tell)
    outcomes: list[Outcome] = []
    for nodes in (1, 3):
        mine = [phase for phase in wanted if phase.nodes == nodes]
        if mine:
            with own_kafka(nodes, QUICK if nodes > 1 else USUAL) as cluster:
                outcomes += run_phases(mine, cluster, plan)
    wrong = [f"{one.phase}: {each}" for one in outcomes for each in one.wrong]
    if any(one.phase == "failpoint" for one in outcomes):
        wrong += seldom(outcomes, 3 if given.kills >= 500 else 1)
    print(f"\n{table(outcomes)}\n")
    print("\n".join(wrong) or f"nothing is wrong after {sum(one.kills for one in outcomes)} kills")
    if given.json:
        given.json.write_text(json.dumps(as_json(given.seed, outcomes, wrong), indent=1) + "\n")
    if not wrong and not given.keep:
        shutil.rmtree(directory)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
