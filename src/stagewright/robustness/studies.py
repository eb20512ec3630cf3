# SPDX-License-Identifier: Apache-2.0
"""The study on one page: draw, solve, judge, choose, and find out which costs matter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..graph import CostGraph
from ..machine import Machine
from ..plans import Plan, problems_of
from ..solve import Settings, Solution, solve
from .costs import InstanceCosts
from .shared import SharedReduction
from .spread import Instance, Spread, factor_groups, perturbed

__all__ = ["Candidate", "Factor", "Interval", "Robustness", "study"]

_PROPOSE, _JUDGE = 1, 2  # streams of the random choices


@dataclass(frozen=True)
class Interval:
    """What is known of a number: it lies from `low` to `high`, ends included."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan and how it fares in instances that had no part in making it.

    Attributes
    ----------
    name
        ``nominal`` (best for the costs as given), ``given``, or ``sample 3`` (best for that drawn instance).
    plan
        The stages.
    bottleneck
        Picoseconds, with the costs as given.
    mean, high
        Mean bottleneck over the instances, and the one that 95 % of them do not exceed; picoseconds.
    mean_regret, worst_regret
        Bottleneck over the optimum of the instance, less 1.  Where an optimum is not proven, `low` is against the
        best plan known and `high` against the lower bound.
    within
        In how many instances the plan is within the tolerance of the optimum, for certain and at most.
    """

    name: str
    plan: Plan
    bottleneck: int
    mean: float
    high: int
    mean_regret: Interval
    worst_regret: Interval
    within: Interval


@dataclass(frozen=True)
class Factor:
    """A cost that errs by itself, and what it does to the nominal plan.

    Attributes
    ----------
    name, nodes
        The node, the operator, or all; how many nodes it covers.
    spread
        Its relative uncertainty.
    work
        Picoseconds in all, as given.
    critical
        Share of the instances in which it has work in the slowest stage.
    share
        Mean part of the bottleneck that is its work in the slowest stage.
    effect
        By what part the bottleneck grows when it is larger by its spread, all else as given.
    regret
        What could then be won by another plan: the larger of the regrets with the cost larger and smaller by its
        spread.  None where it was not looked at.
    """

    name: str
    nodes: int
    spread: float
    work: int
    critical: float
    share: float
    effect: float
    regret: Interval | None


@dataclass(frozen=True, eq=False)
class Robustness:
    """The outcome of a study.

    Attributes
    ----------
    nominal
        Solution for the costs as given.
    candidates
        Best first by the chosen measure; `chosen` is the first.
    factors
        Those that matter most, first.
    samples, proven
        Instances judged, and how many of their optima are proven.
    reduced_nodes
        Nodes left by the reduction that all instances share; None where each was solved on its own.
    """

    graph: CostGraph
    machine: Machine
    spread: Spread
    nominal: Solution
    candidates: tuple[Candidate, ...]
    factors: tuple[Factor, ...]
    samples: int
    proven: int
    tolerance: float
    choose: str
    seed: int
    reduced_nodes: int | None
    interrupted: bool
    seconds: float

    @property
    def chosen(self) -> Candidate:
        """The candidate with the least regret, among equals the one that is better as given."""
        return self.candidates[0]

    def candidate(self, name: str) -> Candidate:
        """Return the candidate of that name."""
        for found in self.candidates:
            if found.name == name:
                return found
        raise InputError("candidate", ", ".join(c.name for c in self.candidates), repr(name))


def study(
    graph: CostGraph,
    machine: Machine,
    spread: Spread,
    *,
    samples: int = 32,
    tolerance: float = 0.05,
    choose: Literal["worst", "mean"] = "mean",
    given: Plan | None = None,
    factors: int = 10,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Judge plans by instances drawn from the uncertainty of the costs.

    Twice `samples` instances are drawn.  The optimal plans of the first half are candidates, beside the nominal plan and
    the one given, and are ranked on that half.  The figures reported are those of the second half, whose
    costs no candidate has seen.

    Parameters
    ----------
    tolerance
        "Close to the optimum" means at most this much above it.
    choose
        What ranks candidates: ``mean`` or ``worst`` regret; the worst of few instances is a noisy guide.
    given
        A plan to judge as well.
    factors
        For how many of the most important factors to solve again with their cost alone changed.
    settings
        As for :func:`~stagewright.solve.solve`; the time limit is for each instance.
    progress
        Called with instances solved and instances in all.

    Raises
    ------
    InputError
        If a number given makes no sense, or the given plan is not valid.
    """
    start = time.perf_counter()
    _check(samples, tolerance, factors)
    if machine.memory_limit is not None and spread.bytes:
        raise InputError(
            "spread: bytes",
            "0 with a hard limit of memory (a plan would fit in some instances only)",
            str(spread.bytes),
        )
    if given is not None and (problems := problems_of(graph, machine, given)):
        raise InputError("plan", "a valid plan for this graph and machine", problems[0])
    settings = settings or Settings()
    nominal = solve(graph, machine, settings)
    batches = [
        _free_of_idle_memory(
            [spread.draw(graph, machine, (settings.seed, stream, i)) for i in range(samples)]
        )
        for stream in (_PROPOSE, _JUDGE)
    ]
    solver = _Solver(graph, settings, progress, total=2 * (samples + factors))
    first, second = solver.solve([*batches[0], *batches[1]], cuts=(samples, 2 * samples))
    if not second.count:
        raise KeyboardInterrupt
    named = [("nominal", nominal.plan), *([("given", given)] if given is not None else [])]
    named += [(f"sample {i}", plan) for i, plan in enumerate(first.plans)]
    costs = [InstanceCosts(graph, batch) for batch in batches]
    named = _distinct(named, ordered=machine.least_memory is not None)
    ranking, _, _ = _judged(named, first, costs[0], tolerance)
    measure = {"worst": _worst, "mean": _mean}[choose]
    order = sorted(range(len(named)), key=lambda i: (*measure(ranking[i]), i))
    table, upper, lower = _judged(named, second, costs[1], tolerance)
    found = _factors(graph, machine, spread, nominal, costs[1], second.count)
    if found and factors and not solver.interrupted:
        found = (
            _with_regret(graph, machine, spread, nominal, found[:factors], solver) + found[factors:]
        )
    asgiven = InstanceCosts(graph, [Instance(graph, machine)])
    return Robustness(
        graph=graph,
        machine=machine,
        spread=spread,
        nominal=nominal,
        candidates=tuple(
            Candidate(*named[i], int(asgiven.stage_costs(named[i][1]).max()), *table[i])
            for i in order
        ),
        factors=tuple(found),
        samples=second.count,
        proven=int((upper == lower).sum()),
        tolerance=tolerance,
        choose=choose,
        seed=settings.seed,
        reduced_nodes=solver.reduced_nodes,
        interrupted=solver.interrupted,
        seconds=time.perf_counter() - start,
    )


