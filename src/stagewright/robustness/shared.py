# SPDX-License-Identifier: Apache-2.0
"""One reduction for many instances of a graph that differ in costs only.

A merge of :mod:`..reduce` rests on one inequality between costs and on reachability.  Reachability is that of the
graph.  So where the inequality holds in every instance, the merge keeps an optimal plan of each of them: costs become rows with
one value per instance, "less" means "less in some instance", and the reducer does the rest unchanged.  What is left is
a small graph whose costs, instance by instance, are sums.  Where memory can bind, costs are not all that a merge depends on, and
every instance is solved on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..classes import stage_classes
from ..graph import CostGraph, GraphBuilder
from ..machine import Machine
from ..plans import Plan, tensor_costs
from ..problem import Problem, pinned
from ..reduce import reduce_problem
from .spread import Instance

__all__ = ["SharedReduction"]

Int64Array = npt.NDArray[np.int64]


class _Row:
    """A cost in every instance.  It is negative (positive) if it is so in any instance."""

    __slots__ = ("values",)

    def __init__(self, values: Int64Array) -> None:
        self.values = values

    def __add__(self, other: _Row | int) -> _Row:
        return _Row(self.values + (other.values if isinstance(other, _Row) else other))

    __radd__ = __add__

    def __sub__(self, other: _Row | int) -> _Row:
        return _Row(self.values - (other.values if isinstance(other, _Row) else other))

    def __neg__(self) -> _Row:
        return _Row(-self.values)

    def __mul__(self, factor: int) -> _Row:
        return _Row(self.values * factor)

    def __lt__(self, limit: int) -> bool:
        return bool((self.values < limit).any())

    def __gt__(self, limit: int) -> bool:
        return bool((self.values > limit).any())


class SharedReduction:
    """A graph reduced once for all of `instances`, which differ in costs only and have no memory limit."""

    def __init__(self, graph: CostGraph, instances: Sequence[Instance]) -> None:
        self.graph = graph
        n = graph.num_nodes
        work = np.array([i.graph.work for i in instances], np.int64)
        cost = np.array([tensor_costs(i.graph, i.machine) for i in instances], np.int64)
        rows: Any = [_Row(np.ascontiguousarray(column)) for column in work.T]
        prices: Any = [_Row(np.ascontiguousarray(column)) for column in cost.T]
        label, first, last = stage_classes(graph)
        plain = Problem(
            machine=Machine(instances[0].machine.stages),
            work=tuple(rows),
            producer=tuple(graph.tensor_producer.tolist()),
            consumers=tuple(map(tuple, graph.tensor_consumers.rows())),
            cost=tuple(prices),
            edges=(),
            param_bytes=(),
            params_of=((),) * n,
            working_set=(0,) * n,
            members=tuple((v,) for v in range(n)),
            flow=None,
        )
        self.problem = reduce_problem(pinned(plain.contract(label), first, last))
        self.machine = plain.machine

    @property
    def num_nodes(self) -> int:
        """Nodes that are left."""
        return self.problem.num_nodes

    def instance(self, number: int) -> Instance:
        """Return the reduced graph with the costs of one instance, tensors priced as times."""
        builder = GraphBuilder(self.graph.name)
        problem: Any = self.problem
        for node, row in enumerate(problem.work):
            builder.add_node(str(node), work=int(row.values[number]))
        columns = zip(problem.producer, problem.consumers, problem.cost, strict=True)
        for producer, users, row in columns:
            builder.add_tensor(producer, users, time=int(row.values[number]))
        for a, b in problem.edges:
            builder.add_tensor(a, [b], time=0)
        return Instance(builder.build(), self.machine)

    def lift(self, plan: Plan) -> Plan:
        """Return a plan of the reduced graph as one of the whole graph."""
        block = self.problem.expand(plan.assignment(self.num_nodes), self.graph.num_nodes)
        return Plan.from_assignment(self.graph, block)
