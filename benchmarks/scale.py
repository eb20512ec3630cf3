# SPDX-License-Identifier: Apache-2.0
"""Seconds, memory and certified gap as graphs grow at a fixed number of nodes per stage."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time

from benchmarks.common import header, row, table
from benchmarks.synthetic import layered_model

from stagewright.machine import Machine
from stagewright.solve import Settings, solve


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="1000,3000,10000,30000,100000")
    parser.add_argument("--nodes-per-stage", type=int, default=1500)
    parser.add_argument("--time-limit", type=float, default=60.0)
    options = parser.parse_args()
    header("Growth with the size of the graph")
    table(
        [
            "nodes",
            "k",
            "reduced",
            "ideals",
            "gap %",
            "status",
            "seconds",
            "us per node",
            "peak MiB of the process",
        ]
    )
    # A fresh process per size, so that peak memory is that size's own.
    context = multiprocessing.get_context("spawn")
    for nodes in map(int, options.nodes.split(",")):
        k = max(2, nodes // options.nodes_per_stage)
        with context.Pool(1) as pool:
            row(pool.apply(one, (nodes, k, options.time_limit)))
    return 0


def one(nodes: int, k: int, limit: float) -> list[object]:
    graph = layered_model(nodes, seed=1)
    start = time.perf_counter()
    solution = solve(graph, Machine(k), Settings(time_limit=limit))
    seconds = time.perf_counter() - start
    upper, lower = solution.bottleneck, solution.lower_bound
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        *(nodes, k, solution.reduced_nodes, solution.ideals or "-"),
        *(f"{100 * (upper / lower - 1):.3f}", "optimal" if upper == lower else "bounded"),
        *(f"{seconds:.2f}", f"{1e6 * seconds / nodes:.0f}", f"{peak:.0f}"),
    ]


if __name__ == "__main__":
    sys.exit(main())
