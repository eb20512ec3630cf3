# SPDX-License-Identifier: Apache-2.0
"""Integrality gaps: the mixed-integer programs of the lower bounds beside their LP relaxations.

`lp` and `mip` are shares of the best plan found; `gap` is mip / lp - 1.  `>` marks programs that were not solved to the end
within the limit, whose true value may be higher; `-` is no answer in time.

    python -m benchmarks.integrality              about 10 minutes
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.cases import SETS, Case, cases
from benchmarks.common import geometric_mean, header, row, table

from stagewright.api import SOLVERS, integrality_gap
from stagewright.bound.formulations import FORMULATIONS
from stagewright.bound.programs import Relaxation
from stagewright.errors import LimitError
from stagewright.solve import Settings, solve

# Small enough for the programs: names of the sets' instances, with what they stand for.
CHOSEN = ("squeezenet", "shufflenet", "gnmt", "resnet50_inference_op", "bert_l-3", "n50")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["light", "published", "wide"])
    parser.add_argument("--only", default=",".join(CHOSEN), help="parts of names, by commas")
    parser.add_argument("--stages", type=int, nargs="+", default=[4], metavar="K")
    parser.add_argument("--solver", choices=[s for s in SOLVERS if s != "cpsat"], default="highs")
    parser.add_argument("--time-limit", type=float, default=10.0, help="seconds per program (10)")
    options = parser.parse_args()
    header("Integrality gaps of the programs")
    methods = list(FORMULATIONS)
    table(["instance", "k", *(f"{m}: {what}" for m in methods for what in ("lp", "mip", "gap %"))])
    gaps: dict[str, list[float]] = {method: [] for method in methods}
    faults = 0
    for case in cases(options.sets, options.stages):
        if not any(part in case.name for part in options.only.split(",")):
            continue
        top = solve(case.graph, case.machine, Settings(time_limit=options.time_limit)).bottleneck
        cells: list[str] = []
        for method in methods:
            found = relaxation(case, method, options)
            if found is None:
                cells += ["-"] * 3
                continue
            faults += found.mip.value > top
            # A program that was cut short may be worth less than its own relaxation.
            best = max(found.mip.value, found.lp.value)
            gap = best / found.lp.value - 1 if found.lp.value else None
            if gap is not None and found.solved:
                gaps[method].append(1 + gap)
            mark = "" if found.solved else "> "
            cells.append(f"{found.lp.value / top:.4f}")
            cells.append(f"{mark}{best / top:.4f}" + (" FAULT" if best > top else ""))
            cells.append("-" if gap is None else f"{mark}{100 * gap:.1f}")
        row([case.name, case.machine.stages, *cells])
    print()
    for method, values in gaps.items():
        mean = f"{geometric_mean(values):.4f}" if values else "-"
        print(f"- {method}: mip / lp geometric mean {mean} over {len(values)} solved programs")
    return 1 if faults else 0


def relaxation(case: Case, method: str, options: argparse.Namespace) -> Relaxation | None:
    """Return both bounds, None if one was not had in time."""
    try:
        return integrality_gap(
            case.graph, case.machine, method, solver=options.solver, time_limit=options.time_limit
        )
    except LimitError:
        return None


if __name__ == "__main__":
    sys.exit(main())
