# SPDX-License-Identifier: Apache-2.0
"""Plan, measure, correct, plan again: until a plan comes again or the rounds are over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..api import Result
from ..graph import CostGraph
from ..machine import Machine
from ..plans import Plan, evaluate_all
from ..units import PS_PER_SECOND
from .correction import Costs, Measurement, corrected

__all__ = ["Measurer", "Planner", "Round", "Tuned", "tune_plans"]

Planner = Callable[[CostGraph, Machine, "Plan | None"], Result]
"""Plans a graph for a machine, from a plan to start from."""
Measurer = Callable[[Result], Measurement]
"""Runs a plan as a pipeline."""


@dataclass(frozen=True, eq=False)
class Round:
    """A plan, and what its pipeline did; times in seconds.

    `predicted` is its bottleneck by the costs it was planned with, `totals` those of its stages,
    `machine` the link they were planned with.
    """

    number: int
    plan: Plan
    predicted: float
    totals: tuple[float, ...]
    machine: Machine
    found: Measurement

    @property
    def ratio(self) -> float:
        """Measured period over predicted."""
        return self.found.period / self.predicted if self.predicted else float("inf")

    def as_run(self) -> dict[str, Any]:
        """Return what was measured in the form of a run report; the outputs were not compared."""
        return {
            "period": self.found.period,
            "predicted_period": self.predicted,
            "throughput": 1 / self.found.period if self.found.period else None,
            "outputs_equal": None,
            "stages": [
                {"compute": stage.compute, "send": stage.send, "predicted": total}
                for total, stage in zip(self.totals, self.found.stages, strict=True)
            ],
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        pairs = zip(self.totals, self.found.stages, strict=True)
        return {
            "round": self.number,
            "predicted": self.predicted,
            "measured": self.found.period,
            "ratio": self.ratio if self.predicted else None,
            "bandwidth": self.machine.bandwidth,
            "latency": self.machine.latency / PS_PER_SECOND,
            "stages": [
                {"nodes": len(nodes), "predicted": total, **vars(stage), "busy": stage.busy}
                for nodes, (total, stage) in zip(self.plan.stages, pairs, strict=True)
            ],
        }


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of it.

    Attributes
    ----------
    rounds
        Every plan that was measured, in order.
    best
        The one with the shortest measured period; the earlier of equal ones.
    result
        The plan of `best`, priced and bounded by the costs after the last round.
    costs
        These costs.
    stopped_because
        ``the plan came again``, ``the rounds are over`` or ``interrupted``.
    """

    rounds: tuple[Round, ...]
    best: Round
    result: Result
    costs: Costs
    stopped_because: str


def tune_plans(
    graph: CostGraph, machine: Machine, plan: Planner, measure: Measurer, rounds: int
) -> Tuned:
    """Correct the costs of a graph by measured pipelines until the plan stops changing.

    The measurements decide everything, if `plan` is deterministic.

    Parameters
    ----------
    graph, machine
        With the costs to begin with.
    plan, measure
        The solver, and what runs a plan.
    rounds
        Most plans to measure, >= 1.
    """
    costs, done = Costs.of(graph, machine), list[Round]()
    seen: set[frozenset[frozenset[int]]] = set()
    result, why = plan(graph, machine, None), "the rounds are over"
    for number in range(1, rounds + 1):
        try:
            found = measure(result)
            costs = corrected(costs, result.plan, found)
            done.append(_round(number, result, found))
            seen.add(_cut(result.plan))
            result = plan(costs.graph, costs.machine, result.plan)
        except KeyboardInterrupt:
            if not done:
                raise
            result, why = _as_it_is(done[-1].plan, result, costs), "interrupted"
            break
        if result.solution.stopped_because == "interrupted":
            why = "interrupted"
            break
        if _cut(result.plan) in seen:
            why = "the plan came again"
            break
    best = min(done, key=lambda r: r.found.period)
    return Tuned(tuple(done), best, _kept(result, best, costs, why), costs, why)


def _cut(plan: Plan) -> frozenset[frozenset[int]]:
    """Return the stages without the order of nodes inside them."""
    return frozenset(frozenset(nodes) for nodes in plan.stages)


def _round(number: int, result: Result, found: Measurement) -> Round:
    totals = [
        c.total / PS_PER_SECOND for c in evaluate_all(result.graph, result.machine, result.plan)
    ]
    machine = result.machine
    return Round(number, result.plan, result.bottleneck, tuple(totals), machine, found)


def _as_it_is(plan: Plan, result: Result, costs: Costs) -> Result:
    """Return a plan at corrected costs that nobody has solved for: without a lower bound."""
    graph = result.graph.replace(work=costs.graph.work)
    bottleneck = max(c.total for c in evaluate_all(graph, costs.machine, plan))
    solution = replace(
        result.solution, plan=plan, bottleneck=bottleneck, bounds=(), history=(),
        stopped_because="interrupted",
    )  # fmt: skip
    return replace(result, graph=graph, machine=costs.machine, solution=solution)


def _kept(result: Result, best: Round, costs: Costs, why: str) -> Result:
    """Return the best measured plan with the lower bounds of the last search."""
    if _cut(best.plan) == _cut(result.plan):
        return result
    bottleneck = max(c.total for c in evaluate_all(result.graph, costs.machine, best.plan))
    text = f"{why}; of {costs.rounds} measured plans this one had the shortest period"
    solution = replace(
        result.solution,
        plan=best.plan,
        bottleneck=bottleneck,
        history=(),
        stopped_because="interrupted" if why == "interrupted" else text,
    )
    return replace(result, solution=solution, operator_level=None)
