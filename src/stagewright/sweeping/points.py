# SPDX-License-Identifier: Apache-2.0
"""The points of a sweep: what each number of stages reaches, which are worth having, which suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..machine import Machine
from ..plans import Plan
from ..standing import Solution

__all__ = ["Answer", "Point", "devices_for", "pareto"]


@dataclass(frozen=True, eq=False)
class Point:
    """One machine, and the best plan found for it.

    Attributes
    ----------
    machine
        The machine; its `stages` are devices that may be used.
    solution
        The plan and its proof; None where there is no plan.
    why
        Why there is none; empty where there is one.
    impossible
        It is proven that there is none.
    floor
        No plan on any number of such devices has a period below this many picoseconds.
    """

    machine: Machine
    solution: Solution | None
    why: str = ""
    impossible: bool = False
    floor: int = 0

    @property
    def plan(self) -> Plan | None:
        """The stages; None where there is no plan."""
        return self.solution.plan if self.solution else None

    @property
    def devices(self) -> int:
        """Devices that the plan uses, perhaps fewer than there are; 0 where there is no plan."""
        return len(self.solution.plan.stages) if self.solution else 0

    @property
    def period(self) -> int | None:
        """Picoseconds per inference at steady state; None where there is no plan."""
        return self.solution.bottleneck if self.solution else None

    @property
    def lower(self) -> int:
        """No plan has a period below this many picoseconds."""
        return self.solution.lower_bound if self.solution else 0

    @property
    def latency(self) -> int | None:
        """Picoseconds of one inference through a full pipeline: every stage waits for the slowest."""
        return None if self.period is None else self.period * self.devices

    @property
    def optimal(self) -> bool:
        """Whether the plan is proven to have the least period."""
        return self.period is not None and self.period == self.lower

    def reaches(self, period: int) -> bool:
        """Whether the plan takes at most `period` picoseconds."""
        return self.period is not None and self.period <= period

    def excludes(self, period: int) -> bool:
        """Whether it is proven that no plan for this machine takes at most `period` picoseconds."""
        return self.impossible or self.lower > period


def pareto(points: Sequence[Point]) -> list[bool]:
    """Return which points are worth having among those of machines that differ in their stages only.

    A point is if no other uses at most as many devices with at most its period and its latency and is
    better in one of the three; of equal ones the first counts.
    """
    keys = [
        (p.devices, p.period, p.latency) if p.period is not None and p.latency is not None else None
        for p in points
    ]
    machines = [replace(p.machine, stages=1) for p in points]

    def beaten(i: int) -> bool:
        own = keys[i]
        return own is None or any(
            other is not None
            and machines[j] == machines[i]
            and all(a <= b for a, b in zip(other, own, strict=True))
            and (other != own or j < i)
            for j, other in enumerate(keys)
            if j != i
        )

    return [not beaten(i) for i in range(len(points))]


@dataclass(frozen=True)
class Answer:
    """How many devices a period takes.

    Attributes
    ----------
    period
        What was asked for, picoseconds.
    devices
        The fewest devices of a plan that was found with at most this period; None where none was.
    at_least
        No plan on fewer devices has it, as far as is proven.
    never
        No number of devices has it: some part of the graph alone takes longer.
    """

    period: int
    devices: int | None
    at_least: int
    never: bool = False

    @property
    def proven(self) -> bool:
        """Whether no plan on fewer devices can do."""
        return self.devices is not None and self.devices == self.at_least


def devices_for(points: Sequence[Point], period: int) -> Answer:
    """Return how many devices a period takes, from points of machines that differ in their stages only.

    Parameters
    ----------
    period
        Picoseconds per inference.
    """
    enough = [p.devices for p in points if p.reaches(period)]
    excluded = [p.machine.stages for p in points if p.excludes(period)]
    return Answer(
        period,
        min(enough, default=None),
        max(excluded, default=0) + 1,
        never=any(p.floor > period for p in points),
    )
