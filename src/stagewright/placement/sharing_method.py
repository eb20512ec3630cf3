# SPDX-License-Identifier: Apache-2.0
"""The method for shared devices: the plan of one stage per device, a search over assignments, and a solver's bound."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ..bound.solvers import safe_bound, solve_models
from ..bound.types import Bound
from ..effort import Effort
from ..errors import InfeasibleError, InputError, LimitError, MissingDependencyError
from .bounds import ceiling, require_seats, simple_bound
from .devices import Fleet
from .lowering import native_task
from .method import PlacedSolution, solve_placed
from .objective import Objective
from .ordering import ordered_stage
from .packing import packing_bound
from .sharing import loads_of, problems_of_shared, stage_costs
from .sharing_model import assignment_of, model_columns, shared_model
from .units import Units, compile_units, stages_of
from .workload import PlacedPlan, Workload

__all__ = ["solve_shared"]

_ROUNDS: Final = 12
_PROPOSALS: Final = 2000
_MOST_PROPOSALS: Final = 500_000
"""Per unit and round of the search, and per round."""

_MOST_UNITS: Final = 24
_STEPS: Final = 2_000_000
"""Of the search over all assignments."""

_MOST_COLUMNS: Final = 60_000


def solve_shared(
    workload: Workload,
    fleet: Fleet,
    *,
    objective: Objective | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
    solver: str | None = "highs",
) -> PlacedSolution:
    """Return the best plan for shared devices that is found, with lower bounds of its period.

    Parameters
    ----------
    objective
        The period and no limits: that is the only one here.
    time_limit
        Seconds.
    seed
        Of the search.
    solver
        Looks for better plans and bounds in the time that is left, where it is installed; None for no solver.

    Raises
    ------
    InputError
        If another objective, or training, is asked for, or something is missing.
    InfeasibleError
        If some node fits no device.
    LimitError
        If no plan that fits was found.
    """
    if objective is not None and not objective.plain:
        raise InputError(
            "shared devices", "the period without limits as objective", objective.minimise
        )
    if any(workload.backward):
        raise InputError("shared devices", "inference", "training")
    run = _Run(workload, fleet, time_limit, seed)
    require_seats(run.units.whole, workload.graph.node_names)
    run.start_from_stages()
    run.pack()
    run.search()
    run.enumerate()
    return run.finish(run.ask_solver(solver))


class _Run:
    """The state of one call."""

    def __init__(self, workload: Workload, fleet: Fleet, limit: float, seed: int) -> None:
        self.workload, self.fleet, self.seed = workload, fleet, seed
        self.start, self.effort = time.perf_counter(), Effort.within(limit)
        self.units: Units = compile_units(workload, fleet)
        self.bounds = [simple_bound(self.units.whole)]
        self.best: tuple[int, PlacedPlan] | None = None
        self.interrupted = False

    @property
    def lower(self) -> int:
        """The best lower bound."""
        return max(bound.value for bound in self.bounds)

    def open(self) -> bool:
        """Whether there is a gap, and time to close it."""
        closed = self.best is not None and self.best[0] == self.lower
        return not closed and not self.interrupted and not self.effort.over()

    def start_from_stages(self) -> None:
        """Take the best plan of one stage per device, which is a plan for shared ones."""
        try:
            apart = replace(self.fleet, shared=False)
            seconds = self.effort.seconds_left() / 4
            found = solve_placed(self.workload, apart, time_limit=seconds, seed=self.seed)
        except (InfeasibleError, LimitError, InputError):
            return  # one stage per device may be what does not fit
        self.interrupted = found.stopped_because == "interrupted"
        first = [self.fleet.kind_of.index(q) for q in range(len(self.fleet.kinds))]
        used = [0] * len(first)
        devices = []
        for q in found.plan.devices:
            devices.append(first[q] + used[q])
            used[q] += 1
        self._judge(PlacedPlan(found.plan.stages, tuple(devices)))

    def search(self) -> None:
        """Search over assignments, and again with less memory while what is found does not fit."""
        task, margin = self.units.task, 0
        start = [] if self.best is None else self._devices_of_units(self.best[1])
        counts = [kind.count for kind in self.fleet.kinds]
        proposals = min(_PROPOSALS * task.size, _MOST_PROPOSALS)
        until = time.perf_counter() + self.effort.seconds_left() / 3
        for attempt in range(6):
            if attempt and not self.open():
                return
            native = native_task(task, [(0, 1, q, q, 0) for q in range(len(counts))], margin)
            _, _, device, self.interrupted = native.share(
                np.array(counts, np.int32),
                np.array(start, np.int32),
                self.seed + attempt,
                _ROUNDS,
                proposals,
                self.lower,
                **self.effort.until(until).native(),
            )
            excess = self._judge(self._plan(device.tolist()))
            if not excess:
                return
            margin += excess

    def pack(self) -> None:
        """Count how many of the larger units fit beside each other."""
        upper = self.best[0] if self.best else ceiling(self.units.whole) + 1
        if self.lower < upper:
            deadline = time.perf_counter() + self.effort.seconds_left() / 4
            whole = self.units.whole
            self.bounds.append(packing_bound(whole, self.lower, upper, deadline=deadline))

    def enumerate(self) -> None:
        """Look at all assignments, where they are few enough."""
        if not self.open() or self.best is None or self.units.task.size > _MOST_UNITS:
            return
        task, start = self.units.task, time.perf_counter()
        counts = np.array([kind.count for kind in self.fleet.kinds], np.int32)
        native = native_task(task, [(0, 1, q, q, 0) for q in range(len(counts))], 0)
        upper = self.best[0]
        complete, value, device, _, self.interrupted = native.best_share(
            counts, upper, _STEPS, **self.effort.native()
        )
        if complete:
            seconds = time.perf_counter() - start
            self.bounds.append(Bound("exact", value, seconds, "exhaustive"))
        if len(device):
            self._judge(self._plan(device.tolist()))

    def ask_solver(self, solver: str | None) -> str:
        """Let a solver look for better plans and bounds; return why it did not close the gap."""
        if not self.open() or self.best is None:
            return "the time limit"
        if solver is None:
            return "without a solver only counting proves bounds"
        if model_columns(self.units.task) > _MOST_COLUMNS:
            return "the program is too large for a solver"
        start = time.perf_counter()
        model, columns = shared_model(self.units.task, self.lower, self.best[0])
        try:
            seconds = self.effort.seconds_left()
            (found,) = solve_models([model], solver, seconds, columns=True)
        except MissingDependencyError as missing:
            return f"without a solver only counting proves bounds ({missing})"
        except LimitError as failed:
            return str(failed)
        except KeyboardInterrupt:
            self.interrupted = True
            return "interrupted"
        if found.dual is not None:
            value = min(safe_bound(model, found.dual), self.best[0])
            seconds = time.perf_counter() - start
            self.bounds.append(Bound("mip", value, seconds, "claimed", solver=found.solver))
        if found.columns is not None:
            self._judge(self._plan(assignment_of(columns, found.columns)))
        ended = found.status in ("optimal", "infeasible")
        return "the solver's tolerance" if ended else "the time limit"

    def _devices_of_units(self, plan: PlacedPlan) -> list[int]:
        """Return a device for every unit; one that the plan divides is where its last node is."""
        at = {
            v: device
            for device, nodes in zip(plan.devices, plan.stages, strict=True)
            for v in nodes
        }
        task, kind_of = self.units.task, self.fleet.kind_of
        devices = []
        for u, nodes in enumerate(task.members):
            able = [at[v] for v in reversed(nodes) if task.work[kind_of[at[v]]][u] >= 0] or [
                d for d, q in enumerate(kind_of) if task.work[q][u] >= 0
            ]
            devices.append(able[0])
        return devices

    def _plan(self, device: Sequence[int]) -> PlacedPlan:
        """Return an assignment of units as stages, in orders that work; of least peak where memory binds."""
        at = {v: d for nodes, d in zip(self.units.task.members, device, strict=True) for v in nodes}
        atoms = self.units.atoms
        stages, devices = stages_of(atoms, [at[nodes[0]] for nodes in atoms.members])
        bounded = any(atoms.working_set)
        ordered = [ordered_stage(self.workload, nodes, bounded=bounded) for nodes in stages]
        return PlacedPlan(tuple(ordered), tuple(devices))

    def _judge(self, plan: PlacedPlan) -> int:
        """Keep a plan if it is better; return by how many bytes the search underrated a device it overfills."""
        costs = stage_costs(self.workload, self.fleet, plan)
        loads = loads_of(self.fleet, plan.devices, costs)
        if not problems_of_shared(self.workload, self.fleet, plan):
            value = max(load.total for load in loads.values())
            if self.best is None or value < self.best[0]:
                self.best = value, plan
            return 0
        over = [
            load.held_bytes - limit
            for d, load in loads.items()
            if (limit := self.fleet.kinds[self.fleet.kind_of[d]].memory_limit) is not None
        ]
        return max(0, *over, 0)

    def finish(self, why: str) -> PlacedSolution:
        """Return the solution, or say why there is none."""
        if self.best is None:
            if self.interrupted:
                raise KeyboardInterrupt
            raise LimitError(
                "no plan that keeps the limits of memory was found; give more devices, more memory or more "
                "time (--time-limit)"
            )
        value, plan = self.best
        if value == self.lower:
            why = "the gap is closed"
        elif self.interrupted:
            why = "interrupted"
        return PlacedSolution(
            plan=plan,
            bottleneck=value,
            bounds=tuple(self.bounds),
            stopped_because=why,
            seconds=time.perf_counter() - self.start,
            classes=self.units.whole.size,
            reduced=self.units.task.size,
            ideals=None,
            objective=Objective(),
            value=value,
            value_bound=self.lower,
        )
