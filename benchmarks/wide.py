# SPDX-License-Identifier: Apache-2.0
"""Upper and lower bounds on wide graphs, beside values reached before.

    python benchmarks/wide.py FOLDER --seconds 10 --instances nasnet --k 8 16

FOLDER holds ``*.graph.json`` and, if there is something to compare with, ``reached.json``:
{"unit": "ms", "instances": {name: {k: {"upper": ms, "lower": ms}}}}.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from benchmarks.common import header

from stagewright.machine import Machine
from stagewright.readers.graph_file import read_graph_file
from stagewright.solve import Settings, solve

_PS_PER_MS = 10**9


def main() -> None:
    arguments = _arguments()
    reached = _reached(arguments.folder)
    header("Wide graphs")
    print(
        f"{'instance':22}{'k':>3}{'upper':>12}{'lower':>12}{'ratio':>8}{'s':>7}"
        f"{'best at':>9} | {'upper':>10}{'lower':>11}  upper/reached"
    )
    against: list[float] = []
    kinds: dict[str, list[float]] = {}
    for path in sorted(arguments.folder.glob("*.graph.json")):
        name = path.name.removesuffix(".graph.json")
        if not any(part in name for part in arguments.instances):
            continue
        graph = read_graph_file(path)
        for k in arguments.k:
            settings = Settings(time_limit=arguments.seconds, seed=arguments.seed)
            solution = solve(graph, Machine(k), settings)
            upper, lower = solution.bottleneck / _PS_PER_MS, solution.lower_bound / _PS_PER_MS
            best_at = next(
                p.seconds for p in solution.history if p.upper == solution.history[-1].upper
            )
            kinds.setdefault("random" if name.endswith("_x") else "models", []).append(
                lower / upper
            )
            line = (
                f"{name:22}{k:3}{upper:12.4f}{lower:12.4f}{lower / upper:8.4f}"
                f"{solution.seconds:7.2f}{best_at:9.2f} | "
            )
            known = reached.get(name, {}).get(str(k))
            if known:
                against.append(upper / known["upper"])
                line += f"{known['upper']:10.4f}{known['lower']:11.4f}  {against[-1]:.4f}"
            print(line, flush=True)
    for kind, ratios in sorted(kinds.items()):
        proven = sum(ratio == 1 for ratio in ratios)
        print(
            f"{kind}: lower/upper geometric mean {_mean(ratios):.4f}, least {min(ratios):.4f}, "
            f"{proven} of {len(ratios)} proven optimal"
        )
    print(f"upper/reached geometric mean {_mean(against):.4f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="time limit of each run")
    parser.add_argument(
        "--instances", nargs="*", default=[""], help="parts of names; all by default"
    )
    parser.add_argument("--k", type=int, nargs="*", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _reached(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    path = folder / "reached.json"
    if not path.is_file():
        return {}
    table: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text("utf-8"))["instances"]
    return table


def _mean(values: list[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else math.nan


if __name__ == "__main__":
    main()
