# SPDX-License-Identifier: Apache-2.0
"""Fitting the roofline's figures to measured times.

What is minimised is the sum of absolute logarithms of estimated over measured time: a factor of two
counts alike for short and long operators and in both directions, and an operator that is out of line
does not pull the others along.  Each class has few parameters (a share of the peak, a share
of the memory's rate, an overhead), so a grid that is refined around its best point finds them without
a starting point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Sample", "fit_caches", "fit_reach", "typical_error"]

_STEPS: Final = 17
_ROUNDS: Final = 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One measured operator: its class and element type, operations, bytes, seconds."""

    name: str
    dtype: str
    flops: int
    nbytes: int
    seconds: float


def fit_caches(samples: Sequence[Sample], sizes: Sequence[int]) -> list[tuple[int, float]]:
    """Return bytes per second for what fits each size, and last (size 0) for what fits none.

    A rate is the median over pairs of samples of one level, one of at least twice the other's bytes, of
    the bytes over the seconds between them (Theil and Sen's slope), so that overheads do not
    matter.  Levels without such pairs are left out.  Rates do not rise with the size.

    Parameters
    ----------
    samples
        Operators whose time is what they move.
    sizes
        Bytes of the caches, ascending.
    """
    found: list[tuple[int, float]] = []
    below = 0
    for size in (*sizes, 0):
        inside = [s for s in samples if s.nbytes > below and (not size or s.nbytes <= size)]
        below = size or below
        rates = [
            (b.nbytes - a.nbytes) / (b.seconds - a.seconds)
            for a in inside
            for b in inside
            if b.nbytes >= 2 * a.nbytes and b.seconds > a.seconds
        ]
        if rates:
            rate = float(np.median(rates))
            found.append((size, min(rate, found[-1][1]) if found else rate))
    return found


def fit_reach(compute: Floats, memory: Floats, measured: Floats) -> tuple[float, float, float]:
    """Return the share of the peak, the share of the memory's rate, and the overhead in seconds.

    Parameters
    ----------
    compute, memory
        float64[n], seconds that each operator would take at the peak, and at the memory's full rate.
    measured
        float64[n], seconds that it took.
    """
    least = float(measured.min())
    low = np.log(np.array([1e-3, 2e-2, max(least / 50, 1e-8)]))
    high = np.log(np.array([4.0, 1.0, max(least, 2e-8)]))
    best = (low + high) / 2
    if not compute.any():
        low[0] = high[0] = 0.0
    for _ in range(_ROUNDS):
        axes = [np.linspace(a, b, _STEPS if b > a else 1) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        share_c, share_m, overhead = np.exp(grid).T[:, :, None]
        estimate = overhead + np.maximum(compute / share_c, memory / share_m)
        errors = np.abs(np.log(estimate / measured)).sum(1)
        # Of nearly equal ones the highest shares: a figure that no sample speaks about stays plain.
        close = grid[errors <= errors.min() * 1.0001 + 1e-12]
        best = close[np.lexsort((close[:, 2], -close[:, 1], -close[:, 0]))[0]]
        reach = (high - low) / (_STEPS - 1)
        low, high = np.maximum(low, best - reach), np.minimum(high, best + reach)
    values = np.exp(best)
    return float(values[0]), float(values[1]), float(values[2])


def typical_error(estimated: Sequence[float], measured: Sequence[float]) -> float:
    """Return the median of |estimated / measured - 1|; 0 for no samples."""
    ratios = [abs(e / m - 1) for e, m in zip(estimated, measured, strict=True) if m > 0]
    return float(np.median(ratios)) if ratios else 0.0
