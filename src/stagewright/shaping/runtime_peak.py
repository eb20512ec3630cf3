# SPDX-License-Identifier: Apache-2.0
"""Peak memory as a runtime has it: what the peak of the contract leaves out, rule by rule.

The peak of a plan file counts every tensor of the graph from the run of its producer to that of its
last reader.  A runtime needs less, and sometimes more:

views       what a view makes is the storage that it is a view of
kernels     tensors inside a fused kernel do not exist
in place    an activation or a softmax writes over its input, and a convolution or product that an
            addition is fused to over the other summand, if the sizes are equal and nobody reads that
            input afterwards.  Arithmetic of two inputs, batch normalisation and the other unary
            functions (exp, sqrt, erf ...) make a tensor of their own.
scratch     a local response normalisation holds twice its output while it runs

The lists are those of onnxruntime 1.31 on the processor, found by counting the bytes that chains of
each operator allocate.  The model's own inputs belong to the caller; its outputs are held to the end.
What kernels need besides (packed weights, columns of a convolution) is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from ..graph import CostGraph
from .fusion import Uses
from .kinds import Kind

__all__ = ["runtime_peak"]

_IN_PLACE = frozenset(
    ("Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "HardSigmoid", "Elu", "Softplus", "Softmax")
)
_SUMS = frozenset(("Add", "Sum"))
_SCRATCH = {"LRN": 2}
"""Outputs' worth of memory that an operator holds besides while it runs."""


def runtime_peak(
    graph: CostGraph,
    order: Sequence[int] | None = None,
    *,
    kernels: Sequence[Sequence[int]] = (),
) -> int:
    """Return the most activation bytes that a runtime holds while it runs the whole graph.

    Parameters
    ----------
    graph
        The graph; `nbytes` and FLOPs as read.
    order
        Nodes in the order they run; the graph's topological order by default.
    kernels
        Disjoint sets of nodes that run as one: those that a runtime was seen to fuse, or those of
        :func:`.fusion.find_kernels`.
    """
    nodes = graph.topological_order.tolist() if order is None else list(order)
    return _Run(Uses(graph), _steps(nodes, kernels)).peak()


def _steps(order: Sequence[int], kernels: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return what runs at once, one after the other; a kernel where its last node stands."""
    position = {v: i for i, v in enumerate(order)}
    inside = {v for nodes in kernels for v in nodes}
    steps = [sorted(nodes, key=position.__getitem__) for nodes in kernels]
    steps += [[v] for v in order if v not in inside]
    return sorted(steps, key=lambda nodes: position[nodes[-1]])


@dataclass
class _Run:
    """Gives every storage a buffer, step by step."""

    uses: Uses
    steps: Sequence[Sequence[int]]
    ends: dict[int, int] = field(default_factory=dict)  # storage -> last step that needs it
    outputs: set[int] = field(default_factory=set)  # storages that somebody else reads at the end
    buffer: dict[int, int] = field(default_factory=dict)  # storage -> its buffer
    size: list[int] = field(default_factory=list)  # of each buffer
    span: list[tuple[int, int]] = field(default_factory=list)  # steps of each buffer

    def __post_init__(self) -> None:
        self.storage = self._storages()
        step_of = {v: i for i, nodes in enumerate(self.steps) for v in nodes}
        for tensor, root in self.storage.items():
            readers = self.uses.consumers[tensor]
            end = max((step_of[v] for v in readers), default=len(self.steps) - 1)
            if not readers:
                self.outputs.add(root)
            self.ends[root] = max(end, self.ends.get(root, 0))

    def _storages(self) -> dict[int, int]:
        """Return the tensor whose storage each tensor is."""
        storage: dict[int, int] = {}
        for v in self.uses.graph.topological_order.tolist():
            read = [t for t in self.uses.reads[v] if self.uses.nbytes[t] > 0]
            for t in self.uses.writes[v]:
                view = self.uses.kind[v] is Kind.VIEW and read
                root = max(read, key=lambda r: self.uses.nbytes[r]) if view else t
                storage[t] = storage.get(root, root)
        return storage

    def peak(self) -> int:
        """Return the most bytes of buffers held during a step."""
        for step, nodes in enumerate(self.steps):
            for storage in self._made(step, nodes):
                self._place(storage, step, nodes)
        changes = [0] * (len(self.steps) + 1)
        for (start, end), size in zip(self.span, self.size, strict=True):
            changes[start] += size
            changes[end + 1] -= size
        return max(accumulate(changes), default=0)

    def _made(self, step: int, nodes: Sequence[int]) -> list[int]:
        """Return the storages that a step makes and somebody reads later."""
        made = (t for v in nodes for t in self.uses.writes[v] if self.storage[t] == t)
        kept = [t for t in made if self.uses.nbytes[t] > 0]
        if len(nodes) == 1:
            return kept
        # Inside a kernel only what leaves it is ever stored.
        return [t for t in kept if self.ends[t] > step or t in self.outputs]

    def _place(self, storage: int, step: int, nodes: Sequence[int]) -> None:
        size, end = self.uses.nbytes[storage], self.ends[storage]
        taken = self._in_place(size, step, nodes)
        if taken is None:
            taken = self._add(size, step, end)
        self.buffer[storage] = taken
        self.span[taken] = (self.span[taken][0], max(end, self.span[taken][1]))
        self._add(size * _SCRATCH.get(self.uses.graph.node_ops[nodes[-1]], 0), step, step)

    def _add(self, size: int, start: int, end: int) -> int:
        self.size.append(size)
        self.span.append((start, end))
        return len(self.size) - 1

    def _in_place(self, size: int, step: int, nodes: Sequence[int]) -> int | None:
        """Return the buffer of an input that the step may write over."""
        product = self.uses.kind[nodes[0]] is Kind.CONTRACTION
        for v in nodes if product else nodes[:1]:
            op = self.uses.graph.node_ops[v]
            if op not in (_SUMS if product else _IN_PLACE):
                continue
            for tensor in self.uses.reads[v]:
                root = self.storage[tensor]
                dies = self.ends[root] == step and self.uses.nbytes[root] == size
                if dies and root in self.buffer:
                    return self.buffer[root]
        return None
