# SPDX-License-Identifier: Apache-2.0
"""Which nodes compilers run as one kernel.

Every kernel has a single exit: what its nodes make is read inside, except what the last one (the
tail) makes.  So no path leaves a kernel and comes back, and contracting any number of disjoint
kernels keeps the graph acyclic: a cycle would have to leave a kernel by its tail and enter it
again at a node that leads to the tail, which is a cycle among nodes.

A kernel grows from its tail to the first node that all paths from there pass, if everything on the
way belongs to the same iteration space (docs/costs.md names the rules and their sources):

epilogue    a convolution or matrix product, then pointwise operators over its result: bias,
            folded normalisation, residual addition, activation
pointwise   pointwise operators alone
rows        reductions and what is broadcast back over the reduced rows: the parts of softmax and
            normalisations; a softmax or normalisation that is one node; pointwise operators
            before and behind

Epilogues are formed first, from the last product to the first, so that an addition of two
branches joins the later one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ..graph import CostGraph
from .kinds import Kind, changes_type, kind_of

__all__ = ["MAX_KERNEL", "Uses", "find_kernels"]

MAX_KERNEL: Final = 64
"""Most nodes of a kernel."""

_FOLLOWERS: Final = frozenset((Kind.POINTWISE, Kind.VIEW, Kind.REDUCTION, Kind.ROWS))
_RATIOS: Final = frozenset((1, 2, 4, 8))


@dataclass(frozen=True)
class Uses:
    """A graph's tensors by node."""

    graph: CostGraph

    @cached_property
    def consumers(self) -> list[list[int]]:
        """Nodes that read each tensor."""
        return self.graph.tensor_consumers.rows()

    @cached_property
    def producer(self) -> list[int]:
        """Node that makes each tensor."""
        return self.graph.tensor_producer.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any

    @cached_property
    def nbytes(self) -> list[int]:
        """Bytes of each tensor; -1 where its cost is a time."""
        return self.graph.tensor_bytes.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any

    @cached_property
    def writes(self) -> list[list[int]]:
        """Tensors that each node makes."""
        rows: list[list[int]] = [[] for _ in range(self.graph.num_nodes)]
        for tensor, node in enumerate(self.producer):
            rows[node].append(tensor)
        return rows

    @cached_property
    def reads(self) -> list[list[int]]:
        """Tensors that each node reads."""
        rows: list[list[int]] = [[] for _ in range(self.graph.num_nodes)]
        for tensor, nodes in enumerate(self.consumers):
            for node in nodes:
                rows[node].append(tensor)
        return rows

    @cached_property
    def kind(self) -> list[Kind]:
        """Kind of each node."""
        return [
            kind_of(op, flops=flops, nbytes=nbytes)
            for op, flops, nbytes in zip(
                self.graph.node_ops,
                self.graph.flops.tolist(),
                self.graph.nbytes.tolist(),
                strict=True,
            )
        ]


def find_kernels(graph: CostGraph) -> list[list[int]]:
    """Return the sets of at least two nodes that run as one kernel, each in topological order."""
    return _Finder(Uses(graph)).run()


