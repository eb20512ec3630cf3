# SPDX-License-Identifier: Apache-2.0
"""The method for the makespan: plans for other objectives to start with, the exact program, or a solver's."""

from __future__ import annotations

import time
from typing import Final

from ..bound.solvers import safe_bound, solve_models
from ..effort import Effort
from ..errors import InfeasibleError, InputError, LimitError, MissingDependencyError
from .bounds import ceiling, require_seats, simple_bound
from .devices import Fleet
from .makespan import makespan_of
from .makespan_model import makespan_model
from .makespan_program import MakespanFound, best_makespan, heaviest_path
from .merges import reduce_task
from .method import PlacedSolution, solve_placed
from .objective import Objective
from .ordering import ordered_stage
from .sharing_model import assignment_of, model_columns
from .solution import no_plan, why_stopped
from .task import compile_task
from .workload import PlacedPlan, Workload, evaluate, problems_of, stage_cost

__all__ = ["solve_makespan"]

_MOST_COLUMNS: Final = 10_000


def solve_makespan(
    workload: Workload,
    fleet: Fleet,
    *,
    objective: Objective | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
    solver: str | None = "highs",
    program: bool = True,
) -> PlacedSolution:
    """Return the plan of least makespan that is found, with lower bounds.

    Parameters
    ----------
    objective
        The makespan, perhaps with a limit of the period.
    time_limit
        Seconds.
    seed
        Of the plans to start with.
    solver
        Takes graphs with too many ideals for the exact program; None for no solver.
    program
        Whether to try the exact program.

    Raises
    ------
    InputError
        If training is asked for, or something is missing.
    InfeasibleError, LimitError
        If no plan fits, or none was found in time.
    """
    if any(workload.backward) or fleet.schedule is not None:
        raise InputError("objective makespan", "inference", "training")
    run = _Run(workload, fleet, objective or Objective("makespan"), time_limit)
    require_seats(run.whole, workload.graph.node_names)
    run.start_from_others(seed)
    why = run.prove() if program else "the exact program was left out"
    if why and run.open():
        why = run.ask_solver(solver)
    return run.finish(why)


