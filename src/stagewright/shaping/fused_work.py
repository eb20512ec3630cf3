# SPDX-License-Identifier: Apache-2.0
"""What fused kernels cost: the roofline of the kernel, not of its parts.

A tensor that is made and read inside a kernel only is neither written nor read; one that several
nodes of a kernel read is read once; the kernel is launched once.  The nodes stay: each keeps its
name and gets its share of the kernel's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cost.catalogue import Device
from ..cost.roofline import apply_roofline
from ..graph import CostGraph, GraphBuilder
from .fusion import Uses, find_kernels
from .groups import bind
from .kinds import Kind

__all__ = ["Fused", "apply_fused_roofline", "contracted", "fused_traffic", "kernel_graph"]


@dataclass(frozen=True)
class Fused:
    """A graph whose work is that of fused kernels.

    Attributes
    ----------
    graph
        The nodes of each kernel are a group, their `nbytes` what is left of their traffic.
    kernels
        Nodes of each kernel of two and more.
    unfused_work
        Picoseconds of all nodes if each were a kernel of its own.
    """

    graph: CostGraph
    kernels: Sequence[Sequence[int]]
    unfused_work: int


def apply_fused_roofline(graph: CostGraph, device: Device) -> Fused:
    """Return the graph with work estimated for a device that fuses as compilers do.

    Raises
    ------
    GraphError
        If a kernel would take longer than int64 picoseconds can say.
    """
    plain = apply_roofline(graph, device)
    kernels = find_kernels(graph)
    if not kernels:
        return Fused(plain, (), plain.total_work)
    lean = graph.replace(nbytes=fused_traffic(graph, kernels))
    mains = [_main(lean, nodes) for nodes in kernels]
    whole = apply_roofline(contracted(lean, kernels, mains), device)
    # A kernel is launched once, so its launch says nothing about how its parts compare.
    parts = apply_roofline(lean, replace(device, overhead=0)).work.tolist()
    work_of = dict(zip(whole.node_names, whole.work.tolist(), strict=True))
    work = [work_of.get(name, 0) for name in lean.node_names]
    for nodes, main in zip(kernels, mains, strict=True):
        total = work_of[lean.node_names[main]]
        for v, share in zip(nodes, _shares(total, [parts[v] for v in nodes]), strict=True):
            work[v] = share
        work[main] += total - sum(work[v] for v in nodes)
    names = lean.node_names
    sets = [
        (f"{names[main]} +{len(nodes) - 1}", nodes)
        for nodes, main in zip(kernels, mains, strict=True)
    ]
    return Fused(
        bind(lean.replace(work=work, node_sources=plain.node_sources), sets),
        kernels,
        plain.total_work,
    )


def kernel_graph(graph: CostGraph) -> CostGraph:
    """Return the graph with a node for each kernel, without work.

    No device decides what is fused, so it depends on the graph alone.
    """
    kernels = find_kernels(graph)
    lean = graph.replace(nbytes=fused_traffic(graph, kernels))
    return contracted(lean, kernels, [_main(lean, nodes) for nodes in kernels])


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion, each share rounded down."""
    whole = sum(weights)
    return [total * weight // whole if whole else 0 for weight in weights]


def _main(graph: CostGraph, nodes: Sequence[int]) -> int:
    """Return the node that a kernel is named after and whose element type picks its rate."""
    flops = graph.flops
    return max(nodes, key=lambda v: (int(flops[v]), -v))


def contracted(
    graph: CostGraph, kernels: Sequence[Sequence[int]], mains: Sequence[int]
) -> CostGraph:
    """Return the graph with every kernel as one node, named after its main node.

    FLOPs and bytes of its parts add up; tensors inside vanish; pins and groups are left out.
    """
    home = list(range(graph.num_nodes))
    for nodes, main in zip(kernels, mains, strict=True):
        for v in nodes:
            home[v] = main
    flops, nbytes = [0] * graph.num_nodes, [0] * graph.num_nodes
    pairs = zip(home, graph.flops.tolist(), graph.nbytes.tolist(), strict=True)
    for h, f, b in pairs:
        flops[h] += f
        nbytes[h] += b
    builder = GraphBuilder(graph.name)
    index: dict[int, int] = {}
    for v, h in enumerate(home):
        if v == h:
            index[v] = builder.add_node(
                graph.node_names[v],
                op=graph.node_ops[v],
                flops=flops[v],
                nbytes=nbytes[v],
                dtype=graph.node_dtypes[v],
                kind=graph.node_kinds[v] if graph.node_kinds else "",
                replicable=bool(graph.replicable[v]),
            )
    sizes = zip(graph.tensor_bytes.tolist(), graph.tensor_time.tolist(), strict=True)
    for producer, users, (size, time) in zip(
        graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), sizes, strict=True
    ):
        outside = sorted({index[home[u]] for u in users} - {index[home[producer]]})
        if outside or not users:
            if size >= 0:
                builder.add_tensor(index[home[producer]], outside, nbytes=size)
            else:
                builder.add_tensor(index[home[producer]], outside, time=time)
    for size, users in zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True):
        builder.add_param(size, sorted({index[home[u]] for u in users}))
    return builder.build()


def fused_traffic(graph: CostGraph, kernels: Sequence[Sequence[int]]) -> list[int]:
    """Return the bytes that each node still moves when kernels keep what they make and reread.

    Views are the storage that they are views of: what a kernel reads through a view it still
    reads once, and what leaves it through a view is still written.
    """
    uses = Uses(graph)
    left: list[int] = graph.nbytes.tolist()
    params_of: dict[int, list[int]] = {}
    for parameter, users in enumerate(graph.param_users.rows()):
        for user in users:
            params_of.setdefault(user, []).append(parameter)
    param_bytes = graph.param_bytes.tolist()
    for nodes in kernels:
        for v, saved in _saved(uses, nodes, params_of, param_bytes).items():
            left[v] = max(0, left[v] - saved)
    return left


def _saved(
    uses: Uses,
    nodes: Sequence[int],
    params_of: dict[int, list[int]],
    param_bytes: Sequence[int],
) -> dict[int, int]:
    """Return the bytes that each node of a kernel (in topological order) no longer moves."""
    inside = set(nodes)
    storage: dict[int, int] = {}  # tensor made by a view -> the tensor whose storage it is
    for v in nodes:
        if uses.kind[v] is Kind.VIEW and uses.reads[v]:
            source = max(uses.reads[v], key=lambda t: uses.nbytes[t])
            storage.update((t, storage.get(source, source)) for t in uses.writes[v])
    leaving = set()
    for v in nodes:
        for t in uses.writes[v]:
            if not uses.consumers[t] or not inside.issuperset(uses.consumers[t]):
                leaving.add(storage.get(t, t))
    saved = dict.fromkeys(nodes, 0)
    seen: set[int] = set()
    seen_params: set[int] = set()
    for v in nodes:
        if uses.kind[v] is not Kind.VIEW:
            for t in (storage.get(t, t) for t in uses.reads[v]):
                if uses.producer[t] in inside or t in seen:
                    saved[v] += max(0, uses.nbytes[t])
                seen.add(t)
            saved[v] += sum(
                max(0, uses.nbytes[t])
                for t in uses.writes[v]
                if uses.consumers[t] and t not in leaving
            )
        for parameter in params_of.get(v, ()):
            if parameter in seen_params:
                saved[v] += param_bytes[parameter]
            seen_params.add(parameter)
    return saved
