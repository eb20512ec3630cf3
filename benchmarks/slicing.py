# SPDX-License-Identifier: Apache-2.0
"""The optimum of an order: ours against the direct O(n^2 k) method, on the same orders.

    python -m benchmarks.slicing [--rounds 7] [--nodes 200 1000 4000] [--stages 4 16 64]

Each round times one pass, our optimum and the direct method one after the other on one order, so that
whatever else the machine does meets all three; medians over the rounds are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from benchmarks.common import header, row, table

from stagewright import _native
from stagewright.benching.families import layered_model
from stagewright.machine import Machine
from stagewright.problem import compile_problem

KINDS = ("random", "depth_first", "reversed_depth_first")


def timed(call: Callable[[], int], repeat: int) -> tuple[float, int]:
    """Return the seconds per call and the last answer."""
    start = time.perf_counter()
    for _ in range(repeat):
        answer = call()
    return (time.perf_counter() - start) / repeat, answer


def one_round(
    instance: _native.Instance, order: npt.NDArray[np.int32], stages: int, lower: int
) -> tuple[float, float, float, float]:
    """Return the seconds of a pass, of our optimum and of the direct one, and their ratio."""
    repeat = max(1, 20_000 // len(order))
    ours, value = timed(lambda: _native.slice_order(instance, order, stages, lower)[0], repeat)
    one_pass, _ = timed(lambda: _native.slice_pass(instance, order, value - 1, repeat), 1)
    direct, same = timed(lambda: _native.slice_directly(instance, order, stages), 1)
    if value != same:
        raise AssertionError(f"{len(order)} nodes, {stages} stages: {value} against {same}")
    return one_pass / repeat, ours, direct, direct / ours


def measure(nodes: int, stages: int, rounds: int) -> tuple[float, float, float, float]:
    """Return the medians of the rounds."""
    problem = compile_problem(layered_model(nodes, seed=1), Machine(stages))
    instance = problem.instance
    lower = max(-(-problem.total_work // stages), *problem.work)
    rows = []
    for seed in range(rounds):
        order = _native.random_order(instance, KINDS[seed % len(KINDS)], seed)
        rows.append(one_round(instance, order, stages, lower))
    one_pass, ours, direct, ratio = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    return one_pass, ours, direct, ratio


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--nodes", type=int, nargs="+", default=[200, 1000, 4000])
    parser.add_argument("--stages", type=int, nargs="+", default=[4, 16, 64])
    arguments = parser.parse_args()
    header(f"Slicing one order: ours and the direct method, medians of {arguments.rounds} rounds")
    table(["nodes", "stages", "pass, us", "optimum, us", "direct, us", "direct / optimum"])
    for nodes in arguments.nodes:
        for stages in arguments.stages:
            one_pass, ours, direct, ratio = measure(nodes, stages, arguments.rounds)
            row(
                [
                    nodes,
                    stages,
                    *(f"{x * 1e6:.0f}" for x in (one_pass, ours, direct)),
                    f"{ratio:.0f}",
                ]
            )


if __name__ == "__main__":
    main()
