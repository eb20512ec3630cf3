# SPDX-License-Identifier: Apache-2.0
"""What is uncertain, how much, and how instances are drawn from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..graph import CostGraph
from ..machine import Machine
from ..units import INT64_MAX

__all__ = ["PROVENANCE", "Instance", "Spread", "factor_groups"]

Kind = Literal["lognormal", "uniform"]
PROVENANCE: Final[Mapping[str, float]] = {
    "measured": 0.05,
    "given": 0.1,
    "calibrated": 0.2,
    "roofline": 0.3,
}
"""Spread of the work of a node by its entry in :attr:`CostGraph.node_sources`; assumptions of this project."""

_LARGEST: Final = 4.0


@dataclass(frozen=True)
class Spread:
    """Relative uncertainty of the costs; 0.2 means that a fifth more or less is nothing unusual.

    Attributes
    ----------
    work
        Spread of the work of nodes; None for that of :data:`PROVENANCE`, by where each node's work comes from.
    bytes, bandwidth
        Spread of the sizes (or given costs) of tensors, and of the bandwidth of the link.
    ops
        Spread of the work of single operators, in place of `work`.
    kind
        ``lognormal``: factors exp(s z) with z normal and s = ln(1 + spread), so that half of all
        factors are below 1 and two thirds within 1 / (1 + spread) to 1 + spread.  ``uniform``: factors
        between 1 - spread and 1 + spread, for spreads below 1.
    per
        What errs together: every ``node`` by itself, all nodes of an ``op``, or ``all`` of them.
        Errors of single nodes even out within a stage; errors of a cost model do not.
    """

    work: float | None = None
    bytes: float = 0.0
    bandwidth: float = 0.0
    ops: Mapping[str, float] = field(default_factory=dict)
    kind: Kind = "lognormal"
    per: Literal["node", "op", "all"] = "node"

    def __post_init__(self) -> None:
        if self.kind not in ("lognormal", "uniform"):
            raise InputError("spread: kind", "lognormal or uniform", repr(self.kind))
        if self.per not in ("node", "op", "all"):
            raise InputError("spread: per", "node, op or all", repr(self.per))
        named: dict[str, float] = {"bytes": self.bytes, "bandwidth": self.bandwidth}
        if self.work is not None:
            named = {"work": self.work} | named
        for name, value in (named | {f"ops[{k!r}]": v for k, v in self.ops.items()}).items():
            limit = 1.0 if self.kind == "uniform" else _LARGEST
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= limit or (value == 1 and limit == 1):
                below = "below 1" if self.kind == "uniform" else f"up to {_LARGEST:g}"
                raise InputError(f"spread: {name}", f"a number from 0, {below}", str(value))

    def of_nodes(self, graph: CostGraph) -> npt.NDArray[np.float64]:
        """Return the spread of the work of every node."""
        known = set(graph.node_ops)
        for op in self.ops:
            if op not in known:
                some = ", ".join(sorted(known - {""})[:12]) or "none"
                raise InputError("spread: ops", f"operators of the graph ({some})", repr(op))
        usual = [
            PROVENANCE.get(source, PROVENANCE["given"]) if self.work is None else self.work
            for source in graph.node_sources or ("given",) * graph.num_nodes
        ]
        return np.array(
            [self.ops.get(op, u) for op, u in zip(graph.node_ops, usual, strict=True)], np.float64
        )

    def factors(
        self, rng: np.random.Generator, spread: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Draw one factor for each of the given spreads."""
        if self.kind == "uniform":
            return 1 + spread * rng.uniform(-1, 1, len(spread))
        return np.exp(np.log1p(spread) * rng.standard_normal(len(spread)))

    def draw(self, graph: CostGraph, machine: Machine, seed: Sequence[int]) -> Instance:
        """Return the graph and the machine with one set of factors; equal seeds, equal instances."""
        rng = np.random.default_rng(list(seed))
        # Every factor is drawn whether it is used or not: one spread does not change another's draws.
        spread = self.of_nodes(graph)
        _, groups = factor_groups(graph, self.per)
        first = np.array([nodes[0] for nodes in groups], np.int64)
        drawn = self.factors(rng, spread[first] if self.per != "all" else np.array([1.0]))
        work = np.ones(graph.num_nodes)
        if self.per == "all":
            # One draw, scaled to the spread of each node.
            work = self._scaled(float(drawn[0]), spread)
        else:
            for factor, nodes in zip(drawn.tolist(), groups, strict=True):
                work[nodes] = factor
        sizes = self.factors(rng, np.full(graph.num_tensors, float(self.bytes)))
        link = float(self.factors(rng, np.array([float(self.bandwidth)]))[0])
        return perturbed(graph, machine, work, sizes, link)

    def _scaled(self, unit: float, spread: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return factors for all spreads from the one drawn for spread 1."""
        if self.kind == "uniform":
            return 1 + spread * (unit - 1)
        scaled: npt.NDArray[np.float64] = np.exp(np.log1p(spread) * (math.log(unit) / math.log(2)))
        return scaled

    def to_json(self) -> dict[str, Any]:
        """Return the `spread` object of the document."""
        return {
            "work": dict(PROVENANCE) if self.work is None else self.work,
            "bytes": self.bytes,
            "bandwidth": self.bandwidth,
            "ops": dict(self.ops),
            "kind": self.kind,
            "per": self.per,
        }


@dataclass(frozen=True, eq=False)
class Instance:
    """A graph with other costs, on a machine with another bandwidth."""

    graph: CostGraph
    machine: Machine


def factor_groups(graph: CostGraph, per: str) -> tuple[list[str], list[list[int]]]:
    """Return the names of what errs independently, and the nodes of each."""
    if per == "all":
        return ["all nodes"], [list(range(graph.num_nodes))]
    if per == "node":
        return list(graph.node_names), [[v] for v in range(graph.num_nodes)]
    groups: dict[str, list[int]] = {}
    for v, op in enumerate(graph.node_ops):
        groups.setdefault(op, []).append(v)
    return [op or "(no operator)" for op in groups], list(groups.values())


def perturbed(
    graph: CostGraph,
    machine: Machine,
    work: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    link: float,
) -> Instance:
    """Return the graph with work and tensors times their factors, and a link `link` times as fast.

    Everything is rounded up to whole picoseconds and bytes; what was 0 stays 0.
    """
    changed = graph.replace(
        work=_times(graph.work, work, f"graph '{graph.name}': work"),
        tensor_bytes=_times(graph.tensor_bytes, sizes, f"graph '{graph.name}': tensor bytes"),
        tensor_time=_times(graph.tensor_time, sizes / link, f"graph '{graph.name}': tensor costs"),
    )
    if machine.bandwidth is not None and link != 1:
        rate = min(max(1, round(machine.bandwidth * link)), INT64_MAX)
        machine = replace(machine, bandwidth=rate)
    return Instance(changed, machine)


def _times(
    values: npt.NDArray[np.int64], factors: npt.NDArray[np.float64], item: str
) -> npt.NDArray[np.int64]:
    """Return values times factors, rounded up; exact where a factor is 1, -1 (nothing) stays."""
    product = np.ceil(np.maximum(values, 0) * factors)
    if len(product) and float(product.max()) >= 2.0**62:
        raise InputError(item, "values below 2**62 after perturbation", f"{product.max():.3g}")
    result = np.where(factors == 1, values, product.astype(np.int64))
    result = np.where(values < 0, values, result)
    result.setflags(write=False)
    return result
