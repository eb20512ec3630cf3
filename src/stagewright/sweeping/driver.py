# SPDX-License-Identifier: Apache-2.0
"""Many machines for one graph, planned together.

Machines that differ in their number of stages only form a family and share all that does not depend on it: the
compiled and reduced graph, the list of its ideals (if they are few), the anchor bound.  Beyond that, with OPT(k) the
least bottleneck of k stages:

- a plan of at most k stages is one for k + 1, so OPT(k + 1) <= OPT(k): plans go up, lower bounds go down;
- an order of nodes that is good for one k is good for others: the orders of plans are sliced anew, optimally;
- on a machine that is nowhere worse no stage costs more, so its lower bounds hold for the other one.

Each family starts at its largest number of stages.  Where its plan leaves devices idle, all k down to those that it uses
are done.  Where the ideals are few and memory does not bind, exact/optima.py finds all optima at once.  Whatever is open after the quick proofs shares the time that is left, in rounds of equal work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..cores import usable_cores
from ..errors import InfeasibleError, LimitError
from ..exact.fitting import why_nothing_fits
from ..exact.optima import Optimum, optima
from ..exact.program import ExactLimits, list_ideals
from ..graph import CostGraph
from ..machine import Machine
from ..portfolio import Shared
from ..rounds import Rounds
from ..search.orders import OrderSearch, nearest
from ..settings import Settings
from ..solve import Prepared
from ..standing import Progress, Solution, Standing, infeasible
from .points import Point

__all__ = ["PointProgress", "SweepRun", "sweep_machines"]

_FEW: Final = ExactLimits(max_ideals=20_000)
"""Ideals up to which to list them once is better than to contract and list for each number of stages."""
_LISTING: Final = 10**9
"""Work for that."""
_FIRST_ROUNDS: Final = 2
"""The first look and the quick proofs."""
_LOOK: Final = OrderSearch(restarts=0, local_moves=3)
"""The first look of points that start from the order of another one."""


@dataclass(frozen=True)
class PointProgress:
    """A bound of one point changed: its place among the machines, and what is known of it now."""

    place: int
    machine: Machine
    now: Progress


@dataclass(frozen=True, eq=False)
class SweepRun:
    """All points in the order of the machines; those that an interrupted run did not come to are left out."""

    points: tuple[Point, ...]
    seconds: float
    interrupted: bool


@dataclass(eq=False)
class _Member:
    """One machine of a family, and where its search stands."""

    place: int
    machine: Machine
    standing: Standing | None = None
    refusal: str = ""

    @property
    def is_open(self) -> bool:
        return self.standing is not None and self.standing.is_open()

    def decides(self, period: int) -> bool | None:
        """Whether a period can be had, None where that is not known."""
        if self.standing is None:
            return False if self.refusal else None
        known = self.standing.known
        if known.best.bottleneck <= min(period, self.standing.pricing.problem.refusal - 1):
            return True
        return False if known.lower > period else None


@dataclass(eq=False)
class _Family:
    """Machines that differ in their stages only, the largest number of stages first."""

    members: list[_Member]
    shared: Shared = field(default_factory=Shared)
    prepared: Prepared | None = None
    optima: dict[int, Optimum] = field(default_factory=dict)

    def prepare(self, graph: CostGraph, settings: Settings, rounds: Rounds) -> Prepared:
        """Compile and reduce once, and list the ideals if they are few."""
        if self.prepared is None:
            largest = self.members[0].machine
            prepared = Prepared.make(graph, largest, settings.time_limit, rounds)
            prepared.share()
            listing = rounds.alone(
                lambda effort: list_ideals(prepared.reduced, _FEW, replace(effort, work=_LISTING))
            )
            self.shared.listing = listing if listing.ideals.complete else None
            self.prepared = prepared
            self._close(rounds)
        return self.prepared

    def _close(self, rounds: Rounds) -> None:
        """Find the optimum of every member at once where the ideals are listed and memory does not bind."""
        listing = self.shared.listing
        if listing is None or listing.problem.memory_binds:
            return
        counts = [member.machine.stages for member in self.members]
        found = rounds.alone(lambda effort: list(optima(listing, counts, effort)))
        self.optima = {optimum.stages: optimum for optimum in found}

    def floor(self) -> int:
        """Return a lower bound for any number of stages: the dearest node, or the anchor bound."""
        standings = [member.standing for member in self.members if member.standing is not None]
        if not standings:
            return 0
        anchors = (b.value for s in standings for b in s.bounds if b.method == "anchor")
        return max(*standings[0].portfolio.problem.least_costs(), *anchors, 0)


def sweep_machines(
    graph: CostGraph,
    machines: Sequence[Machine],
    settings: Settings | None = None,
    *,
    target: int | None = None,
    progress: Callable[[PointProgress], None] | None = None,
) -> SweepRun:
    """Return the best plans that can be found for all `machines`, with lower bounds.

    Parameters
    ----------
    settings
        As for one machine; the time limit is for all of them together.
    target
        A period in picoseconds.  The time that is left after the quick proofs then goes to what decides
        whether it can be had, and the sweep ends when that is decided.
    progress
        Called whenever a bound of some point changes.

    Raises
    ------
    InputError
        If some tensor is given in bytes and a machine has no bandwidth.
    """
    settings = settings or Settings()
    start = time.perf_counter()
    with Rounds(settings.threads or usable_cores(), start + settings.time_limit) as rounds:
        sweep = _Sweep(graph, machines, settings, rounds, target, progress)
        sweep.first_rounds()
        sweep.further_rounds()
        points = sweep.finish()
        return SweepRun(points, time.perf_counter() - start, rounds.interrupted)


class _Sweep:
    """The state of one call."""

    def __init__(
        self,
        graph: CostGraph,
        machines: Sequence[Machine],
        settings: Settings,
        rounds: Rounds,
        target: int | None,
        progress: Callable[[PointProgress], None] | None,
    ) -> None:
        self.graph, self.rounds = graph, rounds
        self.target, self.progress = target, progress
        self.whole = settings
        # What is tried at one point depends on how much time there is for it.
        self.each = replace(settings, time_limit=settings.time_limit / max(1, len(machines)))
        families: dict[Machine, list[_Member]] = {}
        for place, machine in enumerate(machines):
            families.setdefault(replace(machine, stages=1), []).append(_Member(place, machine))
        # Machines that are nowhere worse than others come first: their bounds help those.
        order = sorted(families, key=lambda m: (-(m.bandwidth or 0), m.latency, -_room(m)))
        self.families = [
            _Family(sorted(families[key], key=lambda m: -m.machine.stages)) for key in order
        ]

    def first_rounds(self) -> None:
        """Open every point and let it have a first look and the quick proofs."""
        for number, family in enumerate(self.families):
            for i, member in enumerate(family.members):
                if self.rounds.interrupted:
                    return
                self._open(family, i, self.families[:number])
                while (
                    (standing := member.standing)
                    and standing.is_open()
                    and standing.known.number < _FIRST_ROUNDS
                    and not self.rounds.over()
                ):
                    standing.step(self.rounds)
                self._note_anchor(family, member)

    def further_rounds(self) -> None:
        """Let what is open share the rest of the time, round by round."""
        waiting = list(self._worth_a_round())
        each = (self.rounds.deadline - time.perf_counter()) / max(1, len(waiting))
        for family, i in waiting:
            standing = family.members[i].standing
            if standing is not None and self.whole.max_rounds is None:
                standing.allow(each)
        while not self.rounds.over():
            waiting = list(self._worth_a_round())
            if not waiting:
                return
            for family, i in waiting:
                self._pull(family, i)
                standing = family.members[i].standing
                if standing and standing.is_open() and not self.rounds.over():
                    standing.step(self.rounds)

    def _worth_a_round(self) -> Iterator[tuple[_Family, int]]:
        for family in self.families:
            # From here on a period can be had for sure.
            enough = (
                i
                for i, member in enumerate(family.members)
                if self.target is not None and member.decides(self.target)
            )
            last = max(enough, default=-1)
            for i, member in enumerate(family.members):
                decided = self.target is not None and (
                    i <= last or member.decides(self.target) is not None
                )
                if member.is_open and not decided:
                    yield family, i

    def finish(self) -> tuple[Point, ...]:
        """Let everybody know what all know, and return the points by place."""
        for family in self.families:
            for step in (-1, 1):  # plans go up, bounds and orders down
                for i in range(len(family.members))[::step]:
                    self._pull(family, i)
        found = {
            member.place: point
            for family in self.families
            for floor in [family.floor()]
            for member in family.members
            if (point := self._point(member, floor)) is not None
        }
        self._spare_devices(found)
        return tuple(found[place] for place in sorted(found))

    def _spare_devices(self, found: dict[int, Point]) -> None:
        """Let points with the same period as one of fewer stages have its plan if that uses fewer devices."""
        for family in self.families:
            fewer: Solution | None = None
            for member in reversed(family.members):
                point = found.get(member.place)
                own = point.solution if point else None
                if point is None or own is None:
                    continue
                if (
                    fewer is not None
                    and fewer.bottleneck == own.bottleneck
                    and len(fewer.plan.stages) < len(own.plan.stages)
                ):
                    own = replace(own, plan=fewer.plan)
                    found[member.place] = replace(point, solution=own)
                fewer = own

    def _point(self, member: _Member, floor: int) -> Point | None:
        if member.standing is None:
            return Point(member.machine, None, member.refusal, True) if member.refusal else None
        asked = self.target is not None and not self.rounds.over()
        try:
            solution = member.standing.finish(
                interrupted=self.rounds.interrupted, ended="the target is decided" if asked else ""
            )
        except InfeasibleError as error:
            return Point(member.machine, None, str(error), True)
        except LimitError as error:
            return Point(member.machine, None, str(error))
        except KeyboardInterrupt:
            return None
        return Point(member.machine, solution, floor=floor)

    # --- what points know from one another --------------------------------------------------------

    def _open(self, family: _Family, i: int, better: Sequence[_Family]) -> None:
        """Start the search of one point from what others have found."""
        member = family.members[i]
        own = family.prepare(self.graph, self.whole, self.rounds).for_stages(member.machine.stages)
        if reason := why_nothing_fits(own.problem, self.graph):
            member.refusal = str(infeasible(member.machine, reason))
            return
        settings = replace(self.each, first_look=_LOOK) if i else self.each
        member.standing = Standing(
            own.problem, own.pricing(), settings, family.shared, self._report(member)
        )
        if (optimum := family.optima.get(member.machine.stages)) is not None:
            member.standing.take_optimum(optimum)
            if i == 0:
                self._bound_any_number(member.standing)
        self._pull(family, i)
        if i and family.shared.listing is not None:
            member.standing.skip_first_look()
        for other in better:
            self._pull_from_better(member, other)

    def _bound_any_number(self, standing: Standing) -> None:
        """Add what no number of stages can do better than, which a point that is solved would not ask for."""
        work = int(self.whole.anchor_work * 10**9)
        outcome = self.rounds.alone(
            lambda effort: standing.portfolio.anchor(standing.known, replace(effort, work=work))
        )
        for bound in outcome.bounds:
            standing.add(bound)

    def _report(self, member: _Member) -> Callable[[Progress], None] | None:
        report = self.progress
        if report is None:
            return None
        return lambda now: report(PointProgress(member.place, member.machine, now))

    def _pull(self, family: _Family, i: int) -> None:
        """Take over plans and bounds of the neighbours in the family."""
        standing = family.members[i].standing
        if standing is None:
            return
        for j in (i - 1, i + 1):
            other = family.members[j].standing if 0 <= j < len(family.members) else None
            if other is None:
                continue
            standing.take_plan(other)
            if j < i:
                standing.take_bounds(other)

    def _pull_from_better(self, member: _Member, family: _Family) -> None:
        """Take over the bounds of a machine that is nowhere worse, and start from its plan."""
        enough = [m for m in family.members if m.machine.stages >= member.machine.stages]
        same = enough[-1] if enough else None
        if member.standing is None or same is None or same.standing is None:
            return
        if same.machine.is_nowhere_worse_than(member.machine):
            member.standing.take_bounds(same.standing)
        if same.machine.stages == member.machine.stages and member.is_open:
            pricing = same.standing.pricing
            block = same.standing.known.best.block.tolist()
            stage_of = pricing.problem.expand(block, self.graph.num_nodes)
            member.standing.take("start", nearest(member.standing.pricing.problem, stage_of))

    def _note_anchor(self, family: _Family, member: _Member) -> None:
        """Remember that the anchor bound is known, unless its search ended early because it sufficed."""
        standing = member.standing
        if standing is None or standing.known.number < _FIRST_ROUNDS:
            return
        anchor = [bound.value for bound in standing.bounds if bound.method == "anchor"]
        if anchor and max(anchor) < standing.known.best.bottleneck:
            family.shared.anchored = True


def _room(machine: Machine) -> int:
    return 2**63 if machine.least_memory is None else machine.least_memory
