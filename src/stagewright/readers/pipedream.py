# SPDX-License-Identifier: Apache-2.0
r"""The door of PipeDream's profiles (msr-fiddle/pipedream, SOSP 2019): ``graph.txt``.

One node per line, then one edge per line behind a TAB::

    node4 -- Embedding(32320, 1024) -- forward_compute_time=0.073, backward_compute_time=6.949, activation_size=629145.0, parameter_size=1323827.0
    \tnode1 -- node4

Times are milliseconds per minibatch, sizes bytes.  A list ``[a; b; c]`` of activation sizes says that a node has several
outputs; nodes ``__getitem__(i)`` behind it read the i-th.  A partition that PipeDream wrote (``-- stage_id=2``) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from ..errors import GraphError
from ..graph import CostGraph, GraphBuilder
from ..units import to_ps
from .json_file import size_of
from .notes import tell
from .text_file import Place, text_of

__all__ = ["backward_times", "read_pipedream"]


_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?"
_NODE: Final = re.compile(
    r"(?P<id>\S+) -- (?P<desc>.*) -- "
    rf"forward_compute_time=(?P<forward>{_NUMBER}), backward_compute_time=(?P<backward>{_NUMBER}), "
    rf"activation_size=(?P<sizes>{_NUMBER}|\[{_NUMBER}(?:; *{_NUMBER})*\]), "
    rf"parameter_size=(?P<params>{_NUMBER})(?: -- stage_id=\d+)?"
)
_EDGE: Final = re.compile(r"\t(\S+) -- (\S+)")
_PART: Final = re.compile(r"__getitem__\((\d+)\)")


@dataclass
class _Node:
    desc: str
    work: int
    sizes: list[int]
    params: int
    free: bool = False


def read_pipedream(path: Path, options: Mapping[str, str]) -> CostGraph:
    """Read a profile: forward times become work.

    Parameters
    ----------
    options
        ``input``: sources named Input carry the time of data loading; they cost nothing (``free``, the
        default, as in PipeDream's own optimizer) or what the profile says (``keep``).

    Raises
    ------
    GraphError
        If a line cannot be used; the message names it.
    """
    nodes: dict[str, _Node] = {}
    edges: list[tuple[str, str, str]] = []
    backward = False
    for number, line in enumerate(text_of(path).splitlines(), 1):
        item = f"{path}, line {number}"
        if edge := _EDGE.fullmatch(line.rstrip()):
            edges.append((item, edge[1], edge[2]))
        elif found := _NODE.fullmatch(line.strip()):
            if found["id"] in nodes:
                raise GraphError(item, "each node once", f"node '{found['id']}' a second time")
            nodes[found["id"]] = _node(found, item)
            backward |= Decimal(found["backward"]) > 0
        elif line.strip():
            raise GraphError(
                item,
                "'NAME -- DESCRIPTION -- forward_compute_time=..., backward_compute_time=..., "
                "activation_size=..., parameter_size=...' or '<TAB>NAME -- NAME'",
                repr(line if len(line) < 80 else f"{line[:77]}..."),
            )
    for item, *ends in edges:
        for end in ends:
            if end not in nodes:
                raise GraphError(item, "two nodes", f"'{end}' (unknown node)")
    said = []
    if options["input"] == "free" and (freed := _free_inputs(nodes, {b for _, _, b in edges})):
        said.append(f"cost of {', '.join(freed)} (data loading) taken as 0")
    if backward:
        said.append("backward times count in training only")
    graph = _build(path, nodes, edges)
    if said:
        tell(path, "; ".join(said))
    return graph


def backward_times(path: Path) -> dict[str, int]:
    """Return the picoseconds of the backward pass by node, of a profile that can be read."""
    found = (_NODE.fullmatch(line.strip()) for line in text_of(path).splitlines())
    return {
        row["id"]: to_ps(Decimal(row["backward"]), "ms", item=f"{path}: {row['id']}: backward")
        for row in found
        if row
    }


def _node(found: re.Match[str], item: str) -> _Node:
    sizes = found["sizes"].strip("[]").split(";")
    return _Node(
        found["desc"],
        to_ps(
            Decimal(found["forward"]),
            "ms",
            item=f"{item}: forward_compute_time",
        ),
        [size_of(Decimal(size.strip()), f"{item}: activation_size") for size in sizes],
        size_of(Decimal(found["params"]), f"{item}: parameter_size"),
    )


def _free_inputs(nodes: Mapping[str, _Node], fed: set[str]) -> list[str]:
    """Take away all costs of the sources named Input; return those that had any."""
    freed = []
    for name, node in nodes.items():
        if node.desc.startswith("Input") and name not in fed:
            if node.work or any(node.sizes) or node.params:
                freed.append(name)
            node.work, node.params, node.free = 0, 0, True
    return freed


def _build(path: Path, nodes: Mapping[str, _Node], edges: list[tuple[str, str, str]]) -> CostGraph:
    builder = GraphBuilder(path.name.partition(".")[0])
    index: dict[str, int] = {}
    for name, node in nodes.items():
        with Place(str(path)):
            index[name] = builder.add_node(name, op=node.desc.partition("(")[0], work=node.work)
            if node.params:
                builder.add_param(node.params, [index[name]])
    users: dict[str, list[list[int]]] = {n: [[] for _ in v.sizes] for n, v in nodes.items()}
    for _, source, target in dict.fromkeys((None, a, b) for _, a, b in edges):
        part = _PART.fullmatch(nodes[target].desc)
        rows = users[source]
        # Who is no __getitem__, or asks for a part that the list does not have, reads all.
        chosen = int(part[1]) if part and len(part[1]) < 6 else len(rows)
        for row in rows[chosen : chosen + 1] or rows:
            row.append(index[target])
    with Place(str(path)):
        for name, node in nodes.items():
            for size, row in zip(node.sizes, users[name], strict=True):
                if row:
                    builder.add_tensor(
                        index[name], row, **({"time": 0} if node.free else {"nbytes": size})
                    )
        return builder.build()
