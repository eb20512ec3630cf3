# SPDX-License-Identifier: Apache-2.0
"""A small subset against what was accepted before: fails where a gap, a proof or a plan has become worse.

Times are not compared.  What was proven in a small part of the limit must be proven again, with the same optimum; of the
rest, lower/upper may fall by TOLERANCE and the plan be worse by as much, for a slower machine gets less far.

    python -m benchmarks.check              compare; exit code 1 where something is worse
    python -m benchmarks.check --accept     write down what is reached now, after a change for the better
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import geometric_mean, header, row, table

from stagewright.benching.driver import run_grid
from stagewright.benching.grid import Grid
from stagewright.benching.tables import contradictions, query

__all__ = ["accepted_rows", "faults"]

GRID = Path(__file__).parent / "grids" / "check.toml"
ACCEPTED = Path(__file__).parent / "grids" / "check.json"
TOLERANCE = 0.03
_CERTAIN = 1 / 6  # of the limit: what was proven in less is proven on a slower machine, too

Rows = Mapping[str, Mapping[str, Any]]


def measured(path: Path) -> dict[str, dict[str, Any]]:
    """Return graph, bounds and seconds of every run of the grid by its name."""
    rows = query(
        path,
        'SELECT "set", instance, machine, k, graph_sha256, upper, lower, seconds, time_limit, error '
        "FROM results WHERE method = 'plan' ORDER BY ALL",
    )
    return {f"{r['set']}: {r['instance']} {r['machine']} k={r['k']}": r for r in rows}


def accepted_rows(found: Rows) -> dict[str, dict[str, Any]]:
    """Return what is to be reached from now on."""
    rows = {}
    for name, one in found.items():
        fast = one["seconds"] < _CERTAIN * one["time_limit"]
        rows[name] = {
            "graph": one["graph_sha256"],
            "upper": one["upper"],
            "lower": one["lower"],
            "certain": bool(fast and one["upper"] is not None and one["lower"] == one["upper"]),
        }
    return rows


def faults(accepted: Rows, found: Rows) -> list[str]:
    """Return in words what is worse than what was accepted."""
    lines = [f"{name}: not accepted yet" for name in found.keys() - accepted.keys()]
    for name, before in accepted.items():
        now = found.get(name)
        if now is None or now["upper"] is None:
            lines.append(f"{name}: no plan ({now['error'] if now else 'not run'})")
        elif now["graph_sha256"] != before["graph"]:
            lines.append(f"{name}: another graph or other costs than were accepted")
        else:
            lines += [f"{name}: {fault}" for fault in _worse(before, now)]
    for kind in sorted({name.partition(":")[0] for name in accepted.keys() & found.keys()}):
        names = [n for n in accepted.keys() & found.keys() if n.startswith(f"{kind}:")]
        was, reached = (_mean([rows[n] for n in names]) for rows in (accepted, found))
        if reached < was - TOLERANCE / 3:
            lines.append(f"{kind}: mean of lower/upper {reached:.4f}, accepted {was:.4f}")
    return sorted(lines)


def _worse(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    if before["certain"]:
        if now["lower"] != now["upper"]:
            yield f"no longer proven: {now['lower']} to {now['upper']}, was {before['upper']}"
        elif now["upper"] != before["upper"]:
            yield f"optimum {now['upper']}, was {before['upper']}: one of the proofs is wrong"
        return
    if now["upper"] > before["upper"] * (1 + TOLERANCE):
        yield f"plan {now['upper']}, was {before['upper']}"
    if _ratio(now) < _ratio(before) - TOLERANCE:
        yield f"lower/upper {_ratio(now):.4f}, was {_ratio(before):.4f}"


def _ratio(one: Mapping[str, Any]) -> float:
    return float(one["lower"] / one["upper"]) if one["upper"] else 1.0


def _mean(rows: Iterable[Mapping[str, Any]]) -> float:
    return geometric_mean([max(1e-9, _ratio(one)) for one in rows if one["upper"] is not None])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accept", action="store_true", help="write down what is reached now")
    parser.add_argument("--processes", type=int, help="runs at once (one for each core)")
    parser.add_argument("--results", type=Path, default=Path("build/benchmarks/check.parquet"))
    options = parser.parse_args()
    header("What must not become worse")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    run_grid(Grid.load(GRID), options.results, processes=options.processes)
    found = measured(options.results)
    table(["set", "runs", "proven", "mean of lower/upper"])
    for kind in sorted({one["set"] for one in found.values()}):
        own = [one for one in found.values() if one["set"] == kind and one["upper"] is not None]
        proven = sum(one["lower"] == one["upper"] for one in own)
        row([kind, len(own), proven, f"{_mean(own):.4f}"])
    wrong = [f"contradiction: {one}" for one in contradictions(options.results)]
    if options.accept and not wrong:
        rows = ",\n".join(
            f"{json.dumps(k)}: {json.dumps(v)}" for k, v in accepted_rows(found).items()
        )
        ACCEPTED.write_text(f"{{\n{rows}\n}}\n")
        print(f"\n{len(found)} runs accepted")
        return 0
    wrong += faults(json.loads(ACCEPTED.read_text()), found)
    print(f"\n{len(wrong)} faults")
    for line in wrong:
        print(f"- {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
