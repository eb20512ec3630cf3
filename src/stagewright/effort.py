# SPDX-License-Identifier: Apache-2.0
"""What a call may spend: time, work, and only as long as nobody cancels it.

Work is counted in units of roughly a nanosecond on one core, at fixed places of the algorithms.  It alone
makes a call end at the same place in every run; time and cancellation do not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._native import Cancel

__all__ = ["ENDLESS", "Effort"]

ENDLESS = 2**63 - 1


@dataclass(frozen=True)
class Effort:
    """What is left to spend.

    Attributes
    ----------
    deadline
        When time is up, on the clock of ``time.perf_counter``.
    work
        Units of work.
    cancel
        Ends the call when another thread sets it.  None: the call asks for Ctrl-C itself, which only the
        main thread can.
    """

    deadline: float
    work: int = ENDLESS
    cancel: Cancel | None = None

    @classmethod
    def within(cls, seconds: float, work: int = ENDLESS, cancel: Cancel | None = None) -> Effort:
        """Return an effort that starts now."""
        return cls(time.perf_counter() + seconds, work, cancel)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.perf_counter())

    def over(self) -> bool:
        """Whether to stop now: time is up, or the call was cancelled."""
        return self.seconds_left() <= 0 or (self.cancel is not None and self.cancel.is_set)

    def until(self, deadline: float) -> Effort:
        """Return an effort that ends at `deadline` if that comes before its own."""
        return replace(self, deadline=min(self.deadline, deadline))

    def share(self, fraction: float) -> Effort:
        """Return an effort with a part of the work and the same deadline."""
        return replace(self, work=int(self.work * fraction) if self.work < ENDLESS else ENDLESS)

    def native(self) -> dict[str, Any]:
        """Return the arguments of a native call."""
        return {"seconds": self.seconds_left(), "cancel": self.cancel, "work": self.work}
