# SPDX-License-Identifier: Apache-2.0
"""Plans under uncertain costs: light ONNX models and published workloads.

Regrets are of instances that no candidate has seen, against proven optima (`proven` of them; where one is not, the
regret shown is the largest possible).  `chosen` is the candidate of least mean regret on another set of instances.  The second
table holds one reduction for all instances against each instance on its own: same optima, time of reducing and solving.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
from benchmarks.common import INSTANCES, geometric_mean, header, row, table

from stagewright.api import machine_for, read
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.readers import load
from stagewright.robustness import Robustness, Spread, study
from stagewright.robustness.shared import SharedReduction
from stagewright.solve import Settings, solve

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def cases(options: argparse.Namespace) -> Iterator[tuple[str, CostGraph, Machine]]:
    """Yield name, graph and a machine of one stage, whose memory holds everything."""

    def wanted(name: str) -> bool:
        return any(text in name for text in options.only.split(","))

    machine = machine_for(1, device=options.device)
    roomy = Machine(1, machine.bandwidth, machine.latency)
    for path in sorted(LIGHT.glob("light_*.onnx")):
        if wanted(name := path.stem.removeprefix("light_")):
            yield name, read(path, device=options.device), roomy
    for path in sorted(INSTANCES.glob("graphs/*.graph.json")):
        if wanted(name := path.name.partition(".")[0]):
            yield name, load(path), Machine(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="h100-sxm")
    parser.add_argument("--stages", default="4,8")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--spread", type=float, default=0.3)
    parser.add_argument(
        "--only", default="", help="instances with one of these texts in their name"
    )
    parser.add_argument("--choose", choices=("mean", "worst"), default="mean")
    parser.add_argument("--time-limit", type=float, default=5.0, help="seconds per instance")
    options = parser.parse_args()
    header(f"Plans under uncertain work (spread {options.spread:g})")
    columns = (
        "instance k per proven within-5% mean-% worst-% chosen within-5% mean-% worst-% seconds"
    )
    table([column.replace("-", " ") for column in columns.split()])
    held: list[Robustness] = []
    for name, graph, machine in cases(options):
        for k in map(int, options.stages.split(",")):
            for per in ("node", "op", "all"):
                if per == "op" and not any(graph.node_ops):
                    continue
                held.append(
                    judged(
                        name, graph, Machine(k, machine.bandwidth, machine.latency), per, options
                    )
                )
    summary(held)
    print()
    table(["instance", "k", "nodes", "shared", "each alone s", "shared s", "ratio"])
    ratios = [
        compared(name, graph, Machine(4, machine.bandwidth, machine.latency), options)
        for name, graph, machine in cases(options)
    ]
    print(f"\nGeometric mean of the ratios: {geometric_mean(ratios):.2f}.")
    return 0


def judged(
    name: str, graph: CostGraph, machine: Machine, per: str, options: argparse.Namespace
) -> Robustness:
    """Print how the nominal and the chosen plan fare."""
    spread = Spread(
        work=options.spread, per="op" if per == "op" else "all" if per == "all" else "node"
    )
    settings = Settings(time_limit=options.time_limit)
    found = study(
        graph,
        machine,
        spread,
        samples=options.samples,
        choose=options.choose,
        factors=0,
        settings=settings,
    )
    cells: list[object] = [name, machine.stages, per, f"{found.proven} of {found.samples}"]
    for plan in (found.candidate("nominal"), found.chosen):
        cells += [plan.name] if len(cells) > 4 else []
        cells += [
            int(plan.within.low),
            f"{100 * plan.mean_regret.high:.2f}",
            f"{100 * plan.worst_regret.high:.2f}",
        ]
    row([*cells, f"{found.seconds:.1f}"])
    return found


def summary(held: list[Robustness]) -> None:
    """Print what all rows say together, by what errs together."""
    print()
    for per in ("node", "op", "all"):
        rows = [found for found in held if found.spread.per == per]
        if not rows:
            continue
        nominal = [found.candidate("nominal") for found in rows]
        chosen = [found.chosen for found in rows]
        samples = sum(found.samples for found in rows)
        texts = [
            f"{100 * sum(p.within.low for p in plans) / samples:.1f} % within 5 %, mean regret "
            f"{100 * sum(p.mean_regret.high for p in plans) / len(plans):.2f} %, worst "
            f"{100 * max(p.worst_regret.high for p in plans):.1f} %"
            for plans in (nominal, chosen)
        ]
        print(f"Per {per} ({len(rows)} rows): nominal plans {texts[0]}; chosen plans {texts[1]}.")


def compared(name: str, graph: CostGraph, machine: Machine, options: argparse.Namespace) -> float:
    """Print the time of a batch with and without the shared reduction; return their ratio."""
    spread = Spread(work=options.spread)
    settings = Settings(time_limit=options.time_limit)
    batch = [spread.draw(graph, machine, (0, i)) for i in range(options.samples)]
    start = time.perf_counter()
    alone = [solve(i.graph, i.machine, settings) for i in batch]
    middle = time.perf_counter()
    shared = SharedReduction(graph, batch)
    small = [shared.instance(i) for i in range(len(batch))]
    together = [solve(i.graph, i.machine, settings) for i in small]
    end = time.perf_counter()
    for a, b in zip(alone, together, strict=True):
        proven = a.bottleneck == a.lower_bound and b.bottleneck == b.lower_bound
        if proven and a.bottleneck != b.bottleneck:
            raise RuntimeError(f"{name}: optima {a.bottleneck} and {b.bottleneck} differ")
    ratio = (middle - start) / (end - middle)
    seconds = [f"{middle - start:.3f}", f"{end - middle:.3f}", f"{ratio:.2f}"]
    row([name, machine.stages, graph.num_nodes, shared.num_nodes, *seconds])
    return ratio


if __name__ == "__main__":
    sys.exit(main())
