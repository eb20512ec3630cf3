# SPDX-License-Identifier: Apache-2.0
"""The whole method on one page: reduce, search, bound, prove, lift."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from . import _native
from .bound.anchor import anchor_bound
from .bound.simple import simple_bound
from .bound.types import Bound
from .exact.pricing import Pricing
from .exact.program import ExactLimits, prove
from .graph import CostGraph
from .machine import Machine
from .plans import Plan
from .problem import Problem, compile_problem
from .reduce import reduce_problem
from .search.orders import Found, OrderSearch, one_stage, search_orders

__all__ = ["Progress", "Settings", "Solution", "solve"]


@dataclass(frozen=True)
class Settings:
    """How long and how hard to try; the defaults suit most models.

    Attributes
    ----------
    time_limit
        Seconds for everything.
    seed
        Seed of the random choices.  Equal seeds give equal results unless time runs out.
    first_look
        The short search before the bounds.
    long_search
        Local moves per round of the search that fills the remaining time when there are too many
        ideals for a proof.
    exact
        Budget of the exact method.
    anchor_share
        Share of the time left that the anchor bound may take.
    threads
        Threads that may work at once, all cores by default; the result does not depend on it.
    """

    time_limit: float = 60.0
    seed: int = 0
    first_look: OrderSearch = field(
        default_factory=lambda: OrderSearch(restarts=24, local_moves=200)
    )
    long_search: int = 20_000
    exact: ExactLimits = field(default_factory=ExactLimits)
    anchor_share: float = 0.1
    threads: int | None = None


@dataclass(frozen=True)
class Progress:
    """A point on the way: seconds since the start, what is being done, both bounds in ps."""

    seconds: float
    phase: str
    upper: int
    lower: int


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
        If some tensor is given in bytes and the machine has no bandwidth.
    """
    run = _Run(settings or Settings(), progress)
    problem = compile_problem(graph, machine)
    reduced = reduce_problem(problem)
    run.begin(Pricing(graph, machine, reduced))
    run.add(simple_bound(problem))
    ideals = None
    try:
        run.search(reduced, run.settings.first_look, "search")
        if run.is_open():
            run.anchor(problem, reduced, graph)
        if run.is_open():
            ideals = run.exact()
        while run.is_open() and ideals is None and run.may_find_better():
            run.search(reduced, OrderSearch(3, run.settings.long_search, run.next_seed()), "search")
    except KeyboardInterrupt:
        run.interrupted = True
    return run.finish(ideals)


class _Run:
    """The state of one call: the incumbent, the bounds, the clock.

    `best` is the incumbent with its true bottleneck, `relaxed` the best plan of the searches, which
    leave the order within stages out of account.  Where memory does not bind they are the same.
    """

    def __init__(self, settings: Settings, progress: Callable[[Progress], None] | None) -> None:
        self.settings = settings
        self.report = progress
        self.start = time.perf_counter()
        self.best = self.relaxed = Found(0, np.zeros(0, np.int32))
        self.pricing: Pricing
        self.bounds: list[Bound] = []
        self.history: list[Progress] = []
        self.interrupted = False
        self.rounds = 0

    def begin(self, pricing: Pricing) -> None:
        self.pricing = pricing
        self.relaxed = one_stage(pricing.problem)
        self.best = pricing.true_cost(self.relaxed)

    def seconds_left(self) -> float:
        return max(0.0, self.settings.time_limit - (time.perf_counter() - self.start))

    def lower(self) -> int:
        return max(bound.value for bound in self.bounds)

    def is_open(self) -> bool:
        """Whether there is a gap left, and time to close it."""
        return (
            self.best.bottleneck > self.lower() and not self.interrupted and self.seconds_left() > 0
        )

    def may_find_better(self) -> bool:
        """Whether the search has something left to improve: it sees the relaxed bottleneck only."""
        return self.relaxed.bottleneck > self.lower()

    def next_seed(self) -> int:
        self.rounds += 1
        return self.settings.seed + self.rounds

    def add(self, bound: Bound) -> None:
        # A bound is a fact about every plan, so a valid one never exceeds the incumbent.
        self.bounds.append(bound)
        self.tell(bound.method)

    def tell(self, phase: str) -> None:
        now = time.perf_counter() - self.start
        point = Progress(now, phase, self.best.bottleneck, self.lower())
        self.history.append(point)
        if self.report is not None:
            self.report(point)

    def search(self, reduced: Problem, settings: OrderSearch, phase: str) -> None:
        settings = replace(settings, seed=settings.seed + self.settings.seed)
        found = search_orders(reduced, self.lower(), self.relaxed, settings, self.seconds_left())
        self.interrupted |= found.interrupted
        self.relaxed = found
        self.keep_better(self.pricing.true_cost(found))
        self.tell(phase)

    def keep_better(self, found: Found) -> None:
        if found.bottleneck <= self.best.bottleneck:
            self.best = found

    def anchor(self, problem: Problem, reduced: Problem, graph: CostGraph) -> None:
        """Bound from below by minimum cuts; blocks of the incumbent exclude most anchors."""
        costs = _native.block_costs(reduced.instance, self.best.block)
        block = reduced.expand(self.best.block.tolist(), graph.num_nodes)
        ceiling = [costs[block[nodes[0]]] for nodes in problem.members]
        bound, self.interrupted = anchor_bound(
            problem,
            graph,
            ceiling=ceiling,
            enough=self.best.bottleneck,
            seconds=self.seconds_left() * self.settings.anchor_share,
        )
        self.add(bound)

    def exact(self) -> int | None:
        """Prove or improve the incumbent; the number of ideals, None when there are too many."""
        start = time.perf_counter()
        proof = prove(self.pricing, self.best, self.lower(), self.settings.exact, self.seconds_left)
        self.best = proof.best
        self.interrupted |= proof.interrupted
        if proof.lower > 0:
            self.add(Bound("exact", proof.lower, time.perf_counter() - start, "exhaustive"))
        else:
            self.tell("exact")
        return proof.ideals if proof.complete else None

    def finish(self, ideals: int | None) -> Solution:
        plan = self.pricing.plan(self.best.block)
        bottleneck = self.pricing.value(plan)
        lower = self.lower()
        if bottleneck == lower:
            why = "the gap is closed"
        elif self.interrupted:
            why = "interrupted"
        elif self.seconds_left() > 0:
            why = "the order within stages decides the rest of the gap (peak memory)"
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
            ideals=ideals,
        )
