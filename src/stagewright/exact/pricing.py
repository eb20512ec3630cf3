# SPDX-License-Identifier: Apache-2.0
"""What plans truly cost: every stage in the order of least peak memory that is found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .. import _native
from ..effort import ENDLESS, Effort
from ..graph import CostGraph
from ..machine import Machine
from ..plans import Plan, StageCost, evaluate_all, tensor_costs
from ..problem import Problem
from ..search.orders import Found

__all__ = ["Pricing"]

# States of a stage (sets of nodes that have run) that a search for its best order may look at.
_STATES = 20_000
# Nodes of plans whose prices are remembered, together.
_REMEMBERED = 2**21


@dataclass(eq=False)
class Pricing:
    """Plans of `problem`, which was made from `graph` and `machine`, with their true costs."""

    graph: CostGraph
    machine: Machine
    problem: Problem
    _orders: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    _priced: dict[bytes, tuple[Plan, int]] = field(default_factory=dict)

    @cached_property
    def _prices(self) -> list[int]:
        return tensor_costs(self.graph, self.machine)

    def _costs(self, plan: Plan) -> list[StageCost]:
        return evaluate_all(self.graph, self.machine, plan, self._prices)

    def true_cost(self, found: Found, effort: Effort | None = None) -> Found:
        """Return a plan of the problem with its true bottleneck, which may be above the relaxed one.

        When `effort` is over, stages run in the order that is at hand.
        """
        if not self.problem.memory_binds:
            return found
        return Found(self.priced(found.block, effort)[1], found.block)

    def least_cost_of_one_stage(self) -> int:
        """Return a lower bound of the plan of one stage; its cost where the best order was found."""
        work = self.problem.total_work
        if self.problem.flow is None:
            return work
        nodes = self.graph.topological_order
        rows = zip(self.graph.param_bytes.tolist(), self.graph.param_users.rows(), strict=True)
        params = sum(size for size, users in rows if users)
        peak, _, _ = _native.order_stage(
            self.problem.flow.native, nodes, enough=self._enough(params), max_states=_STATES
        )
        return work + self.problem.overflow(params + peak)

    def _enough(self, param_bytes: int) -> int:
        """Return the peak up to which a stage with these parameters spills nothing and fits."""
        return max(0, (self.machine.least_memory or 0) - param_bytes)

    def value(self, plan: Plan) -> int:
        """Return the bottleneck in picoseconds, the steps of stages that exceed a hard limit included."""
        return max(map(self._total, self._costs(plan)))

    def underrated(self, found: Found) -> int:
        """Return by how many bytes some stage's true peak exceeds what searches count: a working set."""
        plan = self.plan(found.block)
        working_set = [0] * len(plan.stages)
        numbers = {b: i for i, b in enumerate(sorted(set(found.block.tolist())))}
        for v, b in enumerate(found.block.tolist()):
            number = numbers[b]
            working_set[number] = max(working_set[number], self.problem.working_set[v])
        costs = self._costs(plan)
        worst = max(range(len(costs)), key=lambda i: self._total(costs[i]))
        return max(0, costs[worst].peak_bytes - working_set[worst])

    def _total(self, cost: StageCost) -> int:
        limit = self.problem.limit
        return cost.total + (limit.penalty(cost.held_bytes) if limit else 0)

    def excess(self, plan: Plan) -> tuple[int, int]:
        """Return by how many bytes the fullest stage exceeds the hard limit, and which stage that is."""
        limit = self.problem.limit
        held = [cost.held_bytes for cost in self._costs(plan)]
        number = max(range(len(held)), key=held.__getitem__)
        return max(0, held[number] - limit.nbytes) if limit else 0, number

    def plan(self, block: npt.NDArray[np.int32], effort: Effort | None = None) -> Plan:
        """Return the plan of blocks of nodes of the problem, its stages well ordered."""
        if not self.problem.memory_binds:
            return self._in_order(block)
        return self.priced(block, effort)[0]

    def _in_order(self, block: npt.NDArray[np.int32]) -> Plan:
        return Plan.from_assignment(
            self.graph, self.problem.expand(block.tolist(), self.graph.num_nodes)
        )

    def priced(
        self, block: npt.NDArray[np.int32], effort: Effort | None = None
    ) -> tuple[Plan, int]:
        """Return the plan and its true bottleneck in picoseconds; where memory binds both are remembered."""
        if not self.problem.memory_binds:
            plan = self._in_order(block)
            return plan, self.value(plan)
        key = block.tobytes()
        if key in self._priced:
            return self._priced[key]
        plan = self._in_order(block)
        costs = self._costs(plan)
        ordered = Plan(
            tuple(
                self._ordered(nodes, cost, effort)
                if self.problem.overflow(cost.held_bytes)
                else nodes
                for nodes, cost in zip(plan.stages, costs, strict=True)
            )
        )
        same = ordered.stages == plan.stages
        value = max(map(self._total, costs)) if same else self.value(ordered)
        if effort is None or not effort.over():
            if len(self._priced) * self.graph.num_nodes > _REMEMBERED:
                self._priced.clear()
            self._priced[key] = ordered, value
        return ordered, value

    def _ordered(
        self, nodes: tuple[int, ...], cost: StageCost, effort: Effort | None
    ) -> tuple[int, ...]:
        """Return the order of least peak; the given one where none better is found."""
        flow = self.problem.flow
        if nodes not in self._orders and flow is not None:
            # Time may end the search, work may not: the price of a plan is the same in every run.
            limits = {} if effort is None else replace(effort, work=ENDLESS).native()
            _, order, _ = _native.order_stage(
                flow.native,
                np.array(nodes, np.int32),
                enough=self._enough(cost.param_bytes),
                most=cost.peak_bytes - 1,
                max_states=_STATES,
                **limits,
            )
            if effort is not None and effort.over():
                return tuple(order.tolist()) or nodes
            self._orders[nodes] = tuple(order.tolist()) or nodes
        return self._orders[nodes]
