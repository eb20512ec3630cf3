# SPDX-License-Identifier: Apache-2.0
"""How long and how hard planning tries: what callers may set, and the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from .bound.types import Bound
from .exact.program import ExactLimits
from .plans import Plan
from .search.multilevel import Multilevel
from .search.orders import OrderSearch
from .search.windows import WindowSearch

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How long and how hard to try; the defaults suit most models.

    Amounts of work are given in seconds of one core, roughly; they are counted, not measured, so that
    equal seeds give equal results.

    Attributes
    ----------
    time_limit
        Seconds for everything.
    seed
        Seed of the random choices.  Equal seeds give equal results, at any number of threads, unless
        time runs out.
    first_look
        The short search before the bounds.
    windows
        The search by windows that improves the incumbent; moves of nodes follow it.
    levels
        The search on several levels, which starts afresh.
    max_rounds
        Rounds of search and proof; None for as many as there is time for.  What is limited by rounds is
        the same on every machine.
    first_round
        Work of each search in the first round of search and proof; each further round has twice as much.
    quick
        Limits of the first attempt at a proof: beyond it, a better incumbent is looked for first.
    exact
        Limits of the exact method.
    brief
        Limits of an attempt before that, where memory binds.
    quick_work, brief_work, anchor_work, average_work, evolve_work
        Work of the first attempt at a proof, of the one before it and the bound for wide graphs that follows it,
        of the anchor and the average-communication bound and of the genetic search.
    max_relaxed_nodes
        The skeleton relaxation and the average-communication bound are left out for reduced problems beyond this size.
    threads
        Threads for searches and proofs side by side, all cores by default.
    start
        A plan of at most as many stages to start from.
    bounds
        Lower bounds that are known to hold; those for more stages hold for fewer.
    """

    time_limit: float = 60.0
    seed: int = 0
    first_look: OrderSearch = field(
        default_factory=lambda: OrderSearch(restarts=24, local_moves=200)
    )
    windows: WindowSearch = field(default_factory=lambda: WindowSearch(rounds=10**9))
    levels: Multilevel = field(default_factory=lambda: Multilevel(cycles=10**9, windows=700))
    max_rounds: int | None = None
    first_round: float = 0.25
    quick: ExactLimits = field(default_factory=ExactLimits)
    exact: ExactLimits = field(default_factory=ExactLimits)
    brief: ExactLimits = field(default_factory=lambda: ExactLimits(max_ideals=10_000))
    quick_work: float = 4.0
    brief_work: float = 0.5
    anchor_work: float = 1.0
    average_work: float = 1.0
    evolve_work: float = 3.0
    max_relaxed_nodes: int = 5_000
    threads: int | None = None
    start: Plan | None = None
    bounds: tuple[Bound, ...] = ()
