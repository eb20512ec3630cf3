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
from .bound.wide import WideBound
from .cores import usable_cores
from .errors import InfeasibleError, LimitError
from .exact.fitting import why_nothing_fits
from .exact.must_link import contract_by_cuts
from .exact.pricing import Pricing
from .exact.program import ExactLimits, prove
from .graph import CostGraph
from .machine import Machine
from .plans import Plan
from .problem import Problem, compile_problem
from .reduce import reduce_problem
from .search.genetic import PRESETS, search_genetic
from .search.orders import Found, OrderSearch, one_stage, search_orders
from .search.windows import WindowSearch, search_windows
from .units import format_bytes

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
    windows
        One round of the search that fills the remaining time when there are too many ideals for
        a proof; before it, orders are searched for a tenth of its time.
    first_slice
        Seconds of the first such round; each further one takes twice as long.
    quick
        Budget of the first attempt at a proof: beyond it, a better incumbent is looked for first.
    exact
        Budget of the exact method.
    anchor_share
        Share of the time left that the anchor bound may take.
    max_relaxed_nodes
        The skeleton relaxation is left out for reduced problems beyond this size.
    threads
        Threads of the search that uses several (evolve), all cores by default; its result does
        not depend on them.
    """

    time_limit: float = 60.0
    seed: int = 0
    first_look: OrderSearch = field(
        default_factory=lambda: OrderSearch(restarts=24, local_moves=200)
    )
    windows: WindowSearch = field(default_factory=lambda: WindowSearch(rounds=15_000))
    first_slice: float = 0.5
    quick: ExactLimits = field(default_factory=lambda: ExactLimits(max_ideals=300_000))
    exact: ExactLimits = field(default_factory=ExactLimits)
    anchor_share: float = 0.1
    max_relaxed_nodes: int = 5_000
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
    InfeasibleError
        If no plan keeps every stage within the machine's hard limit of memory, and that is proven.
    LimitError
        If no such plan was found before the time was up, and none was shown not to exist.
    """
    run = _Run(settings or Settings(), progress)
    problem = compile_problem(graph, machine)
    if reason := why_nothing_fits(problem, graph):
        raise _infeasible(machine, reason)
    reduced = reduce_problem(problem)
    run.begin(Pricing(graph, machine, reduced))
    run.add(simple_bound(problem))
    try:
        run.search(reduced, run.settings.first_look, share=0.05)
        if run.is_open():
            run.anchor(problem, reduced, graph)
        if run.is_open():
            run.exact(run.settings.quick, 0.4 * run.seconds_left())
        if run.is_open():
            run.evolve(reduced)
        seconds = run.settings.first_slice
        while run.is_open():
            # Search and proof in turns of growing length: each makes the other cheaper.
            run.windows(reduced, seconds)
            if run.is_open():
                run.relax(reduced, seconds)
            if run.is_open():
                run.exact(run.settings.exact, seconds)
            seconds *= 2
    except KeyboardInterrupt:
        run.interrupted = True
    return run.finish()


