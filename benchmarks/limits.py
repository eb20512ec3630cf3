# SPDX-License-Identifier: Apache-2.0
"""What is promised of every run: one result at any number of threads, and limits that are kept.

    python -m benchmarks.limits                       all parts, about 15 minutes
    python -m benchmarks.limits --parts time --limits 1 5

- threads: each case is planned with 1, 2 and 4 threads.  The plans must be equal where no run was ended by the
  clock; where one was, what the runs found one after the other must agree up to the round that it ended.
- time: seconds from the call until the plan file's content is there, and the most memory of the process (its own
  for every case).  Kept: at most 10 % or 0.2 s above the limit.
- memory: models planned for stages that must hold less and less, down to where the proof says that no plan fits.  What
  each stage holds is counted by the plain reference; the independent checker verifies the plan.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cases import LIGHT
from benchmarks.common import INSTANCES, header, peak_mib, row, table
from benchmarks.random_dags import random_dag

from stagewright import api
from stagewright.benching.families import FAMILIES
from stagewright.errors import InfeasibleError, LimitError
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.plans import stage_cost
from stagewright.solve import Solution

THREADS = (1, 2, 4)


@dataclass(frozen=True)
class Task:
    """A graph by its name, so that another process can make it, and stages."""

    kind: str
    name: str
    stages: int
    device: str | None = None

    def graph(self) -> CostGraph:
        """Read or make the graph."""
        if self.kind == "light":
            return api.read(LIGHT / f"light_{self.name}.onnx", device=self.device)
        if self.kind == "random":
            topology, nodes = self.name.split("-")
            return random_dag(topology, int(nodes), seed=1)
        if self.kind == "synthetic":
            family, nodes = self.name.split("-")
            return FAMILIES[family](int(nodes), 1)
        return api.read(INSTANCES / self.kind / f"{self.name}.graph.json")

    def at_hand(self) -> bool:
        """Whether the graph can be had here."""
        return self.kind not in ("graphs", "wide") or INSTANCES.exists()

    def run(self, graph: CostGraph, limit: float, threads: int | None = None) -> api.Result:
        """Plan it."""
        return api.plan(graph, self.stages, device=self.device, time_limit=limit, threads=threads)


# Closed and open ones, narrow and wide, with and without memory.
SAME = (
    Task("light", "densenet121", 8, "coral-edge-tpu"),
    Task("light", "inception_v1", 8, "h100-sxm"),
    Task("graphs", "bert_l-12_inference_op", 8),
    Task("wide", "inception_v3_fast", 4),
    Task("wide", "nasnetamobile_fast", 4),
    Task("wide", "nasnetalarge_fast", 2),
    Task("wide", "nasnetalarge_fast", 16),
    Task("wide", "er-n50_x", 8),
    Task("random", "layered-80", 8),
    Task("random", "erdos-120", 8),
    Task("random", "blocks-60", 4),
    Task("synthetic", "experts-1000", 2),
    Task("synthetic", "random-2000", 4),
)
TIMED = (
    Task("light", "inception_v2", 8, "coral-edge-tpu"),
    Task("wide", "nasnetalarge_fast", 16),
    Task("wide", "er-n120_x", 16),
    Task("random", "blocks-180", 8),
    Task("synthetic", "random-10000", 16),
    Task("synthetic", "experts-10000", 16),
    *(Task("synthetic", f"{family}-100000", 66) for family in FAMILIES),
)


def threads(options: argparse.Namespace) -> Iterator[str]:
    """Compare runs at several numbers of threads; yield what went wrong."""
    print("\n#### One plan at any number of threads\n")
    table(
        [
            *("instance", "k", "gap %", "seconds at 1, 2, 4", "ended by the clock"),
            *("equal plans", "steps compared", "equal bounds on the way"),
        ]
    )
    for task in chosen(SAME, options):
        graph = task.graph()
        results = [task.run(graph, options.same_seconds, n) for n in THREADS]
        solutions = [r.solution for r in results]
        clock = ["time" in s.stopped_because for s in solutions]
        plans = {hashlib.sha256(json.dumps(s.plan.stages).encode()).hexdigest() for s in solutions}
        # The clock may end a run's last round in the middle, or a proof on a busy machine; all before it must agree.
        whole = min(whole_rounds(s) for s in solutions)
        steps = [steps_of(s, whole) for s in solutions]
        length = min(map(len, steps))
        same = all(s[:length] == steps[0][:length] for s in steps)
        late = ", ".join(str(n) for n, ended in zip(THREADS, clock, strict=True) if ended)
        row(
            [
                *(task.name, task.stages, f"{100 * (results[0].gap or 0):.3f}"),
                ", ".join(f"{s.seconds:.2f}" for s in solutions),
                late or "-",
                "yes" if len(plans) == 1 else "NO" if not late else "no (clock)",
                *(length, "yes" if same else "NO"),
            ]
        )
        if (len(plans) > 1 and not late) or not same:
            yield f"{task.name}, k = {task.stages}: results differ between {THREADS} threads"


def whole_rounds(solution: Solution) -> int:
    """Return how many rounds the clock did not end."""
    last = solution.history[-1]
    if last.hurried:
        return min(p.round for p in solution.history if p.hurried)
    return last.round + ("time" not in solution.stopped_because)


def steps_of(solution: Solution, rounds: int) -> list[tuple[str, int, int]]:
    return [(p.phase, p.upper, p.lower) for p in solution.history if p.round < rounds]


def timed(options: argparse.Namespace) -> Iterator[str]:
    """Measure how far runs exceed their time; yield those that do too much."""
    print("\n#### Time limits\n")
    table(
        [
            "instance",
            "k",
            "limit s",
            "measured s",
            "excess s",
            "kept",
            "gap %",
            "status",
            "peak MiB",
        ]
    )
    context = multiprocessing.get_context("spawn")
    for task in chosen(TIMED, options):
        for limit in options.limits:
            with context.Pool(1) as pool:
                found = pool.apply(one, (task, limit))
            excess = max(0.0, found["seconds"] - limit)
            kept = excess <= max(0.2, 0.1 * limit)
            gap = "-" if found["gap"] is None else f"{100 * found['gap']:.3f}"
            row(
                [
                    *(task.name, task.stages, f"{limit:g}", f"{found['seconds']:.2f}"),
                    *(f"{excess:.2f}", "yes" if kept else "NO", gap, found["status"]),
                    f"{found['peak']:.0f}",
                ]
            )
            if not kept:
                yield f"{task.name}, k = {task.stages}: {found['seconds']:.2f} s of {limit:g} s"


def one(task: Task, limit: float) -> dict[str, Any]:
    graph = task.graph()
    start = time.perf_counter()
    document = task.run(graph, limit).to_json()
    seconds = time.perf_counter() - start
    gap = None if document["gap"] is None else float(document["gap"])
    return {"seconds": seconds, "gap": gap, "status": document["status"], "peak": peak_mib()}


def held_by(graph: CostGraph, machine: Machine, stages: Sequence[Sequence[int]]) -> int:
    """Return the most bytes that a stage holds: parameters and peak of activations."""
    costs = [stage_cost(graph, machine, nodes) for nodes in stages]
    return max(cost.param_bytes + cost.peak_bytes for cost in costs)


def memory(options: argparse.Namespace) -> Iterator[str]:
    """Plan under hard limits of memory; yield plans that break theirs."""
    print("\n#### Memory limits (h100-sxm, k = 4; share of what one stage would hold)\n")
    table(
        [
            *("model", "share", "limit MiB", "most held MiB", "kept", "checker"),
            *("period, times free", "gap %", "seconds", "answer"),
        ]
    )
    device = "h100-sxm"
    for path in sorted(LIGHT.glob("light_*.onnx")):
        if not any(part in path.name for part in options.only.split(",")):
            continue
        graph = api.read(path, device=device)
        free = api.plan(graph, 4, device=device, time_limit=options.memory_seconds)
        everything = held_by(graph, free.machine, [graph.topological_order.tolist()])
        for share in options.shares:
            limit = int(share * everything)
            cells = [path.stem.removeprefix("light_"), f"{share:g}", f"{limit / 2**20:.2f}"]
            start = time.perf_counter()
            try:
                found = api.plan(
                    graph,
                    4,
                    device=device,
                    memory_limit=limit,
                    time_limit=options.memory_seconds,
                )
            except (InfeasibleError, LimitError) as error:
                why = "none fits, proven" if isinstance(error, InfeasibleError) else "none found"
                seconds = f"{time.perf_counter() - start:.3f}"
                row([*cells, *("-",) * 5, seconds, why])
                continue
            seconds = f"{time.perf_counter() - start:.3f}"
            held = held_by(graph, found.machine, found.plan.stages)
            report = api.check(graph, found, exhaustive_seconds=1)
            kept = held <= limit
            row(
                [
                    *(*cells, f"{held / 2**20:.2f}", "yes" if kept else "NO"),
                    "valid" if report.valid else "INVALID",
                    f"{found.bottleneck / free.bottleneck:.4f}",
                    "-" if found.gap is None else f"{100 * found.gap:.3f}",
                    *(seconds, found.status),
                ]
            )
            if not kept or not report.valid:
                yield f"{path.stem}, share {share:g}: holds {held} of {limit} bytes"


def chosen(tasks: Sequence[Task], options: argparse.Namespace) -> Iterator[Task]:
    for task in tasks:
        if task.at_hand() and any(part in task.name for part in options.only.split(",")):
            yield task


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "threads": threads,
    "time": timed,
    "memory": memory,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", default="", help="parts of instances' names, by commas")
    parser.add_argument("--same-seconds", type=float, default=15.0, help="limit, threads (15)")
    parser.add_argument("--limits", type=float, nargs="+", default=[1.0, 5.0, 20.0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.7, 0.4, 0.3, 0.2])
    parser.add_argument("--memory-seconds", type=float, default=10.0, help="limit, memory (10)")
    options = parser.parse_args()
    header("Promises: one result, limits kept")
    faults = [fault for part in options.parts for fault in PARTS[part](options)]
    print(f"\nBroken promises: {len(faults)}")
    for fault in faults:
        print(f"- {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
