# SPDX-License-Identifier: Apache-2.0
"""One function per solver: a model, seconds, and a callback in; status and both bounds out.

Used in the solver's own process only; every import of a solver is inside its function.  All are
asked for the tolerance :data:`TOLERANCE` and for one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .model import Model

__all__ = ["BACKENDS", "TOLERANCE", "Found"]

# Feasibility and optimality tolerance asked of the floating-point solvers.
TOLERANCE = 1e-7
# CP-SAT reckons in integers: so many steps per unit of time.
_STEPS = 2**22

Progress = Callable[[float], None]


@dataclass
class Found:
    """What a solver says, in units: status, best value, dual bound, its name and version, best columns."""

    status: str
    primal: float | None
    dual: float | None
    solver: str
    columns: list[float] | None = None


def solve_highs(model: Model, seconds: float, progress: Progress) -> Found:
    """Solve with HiGHS."""
    import highspy

    highs = highspy.Highs()
    for option, setting in (
        ("output_flag", False),
        ("threads", 1),
        ("time_limit", seconds),
        ("primal_feasibility_tolerance", TOLERANCE),
        ("dual_feasibility_tolerance", TOLERANCE),
        ("mip_feasibility_tolerance", TOLERANCE),
        ("mip_rel_gap", 1e-6),
        ("mip_abs_gap", 1e-7),
    ):
        highs.setOptionValue(option, setting)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.num_columns, model.num_rows
    lp.col_cost_ = np.arange(model.num_columns) == model.objective
    lp.col_lower_, lp.col_upper_ = model.lower, model.upper
    lp.row_lower_, lp.row_upper_ = model.row_lower, model.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = model.start.astype(np.int32)
    lp.a_matrix_.index_ = model.index
    lp.a_matrix_.value_ = model.value
    is_mip = bool(model.integer.any())
    if is_mip:
        kinds = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
        lp.integrality_ = [kinds[flag] for flag in model.integer.tolist()]
        _report_progress(highs, highspy, progress)
    highs.passModel(lp)
    highs.run()
    info, verdict = highs.getInfo(), highs.getModelStatus()
    status = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kInfeasible: "infeasible",
        # All columns are bounded, so it is not unbounded.
        highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible",
        highspy.HighsModelStatus.kTimeLimit: "limit",
    }.get(verdict, "failed")
    feasible = info.primal_solution_status == 2  # kSolutionStatusFeasible
    value = info.objective_function_value if feasible else None
    dual = value if status == "optimal" else None
    if is_mip and status in ("optimal", "limit"):
        dual = info.mip_dual_bound
    columns = list(highs.getSolution().col_value) if feasible else None
    return Found(status, value, dual, f"HiGHS {highs.version()}", columns)


def _report_progress(highs: Any, highspy: Any, progress: Progress) -> None:
    best = -math.inf

    def note(kind: Any, message: str, out: Any, into: Any, data: Any) -> None:
        nonlocal best
        if out.mip_dual_bound > best:
            best = out.mip_dual_bound
            progress(best)

    highs.setCallback(note, None)
    # Logged is little and late; the other is called at every step and knows the bound too.
    highs.startCallback(highspy.cb.HighsCallbackType.kCallbackMipLogging)
    highs.startCallback(highspy.cb.HighsCallbackType.kCallbackMipInterrupt)


def solve_cpsat(model: Model, seconds: float, progress: Progress) -> Found:
    """Solve with CP-SAT, in integers rounded so that no solution is lost.

    Times become steps.  A column between 0 and 1 that is not integer takes 0 or 1 in some best solution,
    since all it does is to be at least some differences of integer columns.
    """
    import ortools
    from ortools.sat.python import cp_model

    program = cp_model.CpModel()
    scale = np.where(model.magnitude, _STEPS, 1)
    columns = [
        program.new_int_var(math.floor(low * steps), math.ceil(high * steps), "")
        for low, high, steps in zip(
            model.lower.tolist(), model.upper.tolist(), scale.tolist(), strict=True
        )
    ]
    for row in range(model.num_rows):
        here = slice(model.start[row], model.start[row + 1])
        index, value = model.index[here].tolist(), model.value[here]
        lower = float(model.row_lower[row])
        # All rows say form >= bound with columns >= 0: rounding up values, down bounds, relaxes.
        timed = bool(model.magnitude[index].any() or (value % 1).any() or lower % 1)
        steps = np.where(model.magnitude[index], 1, _STEPS) if timed else np.ones(len(index))
        factors = np.ceil(value * steps).astype(np.int64).tolist()
        bound = math.floor(lower * (_STEPS if timed else 1))
        program.add(cp_model.LinearExpr.weighted_sum([columns[i] for i in index], factors) >= bound)
    program.minimize(columns[model.objective])
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    solver.best_bound_callback = lambda bound: progress(_in_units(bound, model))
    verdict = solver.solve(program)
    status = {cp_model.OPTIMAL: "optimal", cp_model.INFEASIBLE: "infeasible"}.get(verdict, "limit")
    has_value = verdict in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return Found(
        status,
        solver.objective_value / _STEPS if has_value else None,
        _in_units(solver.best_objective_bound, model) if status != "infeasible" else None,
        f"CP-SAT {ortools.__version__}",
        [solver.value(c) / steps for c, steps in zip(columns, scale.tolist(), strict=True)]
        if has_value
        else None,
    )


def _in_units(steps: float, model: Model) -> float:
    # Each column of time may have been rounded up by one step.
    return (steps - int(model.magnitude.sum())) / _STEPS


def solve_scip(model: Model, seconds: float, progress: Progress) -> Found:
    """Solve with SCIP."""
    import pyscipopt

    scip = pyscipopt.Model()
    scip.hideOutput()
    scip.setParams(
        {
            "limits/time": seconds,
            "limits/gap": 1e-6,
            "numerics/feastol": TOLERANCE,
            "numerics/dualfeastol": TOLERANCE,
        }
    )
    columns = [
        scip.addVar(vtype="I" if integer else "C", lb=low, ub=high)
        for low, high, integer in zip(
            model.lower.tolist(), model.upper.tolist(), model.integer.tolist(), strict=True
        )
    ]
    for row in range(model.num_rows):
        here = slice(model.start[row], model.start[row + 1])
        terms = zip(model.index[here].tolist(), model.value[here].tolist(), strict=True)
        form = pyscipopt.quicksum(value * columns[i] for i, value in terms)
        scip.addCons(form >= float(model.row_lower[row]))
    scip.setObjective(columns[model.objective], "minimize")
    scip.optimize()
    status = {"optimal": "optimal", "gaplimit": "optimal", "infeasible": "infeasible"}.get(
        scip.getStatus(), "limit"
    )
    value = best = None
    if scip.getNSols():
        value, best = scip.getObjVal(), [scip.getVal(column) for column in columns]
    return Found(status, value, scip.getDualbound(), f"SCIP {scip.version()}", best)


def solve_gurobi(model: Model, seconds: float, progress: Progress) -> Found:
    """Solve with Gurobi, which needs the user's own licence for models of any size."""
    import gurobipy
    from scipy.sparse import csr_matrix

    with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.Model(env=env) as program:
        program.Params.TimeLimit, program.Params.Threads = seconds, 1
        program.Params.MIPGap, program.Params.FeasibilityTol = 1e-6, TOLERANCE
        program.Params.OptimalityTol, program.Params.IntFeasTol = TOLERANCE, TOLERANCE
        kinds = np.where(model.integer, "I", "C")
        x = program.addMVar(model.num_columns, lb=model.lower, ub=model.upper, vtype=kinds)
        shape = model.num_rows, model.num_columns
        program.addConstr(
            csr_matrix((model.value, model.index, model.start), shape=shape) @ x >= model.row_lower
        )
        program.setObjective(x[model.objective] + 0.0, gurobipy.GRB.MINIMIZE)
        program.optimize()
        status = {2: "optimal", 3: "infeasible"}.get(program.Status, "limit")
        value = program.ObjVal if program.SolCount else None
        dual = program.ObjBound if program.IsMIP else value if status == "optimal" else None
        columns = x.X.tolist() if program.SolCount else None
        version = ".".join(map(str, gurobipy.gurobi.version()))
    return Found(status, value, dual, f"Gurobi {version}", columns)


BACKENDS: dict[str, Callable[[Model, float, Progress], Found]] = {
    "highs": solve_highs,
    "cpsat": solve_cpsat,
    "scip": solve_scip,
    "gurobi": solve_gurobi,
}
