# SPDX-License-Identifier: Apache-2.0
"""Published workloads: proven optimum, against the published optimum and the published solver's time.

`peer` is the wall time of the published exact solver (msr-fiddle/dnn-partitioning, no CPUs) on a 2-core
machine as recorded in expected.json; `ours` is the whole of solve() in one thread, best of three.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from benchmarks.common import INSTANCES, Tally, header, row, table

from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.readers import load
from stagewright.solve import Settings, Solution, solve


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", type=float, default=60.0)
    options = parser.parse_args()
    if not INSTANCES.exists():
        print(f"skipped: no instances at {INSTANCES}", file=sys.stderr)
        return 0
    header("Published workloads")
    table(
        [
            "instance",
            "k",
            "groups",
            "nodes",
            "reduced",
            "ideals",
            "bottleneck ms",
            "published ms",
            "status",
            "ours s",
            "peer s",
            "ratio",
        ]
    )
    tally, wrong = Tally(), 0
    for name, entry in json.loads((INSTANCES / "expected.json").read_text()).items():
        graph = load(INSTANCES / "graphs" / f"{name}.graph.json")
        cases = [(entry["k"], True, entry["optimum_with_groups_ms"], entry["peer_wall_s"])]
        for k, value in entry.get("optimum_without_groups_ms", {}).items():
            cases.append((int(k), False, value, None))
        for k, groups, optimum, peer in cases:
            solution, seconds = best_of_three(
                graph if groups else graph.without_constraints(), k, options.time_limit
            )
            tally.add(solution.bottleneck, solution.lower_bound, seconds)
            # The published values have six to eight digits.
            wrong += abs(solution.bottleneck / 1e9 - optimum) > 2e-6 * optimum
            row(
                [
                    name,
                    k,
                    "yes" if groups else "no",
                    solution.nodes,
                    solution.reduced_nodes,
                    solution.ideals or "-",
                    f"{solution.bottleneck / 1000000000.0:.6f}",
                    f"{optimum:.6f}",
                    "optimal" if solution.lower_bound == solution.bottleneck else "bounded",
                    f"{seconds:.4f}",
                    peer or "-",
                    f"{peer / seconds:.0f}" if peer else "-",
                ]
            )
    print(f"\n{tally}  {wrong} differ from the published optimum.")
    return 1 if wrong else 0


def best_of_three(graph: CostGraph, k: int, limit: float) -> tuple[Solution, float]:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        solution = solve(graph, Machine(k), Settings(time_limit=limit))
        best = min(best, time.perf_counter() - start)
    return solution, best


if __name__ == "__main__":
    sys.exit(main())
