# SPDX-License-Identifier: Apache-2.0
"""As many small random graphs per mode as are asked for, each against all of its plans.

    python -m tests.placement.brute [--graphs 5000] [--modes shared schedule:gpipe ...]

A mode is a question and how instances are drawn for it; the tests compare the first few of the same ones.  A graph
counts when all its plans were looked at, whether there is a valid one or not; `answered` counts those with one, and where several
questions are asked of a graph, every answer.  The first disagreement ends the run with its mode and seed, and exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks.common import header, row, table
from tests.placement import (
    schedules,
    test_interleaved,
    test_makespan,
    test_method,
    test_relaxing,
    test_schedule,
    test_sharing,
)
from tests.placement.instances import MODES
from tests.placement.interleaved import MODES as CHUNKED

Compare = Callable[[str, range], tuple[int, int]]
"""Takes a mode and seeds, and returns graphs and answers."""

_FIRST, _STEP = 10_000, 50


def schedule(mode: str, seeds: range) -> tuple[int, int]:
    """Compare plans that train by a schedule."""
    return len(seeds), test_schedule.compare(seeds, mode)["planned"]


def period(mode: str, seeds: range) -> tuple[int, int]:
    """Compare the longest stage."""
    return len(seeds), test_method.compare(mode, seeds)


def objectives(mode: str, seeds: range) -> tuple[int, int]:
    """Compare latency, cost, and limits of both."""
    return len(seeds), test_method.compare_objectives(mode, seeds)


def shared(mode: str, seeds: range) -> tuple[int, int]:
    """Compare devices that run several stages; graphs with too many assignments are passed over."""
    compared = test_sharing.compare(mode, seeds, 1000)
    return compared, compared


def interleaved(mode: str, seeds: range) -> tuple[int, int]:
    """Compare devices that take turns with several chunks."""
    return len(seeds), test_interleaved.compare(mode, seeds)["planned"]


def relaxed(mode: str, seeds: range) -> tuple[int, int]:
    """Compare bounds by equal devices, one or two of each graph."""
    return len(seeds), test_relaxing.compare(mode, seeds)["compared"]


def makespan(mode: str, seeds: range) -> tuple[int, int]:
    """Compare the makespan, with and without a limit; at least half of the answers are graphs."""
    answered = test_makespan.compare(mode, seeds, 2000)
    return answered // 2, answered


QUESTIONS: tuple[tuple[Compare, tuple[str, ...]], ...] = (
    (schedule, schedules.MODES),
    (interleaved, CHUNKED),
    (period, MODES),
    (objectives, MODES),
    (shared, test_sharing.MODES),
    (makespan, test_makespan.MODES),
    (relaxed, test_relaxing.MODES),
)


def main() -> int:
    """Run the comparisons and print a row for each mode."""
    parser = argparse.ArgumentParser(description="Small random graphs against all of their plans.")
    parser.add_argument("--graphs", type=int, default=5000, help="per mode (5000)")
    parser.add_argument("--modes", nargs="*", default=[""], help="all whose names begin so")
    options = parser.parse_args()
    header("Small random graphs against all of their plans")
    table(["mode", "graphs", "answered", "seeds", "seconds"])
    for compare, modes in QUESTIONS:
        for mode in modes:
            name = f"{compare.__name__}:{mode}"
            if name.startswith(tuple(options.modes)):
                row([name, *_compared(compare, mode, options.graphs)])
    return 0


def _compared(compare: Compare, mode: str, wanted: int) -> list[str]:
    """Compare until so many graphs are done; return the cells of a row."""
    start, graphs, answered, seed = time.perf_counter(), 0, 0, _FIRST
    while graphs < wanted:
        more, answers = compare(mode, range(seed, seed + _STEP))
        graphs, answered, seed = graphs + more, answered + answers, seed + _STEP
    seconds = time.perf_counter() - start
    return [f"{graphs:,}", f"{answered:,}", f"{_FIRST} to {seed - 1}", f"{seconds:.0f}"]


if __name__ == "__main__":
    sys.exit(main())
