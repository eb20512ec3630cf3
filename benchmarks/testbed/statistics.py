# SPDX-License-Identifier: Apache-2.0
"""What the testbed's graphs are like: sizes, width, ideals, communication to work.

Every graph counts twice: as operators, and with fused kernels (docs/costs.md), which is how it is planned
by default.  What was counted is kept in a file beside the packs, so that tables come at once.

Width (the most nodes of which none needs another) and ideals are those of the reduced problem on the first
machine, for these decide how hard a graph is.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.common import geometric_mean

from stagewright.api import machine_for
from stagewright.benching.packs import (
    SUFFIX,
    graph_of_line,
    line_of,
    lines_of_pack,
    name_of_line,
)
from stagewright.cost.catalogue import load_catalogue
from stagewright.effort import Effort
from stagewright.exact.program import ExactLimits, list_ideals
from stagewright.files import write_whole
from stagewright.graph import CostGraph
from stagewright.plans import tensor_costs
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.shaping.fused_work import kernel_graph
from stagewright.shaping.shape import estimate

__all__ = [
    "COLUMNS",
    "FORMS",
    "MACHINES",
    "MAX_IDEALS",
    "PACKS",
    "Statistics",
    "areas_of",
    "load",
    "packed",
    "renewed",
    "save",
    "statistics_of",
    "summary",
    "width_of",
]

PACKS = Path(__file__).resolve().parent / "graphs"
STORED = Path(__file__).resolve().parent / "statistics.csv"

MACHINES: dict[str, dict[str, Any]] = {
    "fast": {"device": "h100-sxm"},
    "slow": {"device": "h100-sxm", "link": "ethernet-100g"},
    "edge": {"device": "coral-edge-tpu"},
}
"""An accelerator with a fast link, with a slow one, and an edge device of little memory; as in benchmarks/grids."""

FORMS = {"operators": False, "fused": True}
"""What a node is, and whether kernels are fused."""

MAX_IDEALS = 100_000
"""Ideals are counted up to so many."""

_WIDEST = 3000  # nodes up to which the width is computed
_WORK = 4 * 10**9  # for the ideals of one graph: some seconds
_SECONDS = 120.0


@dataclass(frozen=True)
class Statistics:
    """What one graph is like in one form.

    Attributes
    ----------
    name, form
        Of the entry, and a key of FORMS.
    digest
        Of the graph's content in this form.
    nodes, edges
        Of the graph; a fused kernel is one node.
    reduced
        Nodes after the reductions.
    width, ideals
        None where they were too many to count.
    fast, slow, edge
        The time of sending every tensor once over all work, by machine.
    """

    name: str
    form: str
    digest: str
    nodes: int
    edges: int
    reduced: int
    width: int | None
    ideals: int | None
    fast: float
    slow: float
    edge: float


def packed() -> dict[str, str]:
    """Return the lines of all packs by name."""
    found: dict[str, str] = {}
    for path in sorted(PACKS.glob(f"*{SUFFIX}")):
        found |= lines_of_pack(path)
    return found


def statistics_of(line: str, form: str) -> Statistics:
    """Return the statistics of a line of a pack."""
    plain = graph_of_line(line, "testbed")
    name, digest = name_of_line(line)
    shape = plain
    if FORMS[form]:
        shape = kernel_graph(plain)
        digest = name_of_line(line_of(shape, name))[1]
    catalogue = load_catalogue()
    graphs = {
        key: estimate(plain, catalogue.device(options["device"]), fuse=FORMS[form])
        for key, options in MACHINES.items()
    }
    machines = {key: machine_for(8, **options) for key, options in MACHINES.items()}
    first = next(iter(MACHINES))
    reduced = reduce_problem(compile_problem(graphs[first], machines[first]))
    effort = Effort.within(_SECONDS, _WORK)
    ideals = list_ideals(reduced, ExactLimits(max_ideals=MAX_IDEALS), effort).ideals
    return Statistics(
        name,
        form,
        digest,
        shape.num_nodes,
        shape.num_edges,
        reduced.num_nodes,
        width_of(reduced.successors()) if reduced.num_nodes <= _WIDEST else None,
        ideals.count if ideals.complete else None,
        *(
            round(_ratio(graphs[key], tensor_costs(graphs[key], machines[key])), 4)
            for key in graphs
        ),
    )


def _ratio(graph: CostGraph, costs: Sequence[int]) -> float:
    """Return the time of sending once every tensor that may be sent over all work.

    What fused kernels keep to themselves is never sent.
    """
    group = graph.group.tolist()
    rows = zip(graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), costs, strict=True)
    sent = sum(
        cost
        for producer, users, cost in rows
        if group[producer] < 0 or any(group[user] != group[producer] for user in users)
    )
    return sent / max(1, graph.total_work)


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


# --- kept ---------------------------------------------------------------------------------------


def load(path: Path = STORED) -> list[Statistics]:
    """Return what was kept; nothing if there is no file."""
    if not path.exists():
        return []
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    return [Statistics(**{key: _value(key, text) for key, text in row.items()}) for row in rows]


def save(found: Sequence[Statistics], path: Path = STORED) -> None:
    """Keep statistics, sorted by name, operators first."""
    forms = list(FORMS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in fields(Statistics)])
    for one in sorted(found, key=lambda one: (one.name, forms.index(one.form))):
        writer.writerow(["" if value is None else value for value in astuple(one)])
    write_whole(path, text.getvalue())


def _value(key: str, text: str) -> Any:
    if key in ("name", "form", "digest"):
        return text
    if not text:
        return None
    return float(text) if key in MACHINES else int(text)


def renewed(
    lines: Mapping[str, str], kept: Sequence[Statistics], *, anew: bool = False
) -> Iterator[Statistics]:
    """Yield the statistics of every line in both forms; what is kept of the same graphs is not counted again."""
    operators = {one.name: one.digest for one in kept if one.form == "operators"}
    known = {} if anew else {(one.name, one.form): one for one in kept}
    for name, line in sorted(lines.items()):
        same = operators.get(name) == name_of_line(line)[1]
        for form in FORMS:
            one = known.get((name, form)) if same else None
            yield one or statistics_of(line, form)


# --- tables -------------------------------------------------------------------------------------

COLUMNS = (
    "area",
    "graphs",
    "n, median (most)",
    "m, median (most)",
    "reduced, median (most)",
    "width, median (most)",
    "ideals, median (most)",
    f"over {MAX_IDEALS:,} ideals",
    *(f"communication/work, {name}" for name in MACHINES),
)
"""Of :func:`summary`."""


def areas_of(found: Sequence[Statistics]) -> dict[str, list[Statistics]]:
    """Return the statistics by field of use, the first part of names."""
    areas: dict[str, list[Statistics]] = {}
    for one in found:
        areas.setdefault(one.name.partition("/")[0], []).append(one)
    return dict(sorted(areas.items()))


def summary(found: Sequence[Statistics]) -> list[list[str]]:
    """Return a row of texts for each area and one for all, in the order of COLUMNS.

    communication/work is a geometric mean; graphs that send nothing are left out of it.
    """
    rows = []
    for area, own in [*areas_of(found).items(), ("all", list(found))]:
        middles = [
            _middle([getattr(one, key) for one in own])
            for key in ("nodes", "edges", "reduced", "width", "ideals")
        ]
        many = str(sum(one.ideals is None for one in own))
        ratios = [[getattr(one, name) for one in own if getattr(one, name)] for name in MACHINES]
        means = [f"{geometric_mean(values):.2f}" if values else "0" for values in ratios]
        rows.append([area, str(len(own)), *middles, many, *means])
    return rows


def _middle(values: Sequence[int | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "many"
    # What was too many to count is at the upper end.
    ranked = [*known, *[float("inf")] * (len(values) - len(known))]
    middle = statistics.median_low(ranked)
    most = f"{known[-1]:,}" if len(known) == len(values) else "many"
    return f"{middle:,} ({most})" if middle != float("inf") else f"many ({most})"
