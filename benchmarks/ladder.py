# SPDX-License-Identifier: Apache-2.0
"""The ladder of lower bounds: how much of the best plan found each of them reaches.

For every graph and number of stages a plan is searched (and often proven), then every bound is
computed alone.  The table holds, per method and k, the geometric mean of bound / best plan and the
mean seconds; `*n` marks n bounds that a limit prevented, for which the simple bound stands in, and `~n` n
that were the solver's best so far at its time limit.

    python -m benchmarks.ladder --graphs FOLDER --count 100 --time-limit 60
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.random_dags import random_dags

from stagewright import api
from stagewright.bound.programs import PROGRAMS, solve_program
from stagewright.bound.types import Bound
from stagewright.errors import LimitError
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem

METHODS = ("simple", "anchor", "bottleneck", "superblock", "guess", "lp", "mip", "exact")


@dataclass(frozen=True)
class Cell:
    """One bound of one graph: its share of the best plan found, seconds, how it ended."""

    share: float
    seconds: float
    missing: bool = False
    cut_short: bool = False


def measure(
    graph: CostGraph, stages: int, methods: Sequence[str], options: argparse.Namespace
) -> dict[str, Cell]:
    """Return all cells of one graph on `stages` stages, and the best of them as 'best'."""
    machine = Machine(stages)
    result = api.plan(graph, stages, time_limit=options.plan_seconds, seed=options.seed)
    top = result.solution.bottleneck
    simple = api.bound(graph, machine, "simple").value
    cells = {}
    for method in methods:
        if method == "exact":
            # What planning itself has proven, searches included.
            cells[method] = Cell(_share(result.solution.lower_bound, top), result.solution.seconds)
            continue
        try:
            found, solved = _bound(graph, machine, method, options)
        except LimitError:
            cells[method] = Cell(_share(simple, top), options.time_limit, missing=True)
            continue
        if found.value > top:
            sys.exit(f"{graph.name}, k = {stages}: {found} exceeds the plan of {top} ps")
        cells[method] = Cell(_share(found.value, top), found.seconds, cut_short=not solved)
    shares = [cell.share for cell in cells.values()]
    cells["best"] = Cell(max(shares), sum(cell.seconds for cell in cells.values()))
    return cells


def _share(bound: int, top: int) -> float:
    return bound / top if top else 1.0


def _bound(
    graph: CostGraph, machine: Machine, method: str, options: argparse.Namespace
) -> tuple[Bound, bool]:
    """Return a bound and whether nothing cut it short."""
    if method in PROGRAMS:
        problem = reduce_problem(compile_problem(graph, machine))
        seconds = options.time_limit
        return solve_program(problem, method, solver=options.solver, seconds=seconds)
    return api.bound(graph, machine, method, time_limit=options.time_limit), True


def table(
    graphs: Iterable[CostGraph], methods: Sequence[str], options: argparse.Namespace
) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    columns: dict[tuple[str, int], list[Cell]] = {}
    count = 0
    for graph in graphs:
        count += 1
        for stages in options.stages:
            for method, cell in measure(graph, stages, methods, options).items():
                columns.setdefault((method, stages), []).append(cell)
            print(f"{graph.name}, k = {stages}", file=sys.stderr, flush=True)
    if not count:
        return
    yield f"| {count} graphs | " + " | ".join(f"k = {k}" for k in options.stages) + " |"
    yield "| --- |" + " --- |" * len(options.stages)
    for method in (*methods, "best"):
        cells = (_text(columns[method, k]) for k in options.stages)
        yield f"| {method} | " + " | ".join(cells) + " |"


def _text(cells: Sequence[Cell]) -> str:
    if any(cell.share <= 0 for cell in cells):
        mean = 0.0
    else:
        mean = math.exp(sum(math.log(cell.share) for cell in cells) / len(cells))
    text = f"{mean:.4f} ({sum(cell.seconds for cell in cells) / len(cells):.2f} s)"
    missing, short = sum(c.missing for c in cells), sum(c.cut_short for c in cells)
    return text + (f" *{missing}" if missing else "") + (f" ~{short}" if short else "")


def main() -> None:
    """Print a table per set of graphs."""
    parser = argparse.ArgumentParser(description="the ladder of lower bounds")
    parser.add_argument("--graphs", type=Path, metavar="FOLDER", help="graph files (*.graph.json)")
    parser.add_argument("--count", type=int, default=100, help="random DAGs (100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 4, 8, 16], metavar="K")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--solver", choices=api.SOLVERS, default="highs")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per bound (60)")
    parser.add_argument("--plan-seconds", type=float, default=10.0, help="seconds per plan (10)")
    options = parser.parse_args()
    if options.graphs is not None:
        files = sorted(options.graphs.glob("*.graph.json"))
        for line in table(map(api.read, files), options.methods, options):
            print(line)
        print()
    for line in table(random_dags(options.count, options.seed), options.methods, options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
