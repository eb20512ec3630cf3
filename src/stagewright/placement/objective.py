# SPDX-License-Identifier: Apache-2.0
"""What a plan is to be best at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError
from ..units import seconds_from_ps
from .devices import Fleet
from .workload import PlacedPlan, PlacedStage

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """The period, the latency, the makespan, or the cost of the devices.

    Attributes
    ----------
    minimise
        ``period``: the longest stage.  ``latency``: the sum of all stages, what one request takes that passes
        through them one after another while nothing else runs.  ``makespan``: the same where stages that do not
        need each other run side by side (:mod:`.makespan`).  ``cost``: of the devices in use.
    period_limit, latency_limit
        Picoseconds that the other of the two must not exceed; ``cost`` needs a limit of the period.
    """

    minimise: Literal["period", "latency", "makespan", "cost"] = "period"
    period_limit: int | None = None
    latency_limit: int | None = None

    def __post_init__(self) -> None:
        if self.minimise not in ("period", "latency", "makespan", "cost"):
            raise InputError("objective", "period, latency, makespan or cost", repr(self.minimise))
        if self.minimise == "period" and self.period_limit is not None:
            known = "the objective latency, makespan or cost beside it"
            raise InputError("period limit", known, "period")
        if self.minimise != "period" and self.latency_limit is not None:
            raise InputError("latency limit", "the objective period beside it", self.minimise)
        if self.minimise == "cost" and self.period_limit is None:
            raise InputError(
                "objective cost",
                "a limit of the period, the rate to reach",
                "none",
                "Give --period-limit.",
            )

    @property
    def plain(self) -> bool:
        """Whether it is the period alone."""
        return self == Objective()

    def value(self, fleet: Fleet, plan: PlacedPlan, costs: Sequence[PlacedStage]) -> int:
        """Return picoseconds, or the cost of the devices in use; the makespan takes more than the costs."""
        if self.minimise == "cost":
            seats = [fleet.seat_at(device) for device in plan.devices]
            return sum(fleet.kinds[seat.kind].cost * seat.replicas for seat in seats)
        totals = [cost.total for cost in costs]
        return max(totals) if self.minimise == "period" else sum(totals)

    def keeps_limits(self, costs: Sequence[PlacedStage]) -> bool:
        """Whether stages of these costs are within the limits."""
        totals = [cost.total for cost in costs]
        return (self.period_limit is None or max(totals) <= self.period_limit) and (
            self.latency_limit is None or sum(totals) <= self.latency_limit
        )

    def to_json(self, value: int, lower: int) -> dict[str, Any]:
        """Return the `objective` object of a plan file; times in seconds, exact decimals."""
        exact = (lambda x: x) if self.minimise == "cost" else seconds_from_ps
        limits = {"period_limit": self.period_limit, "latency_limit": self.latency_limit}
        return {
            "minimise": self.minimise,
            "value": exact(value),
            "lower_bound": exact(lower),
            **{key: seconds_from_ps(ps) for key, ps in limits.items() if ps is not None},
        }
