# SPDX-License-Identifier: Apache-2.0
"""Seconds, memory and certified gap as graphs grow at a fixed number of nodes per stage.

Each size is planned in a process of its own, so that the peak memory is its own; the process without a graph
is listed first.  `to 2 %` is when the certified gap first was at most that.  The growth exponent of a
family is the slope of log seconds over log nodes (1: linear), from the times to 2 %, since a run that
its time limit ends says nothing of growth.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from dataclasses import dataclass

from benchmarks.common import header, peak_mib, row, table

from stagewright.benching.families import FAMILIES
from stagewright.machine import Machine
from stagewright.solve import Settings, solve

TARGET = 0.02


@dataclass(frozen=True)
class Run:
    """One size of one family, planned in its own process."""

    nodes: int
    reduced: int
    ideals: int | None
    upper: int
    lower: int
    seconds: float
    reading: float
    to_target: float | None
    peak_mib: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--nodes", default="1000,3000,10000,30000,100000")
    parser.add_argument("--nodes-per-stage", type=int, default=1500)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    header("Growth with the size of the graph")
    # A fresh process per size, so that peak memory is that size's own.
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        print(f"A process that has imported everything: {pool.apply(peak_mib):.0f} MiB.\n")
    table(
        [
            *("family", "nodes", "k", "reduced", "ideals", "gap %", "status"),
            *("seconds", "to 2 %", "us per node", "peak MiB"),
        ]
    )
    growth = []
    for family in options.families.split(","):
        runs = []
        for nodes in map(int, options.nodes.split(",")):
            k = max(2, nodes // options.nodes_per_stage)
            with context.Pool(1) as pool:
                arguments = (family, nodes, k, options.time_limit, options.threads)
                runs.append(pool.apply(one, arguments))
            show(family, k, runs[-1])
        growth.append(
            (family, exponent(runs), [run.nodes for run in runs if run.to_target is None])
        )
    print()
    for family, slope, late in growth:
        text = "unknown" if slope is None else f"{slope:.2f}"
        text += f"; never within 2 %: {', '.join(map(str, late))} nodes" if late else ""
        print(f"- {family}: growth exponent {text}")
    return 0


def show(family: str, k: int, run: Run) -> None:
    gap = run.upper / run.lower - 1 if run.lower else math.inf
    row(
        [
            *(family, run.nodes, k, run.reduced, run.ideals or "-", f"{100 * gap:.3f}"),
            "optimal" if run.upper == run.lower else "bounded",
            f"{run.seconds:.2f}",
            "-" if run.to_target is None else f"{run.to_target:.2f}",
            f"{1e6 * run.seconds / run.nodes:.0f}",
            f"{run.peak_mib:.0f}",
        ]
    )


def exponent(runs: list[Run]) -> float | None:
    """Return the slope of log seconds over log nodes, None with fewer than two points."""
    points = [(math.log(r.nodes), math.log(r.to_target)) for r in runs if r.to_target]
    if len({x for x, _ in points}) < 2:
        return None
    slope: float = statistics.linear_regression(*zip(*points, strict=True)).slope
    return slope


def one(family: str, nodes: int, k: int, limit: float, threads: int | None) -> Run:
    start = time.perf_counter()
    graph = FAMILIES[family](nodes, 1)
    reading = time.perf_counter() - start
    start = time.perf_counter()
    solution = solve(graph, Machine(k), Settings(time_limit=limit, threads=threads))
    seconds = time.perf_counter() - start
    upper, lower = solution.bottleneck, solution.lower_bound
    close = [p.seconds for p in solution.history if p.upper <= (1 + TARGET) * p.lower]
    # The last point may be earlier than the end, where the plan is priced again.
    reached = close[0] if close else seconds if upper <= (1 + TARGET) * lower else None
    return Run(
        *(nodes, solution.reduced_nodes, solution.ideals, upper, lower, seconds, reading),
        *(reached, peak_mib()),
    )


if __name__ == "__main__":
    sys.exit(main())
