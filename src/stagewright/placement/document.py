# SPDX-License-Identifier: Apache-2.0
"""Plan files for devices of several kinds: ``stagewright-plan/1`` with its optional keys."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..certificate.build import FORMAT, bound_entry, gap_of, rounded, stage_entry
from ..units import seconds_from_ps
from .devices import Fleet
from .interleaving import owners
from .method import PlacedSolution
from .sharing import evaluate_shared, loads_of
from .workload import PlacedStage, Workload, evaluate

__all__ = ["placed_document"]


def placed_document(
    workload: Workload, fleet: Fleet, solution: PlacedSolution, *, seed: int
) -> dict[str, Any]:
    """Return the plan file's content; times are exact decimals of seconds.

    Raises
    ------
    InputError
        If the plan is not valid.
    """
    graph, plan = workload.graph, solution.plan
    owner = plan.devices
    if fleet.interleaved:
        costs, owner = evaluate(workload, fleet, plan), tuple(owners(fleet, len(plan.stages)))
        upper = max(load.total for load in loads_of(fleet, owner, costs).values())
    elif fleet.shared:
        costs = evaluate_shared(workload, fleet, plan)
        upper = max(load.total for load in loads_of(fleet, plan.devices, costs).values())
    else:
        costs = evaluate(workload, fleet, plan)
        upper = max(cost.total for cost in costs)
    lower = solution.lower_bound
    longest = max(cost.total for cost in costs)
    stages = []
    rows = zip(plan.devices, owner, plan.stages, costs, strict=True)
    for device, number, nodes, cost in rows:
        name = fleet.kinds[fleet.seat_at(device).kind].name
        place = {} if fleet.order is None else {"place": device}
        if fleet.shared or fleet.interleaved:
            place = {"number": number}
        entry = stage_entry(graph, nodes, cost) | {"device": name} | place
        stages.append(entry | scheduled_entry(fleet, device, cost))
    objective = solution.objective.to_json(solution.value, solution.value_bound)
    training: dict[str, Any] = {
        "training": {
            "backward": [graph.node_names[v] for v, back in enumerate(workload.backward) if back],
            "along": workload.along,
        }
    }
    if fleet.schedule is not None:
        training["training"] |= {
            "schedule": fleet.schedule.to_json(),
            "step": seconds_from_ps(fleet.schedule.step(len(stages), longest)),
        }
    return {
        "format": FORMAT,
        "graph_sha256": graph.sha256,
        "machine": machine_entry(fleet, graph.num_nodes),
        **(training if any(workload.backward) else {}),
        **({} if solution.objective.plain else {"objective": objective}),
        "bottleneck": seconds_from_ps(upper),
        "lower_bound": seconds_from_ps(lower),
        "gap": gap_of(upper, lower),
        "status": "optimal" if lower == upper else "bounded" if lower else "feasible",
        "stages": stages,
        "bounds": [bound_entry(bound) for bound in solution.bounds],
        "stopped_because": solution.stopped_because,
        "seconds": rounded(solution.seconds),
        "seed": seed,
        "version": __version__,
    }


def scheduled_entry(fleet: Fleet, device: int, cost: PlacedStage) -> dict[str, Any]:
    """Return what a plan file says more of a stage that trains by a schedule."""
    if fleet.schedule is None:
        return {}
    seat = fleet.seat_at(device)
    return {
        "replicas": seat.replicas,
        "recompute": seat.recompute,
        "in_flight": cost.in_flight,
        "kept_bytes": cost.kept_bytes,
        "sync": seconds_from_ps(cost.sync),
    }


def machine_entry(fleet: Fleet, node_count: int) -> dict[str, Any]:
    """Return the `machine` object; its plain keys are those of the first kind."""
    first = fleet.kinds[0]
    entry: dict[str, Any] = {
        "stages": fleet.stages,
        "bandwidth": first.link.bandwidth,
        "latency": seconds_from_ps(first.link.latency),
        "memory": first.memory,
        "devices": fleet.to_json(node_count),
    }
    if fleet.order is not None:
        entry["order"] = [fleet.kinds[q].name for q in fleet.order]
    if fleet.links is not None:
        entry["links"] = [link.to_json() for link in fleet.links]
    if fleet.overlap:
        entry["overlap"] = True
    if fleet.shared or fleet.interleaved:
        entry["shared"] = True
    return entry
