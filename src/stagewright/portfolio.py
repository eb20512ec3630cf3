# SPDX-License-Identifier: Apache-2.0
"""What is done in which round: the searches and the proofs, and how much work each gets.

To add a search or a bound, write a method of :class:`Portfolio` that takes a :class:`Known` and an
:class:`Effort` and returns an :class:`Outcome`, and list it in :meth:`Portfolio.tasks`.  It must depend on
nothing but these two, and stop when its work is spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from . import _native
from .bound.anchor import anchor_bound
from .bound.average import average_bound
from .bound.types import Bound
from .bound.wide import WideBound
from .effort import Effort
from .exact.as_run import AsRun, search_as_run
from .exact.must_link import contract_by_cuts
from .exact.pricing import Pricing
from .exact.program import ExactLimits, Listing, Prover
from .exact.thinning import Thinning
from .graph import CostGraph
from .problem import Problem
from .rounds import Ends, Task
from .search.corridor import Corridor, search_corridor
from .search.genetic import Genetic, search_genetic
from .search.local import LocalSearch, search_locally
from .search.multilevel import search_levels
from .search.orders import Found, model_order, search_orders, slice_along
from .search.windows import search_windows
from .settings import Settings

__all__ = ["Known", "Outcome", "Portfolio", "Shared"]

_SECOND = 10**9  # units of work
_LARGE_BLOCK = 600  # nodes of a block from which on windows pay less than levels
_MOST_THINNED = 2_000  # reduced nodes up to which what floats is found quickly
_THINNED = 8_000  # ideals at most in the first round without floating nodes
_BRIEF = 1_000  # reduced nodes up to which the first proofs take milliseconds, or fail soon
_QUICK_SHARE = (
    0.5  # of the time limit: more than the work of the first attempt takes on a free core
)
_BETTER = 0.98  # of an incumbent: below it an exact proof that failed may need much less work
_MOST_DECODED = 200  # work per node and tensor of an order that the genetic search decodes


@dataclass(frozen=True)
class Known:
    """What a round starts from.

    Attributes
    ----------
    best
        The incumbent with its true bottleneck.
    relaxed
        The best plan of the searches with their bottleneck, which leaves the order within stages out of
        account.  Where memory does not bind it is the same.
    lower
        No plan has a bottleneck below this.
    number
        0 for the first look, 1 for the quick proofs, then the rounds of search and proof.
    margin
        Bytes by which searches should underrate the memory of a device, because what they found
        needed so much more than they saw.
    """

    best: Found
    relaxed: Found
    lower: int
    number: int = 0
    margin: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a task found.

    Attributes
    ----------
    name
        The task.
    relaxed, best
        A plan as searches price it, and a plan with its true bottleneck; None where there is none.
    bounds
        Lower bounds.
    ideals
        Number of ideals, if all were listed.
    more
        With more work it could do more.
    hurried
        The clock ended it before its work was spent and before the time limit.
    """

    name: str
    relaxed: Found | None = None
    best: Found | None = None
    bounds: tuple[Bound, ...] = ()
    ideals: int | None = None
    more: bool = False
    hurried: bool = False


@dataclass(eq=False)
class Shared:
    """What was found out for some number of stages and holds for any.

    Attributes
    ----------
    listing
        All ideals of the reduced problem, where they are few.
    anchored
        The anchor bound, which does not depend on the number of stages, is among the bounds that are given.
    too_wide
        By the limits of the exact method, and whether it was the first attempt, the least incumbent for which it
        gave up; for dearer ones less is contracted, so there are more ideals.
    """

    listing: Listing | None = None
    anchored: bool = False
    too_wide: dict[tuple[ExactLimits, bool], int] = field(default_factory=dict)


