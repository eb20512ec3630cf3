# SPDX-License-Identifier: Apache-2.0
"""The method for devices of several kinds: compile, reduce, search near orders, prove by ideals.

Thresholds rise from the simple bound until there is a plan below one of them.  The program over ideals returns the
best such plan, so the first one is an optimum and every "none" before it is a lower bound.  Where there are
too many ideals, only those near an order are listed, again and again near the best plan, wider each time.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np

from .. import _native
from ..bound.types import Bound
from ..effort import Effort
from ..errors import InfeasibleError, InputError
from ..machine import Machine
from ..problem import Flow
from ..solve import Settings, solve
from .bounds import ceiling, require_seats, simple_bound
from .devices import Fleet
from .merges import reduce_task
from .objective import Objective
from .ordering import drawn_order, topological
from .pricing import price_stages
from .program import Ask, Found, Listed, linked, near_order
from .relaxing import relaxations
from .shares import share_bound
from .solution import PlacedSolution, no_plan, why_stopped
from .task import Task, compile_task
from .workload import PlacedPlan, PlacedStage, Workload, problems_of

__all__ = ["PlacedSolution", "solve_placed"]

_SLACK: Final = 16
"""The first threshold is above the simple bound by a 16th of it, or of the gap; then 16 times as much."""

_SMALL: Final = 2**19
"""Pairs of ideals times states of the devices up to which all plans are looked at outright."""

_STALE: Final = 6
"""Rounds without a better plan after which a search with the same width ends."""

_HALVINGS: Final = 10
"""Of the margin between what the program counts of memory and what plans hold."""

_STATES: Final = 20_000
"""Sets of nodes that the search for the order of least peak of a stage may look at."""


def solve_placed(
    workload: Workload,
    fleet: Fleet,
    *,
    objective: Objective | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> PlacedSolution:
    """Return the best plan for `workload` on `fleet` that is found, with lower bounds.

    Parameters
    ----------
    objective
        What to minimise, within what limits; the period by default.
    time_limit
        Seconds; the first plan of all is not held to it.
    seed
        Of the orders that are drawn where there are too many ideals.

    Raises
    ------
    InputError
        If something is missing, such as the bandwidth of a kind.
    InfeasibleError
        If no plan fits, and that is proven.
    LimitError
        If no plan that fits was found in time, and none was shown not to exist.
    """
    objective = objective or Objective()
    if fleet.schedule is not None and (
        objective.minimise == "latency" or objective.latency_limit is not None
    ):
        raise InputError("objective", "period or cost, in training with a schedule", "latency")
    run = _Run(workload, fleet, objective, time.perf_counter(), time_limit)
    require_seats(run.whole, workload.graph.node_names)
    if objective.minimise == "cost":
        run.find_cheapest()
    elif objective.latency_limit is not None:
        run.find_period_within_latency()
    elif not run.settle():
        run.search(width=1, draws=3, generator=random.Random(seed))
        run.share()
        if run.prove():
            width = 2
            run.relax(seed)
            while run.open() and run.search(width, _STALE, random.Random(seed)):
                width *= 2
    return run.finish()


class _Run:
    """The state of one call."""

    def __init__(
        self,
        workload: Workload,
        fleet: Fleet,
        objective: Objective,
        start: float,
        limit: float,
    ) -> None:
        self.workload, self.fleet, self.objective, self.start = workload, fleet, objective, start
        latency = objective.minimise == "latency"
        self.ask = Ask(latency, objective.period_limit, objective.minimise == "cost")
        self.effort = Effort.within(limit)
        self.whole = compile_task(workload, fleet)
        self.task = reduce_task(self.whole)
        simple = simple_bound(self.whole)
        self.simple = simple
        self.bounds = [simple]
        if latency:
            self.bounds = [replace(simple, value=sum(self.whole.least_work()))]
        elif self.ask.cheapest:
            self.bounds = [replace(simple, value=0)]
        self.best: tuple[int, PlacedPlan] | None = None
        self.judged: tuple[PlacedPlan | None, list[PlacedStage]] = None, []
        self.nothing_above = ceiling(self.task) * (fleet.stages if latency else 1) + 1
        self.ideals: int | None = None
        self.interrupted = False

    @property
    def lower(self) -> int:
        """The best lower bound of the value."""
        return max(bound.value for bound in self.bounds)

    @property
    def upper(self) -> int:
        """The value of the best plan, or what no plan reaches."""
        return self.best[0] if self.best else self.nothing_above

    def open(self) -> bool:
        """Whether there is a gap, and time to close it."""
        return self.upper > self.lower and not self.interrupted and not self.effort.over()

    # --- search ---------------------------------------------------------------------------------

    def search(self, width: int, draws: int, generator: random.Random) -> bool:
        """Look near orders; False when the ideals near an order are too many, or there are no others."""
        stale = 0
        while stale < draws and (self.open() or self.best is None):
            order = self._order(generator)
            effort = self.effort if self.best else Effort.within(3600)
            listed = Listed(self.task, effort, near_order(order, width))
            if not listed.complete:
                return False
            stale = 0 if self._take(listed, self.upper, effort) else stale + 1
            if self.interrupted or (self.best is None and stale >= draws):
                break
        return width < self.task.size

    def _order(self, generator: random.Random) -> list[int]:
        """Return an order that is topological and keeps the stages of the best plan together."""
        return drawn_order(self.task, self._stage_of_best(), generator)

    def _stage_of_best(self) -> list[int]:
        if self.best is None:
            return [0] * self.task.size
        stages = self.best[1].stages[:: -1 if self.task.reverse else 1]
        stage = {v: i for i, nodes in enumerate(stages) for v in nodes}
        # A class that the best plan divides (by what thresholds united) goes to the later stage.
        home = [max(stage[v] for v in nodes) for nodes in self.task.members]
        for v, row in enumerate(self.task.after):
            for w in row:
                home[w] = max(home[w], home[v])
        return home

    def _take(self, listed: Listed, below: int, effort: Effort, first: Found | None = None) -> bool:
        """Keep the best plan below a threshold at its true cost; whether it is better than the best so far.

        `first` is that plan, where it was asked for already.

        What a stage truly holds may exceed the working set that the program counts.  Then the memory is
        made smaller by as much, a few times over.
        """
        margin, better, tight = 0, False, 0
        for _ in range(4):
            found, first = first or listed.best(below, effort, margin, self.ask), None
            self.interrupted = self.interrupted or found.interrupted
            if found.answer != "yes":
                break
            plan = self._ordered(found)
            true, excess = self._judge(plan, margin)
            if true is not None and true < self.upper:
                self.best, better = (true, plan), True
            if not excess or (true is not None and true <= found.value):
                break
            tight = margin if true is None else tight
            margin += excess
            below = min(below, self.upper)
        if better and tight < margin:
            self._narrow(listed, tight, margin, effort)
        return better

    def _narrow(self, listed: Listed, low: int, high: int, effort: Effort) -> None:
        """Look for better plans between a margin whose best plan did not fit and one that left none."""
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            if middle == low or not self.open():
                return
            found = listed.best(self.upper, effort, middle, self.ask)
            self.interrupted = self.interrupted or found.interrupted
            if found.answer == "unknown":
                return
            plan = self._ordered(found) if found.answer == "yes" else None
            true = None if plan is None else self._judge(plan, middle)[0]
            if plan is not None and true is None:
                low = middle
            else:
                high = middle
            if plan is not None and true is not None and true < self.upper:
                self.best = true, plan

    def _ordered(self, found: Found) -> PlacedPlan:
        """Return the plan with nodes in an order that works; of least peak where memory binds."""
        bounded = any(self.task.working_set) and not any(self.workload.backward)
        stages = []
        for nodes in found.stages:
            row = tuple(sorted(nodes, key=self.rank.__getitem__))
            if bounded:
                flow = Flow.of(self.workload.graph).native
                _, order, _ = _native.order_stage(flow, np.array(row, np.int32), max_states=_STATES)
                row = tuple(order.tolist()) or row
            stages.append(row)
        return PlacedPlan(tuple(stages), found.devices)

    @cached_property
    def rank(self) -> list[int]:
        """The place of each node in an order that works, forward nodes first."""
        order = self.workload.graph.topological_order.tolist()
        rank = [0] * len(order)
        for i, v in enumerate(order):
            rank[v] = i + len(order) * (bool(self.workload.backward) and self.workload.backward[v])
        return rank

    def _judge(self, plan: PlacedPlan, margin: int) -> tuple[int | None, int]:
        """Return the value of a plan, None if it does not fit, and how many bytes were underrated."""
        costs = price_stages(self.workload, self.fleet, plan)
        self.judged = plan, costs
        excess = 0
        if any(self.whole.working_set):
            rows = zip(self.whole.members, self.whole.working_set, strict=True)
            working_set = {v: size for nodes, size in rows for v in nodes}
            excess = max(
                cost.peak_bytes - max(cost.resting_bytes, *(working_set[v] for v in nodes))
                for cost, nodes in zip(costs, plan.stages, strict=True)
            )
        wrong = problems_of(self.workload, self.fleet, plan, costs)
        fits = not wrong and self.objective.keeps_limits(costs)
        value = self.objective.value(self.fleet, plan, costs) if fits else None
        return value, max(0, excess - margin)

    # --- proof ----------------------------------------------------------------------------------

    def settle(self) -> bool:
        """Ask for the best of all plans at once, where there are so few ideals that this takes no time."""
        start, states = time.perf_counter(), self.fleet.states
        listed = Listed(self.task, self.effort, most=math.isqrt(_SMALL // states))
        if not listed.complete:
            return False
        found = listed.best(self.upper, self.effort, ask=self.ask)
        self.interrupted = found.interrupted
        if found.answer == "unknown":
            return False
        self.ideals = listed.count
        value = found.value if found.answer == "yes" else self.upper
        seconds = time.perf_counter() - start
        self.bounds.append(Bound("exact", value, seconds, "exhaustive"))
        if found.answer == "yes":
            self._take(listed, self.upper, self.effort, found)
        return True

    def share(self) -> None:
        """Bound the period by the program that shares all work out in fractions."""
        if self.objective.plain and self.open():
            deadline = time.perf_counter() + self.effort.seconds_left() / 8
            self.bounds.append(share_bound(self.whole, deadline))

    def prove(self) -> bool:
        """Raise the threshold until the best plan is proven; False where that is done.

        First with memory left out, if classes merge then that do not with it: what bounds those plans bounds all.
        """
        light = self._without_memory()
        if light is not None:
            self._raise(light)
        return self._raise(self.task)

    def _without_memory(self) -> Task | None:
        """Return a smaller task that has all plans of this one, at no more cost; None where there is none."""
        task = self.whole
        if not any(task.working_set):
            return None
        if all(seat.replicas == 1 for seat in self.fleet.seats):
            task = replace(task, param_bytes=(), params_of=((),) * task.size)
        task = replace(task, kept_bytes=(), kept_of=(), fed_bytes=(), back_bytes=())
        light = reduce_task(replace(task, working_set=(0,) * task.size))
        return light if light.size < self.task.size else None

    def _raise(self, whole: Task) -> bool:
        """Raise the threshold until no plan of a task is below it; False where that is decided."""
        start = time.perf_counter()
        slack = max(1, min(self.lower, self.upper - self.lower) // _SLACK)
        task: Task | None = None
        # What it cannot decide in half of the time is left to searches near orders.
        effort = self.effort.until(start + self.effort.seconds_left() / 2)
        while self.open():
            below = min(self.lower + slack, self.upper)
            contracted = linked(whole, self._stage_below(below))
            if task is None or contracted.members != task.members:
                task, listed = contracted, Listed(contracted, effort)
            if not listed.complete:
                self.ideals = None
                return True
            self.ideals = listed.count
            found = listed.best(below, effort, ask=self.ask)
            self.interrupted = self.interrupted or found.interrupted
            if found.answer == "unknown":
                self.ideals = None
                return True
            value = found.value if found.answer == "yes" else below
            seconds = time.perf_counter() - start
            self.bounds = [bound for bound in self.bounds if bound.method != "exact"]
            self.bounds.append(Bound("exact", value, seconds, "exhaustive"))
            if found.answer == "yes":
                if whole is self.task:
                    self._take(listed, self.upper, self.effort)
                else:
                    self._keep(self._ordered(found))
                return False
            slack *= _SLACK
        return self.upper > self.lower

    def _keep(self, plan: PlacedPlan) -> None:
        """Keep a plan if it fits and is better than the best so far."""
        true, _ = self._judge(plan, 0)
        if true is not None and true < self.upper:
            self.best = true, plan

    def _stage_below(self, below: int) -> int:
        """Return what every stage of a plan of value < `below` is below."""
        limit = self.objective.period_limit
        return below if limit is None else min(below, limit + 1)

    def relax(self, seed: int) -> None:
        """Bound the period by equal devices, and slice the order of their plan for those that there are."""
        for equal in relaxations(self.workload, self.whole) if self.objective.plain else ():
            if not self.open():
                return
            settings = Settings(time_limit=self.effort.seconds_left() / 2, seed=seed)
            found = solve(equal.graph, Machine(self.fleet.stages), settings)
            value = -(-found.lower_bound // equal.times)
            self.bounds.append(Bound("relaxed", value, found.seconds, "claimed"))
            self.interrupted = found.stopped_because == "interrupted"
            stage = found.plan.assignment(equal.graph.num_nodes)
            home = [max(stage[equal.home[v]] for v in nodes) for nodes in self.task.members]
            order = sorted(range(self.task.size), key=home.__getitem__)
            listed = Listed(self.task, self.effort, near_order(topological(self.task, order), 1))
            if listed.complete:
                self._take(listed, self.upper, self.effort)

    # --- other objectives -----------------------------------------------------------------------

    def find_cheapest(self) -> None:
        """Find the cheapest devices that reach the period, over all ideals or near orders."""
        below = (self.objective.period_limit or 0) + 1
        listed = Listed(linked(self.task, below), self.effort)
        if not listed.complete:
            self.nothing_above = below
            self._cheapest_near_orders(below)
            return
        self.ideals = listed.count
        found = listed.best(below, self.effort, ask=self.ask)
        self.interrupted = found.interrupted
        if found.answer == "no":
            raise InfeasibleError(
                "no plan reaches the period that was asked for: the search over all plans shows that"
            )
        if found.answer == "yes":
            cost = self.objective.value(self.fleet, self._ordered(found), [])
            self.bounds.append(Bound("exact", cost, 0.0, "exhaustive"))
            self._take_cheapest(listed, below)

    def _cheapest_near_orders(self, below: int) -> None:
        generator, width = random.Random(0), 1
        while not self.effort.over() and not self.interrupted:
            order = self._order(generator)
            listed = Listed(self.task, self.effort, near_order(order, width))
            if not listed.complete:
                return
            self._take_cheapest(listed, below)
            width = min(2 * width, self.task.size)

    def _take_cheapest(self, listed: Listed, below: int) -> None:
        """Keep the cheapest plan below a period; like _take, whose thresholds are those of the period."""
        margin = 0
        for _ in range(4):
            found = listed.best(below, self.effort, margin, self.ask)
            self.interrupted = self.interrupted or found.interrupted
            if found.answer != "yes":
                return
            plan = self._ordered(found)
            true, excess = self._judge(plan, margin)
            if true is not None:
                if self.best is None or true < self.best[0]:
                    self.best = true, plan
                return
            if not excess:
                return
            margin += excess

    def find_period_within_latency(self) -> None:
        """Halve the range of the period; each time ask for the least latency within its middle."""
        limit = self.objective.latency_limit or 0
        listed = Listed(linked(self.task, limit + 1), self.effort)
        if not listed.complete:
            return
        self.ideals = listed.count
        start, high = time.perf_counter(), limit
        low = self.simple.value
        if low > high:
            raise InfeasibleError(
                f"no plan is within the latency that was asked for: its period alone is {low} ps at least"
            )
        while low <= high and not self.effort.over() and not self.interrupted:
            middle = high if self.best is None else (low + high) // 2
            ask = Ask(latency=True, stage_limit=middle)
            found = listed.best(limit + 1, self.effort, ask=ask)
            self.interrupted = found.interrupted
            if found.answer == "unknown":
                return
            if found.answer == "no":
                if self.best is None:
                    raise InfeasibleError(
                        "no plan is within the latency that was asked for: the search over all plans "
                        "shows that"
                    )
                low = middle + 1
            else:
                plan = self._ordered(found)
                true, _ = self._judge(plan, 0)
                if true is None:  # peaks exceed what the program counts
                    return
                if true < self.upper:
                    self.best = true, plan
                high = min(middle, true) - 1
            seconds = time.perf_counter() - start
            self.bounds[1:] = [Bound("exact", low, seconds, "exhaustive")]

    # --- the end --------------------------------------------------------------------------------

    def finish(self) -> PlacedSolution:
        """Return the solution, or say why there is none."""
        if self.best is None:
            raise no_plan(shown=self.lower >= self.nothing_above, interrupted=self.interrupted)
        value, plan = self.best
        rest = "there are too many ideals"
        if self.ideals is not None and len(self.bounds) > 1:
            rest = "the order within stages decides the rest of the gap (peak memory)"
        judged, costs = self.judged
        if judged is not plan:
            costs = price_stages(self.workload, self.fleet, plan)
        period = self.objective.plain
        return PlacedSolution(
            plan=plan,
            bottleneck=max(cost.total for cost in costs),
            bounds=tuple(self.bounds) if period else (self.simple,),
            stopped_because=why_stopped(
                self.upper - self.lower, self.effort, rest, interrupted=self.interrupted
            ),
            seconds=time.perf_counter() - self.start,
            classes=self.whole.size,
            reduced=self.task.size,
            ideals=self.ideals,
            objective=self.objective,
            value=value,
            value_bound=self.lower,
        )
