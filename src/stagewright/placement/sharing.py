# SPDX-License-Identifier: Apache-2.0
"""Devices that run several stages, and the plain reference of what they cost.

A plan lists stages in pipeline order, each with the number of its device; a device may stand there several
times (virtual stages).  Items pass through the stages one after another, and at steady state a device works once in
a period on each of its stages, every time for another item.  So the period is the load of the busiest device: what all
its stages compute, and each tensor once when the device receives it and once when it sends it, however many
of its stages need it.  What one stage of a device makes for another one of the same device stays there and is free
(Tarnawski, Phanishayee, Devanur, Mahajan and Nina Paravecino, Efficient Algorithms for Device Placement of
DNN Graph Operators, NeurIPS 2020: non-contiguous splits).

Any assignment of nodes to devices can be cut into such stages, for single nodes in topological order are some; so
the assignment alone decides the period.  Constraints: nodes of a group share a device, nodes that must not be cut apart
share a stage, pinned nodes are in the first or last stage.

Memory: a device holds the parameters and the peak of every one of its stages, each stage its own, as its
worker does.  What does not fit is streamed, by the stage that comes last to need room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..graph import CostGraph
from ..plans import constraint_problems, positions
from .devices import UNABLE, Fleet
from .workload import PlacedPlan, PlacedStage, Workload, stage_cost

__all__ = ["evaluate_shared", "loads_of", "problems_of_shared", "stage_costs", "ungrouped"]


def evaluate_shared(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> list[PlacedStage]:
    """Return what each stage adds to the load of its device.

    A tensor is received by the first stage of the device that needs it, and sent by the stage that makes it.

    Raises
    ------
    InputError
        If the plan is not valid (see :func:`problems_of_shared`).
    """
    problems = problems_of_shared(workload, fleet, plan)
    if problems:
        raise InputError("plan", "a valid plan", problems[0])
    return stage_costs(workload, fleet, plan)


def stage_costs(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> list[PlacedStage]:
    """Return the costs of a plan that holds every node once, on devices that can run them."""
    graph = workload.graph
    stage_of = {v: s for s, nodes in enumerate(plan.stages) for v in nodes}
    io_in, io_out = [0] * len(plan.stages), [0] * len(plan.stages)
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        if graph.replicable[producer]:
            continue
        home = stage_of[producer]
        size, time = int(graph.tensor_bytes[tensor]), int(graph.tensor_time[tensor])
        first: dict[int, int] = {}  # per device that needs it, the first stage to do so
        for stage in sorted(stage_of[c] for c in graph.tensor_consumers[tensor]):
            first.setdefault(plan.devices[stage], stage)
        first.pop(plan.devices[home], None)
        if first:
            io_out[home] += fleet.seat_at(plan.devices[home]).send.price(size, time)
        for device, stage in first.items():
            io_in[stage] += fleet.seat_at(device).receive.price(size, time)
    costs = []
    held = dict.fromkeys(plan.devices, 0)
    for s, (device, nodes) in enumerate(zip(plan.devices, plan.stages, strict=True)):
        alone = stage_cost(workload, fleet, device, nodes)
        kind = fleet.kinds[fleet.seat_at(device).kind]
        before = kind.spill_time(held[device])
        held[device] += alone.held_bytes
        overflow = kind.spill_time(held[device]) - before
        costs.append(replace(alone, io_in=io_in[s], io_out=io_out[s], overflow=overflow))
    return costs


def loads_of(
    fleet: Fleet, devices: Sequence[int], costs: Sequence[PlacedStage]
) -> dict[int, PlacedStage]:
    """Return what each device in use does for an item, all its stages together."""
    loads: dict[int, PlacedStage] = {}
    for device, cost in zip(devices, costs, strict=True):
        so_far = loads.get(device, PlacedStage(0, 0, 0, 0, 0, 0, fleet.overlap))
        loads[device] = PlacedStage(
            so_far.work + cost.work,
            so_far.io_in + cost.io_in,
            so_far.io_out + cost.io_out,
            so_far.overflow + cost.overflow,
            so_far.param_bytes + cost.param_bytes,
            so_far.peak_bytes + cost.peak_bytes,
            fleet.overlap,
        )
    return loads


def problems_of_shared(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> list[str]:
    """Return every way in which a plan for shared devices breaks the rules; empty when it is valid."""
    graph, names = workload.graph, workload.graph.node_names
    if len(plan.devices) != len(plan.stages):
        return [f"{len(plan.stages)} stages on {len(plan.devices)} devices"]
    problems = [
        f"device {device} does not exist"
        for device in plan.devices
        if not 0 <= device < fleet.stages
    ]
    position, wrong = positions(names, plan.stages)
    problems += wrong
    if problems:
        return problems
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        problems += [
            f"node '{names[c]}' (stage {position[c][0]}) needs a tensor of '{names[producer]}' "
            f"(stage {position[producer][0]}), which runs later"
            for c in graph.tensor_consumers[tensor]
            if position[producer] >= position[c]
        ]
    problems += _constraint_problems(workload, plan, position)
    return problems or _device_problems(workload, fleet, plan)


def _constraint_problems(
    workload: Workload, plan: PlacedPlan, position: dict[int, tuple[int, int]]
) -> list[str]:
    """Return the groups that are on two devices, and the other constraints, which are of stages."""
    graph = workload.graph
    problems: list[str] = []
    home: dict[int, int] = {}
    for node, group in enumerate(graph.group.tolist()):
        device = plan.devices[position[node][0]]
        if group >= 0 and home.setdefault(group, device) != device:
            problems.append(
                f"group '{graph.group_names[group]}' is on two devices at node "
                f"'{graph.node_names[node]}'"
            )
    return problems + constraint_problems(ungrouped(graph), position, len(plan.stages) - 1)


def ungrouped(graph: CostGraph) -> CostGraph:
    """Return a graph without its groups, which share a device here and not a stage."""
    return replace(graph, group=np.full(graph.num_nodes, -1, np.int32), group_names=())


def _device_problems(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> list[str]:
    """Return the stages that their devices cannot run, and the devices that hold too much."""
    problems = []
    for number, (device, nodes) in enumerate(zip(plan.devices, plan.stages, strict=True)):
        kind = fleet.seat_at(device).kind
        work = workload.work_on(fleet, kind)
        unable = [v for v in nodes if work[v] == UNABLE]
        if unable:
            name = workload.graph.node_names[unable[0]]
            kind_name = fleet.kinds[kind].name
            problems.append(f"stage {number}: device '{kind_name}' cannot run node '{name}'")
    if problems:
        return problems
    loads = loads_of(fleet, plan.devices, stage_costs(workload, fleet, plan))
    for device, load in sorted(loads.items()):
        kind_of = fleet.kinds[fleet.seat_at(device).kind]
        if not kind_of.fits(load.held_bytes):
            problems.append(
                f"device {device} holds {load.held_bytes} bytes, the limit of '{kind_of.name}' is "
                f"{kind_of.memory_limit}"
            )
    return problems
