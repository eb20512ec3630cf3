# SPDX-License-Identifier: Apache-2.0
"""The ladder of lower bounds on random DAGs: how much of the best plan found each of them reaches.

For every graph and number of stages one plan is searched, then every bound is computed alone, one thread
each.  Bounds that a solver has to find (and the covering bound and the skeleton relaxation, each alone) are
slow, so they are computed for a sample of the graphs, the first of each topology; the other tables
hold the quick ones on all graphs.  A cell that a time limit touched says so: `~n` marks n values that
are the solver's best bound at its limit, `*n` n cases where it had none, for which the simple bound stands in.

    python -m benchmarks.ladder                  100 graphs per k, about 40 minutes on one core
    python -m benchmarks.ladder --count 20 --sample 5 --time-limit 2 --plan-seconds 1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.common import geometric_mean, header, row, table
from benchmarks.random_dags import TOPOLOGIES, random_dags

from stagewright import api
from stagewright.bound.programs import PROGRAMS, solve_program
from stagewright.bound.types import Bound
from stagewright.errors import LimitError
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.solve import Settings, solve

QUICK = ("simple", "anchor", "average", "solve")
SLOW = ("bottleneck", "superblock", "guess", "lp", "mip", "cover", "skeleton")
METHODS = (
    "simple",
    "anchor",
    "average",
    "bottleneck",
    "superblock",
    "guess",
    "lp",
    "mip",
    "cover",
    "skeleton",
    "solve",
)


@dataclass(frozen=True)
class Cell:
    """One bound of one graph: its share of the best plan found, seconds, how it ended."""

    share: float
    seconds: float
    missing: bool = False
    cut_short: bool = False


Column = dict[tuple[str, int], list[Cell]]


class Ladder:
    """Computes bounds, or finds them in the records of an earlier run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.records = records.Records(options.records)
        self.faults: dict[str, None] = {}  # in the order found

    def measure(self, graph: CostGraph, stages: int, methods: Iterable[str]) -> dict[str, Cell]:
        """Return all cells of one graph on `stages` stages, and the best of them as 'best'."""
        best = self._plan(graph, stages)
        cells = {
            method: self._cell(graph, stages, method, best)
            for method in methods
            if method != "solve"
        }
        if "solve" in methods:
            # What planning itself has proven, searches included.
            cells["solve"] = Cell(_share(best["lower"], best["upper"]), best["seconds"])
        shares = [cell.share for cell in cells.values()]
        cells["best"] = Cell(max(shares), sum(cell.seconds for cell in cells.values()))
        return cells

    def _plan(self, graph: CostGraph, stages: int) -> dict[str, Any]:
        seconds, seed = self.options.plan_seconds, self.options.seed

        def compute() -> dict[str, Any]:
            settings = Settings(time_limit=seconds, seed=seed, threads=1)
            found = solve(graph, Machine(stages), settings)
            return {"upper": found.bottleneck, "lower": found.lower_bound, "seconds": found.seconds}

        return self.records.once(self._key(graph, stages, "solve", seconds), compute)

    def _cell(self, graph: CostGraph, stages: int, method: str, best: dict[str, Any]) -> Cell:
        limit = self.options.time_limit

        def compute() -> dict[str, Any]:
            try:
                found, solved = self._bound(graph, Machine(stages), method)
            except LimitError:
                simple = api.bound(graph, Machine(stages), "simple").value
                return {"value": simple, "seconds": limit, "missing": True, "short": False}
            return {
                "value": found.value,
                "seconds": found.seconds,
                "missing": False,
                "short": not solved,
            }

        found = self.records.once(self._key(graph, stages, method, limit), compute)
        if found["value"] > best["upper"]:
            fault = f"{graph.name}, k = {stages}: {method} says {found['value']} ps, "
            self.faults[f"{fault}there is a plan of {best['upper']} ps"] = None
        share = _share(found["value"], best["upper"])
        return Cell(share, found["seconds"], found["missing"], found["short"])

    def _key(self, graph: CostGraph, stages: int, method: str, limit: float) -> dict[str, Any]:
        solver = self.options.solver if method in PROGRAMS else None
        return {
            "graph": graph.sha256,
            "name": graph.name,
            "k": stages,
            "method": method,
            "limit": limit,
            "solver": solver,
            "seed": self.options.seed,
        }

    def _bound(self, graph: CostGraph, machine: Machine, method: str) -> tuple[Bound, bool]:
        """Return a bound and whether nothing cut it short."""
        limit = self.options.time_limit
        if method in PROGRAMS:
            problem = reduce_problem(compile_problem(graph, machine))
            # CP-SAT solves no linear programs.
            cannot = method == "lp" and self.options.solver == "cpsat"
            solver = "highs" if cannot else self.options.solver
            return solve_program(problem, method, solver=solver, seconds=limit)
        found = api.bound(graph, machine, method, time_limit=limit, seed=self.options.seed)
        return found, method not in ("average", "cover", "skeleton") or found.seconds < 0.9 * limit