class _Run:
    """The state of one call."""

    def __init__(
        self, workload: Workload, fleet: Fleet, objective: Objective, limit: float
    ) -> None:
        self.workload, self.fleet, self.objective = workload, fleet, objective
        self.start, self.effort = time.perf_counter(), Effort.within(limit)
        self.whole = compile_task(workload, fleet)
        # The proof of the merges is one of precedence by tensors; pins add some that is not.
        self.task = self.whole if workload.graph.stage.any() else reduce_task(self.whole)
        self.simple = simple_bound(self.whole)
        self.lower = max(self.simple.value, *heaviest_path(self.whole))
        self.nothing_above = ceiling(self.whole) * fleet.stages + 1
        self.best: tuple[int, PlacedPlan] | None = None
        self.ideals: int | None = None
        self.interrupted = False

    @property
    def upper(self) -> int:
        """The makespan of the best plan, or what no plan reaches."""
        return self.best[0] if self.best else self.nothing_above

    def open(self) -> bool:
        """Whether there is a gap, and time to close it."""
        return self.upper > self.lower and not self.interrupted and not self.effort.over()

    def start_from_others(self, seed: int) -> None:
        """Take the best plans for the latency one after another, and for the period."""
        limit = self.objective.period_limit
        for goal in (Objective("latency", limit), Objective()):
            if not self.open():
                return
            try:
                found = solve_placed(
                    self.workload,
                    self.fleet,
                    objective=goal,
                    time_limit=self.effort.seconds_left() / 6,
                    seed=seed,
                )
            except (InfeasibleError, LimitError):
                continue
            self.interrupted |= found.stopped_because == "interrupted"
            self._judge(found.plan)

    def prove(self) -> str:
        """Run the exact program; return why it did not close the gap, empty if it did."""
        margin = 0
        for _ in range(4):
            if not self.open():
                return "" if self.upper == self.lower else "the time limit"
            found = best_makespan(
                self.task,
                self.upper,
                self.effort.until(time.perf_counter() + self.effort.seconds_left() / 2),
                stage_limit=self.objective.period_limit,
                margin=margin,
            )
            if found.answer == "unknown":
                return "there are too many ideals, or labels"
            self.ideals = found.ideals
            if not margin:
                self.lower = max(self.lower, found.value if found.answer == "yes" else self.upper)
            if found.answer == "no":
                break
            excess = self._judge(self._ordered(found)) - margin
            if excess <= 0:
                break
            margin += excess
        return "" if self.upper == self.lower else "the order within stages (peak memory)"

    def ask_solver(self, solver: str | None) -> str:
        """Let a solver look for better plans and bounds; return why it did not close the gap."""
        if solver is None or self.fleet.order is not None or self.best is None:
            return "there are too many ideals"
        if model_columns(self.task) > _MOST_COLUMNS:
            return "there are too many ideals, and the program is too large for a solver"
        model, columns = makespan_model(
            self.task, self.lower, self.upper, self.objective.period_limit
        )
        try:
            (found,) = solve_models([model], solver, self.effort.seconds_left(), columns=True)
        except (MissingDependencyError, LimitError) as fault:
            return str(fault)
        except KeyboardInterrupt:
            self.interrupted = True
            return "interrupted"
        if found.dual is not None:
            self.lower = max(self.lower, min(safe_bound(model, found.dual), self.upper))
        if found.columns is not None:
            self._judge(self._assigned(assignment_of(columns, found.columns)))
        ended = found.status in ("optimal", "infeasible")
        return "the solver's tolerance" if ended else "the time limit"

    def _assigned(self, device: list[int]) -> PlacedPlan:
        """Return an assignment of classes as a plan, stages in an order that works if there is one."""
        order: list[int] = []
        waiting = {d: set[int]() for d in device}
        for v, row in enumerate(self.task.after):
            for w in row:
                waiting[device[w]] |= {device[v]} - {device[w]}
        while ready := [d for d in sorted(waiting) if not waiting[d] - set(order)]:
            order += ready
            for d in ready:
                del waiting[d]
        kind_of = [q for q, kind in enumerate(self.fleet.kinds) for _ in range(kind.count)]
        stages = tuple(
            tuple(m for v, nodes in enumerate(self.task.members) if device[v] == d for m in nodes)
            for d in order
        )
        return self._ordered(MakespanFound("yes", 0, stages, tuple(kind_of[d] for d in order)))

    def _ordered(self, found: MakespanFound) -> PlacedPlan:
        bounded = any(self.whole.working_set)
        rows = [ordered_stage(self.workload, nodes, bounded=bounded) for nodes in found.stages]
        return PlacedPlan(tuple(rows), found.devices)

    def _judge(self, plan: PlacedPlan) -> int:
        """Keep a plan if it is better; return by how many bytes its stages were underrated."""
        stages = list(zip(plan.devices, plan.stages, strict=True))
        costs = [stage_cost(self.workload, self.fleet, *stage) for stage in stages]
        if not problems_of(self.workload, self.fleet, plan) and self.objective.keeps_limits(costs):
            value = makespan_of(self.workload, plan, costs)
            if value < self.upper:
                self.best = value, plan
        if not any(self.whole.working_set):
            return 0
        least = {
            v: size
            for nodes, size in zip(self.whole.members, self.whole.working_set, strict=True)
            for v in nodes
        }
        return max(
            cost.peak_bytes - max(least[v] for v in nodes)
            for cost, nodes in zip(costs, plan.stages, strict=True)
        )

    def finish(self, why: str) -> PlacedSolution:
        """Return the solution, or say why there is none."""
        if self.best is None:
            raise no_plan(shown=self.lower >= self.nothing_above, interrupted=self.interrupted)
        value, plan = self.best
        costs = evaluate(self.workload, self.fleet, plan)
        return PlacedSolution(
            plan=plan,
            bottleneck=max(cost.total for cost in costs),
            bounds=(self.simple,),
            stopped_because=why_stopped(
                value - self.lower, self.effort, why, interrupted=self.interrupted
            ),
            seconds=time.perf_counter() - self.start,
            classes=self.whole.size,
            reduced=self.task.size,
            ideals=self.ideals,
            objective=self.objective,
            value=value,
            value_bound=self.lower,
        )
