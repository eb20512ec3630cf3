# SPDX-License-Identifier: Apache-2.0
"""The whole method on one page: compile, reduce, then search and prove in rounds until the gap is closed.

Searches and proofs run side by side (rounds.py); what each round does stands in portfolio.py, what is known
so far in standing.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .cores import usable_cores
from .effort import Effort
from .errors import InputError
from .exact.fitting import why_nothing_fits
from .exact.pricing import Pricing
from .graph import CostGraph
from .machine import Machine
from .plans import Plan, problems_of
from .problem import Problem, compile_problem
from .reduce import reduce_problem
from .rounds import Rounds
from .settings import Settings
from .standing import Progress, Solution, Standing, infeasible

__all__ = ["Prepared", "Progress", "Settings", "Solution", "solve"]

_REDUCTION = 0.3  # of the time, at most; what is merged until then holds
# Times as long as to compile the problem takes what else is linear in the size of the graph:
_ENDING = 2  # to price, check and describe the plan at the end
_SETTING_UP = 4  # what the reductions work on
_CONTRACTING = 3  # what they have merged


def solve(
    graph: CostGraph,
    machine: Machine,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
    begun: float | None = None,
) -> Solution:
    """Return the best plan for `graph` on `machine` that can be found, with lower bounds.

    Parameters
    ----------
    begun
        When the time began that is limited, on the clock of ``time.perf_counter``; now by default.

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
    start = time.perf_counter() if begun is None else begun
    if settings.start is not None:
        _require_valid(graph, machine, settings.start)
    with Rounds(settings.threads or usable_cores(), start + settings.time_limit) as rounds:
        prepared = Prepared.make(graph, machine, settings.time_limit, rounds)
        if reason := why_nothing_fits(prepared.problem, graph):
            raise infeasible(machine, reason)
        standing = Standing(
            prepared.problem, prepared.pricing(), settings, report=progress, start=start
        )
        # The first look is brief, and without it there is no plan but that of one stage.
        while standing.is_open() and not (
            rounds.over() if standing.known.number else rounds.interrupted
        ):
            standing.step(rounds)
        return standing.finish(interrupted=rounds.interrupted)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A graph compiled for a machine and reduced; neither depends on the number of stages."""

    graph: CostGraph
    problem: Problem
    reduced: Problem
    _orders: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    _priced: dict[bytes, tuple[Plan, int]] = field(default_factory=dict)

    @classmethod
    def make(
        cls, graph: CostGraph, machine: Machine, time_limit: float, rounds: Rounds
    ) -> Prepared:
        """Compile and reduce within a share of `time_limit` seconds, and put the end's share aside."""
        start = time.perf_counter()
        problem = rounds.alone(lambda _: compile_problem(graph, machine))
        compiling = time.perf_counter() - start
        rounds.deadline -= min(_ENDING * compiling, time_limit / 4)
        share = _REDUCTION * time_limit - _CONTRACTING * compiling
        if share < 2 * _SETTING_UP * compiling:
            # Little would be merged, so a short time on a large graph goes to the search.
            return cls(graph, problem, problem)
        until = Effort.within(share).deadline
        reduced = rounds.alone(lambda e: reduce_problem(problem, e.until(until)))
        return cls(graph, problem, reduced)

    def for_stages(self, stages: int) -> Prepared:
        """Return the same for another number of stages."""
        return replace(
            self,
            problem=self.problem.for_stages(stages),
            reduced=self.reduced.for_stages(stages),
        )

    def share(self) -> None:
        """Make what any number of stages needs, so that all have the same."""
        _ = self.problem.instance, self.reduced.instance, self.reduced.order

    def pricing(self) -> Pricing:
        """Return what prices plans of the reduced problem."""
        return Pricing(self.graph, self.problem.machine, self.reduced, self._orders, self._priced)


def _require_valid(graph: CostGraph, machine: Machine, plan: Plan) -> None:
    """Refuse a plan to start from that breaks the rules, the limits of memory aside."""
    problems = problems_of(graph, replace(machine, memory_limit=None, reserved=()), plan)
    if problems:
        raise InputError("start", "a valid plan for this graph and machine", problems[0])
