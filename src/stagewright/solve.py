# SPDX-License-Identifier: Apache-2.0
"""The whole method on one page: reduce, search, bound, prove, lift.

Searches and proofs run side by side in rounds (rounds.py); what each round does stands in portfolio.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from .bound.simple import simple_bound
from .bound.types import Bound
from .cores import usable_cores
from .effort import Effort
from .errors import InfeasibleError, InputError, LimitError
from .exact.fitting import why_nothing_fits
from .exact.pricing import Pricing
from .graph import CostGraph
from .machine import Machine
from .plans import Plan, problems_of
from .portfolio import Known, Outcome, Portfolio, Settings
from .problem import compile_problem
from .reduce import reduce_problem
from .rounds import Rounds
from .search.orders import nearest, one_stage
from .units import format_bytes

__all__ = ["Progress", "Settings", "Solution", "solve"]

_REDUCTION = 0.3  # of the time, at most; what is merged until then holds
_PRICING = 0.1  # seconds for the orders of stages before the search and at its end


@dataclass(frozen=True)
class Progress:
    """A point on the way: seconds since the start, what is being done, both bounds in ps, the round.

    All points of a round but the last are the same in every run; the clock may end the last one in the middle.
    """

    seconds: float
    phase: str
    upper: int
    lower: int
    round: int = 0


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


def solve(
    graph: CostGraph,
    machine: Machine,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Solution:
    """Return the best plan for `graph` on `machine` that can be found, with lower bounds.

    Raises
    ------
    InputError
        If some tensor is given in bytes and the machine has no bandwidth, or the plan to start from is
        not valid.
    InfeasibleError
        If no plan keeps every stage within the machine's hard limit of memory, and that is proven.
    LimitError
        If no such plan was found before the time was up, and none was shown not to exist.
    """
    settings = settings or Settings()
    if settings.start is not None:
        _require_valid(graph, machine, settings.start)
    start = time.perf_counter()
    with Rounds(settings.threads or usable_cores(), start + settings.time_limit) as rounds:
        problem = rounds.alone(lambda _: compile_problem(graph, machine))
        # To price and to write the plan at the end takes about as long as to compile the problem.
        rounds.deadline -= min(time.perf_counter() - start, settings.time_limit / 4)
        if reason := why_nothing_fits(problem, graph):
            raise _infeasible(machine, reason)
        share = Effort.within(_REDUCTION * settings.time_limit)
        reduced = rounds.alone(lambda e: reduce_problem(problem, e.until(share.deadline)))
        run = _Run(start, Pricing(graph, machine, reduced), progress)
        run.add(simple_bound(problem))
        if settings.start is not None:
            run.start_from(settings.start)
        for bound in settings.bounds:
            run.add(replace(bound, seconds=0.0))
        portfolio = Portfolio(graph, problem, run.pricing, settings)
        while run.is_open(settings) and not rounds.over():
            known = run.known
            outcomes = rounds.run(
                portfolio.tasks(known),
                partial(portfolio.ends, known, reduced.refusal),
                brief=portfolio.is_brief(known),
            )
            run.take(outcomes)
        return run.finish(settings, interrupted=rounds.interrupted)


def _require_valid(graph: CostGraph, machine: Machine, plan: Plan) -> None:
    """Refuse a plan to start from that breaks the rules, the limits of memory aside."""
    problems = problems_of(graph, replace(machine, memory_limit=None, reserved=()), plan)
    if problems:
        raise InputError("start", "a valid plan for this graph and machine", problems[0])


def _infeasible(machine: Machine, reason: str) -> InfeasibleError:
    limit = format_bytes(machine.memory_limit or 0)
    return InfeasibleError(f"no plan of {machine.stages} stages within {limit} each: {reason}")


class _Run:
    """The state of one call: the incumbent, the bounds, the history."""

    def __init__(
        self, start: float, pricing: Pricing, report: Callable[[Progress], None] | None
    ) -> None:
        self.start, self.pricing, self.report = start, pricing, report
        whole = one_stage(pricing.problem)
        self.known = Known(pricing.true_cost(whole, Effort.within(_PRICING)), whole, 0)
        self.bounds: list[Bound] = []
        self.history: list[Progress] = []
        self.given: tuple[Plan, int] | None = None
        self.ideals: int | None = None
        self.stuck = False

    def is_open(self, settings: Settings) -> bool:
        """Whether there is a gap left, and something that could close it."""
        upper = min(self.known.best.bottleneck, self.pricing.problem.refusal)
        return upper > self.known.lower and not self.stuck and not self._rounds_are_up(settings)

    def _rounds_are_up(self, settings: Settings) -> bool:
        return settings.max_rounds is not None and self.known.number > 1 + settings.max_rounds

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

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Take what a round found into account."""
        before = self.known
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
        point = Progress(now, phase, known.best.bottleneck, known.lower, known.number)
        self.history.append(point)
        if self.report is not None:
            self.report(point)

    def finish(self, settings: Settings, *, interrupted: bool) -> Solution:
        """Return the solution, or say why there is none."""
        if self.known.best.bottleneck >= self.pricing.problem.refusal:
            raise self._refusal(interrupted=interrupted)
        plan = self.pricing.plan(self.known.best.block, Effort.within(_PRICING))
        bottleneck = self.pricing.value(plan)
        if self.given is not None and self.given[1] < bottleneck:
            plan, bottleneck = self.given
        if bottleneck == self.known.lower:
            why = "the gap is closed"
        elif interrupted:
            why = "interrupted"
        elif self.stuck:
            why = "the order within stages decides the rest of the gap (peak memory)"
        elif self._rounds_are_up(settings):
            why = "the number of rounds"
        else:
            why = "the time limit"
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
            return _infeasible(machine, "the search over all plans shows that there is none")
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
