# SPDX-License-Identifier: Apache-2.0
"""A sweep against separate runs: how often does shared work pay?  `python -m benchmarks.sweep [FAMILY ...]`.

Both sides get the same graph, already read, and as many threads.  A sweep has one time limit for all points, a
separate run has it for each point.  What takes less than a second is the best of three.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

from benchmarks.cases import LIGHT
from benchmarks.common import geometric_mean, header, row, table

from stagewright.api import plan, read
from stagewright.benching.families import FAMILIES
from stagewright.graph import CostGraph
from stagewright.sweeps import sweep

T = TypeVar("T")

MODELS = (*FAMILIES, "densenet121")
_COLUMNS = (
    "graph", "nodes", "sweep", "separate", "separate / sweep", "longest single run", "sweep / longest", "median single run",
    "proven (sweep / separate)", "lower/upper (sweep / separate)",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=[], metavar="FAMILY", help=", ".join(MODELS))
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--most", type=int, default=32, help="stages 1 .. MOST (32)")
    parser.add_argument("--limit", type=float, default=4.0, help="seconds (4)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    header(f"A sweep over k = 1 .. {options.most} against separate runs")
    print(f"Time limit {options.limit:g} s, {options.threads} thread(s), one seed.\n")
    table(_COLUMNS)
    for name in options.families or MODELS:
        compare(name, options)


def graph_of(name: str, nodes: int) -> tuple[CostGraph, dict[str, str]]:
    if name in FAMILIES:
        return FAMILIES[name](nodes, 1), {}
    device = "h100-sxm"
    return read(LIGHT / f"light_{name}.onnx", device=device), {"device": device}


def best_of(run: Callable[[], T]) -> tuple[float, T]:
    """Return the least seconds of up to three runs, and what the first one returned."""
    start = time.perf_counter()
    first = run()
    seconds = [time.perf_counter() - start]
    while len(seconds) < 3 and sum(seconds) < 1.0:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), first


def compare(name: str, options: argparse.Namespace) -> None:
    graph, machine = graph_of(name, options.nodes)
    limits = {"time_limit": options.limit, "threads": options.threads}
    plan(graph, 1, **machine, **limits)  # what the first call loads
    together, found = best_of(lambda: sweep(graph, range(1, options.most + 1), **machine, **limits))
    seconds, ratios, proven = [], [], 0
    for point in found:
        stages = point.machine.stages
        took, result = best_of(lambda stages=stages: plan(graph, stages, **machine, **limits))  # type: ignore[misc]
        single = result.solution
        seconds.append(took)
        ratios.append(single.lower_bound / single.bottleneck)
        proven += single.lower_bound == single.bottleneck
        period = point.period or 0
        if point.lower > single.bottleneck or single.lower_bound > period:
            raise SystemExit(f"{name}, k = {stages}: a bound exceeds a plan")
    own = [point.lower / point.period for point in found if point.period]
    row(
        [
            name,
            graph.num_nodes,
            f"{together:.3g} s",
            f"{sum(seconds):.3g} s",
            f"{sum(seconds) / together:.1f}",
            f"{max(seconds):.3g} s",
            f"{together / max(seconds):.2f}",
            f"{statistics.median(seconds):.3g} s",
            f"{sum(point.optimal for point in found)} / {proven} of {len(own)}",
            f"{geometric_mean(own):.4f} / {geometric_mean(ratios):.4f}",
        ]
    )


if __name__ == "__main__":
    main()
