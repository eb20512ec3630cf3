# SPDX-License-Identifier: Apache-2.0
"""Upper and lower bounds on wide graphs, beside values reached before.

    python -m benchmarks.wide --seconds 10 --instances nasnet --k 8 16

FOLDER (the shared instances by default) holds ``*.graph.json`` and, if there is something to compare with, ``reached.json``:
{"unit": "ms", "instances": {name: {k: {"upper": ms, "lower": ms}}}}.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from benchmarks.common import INSTANCES, header, row, table

from stagewright.machine import Machine
from stagewright.readers.graph_file import read_graph_file
from stagewright.solve import Settings, solve

_PS_PER_MS = 10**9
_DIGIT = 1e-4  # ms


def main() -> None:
    arguments = _arguments()
    reached = _reached(arguments.folder)
    header("Wide graphs")
    print(
        "Times in ms; `known` are the best values that a prototype reached in 2 to 60 s per case.\n"
    )
    table(
        [
            *("instance", "k", "upper", "lower", "lower/upper", "seconds", "best at, s"),
            *("known upper", "known lower", "upper/known"),
        ]
    )
    against: list[float] = []
    kinds: dict[str, list[float]] = {}
    worse: list[str] = []
    for path in sorted(arguments.folder.glob("*.graph.json")):
        name = path.name.removesuffix(".graph.json")
        if not any(part in name for part in arguments.instances):
            continue
        graph = read_graph_file(path)
        for k in arguments.k:
            settings = Settings(
                time_limit=arguments.seconds, seed=arguments.seed, threads=arguments.threads
            )
            found = solve(graph, Machine(k), settings)
            upper, lower = found.bottleneck / _PS_PER_MS, found.lower_bound / _PS_PER_MS
            best_at = next(p.seconds for p in found.history if p.upper == found.history[-1].upper)
            kind = "random" if name.endswith("_x") else "models"
            kinds.setdefault(kind, []).append(lower / upper)
            cells = [f"{upper:.4f}", f"{lower:.4f}", f"{lower / upper:.4f}"]
            cells += [f"{found.seconds:.2f}", f"{best_at:.2f}"]
            known = reached.get(name, {}).get(str(k))
            if known:
                against.append(upper / known["upper"])
                cells += [f"{known['upper']:.4f}", f"{known['lower']:.4f}", f"{against[-1]:.4f}"]
                worse += _worse(f"{name}, k = {k}", upper, lower, known)
            row([name, k, *cells, *["-"] * (8 - len(cells))])
    print()
    for kind, ratios in sorted(kinds.items()):
        proven = sum(ratio == 1 for ratio in ratios)
        print(
            f"- {kind}: lower/upper geometric mean {_mean(ratios):.4f}, least {min(ratios):.4f}, "
            f"{proven} of {len(ratios)} proven optimal"
        )
    if against:
        print(f"- upper/known geometric mean {_mean(against):.4f}")
        print(f"- worse than known: {'; '.join(worse) or 'none'}")


def _worse(case: str, upper: float, lower: float, known: dict[str, float]) -> list[str]:
    """Return where the known values, which are rounded to four digits, are better."""
    found = []
    if upper > known["upper"] + _DIGIT:
        found.append(f"upper of {case} ({upper / known['upper']:.4f})")
    if lower < known["lower"] - _DIGIT:
        found.append(f"lower of {case} ({lower / known['lower']:.4f})")
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=INSTANCES / "wide")
    parser.add_argument("--seconds", type=float, default=10.0, help="time limit of each run")
    parser.add_argument(
        "--instances", nargs="*", default=[""], help="parts of names; all by default"
    )
    parser.add_argument("--k", type=int, nargs="*", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
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
