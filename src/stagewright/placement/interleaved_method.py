# SPDX-License-Identifier: Apache-2.0
"""The method for interleaved chunks: a program with the loads of all devices, for one threshold after another.

The program (`native/interleave.cpp`) goes through the ideals as that for one stage per device does, and keeps per ideal
and stage several labels: what each device takes and holds so far.  It leaves out labels that are nowhere less
than another one, and those from which what is left, at its least, is more than all devices together can still take.
Kept without limit they prove an optimum.  Kept in small numbers they find plans, and still prove that there is none
where every label is left out for such a reason: so below the threshold at which all chunks, cut for the least sum, fill
all devices.  Numbers grow until the gap is closed or time is over.

Where there are too many ideals, orders of the classes stand for them, and bounds are those of a formula.

As a step begins and ends, all devices wait for the longest chunk.  So the last part of the time goes into thresholds
for single chunks, at the least period if that is proven, and otherwise at one that is a little longer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from ..bound.types import Bound
from ..effort import Effort
from ..errors import InfeasibleError, InputError, LimitError
from .bounds import ceiling, require_seats, simple_bound
from .chunks import resting
from .devices import Fleet
from .interleaving import held_of, owners
from .lowering import native_task
from .method import solve_placed
from .objective import Objective
from .program import Listed, near_order
from .schedule import Schedule
from .sharing import loads_of
from .solution import PlacedSolution, no_plan, why_stopped
from .task import compile_task
from .workload import PlacedPlan, PlacedStage, Workload, costs_of, problems_of

__all__ = ["period_of", "solve_interleaved"]

_WIDTHS: Final = (0, 4, 32, 256, 2048, 2**40)
_FEW_LABELS: Final = 32
"""Labels that rarely prove a period, so that thresholds need not be narrowed down to a picosecond with them."""

_MOST_LABELS: Final = 2_000_000
_MOST_IDEALS: Final = 30_000
_FEW_IDEALS: Final = 200
"""Ideals among which plans are found at once; where there are more, orders of the classes come first."""

_EXACT_IDEALS: Final = 3_000
"""Ideals that are listed in full, and among which thresholds are narrowed down to a picosecond in the end."""

_GRAINS: Final = (256, 4096)
"""Parts of a period to which thresholds are narrowed down before that: without labels among more ideals, and else."""

_ATTEMPTS: Final = 8
_PERIOD_SHARE: Final = 0.75
"""Of the time, for the period; the rest is for shorter chunks, in `_STEPS` parts of a chunk."""

_STEPS: Final = 256
_SLACK: Final = 200
"""One part in so many that a period may be longer than the least known one, where that is not proven, for shorter
chunks."""

_NO_LIMIT: Final = 2**62


class _Answer(NamedTuple):
    """What the program said; `complete`: a plan is the best of all."""

    said: str
    plan: PlacedPlan | None
    complete: bool


def period_of(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> int:
    """Return the picoseconds of the busiest device, all its chunks together."""
    return _period(fleet, costs_of(workload, fleet, plan))


def _period(fleet: Fleet, costs: Sequence[PlacedStage]) -> int:
    return max(load.total for load in loads_of(fleet, owners(fleet, len(costs)), costs).values())


def solve_interleaved(
    workload: Workload,
    fleet: Fleet,
    *,
    objective: Objective | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> PlacedSolution:
    """Return the best plan of interleaved chunks that is found, with lower bounds of its period.

    Parameters
    ----------
    objective
        The period and no limits: that is the only one here.
    time_limit
        Seconds; the first plan of all may take twice as long, and 10 seconds in any case.
    seed
        Of the search for the order that is tried first where there are too many ideals.

    Raises
    ------
    InputError
        If another objective is asked for, or something is missing.
    InfeasibleError
        If no plan fits, and that is proven: also where there are fewer classes of nodes than chunks.
    LimitError
        If no plan that fits was found in time, and none was shown not to exist.
    """
    if objective is not None and not objective.plain:
        raise InputError(
            "interleaved chunks", "the period without limits as objective", objective.minimise
        )
    run = _Run(workload, fleet, time_limit, seed)
    names = workload.graph.node_names
    require_seats(run.task, names)
    if run.task.size < run.stages:
        raise InfeasibleError(
            f"{run.stages} chunks ({fleet.stages} devices with {run.schedule.chunks} each) need as many parts "
            f"that can be cut apart; '{names[0]}' and the others have {run.task.size}"
        )
    run.best_period()
    run.shorten_chunks()
    return run.finish()


class _Best(NamedTuple):
    """A plan with its period and its longest chunk, picoseconds."""

    period: int
    longest: int
    plan: PlacedPlan


class _Run:
    """The state of one call."""

    def __init__(self, workload: Workload, fleet: Fleet, limit: float, seed: int) -> None:
        self.workload, self.fleet, self.limit, self.seed = workload, fleet, limit, seed
        if fleet.schedule is None:
            raise ValueError("expected an interleaved schedule")
        self.schedule: Schedule = fleet.schedule
        self.start, self.effort = time.perf_counter(), Effort.within(limit)
        self.task = compile_task(workload, fleet)
        self.stages = fleet.stages * self.schedule.chunks
        self.bounds = [simple_bound(self.task)]
        self.best: _Best | None = None  # of least period
        self.even: _Best | None = None  # with shorter chunks
        self.listed: Listed | None = None  # the ideals among which the best plan was found
        self.nothing_above = ceiling(self.task) * self.schedule.chunks + 1
        self.ideals: int | None = None
        self.interrupted = False
        self.proven_at = 0
        self.owner = [(self.stages - 1 - t) % fleet.stages for t in range(self.stages)]
        rests = [
            resting(d, fleet.stages, self.schedule.chunks, self.schedule.microbatches)
            for d in range(fleet.stages)
        ]
        self.resting = [
            rests[d][(self.stages - 1 - t) // fleet.stages] for t, d in enumerate(self.owner)
        ]

    @property
    def lower(self) -> int:
        """The best lower bound."""
        return max(bound.value for bound in self.bounds)

    @property
    def upper(self) -> int:
        """The period of the best plan, or what no plan reaches."""
        return self.best.period if self.best else self.nothing_above

    def open(self) -> bool:
        """Whether there is a gap, and time to close it; the first plan may take longer."""
        over = self.effort.over() and (self.best is not None or self._late())
        return self.upper > self.lower and not self.interrupted and not over

    def _late(self) -> bool:
        return time.perf_counter() > self.start + self._for_a_plan()

    def _for_a_plan(self) -> float:
        return max(10.0, 2 * self.limit)

    def best_period(self) -> None:
        """Search for the least period, and prove bounds of it."""
        whole, limit = self.effort, _PERIOD_SHARE * self.limit
        self.effort = whole.until(self.start + limit)
        listed = Listed(self.task, whole.until(self.start + limit / 3))
        complete = listed.complete and listed.count <= _MOST_IDEALS
        order = self._first_plan()
        if not complete or listed.count > _FEW_IDEALS:
            self.search_orders(order, longest=limit / 3 if complete else limit)
        if complete:
            self.ideals, self.listed = listed.count, listed
            self.search(listed, proof=True)
        self.effort = whole

    def shorten_chunks(self) -> None:
        """Look for plans of about the same period whose longest chunk is shorter, with more and more labels."""
        if self.best is None or self.listed is None:
            return
        self.even = self.best
        most = self.upper if self.upper <= self.lower else self.upper + self.upper // _SLACK
        least = self.bounds[0].value // self.schedule.chunks
        for width in _WIDTHS[1:]:
            low, grain = least, self.even.longest // _STEPS
            while (
                low + grain < self.even.longest and not self.effort.over() and not self.interrupted
            ):
                middle = (low + self.even.longest + 1) // 2
                answer = self._ask(self.listed, most + 1, width, middle)
                if answer.said != "yes" or self.even.longest >= middle:
                    low = middle
                if answer.said == "no":
                    least = middle

    def search(self, listed: Listed, *, proof: bool) -> None:
        """Halve the range of the period again and again, each time with more labels.

        `proof`: the ideals are all there are, so that "none" is a lower bound.
        """
        start = time.perf_counter()
        least = self.lower
        for width in _WIDTHS[0 if proof else 1 :]:
            high = self.upper
            small = proof and listed.count <= _EXACT_IDEALS
            grain = 0 if small and width > _FEW_LABELS else least // _GRAINS[small or width > 0]
            while least + grain < high and self.open():
                middle = (least + high + 1) // 2
                answer = self._ask(listed, middle, width)
                if answer.said == "no":
                    least = middle
                elif answer.said == "yes" and self.upper < middle:
                    high = self.upper
                    least = high if answer.complete else least
                else:
                    high = middle - 1
                if proof and least > self.lower:
                    value, seconds = min(least, self.upper), time.perf_counter() - start
                    self.bounds[1:] = [Bound("exact", value, seconds, "exhaustive")]
            if not self.open() or least >= self.upper:
                return

    def _ask(
        self, listed: Listed, below: int, width: int, stage_below: int | None = None
    ) -> _Answer:
        """Look for a plan whose devices all take less than `below` picoseconds, and keep it if it is the best.

        No chunk takes `stage_below` or more, if that is given.

        What a device truly holds may exceed what the program counts; then its memory is made smaller by as
        much, a few times over, and "none" says nothing.
        """
        margin = 0
        for _ in range(_ATTEMPTS):
            answer = self._program(listed, below, stage_below or below, width, margin)
            if answer.plan is None:
                return answer if not margin else answer._replace(said="unknown")
            excess = self._judge(answer.plan)
            if not excess:
                return answer._replace(complete=answer.complete and not margin)
            margin = max(2 * margin, margin + excess)
        return _Answer("unknown", None, complete=False)

    def _program(
        self, listed: Listed, below: int, stage_below: int, width: int, margin: int
    ) -> _Answer:
        transitions = list(self.fleet.transitions())
        native = native_task(self.task, transitions, margin)
        kinds = [self.fleet.kinds[q] for q in self.fleet.kind_of]
        limits = [
            _NO_LIMIT if kind.memory_limit is None else max(-1, kind.memory_limit - margin)
            for kind in kinds
        ]
        effort = self.effort if self.best else Effort.within(self._for_a_plan())
        said, _, block, taken, complete, _, interrupted = native.interleave(
            listed.native,
            self.fleet.stages,
            np.array(self.owner, np.int32),
            np.array(self.resting, np.int32),
            # A device begins its first backward pass, that of its last chunk, while all it holds rests.
            (np.arange(self.stages) < self.fleet.stages).astype(np.int32),
            np.array(limits, np.int64),
            below,
            stage_below,
            width,
            _MOST_LABELS,
            **effort.native(),
        )
        self.interrupted = self.interrupted or interrupted
        if said != "yes":
            return _Answer(said, None, complete)
        stages: list[list[int]] = [[] for _ in taken.tolist()]
        for v, number in enumerate(block.tolist()):
            stages[number].extend(self.task.members[v])
        return _Answer(
            said, self._ordered(stages[::-1], taken.tolist()[::-1], transitions), complete
        )

    def _ordered(
        self,
        stages: list[list[int]],
        taken: list[int],
        transitions: list[tuple[int, int, int, int, int]],
    ) -> PlacedPlan:
        """Return the plan with nodes in an order that works, forward nodes first."""
        place = np.empty(self.workload.graph.num_nodes, np.int64)
        place[self.workload.graph.topological_order] = np.arange(len(place))
        backward = self.workload.backward
        rows = [
            tuple(sorted(nodes, key=lambda v: (backward[v], int(place[v])))) for nodes in stages
        ]
        return PlacedPlan(tuple(rows), tuple(transitions[t][3] for t in taken))

    def _judge(self, plan: PlacedPlan) -> int:
        """Keep a plan if it is better; return by how many bytes a device holds more than it may."""
        costs = costs_of(self.workload, self.fleet, plan)
        if not problems_of(self.workload, self.fleet, plan):
            period = _period(self.fleet, costs)
            found = _Best(period, max(cost.total for cost in costs), plan)
            if self.best is None or found[:2] < self.best[:2]:
                self.best = found
            if self.even is not None and found[1::-1] < self.even[1::-1]:
                self.even = found
            return 0
        kinds = [self.fleet.kinds[q] for q in self.fleet.kind_of]
        over = [
            held - kind.memory_limit
            for held, kind in zip(held_of(self.fleet, costs), kinds, strict=True)
            if kind.memory_limit is not None
        ]
        over += [
            cost.held_bytes - kinds[d].memory_limit  # type: ignore[operator]  # limited, by the line below
            for cost, d in zip(costs, owners(self.fleet, len(costs)), strict=True)
            if kinds[d].memory_limit is not None
        ]
        return max(1, *over, 0)

    def search_orders(self, order: list[int], longest: float) -> None:
        """Search along orders of the classes: the given one, then that of the best plan, wider each time."""
        whole, self.effort = self.effort, self.effort.until(time.perf_counter() + longest)
        self._search_orders(order)
        self.effort = whole

    def _search_orders(self, order: list[int]) -> None:
        width = 1
        while self.open() and width < self.task.size:
            listed = Listed(
                self.task,
                self.effort if self.best else Effort.within(3600),
                near_order(order, width),
            )
            if not listed.complete or listed.count > 4 * max(_MOST_IDEALS, self.task.size):
                return
            self.listed = listed
            self.search(listed, proof=False)
            if self.best is not None:
                order = self._order_of(self.best.plan)
            width *= 2

    def _first_plan(self) -> list[int]:
        """Plan with a device of its own for each chunk, keep that where it fits, and return the order of its classes.

        Its longest chunk is the shortest that there is, but for what devices do not hold together.
        """
        apart = replace(
            self.fleet,
            kinds=tuple(replace(k, count=k.count * self.schedule.chunks) for k in self.fleet.kinds),
            schedule=replace(self.schedule, name="1f1b", chunks=1),
        )
        try:
            found = solve_placed(
                self.workload, apart, time_limit=self.effort.seconds_left() / 4, seed=self.seed
            )
        except (InfeasibleError, LimitError, InputError):
            return list(range(self.task.size))
        self.interrupted = found.stopped_because == "interrupted"
        if len(found.plan.stages) == self.stages:
            self._judge(found.plan)
        return self._order_of(found.plan)

    def _order_of(self, plan: PlacedPlan) -> list[int]:
        """Return the classes by stage of a plan, from its end."""
        stage = {v: i for i, nodes in enumerate(plan.stages[::-1]) for v in nodes}
        home = [max(stage[v] for v in nodes) for nodes in self.task.members]
        for v, row in enumerate(self.task.after):
            for w in row:
                home[w] = max(home[w], home[v])
        return sorted(range(self.task.size), key=lambda v: (home[v], v))

    def finish(self) -> PlacedSolution:
        """Return the solution, or say why there is none."""
        if self.best is None:
            raise no_plan(shown=self.lower >= self.nothing_above, interrupted=self.interrupted)
        value, _, plan = self.even or self.best
        rest = "there are too many ways to fill the devices"
        if self.ideals is None:
            rest = "there are too many ideals"
        return PlacedSolution(
            plan=plan,
            bottleneck=value,
            bounds=tuple(self.bounds),
            stopped_because=why_stopped(
                value - self.lower, self.effort, rest, interrupted=self.interrupted
            ),
            seconds=time.perf_counter() - self.start,
            classes=self.task.size,
            reduced=self.task.size,
            ideals=self.ideals,
            objective=Objective(),
            value=value,
            value_bound=self.lower,
        )
