# SPDX-License-Identifier: Apache-2.0
"""The dynamic program over ideals as a proof: improve the incumbent until nothing is better.

Each question "is there a plan of bottleneck <= T?" is answered exhaustively by the native core.  The
first is asked just below the incumbent; most often the answer is no and the incumbent is optimal.
Otherwise the gap is halved until it is small, and then closed from the top.  Without memory the core asks them
all in one call, since what one of them shows makes the next one cheaper (native/ideal_scan.cpp).

When memory binds, a block costs what it costs in its best order.  Where finding that takes too long, the
core first gives the block the benefit of the doubt, which keeps the lower bound valid, and then refuses
it, which finds the best of the plans whose cost is certain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _native
from ..effort import Effort
from ..graph import Ragged
from ..problem import Problem
from ..search.orders import Found, OrderSearch, one_stage, search_orders
from .must_link import contract_at
from .pricing import Pricing

__all__ = ["ExactLimits", "Listing", "Proof", "Prover", "list_ideals", "prove"]

_MANY = 5_000  # ideals from which on a question takes longer than a search
# Shares of the work: for listing the ideals, for a better incumbent, for each question.
_LISTING, _SEARCH, _QUESTION = 0.25, 0.05, 0.5
_BETTER = 0.98  # of an incumbent: below it a list that is not complete begins anew
_CLOSE = 2_000  # a gap below one in so many is closed from the top


@dataclass(frozen=True)
class ExactLimits:
    """When the exact method gives up.

    Attributes
    ----------
    max_ideals, max_bytes
        Number of ideals that are listed at most, and the memory they may take.
    order_states
        Where memory binds: sets of nodes that the search for the best order of one block looks at.
    """

    max_ideals: int = 1_000_000
    max_bytes: int = 2**30
    order_states: int = 2000


@dataclass(frozen=True, eq=False)
class Proof:
    """What the program found.

    Attributes
    ----------
    best
        The incumbent, perhaps improved.
    lower
        No plan has a bottleneck below this many picoseconds (0 when nothing was shown); from
        `Problem.refusal` on, no plan fits.
    ideals, pairs
        Ideals listed and pairs of ideals looked at.
    complete
        Whether all ideals could be listed.
    more
        With more time or work it could do more.
    """

    best: Found
    lower: int
    ideals: int
    pairs: int
    complete: bool
    interrupted: bool = False
    more: bool = False


@dataclass(frozen=True, eq=False)
class Listing:
    """The ideals of a problem, perhaps not all."""

    problem: Problem
    ideals: _native.IdealGraph


def list_ideals(problem: Problem, limits: ExactLimits, effort: Effort) -> Listing:
    """List the ideals of `problem`; where all are there, they answer for any number of stages."""
    ideals = _native.IdealGraph(
        problem.instance, limits.max_ideals, limits.max_bytes, **effort.native()
    )
    _count_peaks(problem, ideals, limits)
    return Listing(problem, ideals)


def _count_peaks(problem: Problem, ideals: _native.IdealGraph, limits: ExactLimits) -> None:
    if ideals.complete and problem.flow is not None:
        rows = Ragged.of(problem.members)
        ideals.count_peaks(problem.flow.native, rows.offsets, rows.values, limits.order_states)


class Prover:
    """The program over ideals for one problem; each step goes on where the last one stopped.

    Between steps the incumbent may sink and the lower bound rise.  What was contracted and listed for a dearer
    incumbent holds for a better one, and so does what was found out (native/ideals.hpp).  Kept are the
    ideals, at most `ExactLimits.max_bytes`, and beside them 512 MiB for their tensors.

    Parameters
    ----------
    pricing
        True costs of plans of the problem.
    seed
        Of the search for a better incumbent before the first question.
    listing
        All ideals of the problem, for any number of stages, where they are known.
    """

    def __init__(self, pricing: Pricing, seed: int = 0, listing: Listing | None = None) -> None:
        self.pricing, self.seed = pricing, seed
        self._given = listing
        self._listing: Listing | None = None
        self._threshold = 0  # what the listing was contracted at
        self._pursuit: _native.IdealPursuit | None = None
        self._searched = False

    @property
    def under_way(self) -> bool:
        """Whether all ideals are listed and what further steps do is not lost."""
        return self._pursuit is not None

    def go_on(self, incumbent: Found, lower: int, limits: ExactLimits, effort: Effort) -> Proof:
        """Improve `incumbent` until it is optimal or `effort` is spent; `lower` is any valid lower bound.

        `incumbent` is a plan of the problem, with its true cost.
        """
        pricing, problem = self.pricing, self.pricing.problem
        # Only plans better than the incumbent matter from here on, so what they keep together
        # is contracted.
        threshold = min(incumbent.bottleneck, problem.refusal) - 1
        listing = self._list(threshold, limits, effort)
        if listing is None:
            # Every better plan would be one block: then it is that block or there is none.
            whole = one_stage(problem)
            best = min(incumbent, pricing.true_cost(whole), key=lambda found: found.bottleneck)
            shown = min(best.bottleneck, pricing.least_cost_of_one_stage())
            return Proof(best, shown, 2, 1, complete=True)
        ideals = listing.ideals
        if not ideals.complete:
            more = not ideals.too_large
            return Proof(incumbent, 0, ideals.count, ideals.pairs, complete=False, more=more)
        interrupted = False
        if ideals.count > _MANY and not self._searched:
            # Every question is dear from here on; a better incumbent saves several.
            moves = OrderSearch(restarts=12, local_moves=ideals.count // 20, seed=self.seed)
            found = search_orders(problem, lower, incumbent, moves, effort=effort.share(_SEARCH))
            interrupted = found.interrupted
            found = pricing.true_cost(found)
            incumbent = min(incumbent, found, key=lambda plan: plan.bottleneck)
        questions = _Questions(pricing, listing.problem, ideals, incumbent, effort, interrupted)
        if problem.memory_binds:
            shown = questions.narrow(lower, certain=False)
            if questions.doubted:
                questions.narrow(max(lower, shown), certain=True)
        else:
            self._searched = True
            if self._pursuit is None:
                self._pursuit = _native.IdealPursuit(ideals, pricing.machine.stages)
            shown = questions.close(self._pursuit, lower)
        return Proof(
            questions.best,
            shown,
            ideals.count,
            ideals.pairs,
            complete=True,
            interrupted=questions.interrupted,
            more=questions.more,
        )

    def _list(self, threshold: int, limits: ExactLimits, effort: Effort) -> Listing | None:
        """Go on with the list of ideals; None where plans within `threshold` have one block."""
        problem = self.pricing.problem
        if self._given is not None and self._listing is None:
            self._listing = self._given
        listing = self._listing
        if listing is not None and not listing.ideals.complete:
            if threshold < _BETTER * self._threshold:
                # So much more may be contracted that the list is worth beginning anew.
                listing = None
            else:
                share = effort.share(_LISTING).native()
                listing.ideals.list(limits.max_ideals, limits.max_bytes, **share)
                _count_peaks(listing.problem, listing.ideals, limits)
        if listing is None:
            small = contract_at(problem, threshold, effort)
            if small.num_nodes == 1:
                return None
            listing = list_ideals(small, limits, effort.share(_LISTING))
            self._threshold = threshold
        self._listing = listing
        return listing


def prove(
    pricing: Pricing,
    incumbent: Found,
    lower: int,
    limits: ExactLimits,
    effort: Effort,
    seed: int = 0,
    listing: Listing | None = None,
) -> Proof:
    """Take one step of a new :class:`Prover`."""
    return Prover(pricing, seed, listing).go_on(incumbent, lower, limits, effort)


@dataclass(eq=False)
class _Questions:
    """Questions to the native core about one contracted problem, and the best plan that came of them."""

    pricing: Pricing
    small: Problem
    ideals: _native.IdealGraph
    best: Found
    effort: Effort
    interrupted: bool = False
    doubted: bool = False
    more: bool = False

    def close(self, pursuit: _native.IdealPursuit, lower: int) -> int:
        """Find the optimum where memory does not bind; return the value below which no plan was found, 0 for none."""
        upper = self.best.bottleneck
        if self.interrupted or lower >= upper:
            return 0
        shown, value, block, self.interrupted = pursuit.go_on(
            lower, upper - 1, upper, **self.effort.native()
        )
        self.more = shown < value and not pursuit.too_large
        if len(block):
            self._take(block)
        return shown if shown > lower else 0

    def narrow(self, lower: int, *, certain: bool) -> int:
        """Close in from both sides; return the value below which no plan was found, 0 for none."""
        shown, from_top = 0, True
        # Whether any plan fits is one question; by how much it fails does not matter.
        upper = min(self.best.bottleneck, self.pricing.problem.refusal)
        while (floor := max(lower, shown)) < upper and not self.interrupted:
            # Most often the incumbent is optimal, so ask just below it; halve when it was not.
            threshold = upper - 1 if from_top else floor + (upper - floor) // 2
            answer = self._ask(threshold, certain=certain)
            if answer == "yes":
                upper = min(threshold, self.best.bottleneck)
                from_top = False
            elif answer == "no":
                shown = threshold + 1
                from_top = upper - shown < upper // _CLOSE
            else:
                self.more = True
                break
        return shown

    def _ask(self, threshold: int, *, certain: bool) -> str:
        """Ask for a plan of bottleneck <= `threshold` and keep it if it is the best so far."""
        answer, block, self.interrupted = self.ideals.decide(
            self.pricing.machine.stages,
            threshold,
            certain=certain,
            **self.effort.share(_QUESTION).native(),
        )
        self.doubted |= self.ideals.doubts > 0
        if answer == "yes":
            self._take(block)
        return answer

    def _take(self, block: npt.NDArray[np.int32]) -> None:
        """Keep a plan of the contracted problem if it is the best so far."""
        problem = self.pricing.problem
        full = self.small.expand(block.tolist(), self.pricing.graph.num_nodes)
        own = np.array([full[nodes[0]] for nodes in problem.members], np.int32)
        relaxed = max(_native.block_costs(problem.instance, own))
        found = self.pricing.true_cost(Found(relaxed, own))
        if found.bottleneck < self.best.bottleneck:
            self.best = found
