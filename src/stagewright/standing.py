# SPDX-License-Identifier: Apache-2.0
"""Where the search for one graph on one machine stands: the incumbent, the bounds, the history."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from .bound.simple import simple_bound
from .bound.types import Bound
from .effort import Effort
from .errors import InfeasibleError, LimitError
from .exact.optima import Optimum
from .exact.pricing import Pricing
from .machine import Machine
from .plans import Plan
from .portfolio import Known, Outcome, Portfolio, Shared
from .problem import Problem
from .rounds import Rounds
from .search.orders import Found, nearest, one_stage, slice_again
from .settings import Settings
from .units import format_bytes

__all__ = ["Progress", "Solution", "Standing", "infeasible"]

_PRICING = 0.1  # seconds for the orders of stages before the search and at its end


@dataclass(frozen=True)
class Progress:
    """A point on the way: seconds since the start, what is being done, both bounds in ps, the round.

    All points of a round but the last are the same in every run; the clock may end the last one in the middle.
    `hurried`: it has ended a proof of this round or of one before, because the machine was busy; points then differ.
    """

    seconds: float
    phase: str
    upper: int
    lower: int
    round: int = 0
    hurried: bool = False


@dataclass(frozen=True, eq=False)
class Solution:
    """A plan, its bottleneck, every lower bound, and why the search stopped."""

    plan: Plan
    bottleneck: int
    bounds: tuple[Bound, ...]
    stopped_because: str
    seconds: float
    history: tuple[Progress, ...]
    nodes: int
    reduced_nodes: int
    ideals: int | None

    @property
    def lower_bound(self) -> int:
        """The best lower bound in picoseconds."""
        return max(bound.value for bound in self.bounds)


def infeasible(machine: Machine, reason: str) -> InfeasibleError:
    """Return the error that says that no plan fits."""
    limit = format_bytes(machine.memory_limit or 0)
    return InfeasibleError(f"no plan of {machine.stages} stages within {limit} each: {reason}")


class Standing:
    """The incumbent, the bounds and the history of one graph on one machine; rounds improve them.

    Parameters
    ----------
    problem
        The compiled problem, not reduced.
    pricing
        True costs of plans of the reduced problem.
    shared
        What was found out for other numbers of stages and holds here.
    report
        Called with every point of the history.
    start
        When the work on it began, on the clock of ``time.perf_counter``.
    """

    def __init__(
        self,
        problem: Problem,
        pricing: Pricing,
        settings: Settings,
        shared: Shared | None = None,
        report: Callable[[Progress], None] | None = None,
        start: float | None = None,
    ) -> None:
        self.start = time.perf_counter() if start is None else start
        self.pricing, self.settings, self.report = pricing, settings, report
        self.portfolio = Portfolio(pricing.graph, problem, pricing, settings, shared)
        whole = one_stage(pricing.problem)
        self.known = Known(pricing.true_cost(whole, Effort.within(_PRICING)), whole, 0)
        self.bounds: list[Bound] = []
        self.history: list[Progress] = []
        self.given: tuple[Plan, int] | None = None
        self.ideals: int | None = None
        self.stuck = self.hurried = False
        self._taken: dict[int, npt.NDArray[np.int32]] = {}
        self.add(simple_bound(problem))
        if settings.start is not None:
            self.start_from(settings.start)
        for bound in settings.bounds:
            self.add(replace(bound, seconds=0.0))
        self._idle_since = time.perf_counter()

    def is_open(self) -> bool:
        """Whether there is a gap left, and something that could close it."""
        return not self.is_closed() and not self.stuck and not self._rounds_are_up()

    def is_closed(self) -> bool:
        """Whether the incumbent is optimal, or no plan fits a hard limit of memory."""
        upper = min(self.known.best.bottleneck, self.pricing.problem.refusal)
        return upper <= self.known.lower

    def _rounds_are_up(self) -> bool:
        most = self.settings.max_rounds
        return most is not None and self.known.number > 1 + most

    def allow(self, seconds: float) -> None:
        """Let further rounds be as long as suits a search of so many seconds."""
        self.settings = replace(self.settings, time_limit=max(0.0, seconds))
        self.portfolio.settings = self.settings

    def step(self, rounds: Rounds) -> None:
        """Run one round and take what it found into account; the time between rounds is not counted."""
        self.start += time.perf_counter() - self._idle_since
        known, portfolio = self.known, self.portfolio
        refusal = self.pricing.problem.refusal
        outcomes = rounds.run(
            portfolio.tasks(known),
            partial(portfolio.ends, known, refusal),
            brief=portfolio.is_brief(known),
        )
        self._take_outcomes(outcomes)
        self._idle_since = time.perf_counter()

    def skip_first_look(self) -> None:
        """Go on to the quick proofs: other numbers of stages left an order, and the ideals are listed."""
        self.known = replace(self.known, number=max(1, self.known.number))

    def start_from(self, plan: Plan) -> None:
        """Start from a valid plan; one that does not fit a hard limit of memory still guides the search.

        Reductions may have joined what it cuts, so searches start from the nearest plan that they know.
        """
        pricing, problem = self.pricing, self.pricing.problem
        found = nearest(problem, plan.assignment(pricing.graph.num_nodes))
        true = pricing.true_cost(found, Effort.within(_PRICING))
        self._keep(Outcome("start", found, true))
        self.given = plan, pricing.value(plan)
        if self.given[1] < self.known.best.bottleneck:
            # Its blocks are those of the nearest plan; finish() puts the given one back.
            best = replace(true, bottleneck=self.given[1])
            self.known = replace(self.known, best=best)
        self._tell("start")

    def take(self, name: str, found: Found) -> None:
        """Take a plan of the reduced problem into account, at the cost that searches see."""
        self._improve(name, found, self.pricing.true_cost(found, Effort.within(_PRICING)))

    def take_optimum(self, optimum: Optimum) -> None:
        """Take over what the program over ideals found for this number of stages among others."""
        self.ideals = optimum.ideals
        self.take("exact", optimum.found)
        if optimum.lower > self.known.lower:
            self.add(Bound("exact", optimum.lower, optimum.seconds, "exhaustive"))

    def take_plan(self, other: Standing) -> None:
        """Take over what was found for another number of stages: the plan, or its order sliced anew."""
        known, stages = other.known, self.pricing.machine.stages
        block = known.relaxed.block
        seen = self._taken.get(other.pricing.machine.stages)
        if seen is block or self.is_closed():
            return
        self._taken[other.pricing.machine.stages] = block
        if known.best.bottleneck < self.known.best.bottleneck and _blocks(known.best) <= stages:
            self._improve("start", known.relaxed, known.best)
        if _blocks(known.relaxed) > stages:
            below, lower = self.known.relaxed.bottleneck, self.known.lower
            found = slice_again(self.pricing.problem, block, below, lower)
            if found is not None:
                self.take("start", found)

    def take_bounds(self, other: Standing) -> None:
        """Take over lower bounds of a machine that is nowhere worse than this one."""
        for bound in other.bounds:
            if bound.value > self.known.lower:
                self.add(replace(bound, seconds=0.0))

    def _improve(self, name: str, relaxed: Found, best: Found) -> None:
        before = self.known
        stages = self.pricing.machine.stages
        self._keep(Outcome(name, relaxed if _blocks(relaxed) <= stages else None, best))
        if self.known != before:
            self.stuck = False
            self._tell(name)

    def _take_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        before = self.known
        self.hurried |= any(outcome.hurried for outcome in outcomes)
        for outcome in outcomes:
            self._keep(outcome)
            self.ideals = outcome.ideals or self.ideals
            for bound in outcome.bounds:
                self.add(bound)
            if not outcome.bounds:
                self._tell(outcome.name)
        known = self.known
        self.stuck = (
            known.number > 1
            and not any(outcome.more for outcome in outcomes)
            and (known.best, known.lower, known.margin)
            == (before.best, before.lower, before.margin)
        )
        self.known = replace(known, number=known.number + 1)

    def _keep(self, outcome: Outcome) -> None:
        known = self.known
        if outcome.relaxed and outcome.relaxed.bottleneck < known.relaxed.bottleneck:
            known = replace(known, relaxed=outcome.relaxed)
        if outcome.best and outcome.best.bottleneck < known.best.bottleneck:
            known = replace(known, best=outcome.best)
        self.known = replace(known, margin=max(known.margin, self._margin(outcome)))

    def _margin(self, outcome: Outcome) -> int:
        """Return by how much the searches should underrate memory from now on."""
        if not outcome.relaxed or not outcome.best:
            return 0
        if outcome.best.bottleneck <= outcome.relaxed.bottleneck:
            return 0
        least = self.pricing.machine.least_memory or 0
        return min(self.pricing.underrated(outcome.relaxed), least // 2)

    def add(self, bound: Bound) -> None:
        """Keep the best bound of each method; its seconds are those of all its rounds."""
        same = next((b for b in self.bounds if b.method == bound.method), None)
        if same is None:
            self.bounds.append(bound)
        else:
            better = max(same, bound, key=lambda b: b.value)
            seconds = same.seconds + bound.seconds
            self.bounds[self.bounds.index(same)] = replace(better, seconds=seconds)
        self.known = replace(self.known, lower=max(self.known.lower, bound.value))
        self._tell(bound.method)

    def _tell(self, phase: str) -> None:
        now = time.perf_counter() - self.start
        known = self.known
        upper, lower = known.best.bottleneck, known.lower
        point = Progress(now, phase, upper, lower, known.number, self.hurried)
        self.history.append(point)
        if self.report is not None:
            self.report(point)

    def finish(self, *, interrupted: bool, ended: str = "") -> Solution:
        """Return the solution; `ended` says why the caller ended the search, if not for the time.

        Raises
        ------
        InfeasibleError, LimitError
            If no plan fits a hard limit of memory: proven, or not found yet.
        """
        if self.known.best.bottleneck >= self.pricing.problem.refusal:
            raise self._refusal(interrupted=interrupted)
        self.start += time.perf_counter() - self._idle_since
        block, bottleneck = self.known.best.block, self.known.best.bottleneck
        if self.given is not None or self.pricing.problem.memory_binds:
            plan, bottleneck = self.pricing.priced(block, Effort.within(_PRICING))
        else:
            plan = self.pricing.plan(block)
        if self.given is not None and self.given[1] < bottleneck:
            plan, bottleneck = self.given
        if bottleneck == self.known.lower:
            why = "the gap is closed"
        elif interrupted:
            why = "interrupted"
        elif self.stuck:
            why = "the order within stages decides the rest of the gap (peak memory)"
        elif self._rounds_are_up():
            why = "the number of rounds"
        else:
            why = ended or "the time limit"
        return Solution(
            plan=plan,
            bottleneck=bottleneck,
            bounds=tuple(self.bounds),
            stopped_because=why,
            seconds=time.perf_counter() - self.start,
            history=tuple(self.history),
            nodes=self.pricing.graph.num_nodes,
            reduced_nodes=self.pricing.problem.num_nodes,
            ideals=self.ideals,
        )

    def _refusal(self, *, interrupted: bool) -> BaseException:
        """Return what to raise when no plan fits the hard limit of memory."""
        machine = self.pricing.machine
        if self.known.lower >= self.pricing.problem.refusal:
            return infeasible(machine, "the search over all plans shows that there is none")
        if interrupted:
            return KeyboardInterrupt()
        plan = self.pricing.plan(self.known.best.block, Effort.within(_PRICING))
        excess, number = self.pricing.excess(plan)
        limit = format_bytes(machine.memory_limit or 0)
        seconds = time.perf_counter() - self.start
        return LimitError(
            f"no plan of {machine.stages} stages within {limit} each was found in {seconds:.3g} s, and none "
            f"was shown not to exist. The best one exceeds the limit by {format_bytes(excess)} in stage "
            f"{number}. Give more time (--time-limit), more stages or more memory."
        )


def _blocks(found: Found) -> int:
    return int(np.unique(found.block).size)