class Portfolio:
    """The searches and the proofs for one graph on one machine.

    Parameters
    ----------
    problem
        The compiled problem, not reduced.
    pricing
        True costs of plans of the reduced problem.
    shared
        What is known from other numbers of stages.
    """

    def __init__(
        self,
        graph: CostGraph,
        problem: Problem,
        pricing: Pricing,
        settings: Settings,
        shared: Shared | None = None,
    ) -> None:
        self.shared = shared or Shared()
        self.graph, self.problem = graph, problem
        self.reduced = pricing.problem
        self.pricing, self.settings = pricing, settings
        self._contracted: Problem | None = None  # by minimum cuts
        # What an earlier round learned of the same incumbent still holds.
        self._wide: WideBound | None = None
        self._contracted_at: int | None = None  # the threshold of a complete contraction
        self._prover: Prover | None = None
        # Work and incumbent of an exact proof that gained nothing and begins anew each time.
        self._in_vain: tuple[int, int] | None = None
        self._thinned_from = 0  # work from which on it may gain something

    def tasks(self, known: Known) -> list[Task[Outcome]]:
        """Return the tasks of a round in the order in which they start."""
        limit = self.settings.time_limit
        if known.number == 0:
            return [self._task("search", 0, self._first_look, known, min(1.0, 0.05 * limit))]
        if known.number == 1:
            anchor = min(self.settings.anchor_work, 0.1 * limit)
            quick = min(self.settings.quick_work, 0.4 * limit)
            brief = min(self.settings.brief_work, 0.05 * limit)
            average = min(self.settings.average_work, 0.1 * limit)
            tasks = [
                self._task("anchor", 0, self.anchor, known, anchor),
                self._task("exact", 3, self._quick_proof, known, quick),
                self._task("average", 5, self._average, known, average),
                # Where the quick proofs fail, large graphs have a good plan at once.
                self._task("levels", 4, self._levels_anew, known, min(1.0, 0.05 * limit)),
            ]
            if self.reduced.memory_binds:
                # Pairs of ideals take longer then: first what is done at once, and what needs no ideals.
                tasks[1:1] = [
                    self._task("exact", 1, self._brief_proof, known, brief),
                    self._task("skeleton", 2, self._relax, known, brief),
                ]
                tasks.append(self._task("as run", 6, self._improve_as_run, known, brief))
            return tasks[1:] if self.shared.anchored else tasks
        work = min(self.settings.first_round, 0.01 * limit) * 2 ** (known.number - 2)
        # A pass over all ideals that has begun will mostly end: it comes first.
        begun = self._prover is not None and self._prover.under_way
        exact = self._task("exact", 3, self._proof, known, 2 * work)
        tasks = [
            self._task("windows", 0, self._improve, known, work),
            self._task("skeleton", 2, self._relax, known, 2 * work),
            self._task("levels", 1, self._levels_anew, known, work),
        ]
        tasks = [exact, *tasks] if begun else [*tasks, exact]
        if self.reduced.memory_binds:
            thinned = max(2 * work, 0.1 * limit)
            # What minimum cuts contracted in the rounds before; in this one they may still go on.
            thin = partial(self._thin, self._contracted or self.reduced)
            tasks.append(self._task("thinned", 5, thin, known, thinned))
        if known.number == 2:
            evolve = min(self.settings.evolve_work, 0.05 * limit)
            tasks.append(self._task("evolve", 4, self._evolve, known, evolve))
        return tasks

    def is_brief(self, known: Known) -> bool:
        """Whether threads would not pay in this round: most graphs are done before one has started."""
        return known.number < 2 and self.reduced.num_nodes <= _BRIEF

    @staticmethod
    def ends(known: Known, refusal: int, outcome: Outcome) -> Ends:
        """Return what an outcome means for the other tasks of its round."""
        upper = known.best.bottleneck
        value = min(upper, outcome.best.bottleneck if outcome.best else upper)
        lower = max((bound.value for bound in outcome.bounds), default=known.lower)
        if lower >= min(upper, refusal):
            return Ends.ALL
        return Ends.LOWER_RANKS if value <= max(lower, known.lower) else Ends.NOTHING

    def _task(
        self,
        name: str,
        rank: int,
        run: Callable[[Known, Effort], Outcome],
        known: Known,
        seconds: float,
    ) -> Task[Outcome]:
        def guarded(effort: Effort) -> Outcome:
            late = known.number > 0 and effort.over()
            return Outcome(name, more=True) if late else run(known, effort)

        return Task(name, guarded, int(seconds * _SECOND), rank)

    # --- searches -------------------------------------------------------------------------------

    def _searched(self, name: str, found: Found, known: Known, effort: Effort) -> Outcome:
        relaxed = Found(max(self._costs(found)), found.block) if known.margin else found
        more = relaxed.bottleneck > known.lower
        return Outcome(name, relaxed, self.pricing.true_cost(relaxed, effort), more=more)

    def _costs(self, found: Found) -> list[int]:
        return _native.block_costs(self.reduced.instance, found.block)

    def _first_look(self, known: Known, effort: Effort) -> Outcome:
        """Draw some orders, beside the model's own."""
        problem, settings = self.reduced, self.settings.first_look
        settings = replace(settings, seed=settings.seed + self.settings.seed)
        order = model_order(problem, self.pricing.graph)
        found = search_orders(problem, known.lower, known.relaxed, settings, 0, effort, order)
        outcome = self._searched("search", found, known, effort)
        if problem.memory_binds and problem.num_nodes <= _BRIEF and outcome.best:
            # Searches underrate overflow, so that what one would cut by hand may be the better plan.
            own = self.pricing.true_cost(slice_along(problem, order), effort)
            outcome = replace(outcome, best=min(outcome.best, own, key=lambda f: f.bottleneck))
        return outcome

    def _evolve(self, known: Known, effort: Effort) -> Outcome:
        """Let islands of orders evolve, fewer generations on large graphs."""
        settings = Genetic(population=50, generations=50, islands=4, guided=True)
        size = self.reduced.num_nodes + sum(map(len, self.reduced.consumers))
        generation = _MOST_DECODED * size * settings.population * settings.islands
        generations = min(settings.generations, effort.work // generation)
        if generations < 2:
            return Outcome("evolve")
        seed = settings.seed + self.settings.seed
        settings = replace(settings, generations=generations, seed=seed)
        found = search_genetic(self.reduced, settings, known.lower, known.relaxed, effort=effort)
        return self._searched("evolve", found, known, effort)

    def _improve(self, known: Known, effort: Effort) -> Outcome:
        """Improve the incumbent by windows, or by levels on large graphs, then by moves and a corridor."""
        if max(self._costs(known.best)) < known.best.bottleneck:
            return self._improve_as_run(known, effort)
        seed, lower, problem = self._seed(2 * known.number), known.lower, self.reduced
        half, quarter = effort.share(0.5), effort.share(0.25)
        if problem.num_nodes > _LARGE_BLOCK * self.pricing.machine.stages:
            levels = replace(self.settings.levels, seed=seed)
            found = search_levels(problem, lower, known.relaxed, levels, effort=half)
        else:
            windows = replace(self.settings.windows, seed=seed)
            found = search_windows(problem, lower, known.relaxed, windows, effort=half)
        moves = LocalSearch(moves=10**12, seed=seed)
        found = search_locally(problem, lower, found, moves, effort=quarter)
        corridor = Corridor(seed=seed)
        found = search_corridor(problem, lower, found, corridor, effort=quarter)
        return self._searched("windows", found, known, effort)

    def _improve_as_run(self, known: Known, effort: Effort) -> Outcome:
        """Improve the incumbent where peaks decide, which searches do not see: by what is alive in it."""
        settings = AsRun(windows=self.settings.windows, seed=self._seed(2 * known.number))
        best = search_as_run(self.pricing, known.best, known.lower, settings, effort)
        relaxed = Found(max(self._costs(best)), best.block)
        return Outcome("windows", relaxed, best, more=best.bottleneck > known.lower)

    def _levels_anew(self, known: Known, effort: Effort) -> Outcome:
        """Search by levels from no plan; with less memory where memory was underrated."""
        problem = self.reduced.with_less_memory(known.margin) if known.margin else self.reduced
        settings = replace(self.settings.levels, seed=self._seed(2 * known.number + 1))
        found = search_levels(problem, known.lower, None, settings, effort=effort)
        return self._searched("levels", found, known, effort)

    def _seed(self, number: int) -> int:
        return self.settings.seed + 1000 * number

    # --- proofs ---------------------------------------------------------------------------------

    def anchor(self, known: Known, effort: Effort) -> Outcome:
        """Bound from below by minimum cuts; blocks of the incumbent exclude most anchors."""
        costs = self._costs(known.best)
        block = self.reduced.expand(known.best.block.tolist(), self.graph.num_nodes)
        ceiling = [costs[block[nodes[0]]] for nodes in self.problem.members]
        enough = known.best.bottleneck
        bound, _ = anchor_bound(
            self.problem, self.graph, ceiling=ceiling, enough=enough, effort=effort
        )
        return Outcome("anchor", bounds=(bound,))

    def _brief_proof(self, known: Known, effort: Effort) -> Outcome:
        return self._exact(self.settings.brief, known, effort, once=True)

    def _average(self, known: Known, effort: Effort) -> Outcome:
        """Bound from below by what stages on either side of a boundary cost on average."""
        if self.reduced.num_nodes > self.settings.max_relaxed_nodes:
            return Outcome("average")
        enough = known.best.bottleneck
        averaged = average_bound(self.reduced, enough=enough, effort=effort)
        bounds = (averaged.bound,) if averaged.bound.value > known.lower else ()
        if averaged.block is None:
            return Outcome("average", bounds=bounds)
        found, best = self._priced(averaged.block, effort)
        return Outcome("average", found, best, bounds)

    def _quick_proof(self, known: Known, effort: Effort) -> Outcome:
        # Where other programs take most of the core, its work would last beyond the limit.
        until = time.perf_counter() + _QUICK_SHARE * self.settings.time_limit
        guarded = effort.until(until)
        outcome = self._exact(self.settings.quick, known, guarded, once=True)
        return replace(outcome, hurried=guarded.over())

    def _proof(self, known: Known, effort: Effort) -> Outcome:
        return self._exact(self.settings.exact, known, effort)

    def _exact(
        self, limits: ExactLimits, known: Known, effort: Effort, *, once: bool = False
    ) -> Outcome:
        """Prove or improve the incumbent by the program over ideals, if they can be listed."""
        upper = known.best.bottleneck
        if upper >= self.shared.too_wide.get((limits, once), upper + 1):
            return Outcome("exact")
        if self._in_vain and effort.work <= self._in_vain[0] and upper > _BETTER * self._in_vain[1]:
            # Less work will not do; the others take the time.
            return Outcome("exact", more=True)
        start = time.perf_counter()
        if self._prover is None:
            self._prover = Prover(self.pricing, self.settings.seed, self.shared.listing)
        proof = self._prover.go_on(known.best, known.lower, limits, effort)
        if not proof.complete and (once or not proof.more):
            self.shared.too_wide[limits, once] = upper
            if not once:
                self._prover = None
        gained = proof.lower > known.lower or proof.best.bottleneck < upper
        anew = self.reduced.memory_binds and proof.complete
        in_vain = anew and proof.more and not gained and not effort.over()
        self._in_vain = (effort.work, upper) if in_vain else None
        seconds = time.perf_counter() - start
        bound = Bound("exact", proof.lower, seconds, "exhaustive")
        return Outcome(
            "exact",
            best=proof.best,
            bounds=(bound,) if proof.lower > 0 else (),
            ideals=proof.ideals if proof.complete else None,
            more=proof.more,
        )

    def _relax(self, known: Known, effort: Effort) -> Outcome:
        """Bound from below without listing ideals; only plans better than the incumbent matter."""
        upper = known.best.bottleneck
        if (
            self.reduced.num_nodes > self.settings.max_relaxed_nodes
            or upper >= self.reduced.refusal
        ):
            return Outcome("skeleton")
        start = time.perf_counter()
        if self._wide is None or self._contracted_at != upper - 1:
            # What held together for a dearer incumbent still does.
            small, complete = contract_by_cuts(
                self._contracted or self.reduced.counting_alive(), upper - 1, effort.share(0.3)
            )
            if small is None:
                bound = Bound("skeleton", upper, time.perf_counter() - start, "exhaustive")
                return Outcome("skeleton", bounds=(bound,))
            self._contracted, self._wide = small, WideBound(small, self._wide)
            self._contracted_at = upper - 1 if complete else None
        small, wide = self._contracted or self.reduced.counting_alive(), self._wide
        relaxed = wide.bound(known.lower, upper, **effort.native())
        bound = replace(relaxed.bound, seconds=time.perf_counter() - start)
        if relaxed.block is None:
            return Outcome("skeleton", bounds=(bound,), more=relaxed.more)
        found, best = self._priced(self._own(small, relaxed.block), effort)
        return Outcome("skeleton", found, best, (bound,), more=relaxed.more)

    def _thin(self, problem: Problem, known: Known, effort: Effort) -> Outcome:
        """Bound from below, and plan, without nodes that make too many ideals, fewer in each round."""
        upper = min(known.best.bottleneck, self.reduced.refusal)
        if problem.num_nodes > _MOST_THINNED:
            return Outcome("thinned")
        if effort.work < self._thinned_from:
            return Outcome("thinned", more=True)
        start = time.perf_counter()
        limits = replace(self.settings.brief, max_ideals=_THINNED << (known.number - 1))
        whole = problem is not self.reduced
        thinned = Thinning.of(problem, known.lower, upper, limits, effort, whole=whole)
        bound = Bound("thinned", thinned.lower, time.perf_counter() - start, "exhaustive")
        bounds = (bound,) if thinned.lower > 0 else ()
        plans = [self._priced(self._own(problem, b), effort)[1] for b in thinned.plans]
        best = min(plans, key=lambda found: found.bottleneck, default=None)
        gained = thinned.lower > 0 or (best is not None and best.bottleneck < upper)
        # What took its time for nothing is tried again with twice as much.
        self._thinned_from = 0 if gained else 2 * effort.work
        return Outcome("thinned", best=best, bounds=bounds, more=thinned.more)

    def _own(self, small: Problem, block: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the blocks of the reduced problem from those of a contracted one."""
        full = small.expand(block.tolist(), self.graph.num_nodes)
        return np.array([full[nodes[0]] for nodes in self.reduced.members], np.int32)

    def _priced(self, block: npt.NDArray[np.int32], effort: Effort) -> tuple[Found, Found]:
        """Return a plan of the reduced problem as searches price it, and with its true bottleneck."""
        found = Found(max(_native.block_costs(self.reduced.instance, block)), block)
        return found, self.pricing.true_cost(found, effort)