def _infeasible(machine: Machine, reason: str) -> InfeasibleError:
    limit = format_bytes(machine.memory_limit or 0)
    return InfeasibleError(f"no plan of {machine.stages} stages within {limit} each: {reason}")


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
        self.ideals: int | None = None
        self.too_wide: tuple[ExactLimits, int] | None = None
        self.margin = 0

    def begin(self, pricing: Pricing) -> None:
        self.pricing = pricing
        self.relaxed = one_stage(pricing.problem)
        self.best = pricing.true_cost(self.relaxed)

    def keep(self, found: Found) -> None:
        """Take a plan with its relaxed bottleneck into account."""
        self.interrupted |= found.interrupted
        if found.bottleneck <= self.relaxed.bottleneck:
            self.relaxed = found
        true = self.pricing.true_cost(found)
        self._aim(found, true)
        if true.bottleneck <= self.best.bottleneck:
            self.best = true

    def _aim(self, found: Found, true: Found) -> None:
        """Choose how far below the hard limit the next searches aim.

        They count the largest working set of a stage, not its peak, so what fits them may not fit; that
        much they have to leave free.
        """
        problem = self.pricing.problem
        if problem.limit is None or true.bottleneck < problem.refusal:
            return
        if found.bottleneck < problem.refusal or self.margin:
            excess, _ = self.pricing.excess(self.pricing.plan(found.block))
            self.margin = min(self.margin + excess, problem.limit.nbytes // 2)

    def target(self, reduced: Problem) -> Problem:
        """Return the problem that the searches are given: the limit lowered by the margin."""
        if reduced.limit is None or not self.margin or self.fits():
            return reduced
        lowered = replace(reduced.limit, nbytes=reduced.limit.nbytes - self.margin)
        return replace(reduced, limit=lowered)

    def fits(self) -> bool:
        """Whether the incumbent keeps a hard limit of memory."""
        return self.best.bottleneck < self.pricing.problem.refusal

    def seconds_left(self) -> float:
        return max(0.0, self.settings.time_limit - (time.perf_counter() - self.start))

    def lower(self) -> int:
        return max(bound.value for bound in self.bounds)

    def is_open(self) -> bool:
        """Whether there is a gap left, and time to close it."""
        upper = min(self.best.bottleneck, self.pricing.problem.refusal)
        return upper > self.lower() and not self.interrupted and self.seconds_left() > 0

    def next_seed(self) -> int:
        self.rounds += 1
        return self.settings.seed + self.rounds

    def until(self, seconds: float) -> Callable[[], float]:
        """Return a clock that counts down from now, and ends with the whole run's time."""
        end = time.perf_counter() + min(seconds, self.seconds_left())
        return lambda: max(0.0, end - time.perf_counter())

    def add(self, bound: Bound) -> None:
        """Keep the best bound of each method; its seconds are those of all its rounds."""
        known = next((b for b in self.bounds if b.method == bound.method), None)
        if known is None:
            self.bounds.append(bound)
        else:
            better = max(known, bound, key=lambda b: b.value)
            seconds = known.seconds + bound.seconds
            self.bounds[self.bounds.index(known)] = replace(better, seconds=seconds)
        self.tell(bound.method)

    def tell(self, phase: str) -> None:
        now = time.perf_counter() - self.start
        point = Progress(now, phase, self.best.bottleneck, self.lower())
        self.history.append(point)
        if self.report is not None:
            self.report(point)

    def search(self, reduced: Problem, settings: OrderSearch, share: float) -> None:
        """Improve the incumbent by orders for at most a share of the time left."""
        settings = replace(settings, seed=settings.seed + self.settings.seed)
        seconds = self.seconds_left() * share
        self.keep(search_orders(reduced, self.lower(), self.relaxed, settings, seconds))
        self.tell("search")

    def evolve(self, reduced: Problem) -> None:
        """Improve the incumbent by islands of orders, one per thread at a time."""
        settings = PRESETS["islands-10000"]
        settings = replace(settings, seed=settings.seed + self.settings.seed)
        threads = self.settings.threads or usable_cores()
        seconds = self.seconds_left() / 20
        found = search_genetic(
            reduced, settings, self.lower(), self.relaxed, threads=threads, seconds=seconds
        )
        self.keep(found)
        self.tell("evolve")

    def windows(self, reduced: Problem, seconds: float) -> None:
        """Improve the incumbent window by window; every other round starts from new orders."""
        seed, lower = self.next_seed(), self.lower()
        reduced = self.target(reduced)
        seconds = min(seconds, self.seconds_left())
        start = None if self.rounds % 2 == 0 else self.relaxed
        orders = OrderSearch(restarts=300, local_moves=1000, seed=seed)
        found = search_orders(reduced, lower, start, orders, seconds / 10)
        if not found.interrupted:
            settings = replace(self.settings.windows, seed=self.settings.windows.seed + seed)
            found = search_windows(reduced, lower, found, settings, seconds * 0.9)
        self.keep(found)
        self.tell("windows")

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

    def exact(self, limits: ExactLimits, seconds: float) -> None:
        """Prove or improve the incumbent by the program over ideals, if they can be listed."""
        if self.too_wide == (limits, self.best.bottleneck):
            return
        start = time.perf_counter()
        proof = prove(
            self.pricing, self.best, self.lower(), limits, self.until(seconds), self.settings.seed
        )
        self.best = proof.best
        self.interrupted |= proof.interrupted
        if proof.complete:
            self.ideals = proof.ideals
        elif proof.ideals >= limits.max_ideals:
            # As long as the incumbent stays, there will be as many.
            self.too_wide = (limits, self.best.bottleneck)
        if proof.lower > 0:
            self.add(Bound("exact", proof.lower, time.perf_counter() - start, "exhaustive"))
        else:
            self.tell("exact")

    def relax(self, reduced: Problem, seconds: float) -> None:
        """Bound from below without listing ideals; only plans better than the incumbent matter."""
        if reduced.num_nodes > self.settings.max_relaxed_nodes or not self.fits():
            return
        start = time.perf_counter()
        left = self.until(seconds)
        upper = self.best.bottleneck
        own = replace(reduced, members=tuple((v,) for v in range(reduced.num_nodes)))
        small, self.interrupted = contract_by_cuts(own, upper - 1, left)
        if small is None:
            self.add(Bound("skeleton", upper, time.perf_counter() - start, "exhaustive"))
        elif not self.interrupted:
            relaxed = WideBound(small).bound(self.lower(), upper, left())
            self.interrupted = relaxed.interrupted
            if relaxed.block is not None:
                block = np.array(small.expand(relaxed.block.tolist(), reduced.num_nodes), np.int32)
                value = max(_native.block_costs(reduced.instance, block))
                self.keep(Found(value, block))
            self.add(relaxed.bound)

    def refuse(self) -> BaseException:
        """Return what to raise when no plan fits the hard limit of memory."""
        machine = self.pricing.machine
        if self.lower() >= self.pricing.problem.refusal:
            return _infeasible(machine, "the search over all plans shows that there is none")
        if self.interrupted:
            return KeyboardInterrupt()
        excess, number = self.pricing.excess(self.pricing.plan(self.best.block))
        limit = format_bytes(machine.memory_limit or 0)
        seconds = time.perf_counter() - self.start
        return LimitError(
            f"no plan of {machine.stages} stages within {limit} each was found in {seconds:.3g} s, and none "
            f"was shown not to exist. The best one exceeds the limit by {format_bytes(excess)} in stage "
            f"{number}. Give more time (--time-limit), more stages or more memory."
        )

    def finish(self) -> Solution:
        if not self.fits():
            raise self.refuse()
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
            ideals=self.ideals,
        )
