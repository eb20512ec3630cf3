# SPDX-License-Identifier: Apache-2.0
"""The methods of a grid by name: the whole method, bounds, searches, peers, and what is measured besides.

- ``plan``: the whole method; ``plan@NAME``: its plan for the machine NAME of the grid, priced on the instance's own;
- the lower bounds of the ladder, each alone; ``bottleneck-lp``, ``superblock-lp``, ``guess-lp``: their LP relaxations;
- the searches of the paper over the graph as it is, ``-warm`` from the best of 30 depth-first and random orders;
- ``equal-layers``, ``equal-parameters``, ``equal-work``, ``metis``, ``one-order``: how graphs are commonly split;
- ``cpsat``, ``highs``: the exact model of bound/formulations.py, of the reduced problem;
- ``published``: the optimum that somebody published, with the seconds that the grid's file names;
- ``coverage-10000``: what 10,000 random orders cover; ``parts``: the parts of the method, timed one by one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError, LimitError
from ..ladder import BOUND_METHODS
from ..search.genetic import PRESETS

if TYPE_CHECKING:
    from ..bound.model import Expression
    from ..graph import CostGraph
    from ..machine import Machine
    from ..problem import Problem
    from .grid import Job

__all__ = ["METHODS", "blocks_of", "has_seed", "price", "program", "solved"]

Answer = dict[str, Any]

_WARM = {f"{name}-warm": name for name in ("brkga-100", "brkga-10000")}
_WARMING = 30  # orders from which a warm search takes the best
_SPLITS = ("equal-layers", "equal-parameters", "equal-work", "metis", "one-order")
_PROGRAMS = {"cpsat": "cpsat", "highs": "highs"}
_RELAXATIONS = {f"{name}-lp": name for name in ("bottleneck", "superblock", "guess")}
_COVERAGE = {"coverage-10000": 10_000}

METHODS = (
    "plan",
    *BOUND_METHODS,
    *_RELAXATIONS,
    *PRESETS,
    *_WARM,
    *_SPLITS,
    *_PROGRAMS,
    "published",
    *_COVERAGE,
    "parts",
)
"""What a grid may name, besides ``plan@`` and a machine."""

_SEEDED = frozenset(("plan", "exact", "cover", "skeleton", *PRESETS, *_WARM, *_COVERAGE))
_CLOSE = 0.02  # the gap until which the time is told apart


def has_seed(method: str) -> bool:
    """Whether chance takes part, so that other seeds may give other answers."""
    return method.partition("@")[0] in _SEEDED


Costs = tuple["CostGraph", "Machine"]


def solved(graph: CostGraph, machine: Machine, job: Job, other: Costs | None = None) -> Answer:
    """Return what a method says of a graph on a machine; `other` is what ``plan@`` plans for.

    Raises
    ------
    StagewrightError
        If the method gives no answer.
    """
    from ..ladder import require_work

    require_work(graph)
    method = job.method
    if method.startswith("plan"):
        return _planned(graph, machine, job, other)
    if method in BOUND_METHODS:
        return _bounded(graph, machine, job)
    if method in _RELAXATIONS:
        return _relaxed(graph, machine, job)
    if method in _SPLITS:
        return _split(graph, machine, job)
    if method in _PROGRAMS:
        return _programmed(graph, machine, job)
    if method == "published":
        return {"upper": dict(job.instance.published)[job.stages], "stopped": "published"}
    if method in _COVERAGE:
        from .coverage import covered

        return {"details": json.dumps(covered(graph, machine, _COVERAGE[method], job.seed))}
    if method == "parts":
        return _timed(graph, machine)
    return _searched(graph, machine, job)


def _planned(graph: CostGraph, machine: Machine, job: Job, other: Costs | None) -> Answer:
    from ..plans import evaluate_all, problems_of
    from ..settings import Settings
    from ..solve import solve

    settings = Settings(time_limit=job.time_limit, seed=job.seed, threads=job.threads)
    solution = solve(*(other or (graph, machine)), settings)
    found: Answer = {
        "reduced_nodes": solution.reduced_nodes,
        "ideals": solution.ideals,
        "stopped": solution.stopped_because,
    }
    if other is not None:
        # Its bounds are of the other machine.
        if broken := problems_of(graph, machine, solution.plan):
            raise InputError(graph.name, "a plan that is valid here too", broken[0])
        costs = evaluate_all(graph, machine, solution.plan)
        return {**found, "upper": max(cost.total for cost in costs)}
    best = max(solution.bounds, key=lambda b: b.value)
    lower, upper = best.value, solution.bottleneck
    close = [p.seconds for p in solution.history if p.upper <= (1 + _CLOSE) * p.lower]
    reached = solution.seconds if upper <= (1 + _CLOSE) * lower else None
    return {
        **found,
        "upper": upper,
        "lower": lower,
        "evidence": best.evidence,
        "close_seconds": close[0] if close else reached,
        "details": json.dumps({"bound": best.method}),
    }


def _bounded(graph: CostGraph, machine: Machine, job: Job) -> Answer:
    from ..ladder import bound

    found = bound(graph, machine, job.method, time_limit=job.time_limit, seed=job.seed)
    return {"lower": found.value, "evidence": found.evidence}


def _relaxed(graph: CostGraph, machine: Machine, job: Job) -> Answer:
    from ..bound.programs import solve_program
    from ..problem import compile_problem
    from ..reduce import reduce_problem

    problem = reduce_problem(compile_problem(graph, machine))
    method = _RELAXATIONS[job.method]
    found, _ = solve_program(problem, method, seconds=job.time_limit, relaxed=True)
    return {"lower": found.value, "evidence": found.evidence, "reduced_nodes": problem.num_nodes}


def _searched(graph: CostGraph, machine: Machine, job: Job) -> Answer:
    """Return the true bottleneck that a search of the paper reaches on the graph as it is."""
    from ..exact.pricing import Pricing
    from ..problem import compile_problem
    from ..search.genetic import search_genetic
    from ..search.orders import OrderSearch, search_orders

    problem = compile_problem(graph, machine)
    least = max(-(-problem.total_work // machine.stages), *problem.work)
    start, settings = None, PRESETS[_WARM.get(job.method, job.method)]
    if job.method in _WARM:
        start = search_orders(problem, least, settings=OrderSearch(_WARMING, 0, seed=job.seed))
    begin = time.perf_counter()
    found = search_genetic(
        problem, replace(settings, seed=job.seed), least, start, seconds=job.time_limit
    )
    searching = time.perf_counter() - begin
    upper = Pricing(graph, machine, problem).true_cost(found).bottleneck
    details = {"evaluations": found.evaluations, "decoded": found.decoded, "searching": searching}
    return {"upper": upper, "details": json.dumps(details)}


def _split(graph: CostGraph, machine: Machine, job: Job) -> Answer:
    from ..problem import compile_problem
    from .splits import SPLITS

    problem = compile_problem(graph, machine)
    blocks = SPLITS[job.method](problem, graph)
    if blocks is None:
        return {"stopped": "does not apply: no parameters"}
    return {"upper": price(graph, machine, problem, blocks)}


def price(graph: CostGraph, machine: Machine, problem: Problem, blocks: Sequence[int]) -> int:
    """Return the true bottleneck of a plan of a problem, judged by the plain reference.

    Raises
    ------
    InputError
        If it is no plan.
    """
    import numpy as np

    from ..exact.pricing import Pricing
    from ..plans import problems_of

    pricing = Pricing(graph, machine, problem)
    plan = pricing.plan(np.array(blocks, np.int32))
    if broken := problems_of(graph, machine, plan):
        raise InputError(graph.name, "a valid plan", broken[0])
    return pricing.value(plan)


def _programmed(graph: CostGraph, machine: Machine, job: Job) -> Answer:
    from ..problem import compile_problem
    from ..reduce import reduce_problem

    end = time.perf_counter() + job.time_limit
    problem = reduce_problem(compile_problem(graph, machine))
    blocks, lower = program(problem, _PROGRAMS[job.method], end)
    if blocks is None and lower is None:
        raise LimitError(f"neither a plan nor a bound within {job.time_limit:g} s")
    upper = None if blocks is None else price(graph, machine, problem, blocks)
    return {
        "upper": upper,
        "lower": lower,
        "evidence": None if lower is None else "claimed",
        "reduced_nodes": problem.num_nodes,
        "stopped": None if blocks else "no plan within the limit",
    }


def program(problem: Problem, solver: str, end: float) -> tuple[list[int] | None, int | None]:
    """Return the blocks and the bound that a solver has for the exact model at `end` of the performance counter."""
    from ..bound.formulations import exact_model_and_ideals
    from ..bound.solvers import require_solver, safe_bound, solve_models

    require_solver(solver)
    model, ideals = exact_model_and_ideals(problem)
    left = max(0.1, end - time.perf_counter())
    (outcome,) = solve_models([model], solver, left, columns=True)
    lower = None if outcome.dual is None else safe_bound(model, outcome.dual)
    return None if outcome.columns is None else blocks_of(outcome.columns, ideals), lower


def blocks_of(columns: Sequence[float], ideals: Sequence[Sequence[Expression]]) -> list[int]:
    """Return the block of each node: the first ideal that holds it; the last holds all."""
    inside = [
        [sum(columns[c] * f for c, f in x.terms.items()) + x.constant > 0.5 for x in ideal]
        for ideal in ideals
    ]
    return [row.index(True) for row in zip(*inside, strict=True)]


def _timed(graph: CostGraph, machine: Machine) -> Answer:
    """Return the seconds of each part that every plan goes through, once each."""
    from ..bound.simple import simple_bound
    from ..problem import compile_problem
    from ..reduce import reduce_problem
    from ..search.orders import random_order, segment_costs, slice_along

    seconds: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = run()
        seconds[name] = time.perf_counter() - start
        return found

    problem = timed("compile", lambda: compile_problem(graph, machine))
    timed("native form", lambda: problem.instance)
    reduced = timed("reduce", lambda: reduce_problem(problem))
    order = timed("one order", lambda: random_order(problem, 0))
    lower = timed("simple bound", lambda: simple_bound(problem)).value
    found = timed("slicing", lambda: slice_along(problem, order))
    timed("segment costs", lambda: segment_costs(problem, order, found.bottleneck))
    return {
        "upper": price(graph, machine, problem, found.block.tolist()),
        "lower": lower,
        "reduced_nodes": reduced.num_nodes,
        "details": json.dumps(seconds),
    }