def _share(bound: int, top: int) -> float:
    return bound / top if top else 1.0


def collect(ladder: Ladder, graphs: Sequence[CostGraph], methods: Sequence[str]) -> Column:
    """Return the cells of all graphs per method and k."""
    columns: Column = {}
    for number, graph in enumerate(graphs, start=1):
        for stages in ladder.options.stages:
            for method, cell in ladder.measure(graph, stages, methods).items():
                columns.setdefault((method, stages), []).append(cell)
        print(f"{number} of {len(graphs)}: {graph.name}", file=sys.stderr, flush=True)
    return columns


def show(columns: Column, methods: Sequence[str], stages: Sequence[int]) -> None:
    """Print the three tables: share of the best plan, how often it is all of it, seconds."""
    for title, text in (
        ("Lower bound / best plan found, geometric mean", _mean),
        ("Cases where the bound proves the best plan found optimal, %", _proven),
        ("Seconds, mean", _seconds),
    ):
        print(f"\n{title}\n")
        table(["bound", *(f"k = {k}" for k in stages)])
        for method in (*methods, "best"):
            if (method, stages[0]) in columns:
                row([method, *(text(columns[method, k]) for k in stages)])


def _mean(cells: Sequence[Cell]) -> str:
    shares = [cell.share for cell in cells]
    text = f"{geometric_mean(shares) if min(shares) > 0 else 0.0:.4f}"
    missing, short = sum(c.missing for c in cells), sum(c.cut_short for c in cells)
    return text + (f" *{missing}" if missing else "") + (f" ~{short}" if short else "")


def _proven(cells: Sequence[Cell]) -> str:
    return f"{100 * sum(cell.share >= 1 for cell in cells) / len(cells):.0f}"


def _seconds(cells: Sequence[Cell]) -> str:
    return f"{sum(cell.seconds for cell in cells) / len(cells):.3f}"


def by_topology(ladder: Ladder, graphs: Sequence[CostGraph]) -> Iterator[list[str]]:
    """Yield rows: per topology, what planning proves."""
    stages = ladder.options.stages
    for topology in TOPOLOGIES:
        own = [graph for graph in graphs if graph.name.startswith(f"{topology}-")]
        if not own:
            continue
        columns = [[ladder.measure(g, k, ("solve",))["solve"] for g in own] for k in stages]
        texts = [f"{_mean(cells)} ({_proven(cells)} %)" for cells in columns]
        yield [topology, str(len(own)), *texts]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graphs", type=Path, metavar="FOLDER", help="these, not random DAGs")
    parser.add_argument("--count", type=int, default=100, help="random DAGs (100)")
    parser.add_argument("--sample", type=int, default=10, help="of them for slow bounds (10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64], metavar="K")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--solver", choices=api.SOLVERS, default="highs")
    parser.add_argument("--time-limit", type=float, default=4.0, help="seconds per bound (4)")
    parser.add_argument("--plan-seconds", type=float, default=3.0, help="seconds per plan (3)")
    records.add_option(parser, "ladder")
    options = parser.parse_args()
    if options.graphs is not None:
        graphs = [api.read(path) for path in sorted(options.graphs.glob("*.graph.json"))]
    else:
        graphs = list(random_dags(options.count, options.seed))
    ladder = Ladder(options)
    header("The ladder of lower bounds")
    quick = [method for method in options.methods if method in QUICK]
    sample = graphs[: options.sample]
    print(
        f"Quick bounds and planning ({options.plan_seconds:g} s, one thread) on {len(graphs)} graphs per k; "
        f"slow bounds ({options.time_limit:g} s, {options.solver}, one thread) on {len(sample)} of them."
    )
    print(f"\n#### All {len(graphs)} graphs")
    show(collect(ladder, graphs, quick), quick, options.stages)
    if options.graphs is None and "solve" in quick:
        print("\nLower bound / plan of planning by topology, geometric mean (proven optimal)\n")
        table(["topology", "graphs", *(f"k = {k}" for k in options.stages)])
        for cells in by_topology(ladder, graphs):
            row(cells)
    if sample and set(options.methods) & set(SLOW):
        print(f"\n#### Sample of {len(sample)} graphs, all bounds")
        show(collect(ladder, sample, options.methods), options.methods, options.stages)
    if ladder.records.reused:
        print(
            f"\nResults taken over from {options.records}: {ladder.records.reused}.",
            file=sys.stderr,
        )
    for fault in ladder.faults:
        print(f"FAULT: {fault}")
    return 1 if ladder.faults else 0


if __name__ == "__main__":
    sys.exit(main())
