# SPDX-License-Identifier: Apache-2.0
"""Estimated work: the roofline model.

``work(v) = overhead + max(flops(v) / compute rate, bytes(v) / memory rate)``

A node runs no faster than its arithmetic at the reached rate of its element type, and no faster
than its inputs, outputs and parameters move (Williams, Waterman and Patterson, Roofline: an
insightful visual performance model, CACM 2009).  Caches, fusion and overlap of one operator with
the next are left out.  So is memory that does not suffice: the planner charges it as overflow.
"""

from __future__ import annotations

from fractions import Fraction

from ..errors import GraphError
from ..graph import CostGraph
from ..units import INT64_MAX, PS_PER_SECOND
from .catalogue import Device

__all__ = ["apply_roofline", "roofline_work"]


def roofline_work(device: Device, *, flops: int, nbytes: int, dtype: str = "") -> int:
    """Return the estimated work of one node in picoseconds; see :func:`apply_roofline`."""
    pace = _pace(device.compute_rate(dtype))
    return _work(device.overhead, pace, _pace(device.memory_rate), flops, nbytes)


def apply_roofline(graph: CostGraph, device: Device) -> CostGraph:
    """Return the graph with every node's work estimated for a device.

    Nodes without operations and bytes (reshapes and other views) launch nothing: their work is 0.
    All arithmetic is in integers, and a quotient is rounded up, so a cost is never understated.

    Raises
    ------
    GraphError
        If a node would take longer than int64 picoseconds can say.
    """
    memory_pace = _pace(device.memory_rate)
    compute_pace = {
        dtype: _pace(device.compute_rate(dtype)) for dtype in sorted(set(graph.node_dtypes))
    }
    work = [
        _work(device.overhead, compute_pace[dtype], memory_pace, flops, nbytes)
        for dtype, flops, nbytes in zip(
            graph.node_dtypes, graph.flops.tolist(), graph.nbytes.tolist(), strict=True
        )
    ]
    longest = max(work)
    if longest > INT64_MAX:
        raise GraphError(
            f"node '{graph.node_names[work.index(longest)]}' on device '{device.name}'",
            "work of at most 2**63 - 1 picoseconds (106 days)",
            f"{longest} picoseconds",
        )
    return graph.replace(work=work)


def _pace(rate: Fraction) -> tuple[int, int]:
    """Return picoseconds per item as (numerator, denominator)."""
    pace = PS_PER_SECOND / rate
    return pace.numerator, pace.denominator


def _work(
    overhead: int, compute: tuple[int, int], memory: tuple[int, int], flops: int, nbytes: int
) -> int:
    if not flops and not nbytes:
        return 0
    return overhead + max(-(-flops * compute[0] // compute[1]), -(-nbytes * memory[0] // memory[1]))