def _check(samples: int, tolerance: float, factors: int) -> None:
    for name, value, least in (("samples", samples, 1), ("factors", factors, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 100_000:
            raise InputError(name, f"a whole number from {least} to 100000", repr(value))
    if not 0 <= tolerance < math.inf:
        raise InputError("tolerance", "a part >= 0 such as 0.05", str(tolerance))


def _free_of_idle_memory(instances: list[Instance]) -> list[Instance]:
    """Drop a memory that everything fits in at once: it costs nothing, whatever the plan."""
    return [
        replace(i, machine=replace(i.machine, memory=None, memory_limit=None))
        if i.machine.least_memory is not None and _everything(i.graph) <= i.machine.least_memory
        else i
        for i in instances
    ]


def _everything(graph: CostGraph) -> int:
    sizes: list[int] = [*graph.tensor_bytes.tolist(), *graph.param_bytes.tolist()]
    return sum(size for size in sizes if size > 0)


@dataclass(frozen=True, eq=False)
class _Solved:
    """Plans of the whole graph, upper and lower values of the first `count` instances of a batch."""

    plans: list[Plan]
    upper: list[int]
    lower: list[int]

    @property
    def count(self) -> int:
        return len(self.plans)


class _Solver:
    """Solves instances that differ in costs only, on one reduction where that is valid."""

    def __init__(
        self,
        graph: CostGraph,
        settings: Settings,
        progress: Callable[[int, int], None] | None,
        total: int,
    ) -> None:
        self.graph = graph
        self.settings = settings
        self.progress = progress
        self.total = total
        self.done = 0
        self.interrupted = False
        self.reduced_nodes: int | None = None

    def solve(self, instances: Sequence[Instance], cuts: Sequence[int]) -> list[_Solved]:
        """Return the solutions, cut into batches that end before the given numbers."""
        shared = None
        if instances and all(i.machine.least_memory is None for i in instances):
            shared = SharedReduction(self.graph, instances)
            self.reduced_nodes = self.reduced_nodes or shared.num_nodes
        solved = []
        try:
            for number, instance in enumerate(instances):
                small = shared.instance(number) if shared else instance
                solution = solve(small.graph, small.machine, self.settings)
                if solution.stopped_because == "interrupted":
                    self.interrupted = True
                    break
                plan = shared.lift(solution.plan) if shared else solution.plan
                solved.append((plan, solution.bottleneck, solution.lower_bound))
                self.done += 1
                if self.progress is not None:
                    self.progress(self.done, self.total)
        except KeyboardInterrupt:
            self.interrupted = True
        starts = [0, *cuts[:-1]]
        return [
            _Solved(*(list(column) for column in zip(*solved[a:b], strict=True)))
            if solved[a:b]
            else _Solved([], [], [])
            for a, b in zip(starts, cuts, strict=True)
        ]


def _distinct(named: list[tuple[str, Plan]], *, ordered: bool) -> list[tuple[str, Plan]]:
    """Keep the first of equal plans; the order within stages counts where memory can bind."""
    seen: dict[Any, tuple[str, Plan]] = {}
    for name, plan in named:
        stages = (stage if ordered else frozenset(stage) for stage in plan.stages)
        seen.setdefault(tuple(stages), (name, plan))
    return list(seen.values())


def _judged(
    named: list[tuple[str, Plan]], solved: _Solved, costs: InstanceCosts, tolerance: float
) -> tuple[list[tuple[Any, ...]], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how every plan fares, and the best values and bounds known of the instances."""
    count = solved.count
    bottlenecks = np.array([costs.stage_costs(plan).max(axis=1)[:count] for _, plan in named])
    # Any candidate may be better than what an unfinished search found.
    upper = np.minimum(np.array(solved.upper, np.int64), bottlenecks.min(axis=0))
    lower = np.array(solved.lower, np.int64)
    limit = 1 + Fraction(str(tolerance))
    rows = []
    for row in bottlenecks.tolist():
        low = [_regret(cost, best) for cost, best in zip(row, upper.tolist(), strict=True)]
        high = [_regret(cost, best) for cost, best in zip(row, lower.tolist(), strict=True)]
        surely = sum(c <= limit * b for c, b in zip(row, lower.tolist(), strict=True))
        perhaps = sum(c <= limit * b for c, b in zip(row, upper.tolist(), strict=True))
        rows.append(
            (
                sum(row) / count,
                sorted(row)[math.ceil(0.95 * count) - 1],
                Interval(sum(low) / count, sum(high) / count),
                Interval(max(low), max(high)),
                Interval(surely, perhaps),
            )
        )
    return rows, upper, lower


def _regret(cost: int, best: int) -> float:
    if cost == best:
        return 0.0
    return float(Fraction(cost, best) - 1) if best else math.inf


def _worst(row: tuple[Any, ...]) -> tuple[float, float]:
    return row[3].high, row[2].high


def _mean(row: tuple[Any, ...]) -> tuple[float, float]:
    return row[2].high, row[3].high


def _factors(
    graph: CostGraph,
    machine: Machine,
    spread: Spread,
    nominal: Solution,
    costs: InstanceCosts,
    count: int,
) -> list[Factor]:
    """Return what errs by itself, by its effect on the nominal plan, largest first."""
    plan = nominal.plan
    stage_of = np.array(plan.assignment(graph.num_nodes), np.int64)
    sums = costs.stage_costs(plan)[:count]
    slowest = sums.argmax(axis=1)
    given = InstanceCosts(graph, [Instance(graph, machine)]).stage_costs(plan)[0]
    bottleneck = int(given.max())
    spreads = spread.of_nodes(graph)
    found = []
    for name, nodes in zip(*factor_groups(graph, spread.per), strict=True):
        total = int(graph.work[nodes].sum())
        if not total or not spreads[nodes].any():
            continue
        in_slowest = np.array(
            [
                costs.work[i, [v for v in nodes if stage_of[v] == stage]].sum()
                for i, stage in enumerate(slowest.tolist())
            ]
        )
        grown = given.astype(np.float64)
        for v in nodes:
            grown[stage_of[v]] += float(graph.work[v]) * float(spreads[v])
        found.append(
            Factor(
                name=name,
                nodes=len(nodes),
                spread=float(spreads[nodes].max()),
                work=total,
                critical=float((in_slowest > 0).mean()),
                share=float((in_slowest / np.maximum(1, sums.max(axis=1))).mean()),
                effect=float(grown.max() / bottleneck - 1) if bottleneck else 0.0,
                regret=None,
            )
        )
    found.sort(key=lambda f: (-f.effect, -f.share * f.spread, -f.work, f.name))
    return found


def _with_regret(
    graph: CostGraph,
    machine: Machine,
    spread: Spread,
    nominal: Solution,
    found: list[Factor],
    solver: _Solver,
) -> list[Factor]:
    """Solve again with each of the factors alone larger, then smaller, by its spread."""
    nodes_of = dict(zip(*factor_groups(graph, spread.per), strict=True))
    spreads = spread.of_nodes(graph)
    instances = []
    for factor in found:
        nodes = nodes_of[factor.name]
        for larger in (True, False):
            work = np.ones(graph.num_nodes)
            grown = 1 + spreads[nodes]
            smaller = 1 - spreads[nodes] if spread.kind == "uniform" else 1 / grown
            work[nodes] = grown if larger else smaller
            instances.append(perturbed(graph, machine, work, np.ones(graph.num_tensors), 1.0))
    instances = _free_of_idle_memory(instances)
    (solved,) = solver.solve(instances, cuts=(len(instances),))
    costs = InstanceCosts(graph, instances).stage_costs(nominal.plan).max(axis=1).tolist()
    regrets = [
        (_regret(cost, min(cost, upper)), _regret(cost, lower))
        for cost, upper, lower in zip(costs, solved.upper, solved.lower, strict=False)
    ]
    return [
        replace(factor, regret=Interval(*map(max, zip(*regrets[2 * i : 2 * i + 2], strict=True))))
        if 2 * i + 1 < len(regrets)
        else factor
        for i, factor in enumerate(found)
    ]
