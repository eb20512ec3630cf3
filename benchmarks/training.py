# SPDX-License-Identifier: Apache-2.0
"""Training by a schedule: plans of published profiles, and predictions against pipelines that ran.

The first table plans profiles of PipeDream (one minibatch is a microbatch) for equal devices: what the schedule, recomputation
and replicas are worth within a limit of memory, how long the exact program takes, and what the checker says.

The second holds interleaved chunks against 1F1B: more boundaries make the period longer, and the bubble is a part of what it was.
A step is that of all microbatches, bubble included, where all stages take as long as the longest.  `passed` is the time of all passes in their order, each when what it needs is there; the factor is that
of 1F1B over that of the row.

The third trains a stack of blocks as two processes with torch.distributed.pipelining over gloo, one thread each.  The
joint graph of the blocks is profiled node by node in this process, a hop is timed between the two, the plan is made
for two devices, and the same schedule runs.  Memory is what a process holds beyond what it held before it had its
stage, at most during the last of its steps (VmHWM, with freed tensors given back at once).  Beside what a
plan counts, that library holds inputs, targets and received tensors of all m microbatches, not of those in flight, and
what a stage sent until the backward pass of that microbatch: `+ buffers` adds these to the prediction.  A step is
predicted as m + k - 1 periods; times are the shortest of the measured ones.  Nodes are profiled by the time that the
processor gave them, and `computing` holds what a stage computes per step against the same clock in its process, so
these two hardly depend on what else runs on the machine; the time that a step takes does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.common import INSTANCES, header, row, table

from stagewright.api import machine_for
from stagewright.benching.packs import graph_of_line, lines_of_pack
from stagewright.cost.catalogue import load_catalogue
from stagewright.errors import InfeasibleError, LimitError
from stagewright.placement.backward import training_workload
from stagewright.placement.chunks import passes
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.interleaved_method import solve_interleaved
from stagewright.placement.method import PlacedSolution, solve_placed
from stagewright.placement.schedule import Schedule
from stagewright.placement.workload import Workload, evaluate
from stagewright.placing import PlacedResult
from stagewright.readers import load
from stagewright.shaping.shape import estimate

PROFILES = (("pipedream_gnmt", 600 * 2**20), ("pipedream_resnet50", 12 * 2**30))
SETTINGS: tuple[dict[str, Any], ...] = (
    {"name": "gpipe"},
    {"name": "gpipe", "recompute": "auto"},
    {"name": "1f1b"},
    {"name": "1f1b", "recompute": "auto"},
    {"name": "1f1b", "replicas": 4},
    {"name": "1f1b", "recompute": "auto", "replicas": 4},
)
CHUNKS = (("never", False, (1, 2, 3, 4)), ("auto", True, (1, 2)))
"""Choices to recompute, whether within the limit of memory, and numbers of chunks; one is 1F1B."""

EVEN = ("llama-7b", "gpt2-large")
"""Models of the testbed with layers alike: a sequence of 512 tokens on devices of EVEN_DEVICE."""
EVEN_DEVICE = "h100-sxm"
_PACK = Path(__file__).parent / "testbed" / "graphs" / "language.jsonl.xz"

RUNS = (("gpipe", "never"), ("1f1b", "never"), ("gpipe", "always"), ("1f1b", "always"))
MIB = 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", default=["plans", "chunks", "runs"], help="these")
    parser.add_argument("--only", default="", help="profiles whose name holds this")
    parser.add_argument("--devices", type=int, default=8, help="of the planned machine (8)")
    parser.add_argument("--microbatches", type=int, default=8, help="per step (8)")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds of a plan (60)")
    parser.add_argument("--exhaustive", type=float, default=10.0, help="seconds of a check (10)")
    parser.add_argument("--width", type=int, default=512, help="of the blocks that run (512)")
    parser.add_argument("--rows", type=int, default=512, help="of a microbatch that runs (512)")
    parser.add_argument("--blocks", type=int, default=8, help="that run (8)")
    parser.add_argument("--runs", type=int, default=4, help="how many settings run (4)")
    parser.add_argument("--steps", type=int, default=5, help="that are measured (5)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = 0
    if not INSTANCES.exists():
        print(f"skipped: no instances at {INSTANCES}", file=sys.stderr)
    else:
        wrong += plans(options) if "plans" in options.parts else 0
        wrong += chunks(options) if "chunks" in options.parts else 0
    if "runs" in options.parts:
        runs(options)
    return 1 if wrong else 0


def plans(options: argparse.Namespace) -> int:
    """Print plans of published profiles; return how many the checker refused."""
    header("Schedules, recomputation and replicas within a limit of memory")
    columns = "profile|limit GiB|schedule|recompute|replicas|period ms|status|bubble|devices of stages|in flight|recomputing"
    table([*columns.split("|"), "ideals", "seconds", "check"])
    wrong = 0
    for name, limit in PROFILES:
        if options.only not in name:
            continue
        path = INSTANCES / "raw" / f"{name}.graph.txt"
        workload = training_workload(load(path), None, path)
        for setting in SETTINGS:
            schedule = Schedule(microbatches=options.microbatches, **setting)
            kind = Kind("gpu", options.devices, Link(10 * 10**9), memory_limit=limit)
            fleet = Fleet((kind,), schedule=schedule)
            said = [
                name,
                f"{limit / 2**30:.3g}",
                schedule.name,
                schedule.recompute,
                schedule.replicas,
            ]
            found, seconds, report = _solved(workload, fleet, options)
            if isinstance(found, str):
                row([*said, "-", found, *"-----", f"{seconds:.2f}", "-"])
                continue
            wrong += not report.valid
            row([*said, *_plan_cells(workload, fleet, found), f"{seconds:.2f}", _said(report)])
    return wrong


def chunks(options: argparse.Namespace) -> int:
    """Print plans of interleaved chunks beside those of 1F1B; return how many the checker refused."""
    header("Interleaved chunks and 1F1B")
    columns = "profile|limit GiB|recompute|chunks|period ms|status|bubble|step ms|passed ms|1F1B / passed|seconds|check"
    table(columns.split("|"))
    wrong = 0
    for name, workload, link, most in _chunked(options):
        for choice, limited, numbers in CHUNKS:
            if limited and most is None:
                continue
            before = 0.0
            for many in numbers:
                schedule = Schedule(
                    "interleaved" if many > 1 else "1f1b",
                    options.microbatches,
                    recompute=choice,  # type: ignore[arg-type]  # one of CHUNKS
                    chunks=many,
                )
                limit = most if limited else None
                fleet = Fleet(
                    (Kind("gpu", options.devices, link, memory_limit=limit),), schedule=schedule
                )
                said = [name, f"{limit / 2**30:.3g}" if limit else "-", choice, many]
                found, seconds, report = _solved(workload, fleet, options)
                if isinstance(found, str):
                    row([*said, "-", found, *"----", f"{seconds:.2f}", "-"])
                    continue
                wrong += not report.valid
                passed = _passed(workload, fleet, found)
                stages = len(found.plan.stages)
                longest = max(cost.total for cost in evaluate(workload, fleet, found.plan))
                step = schedule.step(stages, longest)
                before = before or passed
                proven = found.bottleneck == found.lower_bound
                cells = [
                    f"{found.bottleneck / 1e9:.3f}",
                    "optimal" if proven else f"{found.lower_bound / found.bottleneck:.3f}",
                    f"{float(schedule.bubble(stages)):.3f}",
                    f"{step / 1e9:.1f}",
                    f"{passed / 1e9:.1f}",
                    f"{before / passed:.3f}",
                    f"{seconds:.2f}",
                ]
                row([*said, *cells, _said(report)])
    return wrong


def _chunked(options: argparse.Namespace) -> Iterator[tuple[str, Workload, Link, int | None]]:
    """Yield names, workloads, links and limits of memory of what is cut into chunks."""
    for name, most in PROFILES:
        if options.only in name:
            path = INSTANCES / "raw" / f"{name}.graph.txt"
            yield name, training_workload(load(path), None, path), Link(10 * 10**9), most
    machine = machine_for(options.devices, device=EVEN_DEVICE)
    device, link = load_catalogue().device(EVEN_DEVICE), Link(machine.bandwidth, machine.latency)
    for model in EVEN:
        if options.only in model:
            graph = graph_of_line(lines_of_pack(_PACK)[f"language/{model}/b1-s512"], str(_PACK))
            yield model, training_workload(estimate(graph, device), "2", None), link, None


def _solved(
    workload: Workload, fleet: Fleet, options: argparse.Namespace
) -> tuple[PlacedSolution | str, float, Any]:
    """Return the solution, or why there is none, the seconds that it took, and what the checker says."""
    interleaved = fleet.schedule is not None and fleet.schedule.interleaved
    solve = solve_interleaved if interleaved else solve_placed
    start = time.perf_counter()
    try:
        found = solve(workload, fleet, time_limit=options.time_limit)
    except (InfeasibleError, LimitError) as error:
        why = "proven: no plan" if isinstance(error, InfeasibleError) else "none found"
        return why, time.perf_counter() - start, None
    seconds = time.perf_counter() - start
    return found, seconds, PlacedResult(workload, fleet, found, 0).check(options.exhaustive)


def _passed(workload: Workload, fleet: Fleet, found: PlacedSolution) -> float:
    """Return the picoseconds of a step whose passes run in the order of the schedule, each as soon as it can.

    A stage's transfers are divided between its two passes as its work is.
    """
    schedule, costs = fleet.schedule, evaluate(workload, fleet, found.plan)
    if schedule is None:
        raise ValueError("expected a schedule")
    k, m = len(costs), schedule.microbatches
    times = []
    for device, nodes, cost in zip(found.plan.devices, found.plan.stages, costs, strict=True):
        work = workload.work_at(fleet, fleet.seat_at(device))
        ahead = sum(work[v] for v in nodes if not workload.backward[v])
        share = ahead / cost.work if cost.work else 0.5
        times.append((share * cost.total, (1 - share) * cost.total))
    chunks = schedule.chunks
    p = k // chunks
    if chunks > 1:
        turns = [[(c * p + r, b) for _, c, b in passes(r, p, chunks, m)] for r in range(p)]
    else:
        first = [min(m, k - 1 - s) for s in range(k)]
        rows = [[False] * w + [False, True] * (m - w) + [True] * w for w in first]
        turns = [[(s, back) for back in row] for s, row in enumerate(rows)]
    done: dict[tuple[int, bool, int], float] = {}
    clock, place, count = [0.0] * p, [0] * p, dict.fromkeys(product(range(k), (False, True)), 0)
    while any(place[r] < len(turns[r]) for r in range(p)):
        for r in range(p):
            while place[r] < len(turns[r]):
                stage, back = turns[r][place[r]]
                i = count[stage, back]
                needs = (stage + 1, True, i) if back else (stage - 1, False, i)
                if back and stage == k - 1:
                    needs = stage, False, i
                if needs[0] >= 0 and needs not in done:
                    break
                clock[r] = max(clock[r], done.get(needs, 0.0)) + times[stage][back]
                done[stage, back, i] = clock[r]
                count[stage, back], place[r] = i + 1, place[r] + 1
    return max(clock)


def _plan_cells(workload: Workload, fleet: Fleet, found: PlacedSolution) -> list[object]:
    costs = evaluate(workload, fleet, found.plan)
    seats = [fleet.seat_at(device) for device in found.plan.devices]
    proven = found.bottleneck == found.lower_bound
    bubble = 0 if fleet.schedule is None else fleet.schedule.bubble(len(costs))
    return [
        f"{found.bottleneck / 1e9:.3f}",
        "optimal" if proven else f"{found.lower_bound / found.bottleneck:.3f}",
        f"{float(bubble):.3f}",
        " ".join(str(seat.replicas) for seat in seats),
        " ".join(str(cost.in_flight) for cost in costs),
        sum(seat.recompute for seat in seats),
        found.ideals or "-",
    ]


def _said(report: Any) -> str:
    return {0: "all verified", 1: "INVALID", 3: "proof not redone"}[report.exit_code]


def runs(options: argparse.Namespace) -> None:
    """Print predictions against pipelines of two processes."""
    import torch
    from benchmarks.training_model import blocks_of

    from stagewright.placement.joint import trace_training

    header("Predicted and measured training on two processes")
    torch.set_num_threads(1)
    # The blocks differ, so that the plan has something to decide.
    widths = [options.width * (2 + 4 * (i % 3) // 2) for i in range(options.blocks)]
    model = blocks_of(widths, options.width)
    batch = torch.zeros(options.rows, options.width)
    whole = [str(i) for i in range(options.blocks)]
    joint = trace_training(model, (batch,), torch.nn.functional.mse_loss, (batch,), whole=whole)
    workload = joint.measured(repetitions=options.steps, clock=time.thread_time)
    boundary = batch.numel() * 4
    params = sum(p.numel() * 4 for p in model.parameters())
    print(
        f"{options.blocks} blocks, {params / MIB:.0f} MiB of parameters, a boundary of {boundary / MIB:.1f} MiB; "
        f"nodes take {workload.graph.total_work / 1e9:.0f} ms per microbatch in all; {options.microbatches} "
        f"microbatches, Adam.\n"
    )
    columns = "schedule|recompute|stage|blocks|in flight|predicted MiB|+ buffers MiB|measured MiB|measured / with buffers"
    more = "computing, predicted s|measured s|measured / predicted|step, predicted s|measured s|measured / predicted"
    table([*columns.split("|"), *more.split("|")])
    hop = None
    for name, choice in RUNS[: options.runs]:
        schedule = Schedule(name, options.microbatches, "adam", choice)  # type: ignore[arg-type]
        if hop is None:
            # A first run, for the hop alone.
            hop = min(
                part["hop"] for part in _train(options, widths, schedule, [options.blocks // 2])
            )
        link = Link(int(boundary / hop))
        fleet = Fleet((Kind("process", 2, link),), schedule=schedule)
        found = solve_placed(workload, fleet)
        sizes = _blocks_per_stage(workload, found, options.blocks)
        measured = _train(options, widths, schedule, sizes[:1])
        costs = evaluate(workload, fleet, found.plan)
        predicted = (options.microbatches + 1) * found.bottleneck / 1e12
        step = min(
            max(parts) for parts in zip(*(part["seconds"] for part in measured), strict=True)
        )
        for stage, (cost, part) in enumerate(zip(costs, measured, strict=True)):
            # Inputs of all microbatches, and targets in the last stage; in the first one gradients of all, of which
            # the plan has one, and what was sent.
            later = options.microbatches - cost.in_flight
            buffers = 2 * later if stage else later + options.microbatches - 1 + cost.in_flight - 1
            buffers *= boundary
            total = cost.held_bytes + buffers
            computing = options.microbatches * cost.work / 1e12
            busy = min(part["busy"])
            times = [f"{predicted:.2f}", f"{step:.2f}", f"{step / predicted:.2f}"]
            row(
                [
                    name,
                    choice,
                    stage,
                    sizes[stage],
                    cost.in_flight,
                    f"{cost.held_bytes / MIB:.0f}",
                    f"{total / MIB:.0f}",
                    f"{part['held'] / MIB:.0f}",
                    f"{part['held'] / total:.3f}",
                    f"{computing:.2f}",
                    f"{busy:.2f}",
                    f"{busy / computing:.3f}",
                    *(times if stage == 0 else ["", "", ""]),
                ]
            )
    print(f"\nA hop of a boundary takes {(hop or 0) * 1e3:.2f} ms.")
    load_now = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"Load after the run {load_now}, two of it these processes, on {os.cpu_count()} cores.")


def _blocks_per_stage(workload: Workload, found: PlacedSolution, blocks: int) -> list[int]:
    """Return how many blocks each of the two stages of a plan has."""
    graph = workload.graph
    names = [
        {graph.group_names[g] for v in nodes if (g := int(graph.group[v])) >= 0}
        for nodes in found.plan.stages
    ]
    sizes = [sum(str(i) in own for i in range(blocks)) for own in names]
    if len(sizes) != 2 or sum(sizes) != blocks:
        raise RuntimeError(f"expected {blocks} blocks on two stages, got {sizes}")
    return sizes


def _train(
    options: argparse.Namespace, widths: list[int], schedule: Schedule, cut: list[int]
) -> list[dict[str, Any]]:
    """Train by a schedule with the blocks cut after the first so many; return what each process measured."""
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "meeting": str(Path(folder) / "meeting"),
            "rows": options.rows,
            "width": options.width,
            "widths": widths,
            "ends": [[0, cut[0]], [cut[0], options.blocks]],
            "recompute": [schedule.recompute == "always"] * 2,
            "microbatches": options.microbatches,
            "schedule": schedule.name,
            "steps": options.steps,
        }
        # Freed tensors go back to the system at once, so that what a process holds is what it needs.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.training_model", json.dumps(job)]
        processes = [
            subprocess.Popen(
                [*command, str(rank)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for rank in (0, 1)
        ]
        try:
            outputs = [process.communicate(timeout=900) for process in processes]
        finally:
            for process in processes:
                process.kill()
    for process, (_, said) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(said.decode()[-2000:])
    return [json.loads(out.decode().splitlines()[-1]) for out, _ in outputs]


if __name__ == "__main__":
    sys.exit(main())
