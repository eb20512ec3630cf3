# SPDX-License-Identifier: Apache-2.0
"""Estimated work: the roofline model.

``work(v) = overhead + max(flops(v) / compute rate, bytes(v) / memory rate)``

A node runs no faster than its arithmetic at the reached rate of its element type, and no faster
than its inputs, outputs and parameters move (Williams, Waterman and Patterson, Roofline: an
insightful visual performance model, CACM 2009).  What share of the peak rates is reached, and the
overhead, may differ from class to class of operators (:mod:`.classes`); the overhead makes small
operators reach less than large ones.  What fits into a cache moves at the cache's rate.  Fusion
and overlap of one operator with the next are left out.  So is memory that does not suffice: the
planner charges it as overflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from ..errors import GraphError
from ..graph import CostGraph
from ..units import INT64_MAX, PS_PER_SECOND
from .catalogue import Device
from .classes import class_of

__all__ = ["apply_roofline", "class_work", "roofline_work"]


def roofline_work(
    device: Device, *, flops: int, nbytes: int, dtype: str = "", op: str = "", kind: str = ""
) -> int:
    """Return the estimated work of one node in picoseconds; see :func:`apply_roofline`."""
    return _Pace(device, dtype, class_of(op, kind)).work(flops, nbytes)


def class_work(device: Device, name: str, *, flops: int, nbytes: int, dtype: str = "") -> int:
    """Return the estimated picoseconds of an operator given by the name of its class."""
    return _Pace(device, dtype, name).work(flops, nbytes)


def apply_roofline(graph: CostGraph, device: Device) -> CostGraph:
    """Return the graph with every node's work estimated for a device.

    Nodes without operations and bytes (reshapes and other views) launch nothing: their work is 0.
    All arithmetic is in integers, and a quotient is rounded up, so a cost is never understated.
    The nodes' sources become ``calibrated`` for a device whose figures were measured, else
    ``roofline``.

    Raises
    ------
    GraphError
        If a node would take longer than int64 picoseconds can say.
    """
    kinds = graph.node_kinds or ("",) * graph.num_nodes
    classes = [class_of(op, kind) for op, kind in zip(graph.node_ops, kinds, strict=True)]
    used = zip(graph.node_dtypes, classes, strict=True)
    paces = {pair: _Pace(device, *pair) for pair in dict.fromkeys(used)}
    costs = zip(
        graph.node_dtypes, classes, graph.flops.tolist(), graph.nbytes.tolist(), strict=True
    )
    work = [paces[dtype, name].work(flops, nbytes) for dtype, name, flops, nbytes in costs]
    longest = max(work)
    if longest > INT64_MAX:
        raise GraphError(
            f"node '{graph.node_names[work.index(longest)]}' on device '{device.name}'",
            "work of at most 2**63 - 1 picoseconds (106 days)",
            f"{longest} picoseconds",
        )
    source = "calibrated" if device.calibration else "roofline"
    return graph.replace(work=work, node_sources=(source,) * graph.num_nodes)


@dataclass(frozen=True)
class _Pace:
    """How fast a device runs one class of operators on one element type."""

    device: Device
    dtype: str
    name: str

    @cached_property
    def _levels(self) -> list[tuple[int, int, int]]:
        """Bytes up to which a level of memory serves, with its time per byte as a fraction."""
        _, share, _ = self.device.reach(self.name)
        rates = [*self.device.caches, (-1, self.device.memory_bandwidth)]
        return [(size, *_pace(rate * share)) for size, rate in rates]

    @cached_property
    def _compute(self) -> tuple[int, int]:
        share, _, _ = self.device.reach(self.name)
        return _pace(self.device.peak_rate(self.dtype) * share)

    @cached_property
    def _overhead(self) -> int:
        return self.device.reach(self.name)[2]

    def work(self, flops: int, nbytes: int) -> int:
        """Return the picoseconds of one node."""
        if not flops and not nbytes:
            return 0
        up, down = next((n, d) for size, n, d in self._levels if size < 0 or nbytes <= size)
        arithmetic = -(-flops * self._compute[0] // self._compute[1])
        return self._overhead + max(arithmetic, -(-nbytes * up // down))


def _pace(rate: Fraction) -> tuple[int, int]:
    """Return picoseconds per item as (numerator, denominator)."""
    pace = PS_PER_SECOND / rate
    return pace.numerator, pace.denominator
