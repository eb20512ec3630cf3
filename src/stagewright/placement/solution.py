# SPDX-License-Identifier: Apache-2.0
"""What planning for devices of several kinds returns, or raises."""

from __future__ import annotations

from dataclasses import dataclass

from ..bound.types import Bound
from ..effort import Effort
from ..errors import InfeasibleError, LimitError
from .objective import Objective
from .workload import PlacedPlan

__all__ = ["PlacedSolution", "no_plan", "why_stopped"]


@dataclass(frozen=True, eq=False)
class PlacedSolution:
    """A plan, its bottleneck in picoseconds, lower bounds, and why the search stopped.

    `classes`, `reduced` and `ideals` say how large the problem was: nodes that share a stage counted
    once, what was left after the reductions, and the ideals of the last proof (None without one).
    `value` is what the objective minimises and `value_bound` a lower bound of it: the bottleneck and the best
    of `bounds` where that is the period; `bounds` are those of the bottleneck in any case.
    """

    plan: PlacedPlan
    bottleneck: int
    bounds: tuple[Bound, ...]
    stopped_because: str
    seconds: float
    classes: int
    reduced: int
    ideals: int | None
    objective: Objective
    value: int
    value_bound: int

    @property
    def lower_bound(self) -> int:
        """The best lower bound in picoseconds."""
        return max(bound.value for bound in self.bounds)


def why_stopped(gap: int, effort: Effort, rest: str, *, interrupted: bool) -> str:
    """Return why a search ended with such a gap; `rest` is what else leaves one."""
    if gap == 0:
        return "the gap is closed"
    if interrupted:
        return "interrupted"
    return "the time limit" if effort.over() else rest


def no_plan(*, shown: bool, interrupted: bool) -> BaseException:
    """Return what to raise where no plan was found: that none exists is shown, or time was too short."""
    if shown:
        return InfeasibleError(
            "no plan keeps the limits (memory, period): the search over all plans shows that"
        )
    if interrupted:
        return KeyboardInterrupt()
    return LimitError(
        "no plan that keeps the limits was found, and none was shown not to exist; give more time "
        "(--time-limit), more devices or more memory"
    )
