# SPDX-License-Identifier: Apache-2.0
"""Published workloads with their devices as published: a CPU, memory caps, colour classes, training.

`published` is the optimum of msr-fiddle/dnn-partitioning's exact program (ms, contiguous), `peer` its time in
seconds on a 2-core machine where that is known; `ours` is the whole of solve_placed(), the best of at least three runs and a tenth of a second, and like `check` CPU time;
`check` says how much of the plan file the independent checker verified, and in how many seconds.

Plans for mixed clusters follow (:mod:`benchmarks.cluster`), then shared devices and single requests.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import replace

from benchmarks.cluster import mixed, models
from benchmarks.common import INSTANCES, header, row, table

from stagewright.placement.makespan_method import solve_makespan
from stagewright.placement.method import PlacedSolution, solve_placed
from stagewright.placement.objective import Objective
from stagewright.placement.reading import published_fleet, read_workload
from stagewright.placement.sharing_method import solve_shared
from stagewright.placing import PlacedResult

CASES = (
    ("bert24_inference", "inference", 17.78990625, 0.008),
    ("gnmt_inference_layer", "inference", 32.910658203125, 14.0),
    ("bert_l-3_inference_operator", "inference", 27.9185676799, 0.869),
    ("bert_l-3_training_operator", "training", 65.3031491221, 5.0),
    ("resnet50_training_layer", "training", 78.6318125, None),
)
PARTS = ("published", "mixed", "shared", "requests")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument(
        "--exhaustive", type=float, help="seconds for the checker, where its default is not to do"
    )
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=PARTS, help="what to print, all by default"
    )
    options = parser.parse_args()
    if not INSTANCES.exists():
        print(f"skipped: no instances at {INSTANCES}", file=sys.stderr)
        return 0
    warnings.simplefilter("ignore")
    wrong = 0
    for part in options.parts:
        if part == "published":
            wrong += published(options.time_limit, options.exhaustive)
        elif part == "mixed":
            mixed(options.time_limit)
            wrong += models(options.time_limit)
        else:
            wrong += (shared if part == "shared" else single_request)(options.time_limit)
    return 1 if wrong else 0


def published(limit: float, exhaustive: float | None) -> int:
    """Print plans for the devices that the workloads' files name; return how many are not as published."""
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
        seconds, runs, spent = float("inf"), 0, 0.0
        while runs < 3 or (runs < 100 and spent < 0.1):
            start = time.process_time()
            found = solve_placed(workload, fleet, time_limit=limit)
            took = time.process_time() - start
            seconds, runs, spent = min(seconds, took), runs + 1, spent + took
        start = time.process_time()
        report = PlacedResult(workload, fleet, found, 0).check(exhaustive)
        checked = time.process_time() - start
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
                f"{seconds:.5f}",
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
    return wrong


SHARED = {"bert24_inference": 17.7147}
"""Published periods of plans with several stages per device, ms, to their last digit."""


def shared(limit: float) -> int:
    """Print plans whose devices run several stages; return how many are worse than a published one."""
    header("Devices that run several stages")
    columns = "workload|devices|units|reduced|one stage each ms|shared ms|gain|lower bound ms|bound by|gap|stages|seconds"
    table([*columns.split("|"), "check"])
    wrong = 0
    for name in (name for name, mode, *_ in CASES if mode == "inference"):
        path = INSTANCES / "raw" / f"{name}.json"
        workload, fleet = read_workload(path), published_fleet(path, "inference")
        apart = solve_placed(workload, fleet, time_limit=limit)
        fleet = replace(fleet, shared=True)
        found = solve_shared(workload, fleet, time_limit=limit)
        report = PlacedResult(workload, fleet, found, 0).check()
        best = max(found.bounds, key=lambda bound: bound.value)
        wrong += found.bottleneck / 1e9 > SHARED.get(name, apart.bottleneck / 1e9) + 5e-5
        row(
            [
                name,
                " + ".join(f"{kind.count} {kind.name}" for kind in fleet.kinds),
                found.classes,
                found.reduced,
                f"{apart.bottleneck / 1e9:.6f}",
                f"{found.bottleneck / 1e9:.6f}",
                f"{apart.bottleneck / found.bottleneck - 1:.2%}",
                f"{found.lower_bound / 1e9:.6f}",
                f"{best.method} ({best.evidence})",
                f"{found.bottleneck / found.lower_bound - 1:.4%}",
                len(found.plan.stages),
                f"{found.seconds:.1f}",
                {0: "all verified", 1: "INVALID", 3: "valid, claim not redone"}[report.exit_code],
            ]
        )
        wrong += not report.valid
    return wrong


def single_request(limit: float) -> int:
    """Print the least latency and makespan of one request; return how many plans the checker refuses."""
    header("One request")
    columns = "workload|latency ms|makespan ms|lower bound ms|ideals|stages|stopped because|seconds"
    table([*columns.split("|"), "check"])
    wrong = 0
    for name in (name for name, mode, *_ in CASES if mode == "inference"):
        path = INSTANCES / "raw" / f"{name}.json"
        workload, fleet = read_workload(path), published_fleet(path, "inference")
        latency = solve_placed(workload, fleet, objective=Objective("latency"), time_limit=limit)
        found = solve_makespan(workload, fleet, time_limit=limit)
        report = PlacedResult(workload, fleet, found, 0).check(20.0)
        row(
            [
                name,
                f"{latency.value / 1e9:.6f}",
                f"{found.value / 1e9:.6f}",
                f"{found.value_bound / 1e9:.6f}",
                found.ideals or "-",
                len(found.plan.stages),
                found.stopped_because,
                f"{found.seconds:.1f}",
                {0: "all verified", 1: "INVALID", 3: "valid, proof not redone"}[report.exit_code],
            ]
        )
        wrong += not report.valid
    return wrong


def _used(found: PlacedSolution, names: list[str]) -> str:
    return ", ".join(
        f"{found.plan.devices.count(q)} {name}"
        for q, name in enumerate(names)
        if q in found.plan.devices
    )


if __name__ == "__main__":
    sys.exit(main())
