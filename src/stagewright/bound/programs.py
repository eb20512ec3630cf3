# SPDX-License-Identifier: Apache-2.0
"""The lower bounds that a solver claims: bottleneck, superblock, guess, lp, mip."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from ..errors import InputError, LimitError
from ..problem import Problem
from .formulations import FORMULATIONS
from .model import Model
from .solvers import Outcome, require_solver, safe_bound, solve_models
from .types import Bound
from .watch import BoundWatch

__all__ = ["PROGRAMS", "Relaxation", "integrality_gap", "program_bound", "solve_program"]

PROGRAMS = ("bottleneck", "superblock", "guess", "lp", "mip")


@dataclass(frozen=True)
class Relaxation:
    """A bound as a mixed-integer program and as its LP relaxation.

    Attributes
    ----------
    mip, lp
        Both bounds.
    solved
        Whether the program was solved to the end; else its true value may be higher.
    """

    mip: Bound
    lp: Bound
    solved: bool

    @property
    def gap(self) -> float | None:
        """Return mip / lp - 1, None when the relaxation says nothing."""
        return self.mip.value / self.lp.value - 1 if self.lp.value else None


def program_bound(
    problem: Problem,
    method: str,
    *,
    solver: str = "highs",
    seconds: float = 60.0,
    watch: BoundWatch | None = None,
) -> Bound:
    """Return a lower bound by one of the models of :mod:`.formulations`.

    Parameters
    ----------
    problem
        The reduced problem: reductions keep the optimum and shrink the model.
    method
        ``bottleneck``, ``superblock``, ``guess``, ``mip``, or ``lp``, the relaxation of ``mip``.
    solver
        ``highs``, ``cpsat`` (no ``lp``), ``scip``, ``gurobi``.
    seconds
        Time limit; the solver's best dual bound so far counts then.
    watch
        Takes what the solver says on the way.

    Raises
    ------
    InputError
        If there is no such method or solver, or the solver cannot solve linear programs.
    MissingDependencyError
        If the solver is not installed.
    LimitError
        If there was no bound within the time limit.
    """
    return solve_program(problem, method, solver=solver, seconds=seconds, watch=watch)[0]


def integrality_gap(
    problem: Problem,
    method: str,
    *,
    solver: str = "highs",
    seconds: float = 60.0,
    watch: BoundWatch | None = None,
) -> Relaxation:
    """Return a bound beside the LP relaxation of its model, each within `seconds`.

    Raises
    ------
    InputError, MissingDependencyError, LimitError
        As :func:`program_bound`; also if the method has no model or is the relaxation itself.
    """
    if method not in FORMULATIONS:
        raise InputError("integrality gap", " | ".join(FORMULATIONS), repr(method))
    limits: _Limits = {"solver": solver, "seconds": seconds, "watch": watch}
    lp, _ = solve_program(problem, method, **limits, relaxed=True)
    mip, solved = solve_program(problem, method, **limits)
    return Relaxation(mip, lp, solved)


def solve_program(
    problem: Problem,
    method: str,
    *,
    solver: str = "highs",
    seconds: float = 60.0,
    relaxed: bool = False,
    watch: BoundWatch | None = None,
) -> tuple[Bound, bool]:
    """Return what :func:`program_bound` does, and whether its model was solved to the end.

    With `relaxed`, the LP relaxation is solved.
    """
    if method not in PROGRAMS:
        raise InputError("method", " | ".join(PROGRAMS), repr(method))
    require_solver(solver)
    relaxed |= method == "lp"
    if relaxed and solver == "cpsat":
        raise InputError("solver of a linear program", "highs | scip | gurobi", "'cpsat'")
    start = time.perf_counter()
    models = FORMULATIONS["mip" if method == "lp" else method](problem)
    if relaxed:
        models = [model.relaxed() for model in models]
    told = _Told(models, "the relaxation" if relaxed else "solving", watch)
    left = max(0.0, seconds - (time.perf_counter() - start))
    outcomes = solve_models(models, solver, left, minimum=True, told=told)
    value = _least(models, outcomes)
    if value is None:
        raise LimitError(
            f"the solver gave no bound for '{method}' within {seconds:g} s "
            f"({', '.join(sorted({o.status for o in outcomes}))}); give it more time, "
            "or take --method simple or anchor"
        )
    name = next((outcome.solver for outcome in outcomes if outcome.solver), solver)
    bound = Bound(method, value, time.perf_counter() - start, "claimed", solver=name)
    return bound, all(o.status in ("optimal", "infeasible") for o in outcomes)


class _Told:
    """Writes down what a solver says while it works; the bound of several models is the least of theirs."""

    def __init__(self, models: list[Model], name: str, watch: BoundWatch | None) -> None:
        self._models, self._name, self._watch = models, name, watch
        self._values: list[int | None] = [None] * len(models)
        self._done: set[int] = set()
        self._note()

    def __call__(self, line: Mapping[str, Any]) -> None:
        number, dual = line["model"], line["dual"]
        if dual is not None:
            self._values[number] = safe_bound(self._models[number], dual)
        if "status" in line:
            self._done.add(number)
        self._note()

    def _note(self) -> None:
        if self._watch is not None:
            known = [value for value in self._values if value is not None]
            lower = min(known) if len(known) == len(self._models) else 0
            parts = len(self._models) if len(self._models) > 1 else 0
            self._watch.note(self._name, lower, done=len(self._done), parts=parts)


class _Limits(TypedDict):
    """What both programs of a relaxation are solved with."""

    solver: str
    seconds: float
    watch: BoundWatch | None


def _least(models: list[Model], outcomes: list[Outcome]) -> int | None:
    """Return the smallest safe bound, None if some model has none: any of them may be the one."""
    values = []
    for model, outcome in zip(models, outcomes, strict=True):
        if outcome.dual is None:
            return None
        values.append(safe_bound(model, outcome.dual))
    return min(values)