class _Finder:
    def __init__(self, uses: Uses) -> None:
        self.uses = uses
        order = uses.graph.topological_order.tolist()
        self.order = order
        self.position = [0] * len(order)
        for i, v in enumerate(order):
            self.position[v] = i
        self.replicable = uses.graph.replicable.tolist()
        self.kernel: dict[int, list[int]] = {}  # of each node in a kernel; shared by its nodes

    def run(self) -> list[list[int]]:
        kind = self.uses.kind
        heads = [v for v in reversed(self.order) if kind[v] is Kind.CONTRACTION]
        others = [v for v in reversed(self.order) if kind[v] in _FOLLOWERS]
        for head in (*heads, *others):
            if head not in self.kernel:  # one that is part of a kernel has grown as far as it can
                self._grow(head)
        found = {id(nodes): nodes for nodes in self.kernel.values() if len(nodes) > 1}
        return sorted(found.values(), key=lambda nodes: self.position[nodes[0]])

    def _members(self, v: int) -> list[int]:
        return self.kernel.get(v, [v])

    def _grow(self, head: int) -> None:
        """Let the kernel of `head` take in what follows its tail, as often as that fits."""
        nodes = self._members(head)
        while True:
            region = self._region(nodes[-1])
            if not region:
                return
            joined = sorted(
                {*nodes, *(m for v in region for m in self._members(v))},
                key=self.position.__getitem__,
            )
            if not self._fits(joined):
                return
            for v in joined:
                self.kernel[v] = joined
            nodes = joined

    def _region(self, tail: int) -> list[int]:
        """Return the nodes from behind `tail` to the first one that all paths pass.

        Empty if there is none, or if something on the way can be part of no kernel.
        """
        waiting: list[tuple[int, int]] = []
        seen = {tail}
        region: list[int] = []
        v = tail
        while True:
            readers = [u for t in self.uses.writes[v] for u in self.uses.consumers[t]]
            if not readers:
                return []
            for u in readers:
                if u not in seen:
                    seen.add(u)
                    heapq.heappush(waiting, (self.position[u], u))
            v = heapq.heappop(waiting)[1]
            region.append(v)
            if self.uses.kind[v] not in _FOLLOWERS or self.replicable[v]:
                return []
            if not waiting:
                return region
            if len(region) >= MAX_KERNEL:
                return []

    def _fits(self, nodes: Sequence[int]) -> bool:
        """Whether nodes with a single exit, in topological order, run as one kernel."""
        kinds = [self.uses.kind[v] for v in nodes]
        products = kinds.count(Kind.CONTRACTION)
        if len(nodes) > MAX_KERNEL or products > 1 or any(self.replicable[v] for v in nodes):
            return False
        rows = kinds.count(Kind.ROWS)
        if rows > 1 or (products and (rows or Kind.REDUCTION in kinds)):
            return False
        space = _Space(self.uses, nodes)
        for v, kind in zip(nodes, kinds, strict=True):
            root = not space.has_inputs(v)
            if root and (kind is Kind.VIEW or (products and kind is not Kind.CONTRACTION)):
                return False
            if not space.enter(v, kind, root=root):
                return False
        return True


class _Space:
    """Follows the iteration space through the nodes of one kernel, by sizes of tensors.

    `full` is, for each tensor made in the kernel, the size that it has or, behind a reduction, the
    size that it had before: to that it may be broadcast again.
    """

    def __init__(self, uses: Uses, nodes: Iterable[int]) -> None:
        self.uses = uses
        self.inside = set(nodes)
        self.full: dict[int, int] = {}

    def _inputs(self, v: int) -> list[int]:
        return [t for t in self.uses.reads[v] if self.uses.producer[t] in self.inside]

    def has_inputs(self, v: int) -> bool:
        """Whether the node reads something that the kernel makes."""
        return bool(self._inputs(v))

    def enter(self, v: int, kind: Kind, *, root: bool) -> bool:
        """Take the next node into account; False if it walks over another space."""
        uses = self.uses
        size = max((uses.nbytes[t] for t in uses.writes[v]), default=0)
        if size < 0:
            return False  # priced as a time: nothing is known of its size
        if kind is Kind.REDUCTION:
            full = self._reduced(v, size)
        elif root:
            full = size
        else:
            full = self._followed(v, size)
        for t in uses.writes[v]:
            self.full[t] = full
        return full >= size > 0

    def _reduced(self, v: int, size: int) -> int:
        known = [self.full.get(t, self.uses.nbytes[t]) for t in self.uses.reads[v]]
        # The model's own inputs are no tensors of the graph: take what the node reads.
        return max(known, default=int(self.uses.graph.nbytes[v]) - size)

    def _followed(self, v: int, size: int) -> int:
        """Return `full` of what a pointwise node or a view makes; -1 if its space differs."""
        inputs = self._inputs(v)
        widest = max(self.uses.nbytes[t] for t in inputs)
        full = max(self.full[t] for t in inputs)
        if size in (widest, full):
            return full
        if changes_type(self.uses.graph.node_ops[v]):
            for before in (widest, full):
                large, small = max(size, before), min(size, before)
                if small and large % small == 0 and large // small in _RATIOS:
                    return full * size // before
        return -1
