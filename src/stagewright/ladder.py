# SPDX-License-Identifier: Apache-2.0
"""The ladder of lower bounds: each rung computed alone, by its name."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from .bound.programs import Relaxation
    from .bound.types import Bound
    from .bound.watch import BoundWatch
    from .graph import CostGraph
    from .machine import Machine
    from .problem import Problem

__all__ = [
    "BOUND_METHODS",
    "SOLVERS",
    "bound",
    "integrality_gap",
    "require_time_limit",
    "require_work",
]

BOUND_METHODS = (
    "simple",
    "anchor",
    "average",
    "bottleneck",
    "superblock",
    "guess",
    "lp",
    "mip",
    "cover",
    "skeleton",
    "exact",
)
SOLVERS = ("highs", "cpsat", "scip", "gurobi")


def require_time_limit(time_limit: float) -> None:
    """Refuse a time limit that is no number of seconds."""
    if not time_limit >= 0:
        raise InputError("time limit", "a number of seconds >= 0", str(time_limit))


def require_work(graph: CostGraph) -> None:
    """Refuse a graph whose nodes have operations but no work."""
    if not graph.work.any() and graph.flops.any():
        raise InputError(
            f"graph '{graph.name}'",
            "work for its nodes",
            "operations and bytes only",
            "Give a device (--device NAME) or measured times (--profile FILE).",
        )


def bound(
    graph: CostGraph,
    machine: Machine,
    method: str,
    *,
    solver: str = "highs",
    time_limit: float = 60.0,
    seed: int = 0,
    watch: BoundWatch | None = None,
) -> Bound:
    """Return one lower bound of the ladder, computed alone.

    Parameters
    ----------
    method
        One of :data:`BOUND_METHODS`; ``bottleneck`` to ``mip`` are a solver's claims, see
        bound/formulations.py.
    solver
        One of :data:`SOLVERS`, for those.
    time_limit
        Seconds; where a solver reaches it, its best bound so far counts.
    watch
        Takes what is known on the way, for whoever asks it.

    Raises
    ------
    InputError
        If there is no such method or solver, or no machine bandwidth where one is needed.
    MissingDependencyError
        If the solver is not installed.
    LimitError
        If the method found no bound in its limits.
    """
    from .bound.anchor import anchor_bound
    from .bound.average import average_bound
    from .bound.programs import PROGRAMS, program_bound
    from .bound.simple import simple_bound
    from .bound.watch import BoundWatch
    from .errors import LimitError
    from .problem import compile_problem
    from .reduce import reduce_problem
    from .solve import Settings, solve

    require_work(graph)
    require_time_limit(time_limit)
    watch = watch or BoundWatch()
    if method in PROGRAMS:
        reduced = reduce_problem(compile_problem(graph, machine))
        return program_bound(reduced, method, solver=solver, seconds=time_limit, watch=watch)
    if method == "simple":
        return simple_bound(compile_problem(graph, machine))
    if method == "anchor":
        problem = compile_problem(graph, machine)
        with watch.measured("anchor") as gauge:
            found, interrupted = anchor_bound(problem, graph, seconds=time_limit, gauge=gauge)
        if interrupted:
            raise KeyboardInterrupt
        return found
    if method == "average":
        reduced = reduce_problem(compile_problem(graph, machine))
        averaged = average_bound(reduced, time_limit)
        if averaged.interrupted:
            raise KeyboardInterrupt
        return averaged.bound
    if method == "exact":
        solution = solve(
            graph,
            machine,
            Settings(time_limit=time_limit, seed=seed),
            progress=lambda now: watch.note(f"after {now.phase}", now.lower, now.upper),
        )
        best = max(solution.bounds, key=lambda b: b.value)
        if solution.lower_bound < solution.bottleneck and best.evidence != "exhaustive":
            raise LimitError(
                f"the exact method gave no bound within {time_limit:g} s ({solution.stopped_because}); "
                "the best cheap bound is had with --method simple or anchor"
            )
        # Where a cheaper bound closed the gap, it is that bound's evidence that holds.
        return replace(best, method="exact")
    if method in ("cover", "skeleton"):
        reduced = reduce_problem(compile_problem(graph, machine)).counting_alive()
        return _relaxed(reduced, method, time_limit, seed, watch)
    raise InputError("method", " | ".join(BOUND_METHODS), repr(method))


def _relaxed(
    reduced: Problem, method: str, time_limit: float, seed: int, watch: BoundWatch
) -> Bound:
    """Spend a fifth of the time on an incumbent, since only plans better than one matter."""
    from .bound.cover import CoverBound
    from .bound.simple import simple_bound
    from .bound.skeleton import SkeletonBound
    from .search.orders import OrderSearch, search_orders
    from .search.windows import WindowSearch, search_windows

    start = time.perf_counter()
    lower = simple_bound(reduced).value
    watch.note("orders", lower)
    found = search_orders(reduced, lower, None, OrderSearch(seed=seed), time_limit / 20)
    watch.note("windows", lower, found.bottleneck)
    found = search_windows(reduced, lower, found, WindowSearch(seed=seed), time_limit / 7)
    left = max(0.0, time_limit - (time.perf_counter() - start))
    prover = CoverBound(reduced) if method == "cover" else SkeletonBound(reduced)
    with watch.measured(method, lower, found.bottleneck) as gauge:
        relaxed = prover.bound(lower, found.bottleneck, left, gauge=gauge)
    if relaxed.interrupted or found.interrupted:
        raise KeyboardInterrupt
    return relaxed.bound


def integrality_gap(
    graph: CostGraph,
    machine: Machine,
    method: str,
    *,
    solver: str = "highs",
    time_limit: float = 60.0,
    watch: BoundWatch | None = None,
) -> Relaxation:
    """Return a solver's bound beside the LP relaxation of the same model.

    Parameters
    ----------
    method
        ``bottleneck``, ``superblock``, ``guess`` or ``mip``.
    time_limit
        Seconds for each of the two.
    watch
        As of :func:`bound`.

    Raises
    ------
    InputError, MissingDependencyError, LimitError
        As :func:`bound`.
    """
    from .bound import programs
    from .problem import compile_problem
    from .reduce import reduce_problem

    require_work(graph)
    require_time_limit(time_limit)
    reduced = reduce_problem(compile_problem(graph, machine))
    return programs.integrality_gap(reduced, method, solver=solver, seconds=time_limit, watch=watch)
