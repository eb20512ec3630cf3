# SPDX-License-Identifier: Apache-2.0
"""The latency of one request where stages that do not need each other run side by side.

The plain reference.  Each stage runs on a device of its own.  It starts when the last stage that makes one of
its tensors is done, receives, computes and sends, and is done; nothing else runs.  The makespan is when the last
stage is done: the heaviest path through the quotient graph, each stage weighing its cost (the latency of Tarnawski,
Phanishayee, Devanur, Mahajan and Nina Paravecino, Efficient Algorithms for Device Placement of DNN Graph
Operators, NeurIPS 2020, where a device runs one piece).
"""

from __future__ import annotations

from collections.abc import Sequence

from .workload import PlacedPlan, PlacedStage, Workload

__all__ = ["finishes", "makespan_of"]


def finishes(workload: Workload, plan: PlacedPlan, costs: Sequence[PlacedStage]) -> list[int]:
    """Return the picoseconds after which each stage of a valid plan is done."""
    graph = workload.graph
    stage_of = {v: s for s, nodes in enumerate(plan.stages) for v in nodes}
    needs: list[set[int]] = [set() for _ in plan.stages]
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        for consumer in graph.tensor_consumers[tensor]:
            needs[stage_of[consumer]].add(stage_of[producer])
    done: list[int] = []
    for s, cost in enumerate(costs):
        done.append(max((done[p] for p in needs[s] - {s}), default=0) + cost.total)
    return done


def makespan_of(workload: Workload, plan: PlacedPlan, costs: Sequence[PlacedStage]) -> int:
    """Return the picoseconds after which the last stage of a valid plan is done."""
    return max(finishes(workload, plan, costs))
