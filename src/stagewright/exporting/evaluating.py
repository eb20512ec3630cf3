# SPDX-License-Identifier: Apache-2.0
"""What plans of layers cost on the devices that were planned for: identical ones, or those of a machine file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import InputError
from ..graph import CostGraph
from ..placement.interleaved_method import solve_interleaved
from ..placement.method import PlacedSolution, solve_placed
from ..placement.sharing import evaluate_shared, loads_of, problems_of_shared
from ..placement.sharing_method import solve_shared
from ..placement.workload import PlacedPlan, Workload, evaluate
from ..placement.workload import problems_of as placed_problems
from ..plans import Plan, evaluate_all, problems_of
from ..solve import Settings, solve
from .types import Job

__all__ = ["Found", "best_of", "bottleneck_of", "faults_of", "one_stage_each"]


class Found(NamedTuple):
    """The best plan found, the device of each stage, and a lower bound in picoseconds."""

    plan: Plan
    devices: tuple[int, ...]
    lower_bound: int


def best_of(job: Job, graph: CostGraph) -> Found:
    """Return the best plan of a graph for the devices of a job."""
    if job.fleet is None:
        equal = solve(graph, job.machine, Settings(time_limit=job.time_limit))
        return Found(equal.plan, (), equal.lower_bound)
    method: Callable[..., PlacedSolution] = solve_shared if job.fleet.shared else solve_placed
    if job.fleet.interleaved:
        method = solve_interleaved
    placed = method(_workload(job, graph), job.fleet, time_limit=job.time_limit)
    return Found(Plan(placed.plan.stages), placed.plan.devices, placed.lower_bound)


def faults_of(job: Job, graph: CostGraph, plan: Plan, devices: Sequence[int]) -> list[str]:
    """Return every way in which a plan breaks the rules, in words."""
    if job.fleet is None:
        return problems_of(graph, job.machine, plan)
    problems = problems_of_shared if job.fleet.shared else placed_problems
    return problems(_workload(job, graph), job.fleet, _placed(job, plan, devices))


def bottleneck_of(job: Job, graph: CostGraph, plan: Plan, devices: Sequence[int]) -> int:
    """Return the period of a valid plan by the plain reference, picoseconds."""
    if job.fleet is None:
        return max(cost.total for cost in evaluate_all(graph, job.machine, plan))
    workload, placed = _workload(job, graph), _placed(job, plan, devices)
    method = evaluate_shared if job.fleet.shared else evaluate
    costs = method(workload, job.fleet, placed)
    return max(load.total for load in loads_of(job.fleet, job.owners(devices), costs).values())


def _workload(job: Job, graph: CostGraph) -> Workload:
    return Workload(graph, job.backward, job.along)


def _placed(job: Job, plan: Plan, devices: Sequence[int]) -> PlacedPlan:
    """Return a plan with its devices; a stage of training runs its forward nodes first."""
    stages = plan.stages
    if any(job.backward):
        stages = tuple(tuple(sorted(nodes, key=job.backward.__getitem__)) for nodes in stages)
    return PlacedPlan(stages, tuple(devices))


def one_stage_each(job: Job, consumer: str, devices: Sequence[int]) -> None:
    """Demand that no device runs several stages.

    Raises
    ------
    InputError
        If one does.
    """
    owners = job.owners(devices)
    for device in owners:
        stages = [s for s, other in enumerate(owners) if other == device]
        if len(stages) > 1:
            raise InputError(
                f"plan for {consumer}",
                "one stage per device",
                f"stages {', '.join(map(str, stages))} on device {device}",
                "Plan with another --schedule, or export for megatron or json."
                if any(job.backward)
                else "Plan without shared devices, or export for accelerate, json, megatron, onnx, "
                "onnxruntime or triton.",
            )
