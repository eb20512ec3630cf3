# SPDX-License-Identifier: Apache-2.0
"""Lower bounds of wide graphs given good upper bounds, beside those a prototype reached.

    python -m benchmarks.wide_bound [FOLDER] [--seconds 30] [--only nasnet,er-] [--stages 8,16]

FOLDER holds NAME.graph.json files and reached.json: {"instances": {NAME: {K: {"upper": ms, "lower": ms}}}}.
Times are rounded up to the last digit given, so that `upper` is the cost of a plan.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

from benchmarks.common import INSTANCES, header, row, table

from stagewright.bound.anchor import anchor_bound
from stagewright.bound.simple import simple_bound
from stagewright.bound.wide import WideBound
from stagewright.effort import Effort
from stagewright.exact.must_link import contract_by_cuts
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.problem import compile_problem
from stagewright.readers.graph_file import read_graph_file
from stagewright.reduce import reduce_problem

PS_PER_MS = 10**9
LAST_DIGIT = PS_PER_MS // 10**4


def bound(graph: CostGraph, stages: int, upper: int, seconds: float) -> tuple[int, bool, float]:
    """Return the lower bound, whether it needed no more time, and the seconds it took."""
    start = time.perf_counter()

    def left() -> float:
        return max(0.0, seconds - (time.perf_counter() - start))

    problem = compile_problem(graph, Machine(stages))
    lower = simple_bound(problem).value
    lower = max(lower, anchor_bound(problem, graph, enough=upper, seconds=0.2 * left())[0].value)
    small, _ = contract_by_cuts(reduce_problem(problem), upper - 1, Effort.within(left()))
    if small is None:
        return upper, True, time.perf_counter() - start
    # The true upper bound may be anywhere within its last digit.
    if lower < upper - LAST_DIGIT:
        lower = WideBound(small).bound(lower, upper, left()).bound.value
    return lower, left() > 0, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=INSTANCES / "wide")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--only", default="", help="parts of names, by commas")
    parser.add_argument("--stages", default="", help="numbers of stages, by commas")
    args = parser.parse_args()
    reached = json.loads((args.folder / "reached.json").read_text())["instances"]
    header("Lower bounds of wide graphs")
    table(["instance", "k", "lower/upper", "reached before", "seconds", "finished"])
    logs = []
    for name in sorted(reached):
        if not any(part in name for part in args.only.split(",")):
            continue
        graph = read_graph_file(args.folder / f"{name}.graph.json")
        for stages, known in reached[name].items():
            if args.stages and stages not in args.stages.split(","):
                continue
            upper = round(known["upper"] * PS_PER_MS) + LAST_DIGIT // 2
            lower, finished, seconds = bound(graph, int(stages), upper, args.seconds)
            logs.append(math.log(lower / upper))
            row(
                [
                    *(name, stages, f"{lower / upper:.4f}"),
                    f"{known['lower'] / known['upper']:.4f}",
                    *(f"{seconds:.2f}", "yes" if finished else "no"),
                ]
            )
    print(f"\n{len(logs)} pairs, geometric mean {math.exp(sum(logs) / len(logs)):.4f}")


if __name__ == "__main__":
    main()
