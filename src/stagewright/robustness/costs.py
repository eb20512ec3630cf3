# SPDX-License-Identifier: Apache-2.0
"""Stage costs of a plan in many instances at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..graph import CostGraph
from ..plans import Plan, evaluate_all, tensor_costs
from .spread import Instance

__all__ = ["InstanceCosts"]

Int64Array = npt.NDArray[np.int64]


class InstanceCosts:
    """The costs of `instances` as arrays, for pricing plans.

    Attributes
    ----------
    work, tensors
        int64[instances, nodes] and int64[instances, tensors], picoseconds.
    """

    def __init__(self, graph: CostGraph, instances: Sequence[Instance]) -> None:
        self.graph = graph
        self.instances = instances
        self.work = np.array([i.graph.work for i in instances], np.int64)
        prices = [tensor_costs(i.graph, i.machine) for i in instances]
        self.tensors = np.array(prices, np.int64).reshape(len(instances), graph.num_tensors)
        self.memory = any(i.machine.memory is not None for i in instances)

    def stage_costs(self, plan: Plan) -> Int64Array:
        """Return int64[instances, stages], picoseconds: f(S) of every stage in every instance."""
        if self.memory:
            rows = [evaluate_all(i.graph, i.machine, plan) for i in self.instances]
            return np.array([[cost.total for cost in row] for row in rows], np.int64)
        count = len(plan.stages)
        stage_of = np.array(plan.assignment(self.graph.num_nodes), np.int64)
        costs = np.zeros((len(self.instances), count), np.int64)
        for stage in range(count):
            costs[:, stage] = self.work[:, stage_of == stage].sum(axis=1)
        paid: list[list[int]] = [[] for _ in range(count)]
        producer = self.graph.tensor_producer.tolist()
        for tensor, users in enumerate(self.graph.tensor_consumers.rows()):
            stages = {int(stage_of[u]) for u in users} | {int(stage_of[producer[tensor]])}
            if len(stages) > 1:
                for stage in stages:
                    paid[stage].append(tensor)
        for stage, tensors in enumerate(paid):
            costs[:, stage] += self.tensors[:, tensors].sum(axis=1)
        return costs
