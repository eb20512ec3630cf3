# SPDX-License-Identifier: Apache-2.0
"""Published workloads with their devices as published: a CPU, memory caps, colour classes, training.

`published` is the optimum of msr-fiddle/dnn-partitioning's exact program (ms, contiguous), `peer` its time in
seconds on a 2-core machine where that is known; `ours` is the whole of solve_placed(), best of three;
`check` says how much of the plan file the independent checker verified, and in how many seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

from benchmarks.common import INSTANCES, header, row, table

from stagewright.placement.method import PlacedSolution, solve_placed
from stagewright.placement.reading import published_fleet, read_workload
from stagewright.placing import PlacedResult

CASES = (
    ("bert24_inference", "inference", 17.78990625, 0.008),
    ("gnmt_inference_layer", "inference", 32.910658203125, 14.0),
    ("bert_l-3_inference_operator", "inference", 27.9185676799, 0.869),
    ("bert_l-3_training_operator", "training", 65.3031491221, 5.0),
    ("resnet50_training_layer", "training", 78.6318125, None),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--exhaustive", type=float, default=60.0, help="seconds for the checker")
    options = parser.parse_args()
    if not INSTANCES.exists():
        print(f"skipped: no instances at {INSTANCES}", file=sys.stderr)
        return 0
    warnings.simplefilter("ignore")
    header("Published workloads with their devices")
    columns = (
        "workload|mode|devices|nodes|classes|reduced|ideals|period ms|published ms|status|stages on"
    )
    table([*columns.split("|"), "ours s", "peer s", "ratio", "check", "check s"])
    wrong = 0
    for name, mode, optimum, peer in CASES:
        path = INSTANCES / "raw" / f"{name}.json"
        workload = read_workload(path, mode)
        fleet = published_fleet(path, mode)
        seconds = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            found = solve_placed(workload, fleet, time_limit=options.time_limit)
            seconds = min(seconds, time.perf_counter() - start)
        start = time.perf_counter()
        report = PlacedResult(workload, fleet, found, 0).check(options.exhaustive)
        checked = time.perf_counter() - start
        proven = found.bottleneck == found.lower_bound
        # Published values have about twelve digits; ours round every time up to a picosecond.
        wrong += abs(found.bottleneck / 1e9 - optimum) > 1e-8 * optimum or not proven
        row(
            [
                name,
                mode,
                " + ".join(f"{kind.count} {kind.name}" for kind in fleet.kinds),
                workload.graph.num_nodes,
                found.classes,
                found.reduced,
                found.ideals or "-",
                f"{found.bottleneck / 1e9:.9f}",
                f"{optimum}",
                "optimal" if proven else "bounded",
                _used(found, [kind.name for kind in fleet.kinds]),
                f"{seconds:.3f}",
                "-" if peer is None else peer,
                "-" if peer is None else f"{peer / seconds:.1f}",
                {0: "all verified", 1: "INVALID", 3: "valid, proof not redone"}[report.exit_code],
                f"{checked:.1f}",
            ]
        )
        for problem in report.problems:
            print(f"problem: {problem}", file=sys.stderr)
            wrong += 1
    print(f"\n{len(CASES) - wrong} of {len(CASES)} as published and proven.")
    return 1 if wrong else 0


def _used(found: PlacedSolution, names: list[str]) -> str:
    return ", ".join(
        f"{found.plan.devices.count(q)} {name}"
        for q, name in enumerate(names)
        if q in found.plan.devices
    )


if __name__ == "__main__":
    sys.exit(main())
