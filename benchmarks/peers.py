# SPDX-License-Identifier: Apache-2.0
"""Our plans beside what one would otherwise take, on the same instances, limit and single thread.

- equal layers, equal parameter bytes, equal work: runs along the model's order, as the usual tools cut;
- METIS, repaired: a balanced partition of least cut, then nodes moved until it is acyclic (benching/splits.py);
- one order sliced: the model's own order cut optimally, communication included;
- CP-SAT, HiGHS: the exact model of bound/formulations.py.  They are handed the *reduced* problem (--whole: the
  problem as it is), one thread as ours has, and the rest of the limit after building the model.

Every plan is validated and priced by the plain reference, groups and pins are kept by all, and the orders within
stages are ours for all.  `ratio` is a plan's bottleneck over that of our plan: above 1 ours is better.  `proof` is a
solver's own bound over its own plan, `proven` where that is 1 (solvers: within 1e-5, as they claim).  A solver without a plan in time counts as `none` and is left out of
the ratios.

    python -m benchmarks.peers                   all sets, k = 4, 8, 16, 5 s per case: about 40 minutes
    python -m benchmarks.peers --sets published --stages 8 --seconds 60
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks import records
from benchmarks.cases import SETS, Case, cases
from benchmarks.common import geometric_mean, header, row, table

from stagewright.benching.methods import price, program
from stagewright.benching.splits import SPLITS
from stagewright.errors import MissingDependencyError
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.solve import Settings, solve

PROGRAMS = {"CP-SAT": "cpsat", "HiGHS": "highs"}
METHODS = {
    "equal layers": "equal-layers",
    "equal parameter bytes": "equal-parameters",
    "equal work": "equal-work",
    "METIS, repaired": "metis",
    "one order sliced": "one-order",
    **PROGRAMS,
}
"""What the tables call them, and the methods of `stagewright bench`."""
OURS = "ours"
Result = dict[str, Any]


def run(case: Case, method: str, seconds: float, whole: bool) -> Result:
    """Return upper (None without a plan), lower (None without a bound), picoseconds, and seconds."""
    start = time.perf_counter()
    if method == OURS:
        settings = Settings(time_limit=seconds, threads=1)
        found = solve(case.graph, case.machine, settings)
        return _result(start, found.bottleneck, found.lower_bound)
    problem = compile_problem(case.graph, case.machine)
    blocks, lower = None, None
    if method in PROGRAMS:
        if not whole:
            problem = reduce_problem(problem)
        blocks, lower = program(problem, PROGRAMS[method], start + seconds)
    else:
        # METIS need not be there.
        with contextlib.suppress(MissingDependencyError):
            blocks = SPLITS[METHODS[method]](problem, case.graph)
    spent = time.perf_counter()
    upper = None if blocks is None else price(case.graph, case.machine, problem, blocks)
    return _result(start + time.perf_counter() - spent, upper, lower)


def _result(start: float, upper: int | None, lower: int | None) -> Result:
    return {"upper": upper, "lower": lower, "seconds": time.perf_counter() - start}


Rows = dict[str, list[tuple[Case, dict[str, Result]]]]


def measure(options: argparse.Namespace) -> Rows:
    """Return the results of all methods on all cases, per set; print them if asked."""
    known = records.Records(options.records)
    methods = (OURS, *options.methods)
    found: Rows = {}
    if options.rows:
        table(["instance", "k", *(f"{m}, ms" if m == OURS else m for m in methods)])
    for case in cases(options.sets, options.stages):
        results = {}
        for method in methods:
            key = {
                "graph": case.graph.sha256,
                "name": case.name,
                "machine": str(case.machine),
                "method": method,
                "seconds": options.seconds,
                "whole": options.whole and method in PROGRAMS,
            }
            compute = partial(run, case, method, options.seconds, options.whole)
            results[method] = known.once(key, compute)
        found.setdefault(case.set, []).append((case, results))
        if options.rows:
            print_row(case, results, options.methods)
        print(f"{case.set}: {case.name}, k = {case.machine.stages}", file=sys.stderr, flush=True)
    return found


def print_row(case: Case, results: dict[str, Result], methods: Sequence[str]) -> None:
    ours = results[OURS]
    cells = [f"{ours['upper'] / 1e9:.6g}" + ("" if ours["lower"] == ours["upper"] else " open")]
    for method in methods:
        upper = results[method]["upper"]
        cells.append("-" if upper is None else f"{upper / ours['upper']:.4f}")
    row([case.name, case.machine.stages, *cells])


def summarise(found: Rows, methods: Sequence[str]) -> None:
    """Print one table per set of instances."""
    for name, results in found.items():
        print(f"\n#### {name}: {len(results)} cases\n")
        table(
            [
                *("method", "cases", "none", "ratio, geometric mean", "largest", "equal", "better"),
                *("proof, geometric mean", "proven %", "seconds, mean"),
            ]
        )
        for method in (OURS, *methods):
            row(summary(method, [entry for _, entry in results]))


def summary(method: str, results: Sequence[dict[str, Result]]) -> list[str]:
    pairs = [(entry[method], entry[OURS]) for entry in results]
    ran = [(own, ours) for own, ours in pairs if own["upper"] is not None]
    ratios = [own["upper"] / ours["upper"] for own, ours in ran]
    proofs = [own["lower"] / own["upper"] for own, _ in ran if own["lower"]]
    seconds = sum(own["seconds"] for own, _ in pairs) / len(pairs)
    # Solvers claim within a tolerance, ours is exact.
    slack = 0.0 if method == OURS else 1e-5
    proven = sum((own["lower"] or 0) >= (1 - slack) * own["upper"] for own, _ in ran)
    return [
        method,
        str(len(ran)),
        str(len(pairs) - len(ran)),
        f"{geometric_mean(ratios):.4f}" if ratios else "-",
        f"{max(ratios):.4f}" if ratios else "-",
        str(sum(r == 1 for r in ratios)),
        str(sum(r < 1 for r in ratios)),
        f"{geometric_mean(proofs):.4f}" if proofs else "-",
        f"{100 * proven / len(pairs):.0f}" if proofs else "-",
        f"{seconds:.3f}",
    ]


def defeats(found: Rows, methods: Sequence[str]) -> list[str]:
    """Return the cases where somebody else's plan or bound is better than ours, or contradicts it."""
    lines = []
    for results in found.values():
        for case, entry in results:
            ours = entry[OURS]
            for method in methods:
                upper, lower = entry[method]["upper"], entry[method]["lower"]
                what = f"{case.set}, {case.name}, k = {case.machine.stages}: {method}"
                if upper is not None and upper < ours["lower"]:
                    lines.append(
                        f"FAULT: {what} has a plan of {upper} ps, we prove {ours['lower']}"
                    )
                elif upper is not None and upper < ours["upper"]:
                    lines.append(f"{what} has a better plan: {upper / ours['upper']:.4f} of ours")
                if lower is not None and lower > ours["upper"]:
                    lines.append(f"FAULT: {what} claims {lower} ps, we have {ours['upper']}")
                elif lower is not None and lower > ours["lower"]:
                    lines.append(f"{what} has a better bound: {lower / ours['lower']:.4f} of ours")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--stages", type=int, nargs="+", default=[4, 8, 16], metavar="K")
    parser.add_argument("--seconds", type=float, default=5.0, help="limit of each case (5)")
    parser.add_argument("--whole", action="store_true", help="no reductions for CP-SAT and HiGHS")
    parser.add_argument("--rows", action="store_true", help="print every instance")
    records.add_option(parser, "peers")
    options = parser.parse_args()
    header("Our plans beside what one would otherwise take")
    found = measure(options)
    summarise(found, options.methods)
    lines = defeats(found, options.methods)
    print(f"\nCases in which another is better, or contradicts us: {len(lines)}")
    for line in lines:
        print(f"- {line}")
    return 1 if any(line.startswith("FAULT") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
