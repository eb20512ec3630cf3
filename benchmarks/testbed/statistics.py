# SPDX-License-Identifier: Apache-2.0
"""What the testbed's graphs are like: sizes, width, ideals, communication to work.

Width (the most nodes of which none needs another) and ideals are those of the reduced problem on the first
machine, for these decide how hard a graph is.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common import geometric_mean, header, row, table

from stagewright.api import machine_for
from stagewright.benching.packs import graph_of_line
from stagewright.cost.catalogue import load_catalogue
from stagewright.effort import Effort
from stagewright.exact.program import ExactLimits, list_ideals
from stagewright.graph import CostGraph
from stagewright.plans import tensor_costs
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.shaping.shape import estimate

__all__ = ["MACHINES", "Statistics", "print_table", "statistics_of", "width_of"]

MACHINES: dict[str, dict[str, Any]] = {
    "fast": {"device": "h100-sxm"},
    "slow": {"device": "h100-sxm", "link": "ethernet-100g"},
    "edge": {"device": "coral-edge-tpu"},
}
"""An accelerator with a fast link, with a slow one, and an edge device of little memory; as in benchmarks/grids."""

_WIDEST = 3000  # nodes up to which the width is computed
_SECONDS = 10.0  # for the ideals of one graph


@dataclass(frozen=True)
class Statistics:
    """What one graph is like; `width` and `ideals` are None where they were too many to count."""

    nodes: int
    edges: int
    reduced: int
    width: int | None
    ideals: int | None
    ratios: Mapping[str, float]


def statistics_of(line: str, max_ideals: int) -> Statistics:
    """Return the statistics of a line of a pack."""
    plain = graph_of_line(line, "testbed")
    catalogue = load_catalogue()
    graphs = {
        name: estimate(plain, catalogue.device(options["device"]))
        for name, options in MACHINES.items()
    }
    first = next(iter(MACHINES))
    reduced = reduce_problem(compile_problem(graphs[first], machine_for(8, **MACHINES[first])))
    limits = ExactLimits(max_ideals=max_ideals)
    ideals = list_ideals(reduced, limits, Effort.within(_SECONDS)).ideals
    return Statistics(
        plain.num_nodes,
        plain.num_edges,
        reduced.num_nodes,
        width_of(reduced.successors()) if reduced.num_nodes <= _WIDEST else None,
        ideals.count if ideals.complete else None,
        {name: _ratio(graph, MACHINES[name]) for name, graph in graphs.items()},
    )


def _ratio(graph: CostGraph, options: Mapping[str, Any]) -> float:
    """Return the time of sending every tensor once over all work."""
    return sum(tensor_costs(graph, machine_for(2, **options))) / max(1, graph.total_work)


def width_of(successors: Sequence[Sequence[int]]) -> int:
    """Return the size of a largest antichain: nodes less a largest matching of the closure (Dilworth 1950).

    Kuhn's augmenting paths, with the rows of the closure as the bits of whole numbers.
    """
    n = len(successors)
    reach = [0] * n
    for v in _backward(successors):
        for u in successors[v]:
            reach[v] |= reach[u] | (1 << u)
    partner = [-1] * n  # of each node as the later one of a pair
    matched = 0
    for start in range(n):
        fresh = (1 << n) - 1  # later nodes not visited from this start
        via: dict[int, int] = {}  # the earlier node that each visited one was reached from
        stack = [start]
        while stack:
            v = stack[-1]
            ahead = reach[v] & fresh
            if not ahead:
                stack.pop()
                continue
            u = (ahead & -ahead).bit_length() - 1
            fresh &= ~(1 << u)
            via[u] = v
            if partner[u] < 0:
                _augment(u, via, partner, start)
                matched += 1
                break
            stack.append(partner[u])
    return n - matched


def _augment(u: int, via: Mapping[int, int], partner: list[int], start: int) -> None:
    """Turn the pairs along the path that ends in `u`."""
    owner = {v: u for u, v in enumerate(partner) if v >= 0}
    while True:
        v = via[u]
        before = owner.get(v)
        partner[u] = v
        if v == start or before is None:
            return
        u = before


def _backward(successors: Sequence[Sequence[int]]) -> list[int]:
    missing = [0] * len(successors)
    for targets in successors:
        for u in targets:
            missing[u] += 1
    order = [v for v, count in enumerate(missing) if not count]
    for v in order:
        for u in successors[v]:
            missing[u] -= 1
            if not missing[u]:
                order.append(u)
    return order[::-1]


def print_table(lines: Mapping[str, str], options: argparse.Namespace) -> None:
    """Print a row for each area, or for each graph."""
    header("The testbed")
    found: dict[str, Statistics] = {}
    ratios = [f"communication/work, {name}" for name in MACHINES]
    if options.rows:
        table(["graph", "n", "m", "reduced", "width", "ideals", *ratios])
    for name, line in sorted(lines.items()):
        if options.only not in name:
            continue
        one = found[name] = statistics_of(line, options.ideals)
        if options.rows:
            cells = [one.nodes, one.edges, one.reduced, _or_many(one.width), _or_many(one.ideals)]
            row([name, *cells, *(f"{r:.2f}" for r in one.ratios.values())])
    print()
    table(["area", "graphs", *(f"{t}, median (most)" for t in ("n", "m", "reduced", "width", "ideals")),
           f"over {options.ideals:,} ideals", *ratios])  # fmt: skip
    areas: dict[str, list[Statistics]] = {}
    for name, one in found.items():
        areas.setdefault(name.partition("/")[0], []).append(one)
    for area, own in [*areas.items(), ("all", list(found.values()))]:
        columns = [
            [getattr(one, key) for one in own]
            for key in ("nodes", "edges", "reduced", "width", "ideals")
        ]
        means = [geometric_mean([max(1e-9, one.ratios[name]) for one in own]) for name in MACHINES]
        many = sum(one.ideals is None for one in own)
        row([area, len(own), *map(_middle, columns), many, *(f"{m:.2f}" for m in means)])
    print(
        "\ncommunication/work: the time of sending every tensor once over all work, geometric mean."
    )


def _middle(values: Sequence[int | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "many"
    # What was too many to count is at the upper end.
    ranked = [*known, *[float("inf")] * (len(values) - len(known))]
    middle = statistics.median_low(ranked)
    most = f"{known[-1]:,}" if len(known) == len(values) else "many"
    return f"{middle:,} ({most})" if middle != float("inf") else f"many ({most})"


def _or_many(value: int | None) -> str:
    return "many" if value is None else f"{value:,}"
