# SPDX-License-Identifier: Apache-2.0
"""Pieces that the models of all lower bounds are made of: ideals, and what a block costs.

An ideal is a column per node, 1 inside; every precedence u -> v says "v inside, so u inside".  A block
is the difference of two nested ideals, so it is convex without further rows.  A tensor is cut by a block
when the largest and the smallest membership of its pins (producer and consumers) differ; that is one
column for two pins and two columns for more, and two rows per pin.

Costs are rounded down to multiples of 2^-33 of the whole model's cost, which can only lower a bound and
keeps coefficients within ten digits; and a tensor that costs more than everything in one stage is priced
as that, which changes no optimum, since the plan with one stage is allowed.

Memory: overflow is counted as in the exact method (parameters of the block, shared ones once, plus
the largest working set of one node), without rounding spilled bytes up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..problem import Problem
from ..units import PS_PER_SECOND
from .model import Expression, ModelBuilder

__all__ = ["Block", "Costs", "Pieces", "whole_cost"]

# One stage with everything costs at most 2^_UNITS units, and costs are multiples of 2^-(_GRAINS - _UNITS).
_UNITS = 10
_GRAINS = 33
EMPTY = Expression()
FULL = Expression(constant=1.0)


def whole_cost(problem: Problem) -> int:
    """Return the cost in picoseconds of one stage with everything, so an upper bound."""
    if not problem.memory_binds or problem.machine.memory is None:
        return problem.total_work
    used = set().union(*problem.params_of)
    held = sum(problem.param_bytes[p] for p in used) + max(problem.working_set)
    return problem.total_work + problem.machine.spill_time(held)


@dataclass(frozen=True)
class Costs:
    """A problem's costs in units, rounded down.

    Attributes
    ----------
    unit
        Picoseconds per unit.
    work, tensor
        Units per node and per tensor.
    total_work
        Sum of `work`.
    ceiling
        Upper bound on what a stage of the best plan costs.
    per_byte
        Units of overflow per byte.
    """

    unit: int
    work: tuple[float, ...]
    tensor: tuple[float, ...]
    total_work: float
    ceiling: float
    per_byte: float

    @classmethod
    def of(cls, problem: Problem) -> Costs:
        """Choose the unit and round."""
        whole = max(1, whole_cost(problem))
        unit = 1 << max(0, whole.bit_length() - _UNITS)
        grain = 1 << max(0, whole.bit_length() - _GRAINS)
        work = tuple((w - w % grain) / unit for w in problem.work)
        capped = (min(c, whole) for c in problem.cost)
        return cls(
            unit=unit,
            work=work,
            tensor=tuple((c - c % grain) / unit for c in capped),
            total_work=sum(work),
            ceiling=-(-whole // unit),
            per_byte=PS_PER_SECOND / (problem.machine.bandwidth or 1) / unit,
        )


@dataclass(frozen=True, eq=False)
class Block:
    """Forms of one block: membership per node, its work, and all that it costs."""

    member: Sequence[Expression]
    work: Expression
    cost: Expression


class Pieces:
    """Adds ideals and blocks of one problem to a model."""

    def __init__(self, problem: Problem, *, stages: int | None = None) -> None:
        self.problem = problem
        self.costs = Costs.of(problem)
        self.builder = ModelBuilder()
        self.successors = problem.successors()
        # A plan has no more stages than nodes.
        self.stages = min(problem.machine.stages if stages is None else stages, problem.num_nodes)
        # Every model implies the average work; said outright, it is what a solver knows at once.  The
        # quotient is rounded, so it is taken a little lower.
        self.average = math.nextafter(self.costs.total_work / self.stages, 0.0)
        self.bottleneck = self.builder.magnitude(self.costs.ceiling, lower=self.average)

    def whole(self) -> list[Expression]:
        """Return the ideal of all nodes."""
        return [FULL] * self.problem.num_nodes

    def nothing(self) -> list[Expression]:
        """Return the empty ideal."""
        return [EMPTY] * self.problem.num_nodes

    def ideal(self, inside: Sequence[Expression] | None = None) -> list[Expression]:
        """Add an ideal, one that contains the ideal `inside` if given."""
        count = self.problem.num_nodes
        nodes = [Expression.of(self.builder.flag(integer=True)) for _ in range(count)]
        for u, row in enumerate(self.successors):
            self.builder.not_below(nodes[u], (nodes[v] for v in row))
        if inside is not None:
            for outer, inner in zip(nodes, inside, strict=True):
                self.builder.not_below(outer, [inner])
        return nodes

    def work_of(self, ideal: Sequence[Expression]) -> Expression:
        """Return the work of the nodes with the given membership."""
        form = Expression()
        for node, work in zip(ideal, self.costs.work, strict=True):
            if work:
                form.add(node, work)
        return form

    def crossing(self, ideal: Sequence[Expression]) -> Expression:
        """Return the cost of the tensors that leave an ideal, each counted once."""
        form = Expression()
        for p, users, cost in self._tensors():
            leaves = Expression.of(self.builder.flag())
            self.builder.not_below(leaves, (ideal[p].minus(ideal[v]) for v in users))
            form.add(leaves, cost)
        return form

    def block(self, before: Sequence[Expression], after: Sequence[Expression]) -> Block:
        """Return the block between two ideals; its cost column rises to at least f."""
        member = [b.minus(a) for a, b in zip(before, after, strict=True)]
        work = self.work_of(member)
        cost = Expression(work.terms, work.constant)
        for p, users, price in self._tensors():
            self._add_cut([member[p], *(member[v] for v in users)], price, cost)
        # A hard limit is left out: the bound holds without it.
        if self.problem.memory_binds and self.problem.machine.memory is not None:
            cost.add(self._overflow(member))
        return Block(member, work, cost)

    def bounds_bottleneck(self, cost: Expression, blocks: int = 1) -> None:
        """Demand blocks x bottleneck >= cost."""
        self.builder.at_least(Expression({self.bottleneck: float(blocks)}).minus(cost))

    def _tensors(self) -> list[tuple[int, tuple[int, ...], float]]:
        problem = self.problem
        rows = zip(problem.producer, problem.consumers, self.costs.tensor, strict=True)
        return [(p, users, c) for p, users, c in rows if c > 0]

    def _add_cut(self, pins: Sequence[Expression], price: float, cost: Expression) -> None:
        """Add the price of a tensor with these pins if not all memberships are equal."""
        if len(pins) == 2:
            cut = Expression.of(self.builder.flag())
            self.builder.not_below(cut, [pins[0].minus(pins[1]), pins[1].minus(pins[0])])
            cost.add(cut, price)
            return
        largest = Expression.of(self.builder.flag())
        smallest = Expression.of(self.builder.flag())
        self.builder.not_below(largest, pins)
        for pin in pins:
            self.builder.not_below(pin, [smallest])
        cost.add(largest, price).add(smallest, -price)

    def _overflow(self, member: Sequence[Expression]) -> Expression:
        """Return a column for (parameters + largest working set - memory) / bandwidth."""
        problem, per_byte = self.problem, self.costs.per_byte
        users: dict[int, list[int]] = {}
        for v, params in enumerate(problem.params_of):
            for p in params:
                users.setdefault(p, []).append(v)
        held = Expression(constant=-(problem.machine.memory or 0) * per_byte)
        for p, nodes in users.items():
            used = member[nodes[0]]
            if len(nodes) > 1:
                used = Expression.of(self.builder.flag())
                self.builder.not_below(used, (member[v] for v in nodes))
            held.add(used, problem.param_bytes[p] * per_byte)
        working = Expression.of(self.builder.magnitude(max(problem.working_set) * per_byte))
        for v, size in enumerate(problem.working_set):
            self.builder.not_below(working, [Expression().add(member[v], size * per_byte)])
        # Not bounded by the ceiling: a relaxation may look at blocks that no good plan has.
        most = sum(problem.param_bytes) + max(problem.working_set)
        spilled = Expression.of(self.builder.magnitude(most * per_byte))
        self.builder.not_below(spilled, [held.add(working)])
        return spilled
