# SPDX-License-Identifier: Apache-2.0
"""Repeating a measurement until its median is known well enough.

The interval is that of order statistics: it covers the median of the distribution in 95 of 100 cases
whatever that distribution is, which matters because run times have one long tail (David and
Nagaraja, Order Statistics, 2003, section 7.1).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import InputError

__all__ = ["Patience", "Steady", "is_steady", "measure_steady", "median_interval"]

_Z: Final = 1.96
_LEAST_RUNS: Final = 7
"""Fewer values give no interval of 95 % around a median."""


@dataclass(frozen=True)
class Patience:
    """When to stop repeating.

    Attributes
    ----------
    precision
        Stop once the interval reaches from the median at most this fraction to either side.
    seconds
        Stop after this long even so.
    warmup
        Unmeasured runs at first.
    least, most
        Fewest and most measured runs.
    """

    precision: float = 0.02
    seconds: float = 0.5
    warmup: int = 2
    least: int = _LEAST_RUNS
    most: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.precision < 1:
            raise InputError("precision", "a fraction between 0 and 1", repr(self.precision))
        if not 0 < self.seconds < math.inf:
            raise InputError("seconds", "a number above 0", repr(self.seconds))
        if not 1 <= self.least <= self.most:
            raise InputError("runs", "1 <= least <= most", f"{self.least}, {self.most}")


@dataclass(frozen=True)
class Steady:
    """A median in picoseconds, the interval that holds it with 95 %, and how it came about."""

    median: int
    low: int
    high: int
    runs: int
    warmup: int

    @property
    def spread(self) -> float:
        """Half the interval's width over the median."""
        return (self.high - self.low) / (2 * self.median) if self.median else 0.0


def median_interval(values: Sequence[int]) -> tuple[int, int]:
    """Return the 95 % interval of the median; all that was seen for fewer than seven values."""
    ordered = sorted(values)
    n = len(ordered)
    reach = _Z * math.sqrt(n) / 2
    low = max(0, math.floor(n / 2 - reach))
    high = min(n - 1, math.ceil(n / 2 + reach) - 1)
    return ordered[low], ordered[high]


def is_steady(values: Sequence[int], precision: float) -> bool:
    """Return True if the interval reaches at most the fraction `precision` from the median."""
    low, high = median_interval(values)
    return high - low <= 2 * precision * statistics.median(values)


def measure_steady(
    run: Callable[[], int], patience: Patience, *, clock: Callable[[], float] = time.perf_counter
) -> Steady:
    """Call `run`, which returns picoseconds, until its median is known as `patience` asks."""
    begun = clock()
    for _ in range(patience.warmup):
        run()
    values: list[int] = []
    while len(values) < patience.most:
        values.append(run())
        if len(values) < patience.least:
            continue
        if is_steady(values, patience.precision) or clock() - begun > patience.seconds:
            break
    low, high = median_interval(values)
    return Steady(round(statistics.median(values)), low, high, len(values), patience.warmup)
