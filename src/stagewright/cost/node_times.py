# SPDX-License-Identifier: Apache-2.0
"""From runs with a clock at every kernel to node times that add up to a run without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..errors import InputError
from ..units import TIME_UNITS
from .profile_file import Time

__all__ = [
    "Correction",
    "Kernel",
    "Shares",
    "TracedRun",
    "attributed_share",
    "check_count",
    "node_times",
    "summary",
    "typical_times",
    "whole_run",
]

Kernel = tuple[str, str, int]
"""Name and operator of a node as it runs, and how many alike came before it: onnxruntime leaves
nodes that it makes out of function bodies without a name."""

Shares = Mapping[int, float]
"""Indices of the nodes that a kernel computes, with fractions that sum to one."""

_MAX_RUNS: Final = 100_000
_MAX_TRACE_OVERHEAD: Final = 20 * TIME_UNITS["us"]
_LEAST_KERNEL: Final = TIME_UNITS["us"] // 10
_CPU_CLOCK_IS_FINE: Final = time.get_clock_info("process_time").resolution <= 1e-6


@dataclass(frozen=True)
class TracedRun:
    """One run with a clock at every kernel.

    Attributes
    ----------
    total
        Picoseconds that the run took.
    kernels
        Picoseconds by kernel; onnxruntime reports whole microseconds.
    """

    total: int
    kernels: dict[Kernel, int]


def check_count(item: str, value: int, least: int) -> None:
    """Check a number of runs.

    Raises
    ------
    InputError
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_RUNS:
        raise InputError(item, f"a whole number from {least} to {_MAX_RUNS}", repr(value))


def whole_run(wall: Time, cpu: Time, threads: int, provider: str) -> int:
    """Return the time of an untraced run: by the processor's clock where one thread runs on it."""
    by_processor = threads == 1 and provider == "cpu" and _CPU_CLOCK_IS_FINE
    return min(cpu.median, wall.median) if by_processor else wall.median


@dataclass(frozen=True)
class Correction:
    """Traced to untraced time of a kernel: subtract `overhead`, then multiply by `scale`.

    Tracing adds nearly the same to every kernel, however short (negative: the runtime's own time
    between kernels exceeds it).  What then still differs from the untraced run came from outside
    and hit all kernels alike.
    """

    overhead: int
    scale: float = 1.0

    @classmethod
    def of(
        cls, typical: Mapping[Kernel, int], whole: int, shares: Mapping[Kernel, Shares]
    ) -> Correction:
        """Return what makes typical times add up to `whole`, the time of an untraced run."""
        overhead = round((sum(typical.values()) - whole) / len(typical))
        bounded = cls(max(-_MAX_TRACE_OVERHEAD, min(overhead, _MAX_TRACE_OVERHEAD)))
        total = sum(bounded.apply(ps) for kernel, ps in typical.items() if shares.get(kernel))
        return replace(bounded, scale=whole / total if total else 1.0)

    def apply(self, ps: int) -> float:
        """Return the untraced time, picoseconds."""
        return max(ps - self.overhead, _LEAST_KERNEL) * self.scale


def typical_times(runs: Sequence[TracedRun], *, busy: bool) -> dict[Kernel, int]:
    """Return the time of each kernel: the median over the quicker half of the runs.

    On a `busy` machine, whose scheduler may strike the same kernel in most runs, the 10th
    percentile over all runs; the sum is scaled afterwards.
    """
    if busy:
        return {k: summary([run.kernels[k] for run in runs]).p10 for k in runs[0].kernels}
    quick = sorted(runs, key=lambda run: run.total)[: (len(runs) + 1) // 2]
    return {k: summary([run.kernels[k] for run in quick]).median for k in runs[0].kernels}


def attributed_share(run: TracedRun, shares: Mapping[Kernel, Shares]) -> float:
    """Return the fraction of a run that was spent in kernels whose nodes are known."""
    found = sum(ps for name, ps in run.kernels.items() if shares.get(name))
    return found / run.total if run.total else 1.0


def node_times(
    names: Sequence[str],
    runs: Sequence[TracedRun],
    typical: Mapping[Kernel, int],
    shares: Mapping[Kernel, Shares],
    correction: Correction,
) -> dict[str, Time]:
    """Return the time of each node, 0 for those that no kernel belongs to.

    Parameters
    ----------
    names
        Names of the nodes; `shares` has their indices.
    typical
        What :func:`typical_times` made of the runs.
    """
    sums = [[0.0, 0.0, 0.0] for _ in names]
    for kernel, median in typical.items():
        spread = summary([run.kernels[kernel] for run in runs])
        row = (median, min(spread.p10, median), max(spread.p90, median))
        for node, fraction in shares.get(kernel, {}).items():
            for i, ps in enumerate(row):
                sums[node][i] += fraction * correction.apply(ps)
    # Rounded up: a cost is never understated.
    rounded = [[-int(-ps // 1) for ps in row] for row in sums]
    return {name: Time(*row) for name, row in zip(names, rounded, strict=True)}


def summary(times: Sequence[int]) -> Time:
    """Return median and percentiles of some picoseconds."""
    ordered = sorted(times)
    last = len(ordered) - 1
    return Time(
        median=round(statistics.median(ordered)),
        p10=ordered[round(last * 0.1)],
        p90=ordered[round(last * 0.9)],
    )
