# SPDX-License-Identifier: Apache-2.0
"""Which nodes of the model each node of the runtime's optimised model stands for.

The runtime fuses, renames, folds and inserts nodes.  Fusions keep the names of the tensors at
their boundary, so a node of the optimised model stands for the part of the model between the
tensors that it reads and those that it makes.  Four kinds of knowledge name the tensor that it
makes: the name of the output itself; the node's name, where the runtime kept or extended it; the
node's name without the endings that the blocked-layout pass appends to the tensor's name; and,
where that pass absorbed an addition or an activation without renaming, the extra input or the
attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .node_times import Kernel, Shares
from .trace import kernels_of

__all__ = ["Shares", "attribute", "marked_name"]

_MARK: Final = "stagewright."
_MARKED: Final = re.compile(r"stagewright\.(\d+)(?!\d)")
_LAYOUT_ENDING: Final = re.compile(r"(?:_bn|_mul)?_nchwc(?:_token_\d+)?$")
_RANDOM: Final = ("Random", "Bernoulli", "Multinomial")


def marked_name(index: int) -> str:
    """Return the name to give node `index` before the runtime sees the model."""
    return f"{_MARK}{index}"


@dataclass
class _Model:
    """The model as the walk needs it: nodes with inputs (captured ones too) and outputs."""

    nodes: Sequence[Any]
    producer: dict[str, int] = field(default_factory=dict)
    consumers: dict[str, list[int]] = field(default_factory=dict)
    inputs: list[list[str]] = field(default_factory=list)
    constant: list[bool] = field(default_factory=list)
    results: frozenset[str] = frozenset()

    @classmethod
    def of(cls, graph: Any) -> _Model:
        model = cls(graph.node)
        model.results = frozenset(value.name for value in graph.output)
        known = {tensor.name for tensor in graph.initializer}
        known.update(tensor.values.name for tensor in graph.sparse_initializer)
        for index, node in enumerate(graph.node):
            inputs = _inputs(node)
            model.inputs.append(inputs)
            constant = known.issuperset(inputs) and not node.op_type.startswith(_RANDOM)
            model.constant.append(constant)
            for name in inputs:
                model.consumers.setdefault(name, []).append(index)
            for name in filter(None, node.output):
                model.producer[name] = index
                if constant:
                    known.add(name)
        return model


def _inputs(node: Any) -> list[str]:
    """Return the tensors a node reads, with those that its bodies capture, each once."""
    from ..readers.onnx_file import bodies_of, captured_names

    names = [name for name in node.input if name]
    for body in bodies_of(node):
        names += captured_names(body)
    return list(dict.fromkeys(names))


def attribute(graph: Any, optimised: Any, weights: Sequence[float]) -> dict[Kernel, Shares]:
    """Return, for each node of the optimised model, the nodes that it stands for.

    Time of a node that stands for several is split in proportion to `weights` (equally if they
    are all 0).  An inserted node (layout change, cast) belongs to the producer if its output is a
    tensor of the model, since a stage that ended there would have to make that tensor; else to
    the first consumer.

    Parameters
    ----------
    graph
        ``onnx.GraphProto`` whose nodes carry their :func:`marked_name`.
    optimised
        The graph that the runtime made of it.
    weights
        Estimated time of each node of `graph`, any unit, >= 0.
    """
    return _Attribution(_Model.of(graph), optimised).shares(weights)


class _Attribution:
    def __init__(self, model: _Model, optimised: Any) -> None:
        self.model = model
        self.nodes: Sequence[Any] = optimised.node
        self.inputs = [_inputs(node) for node in self.nodes]
        self.stored = {tensor.name for tensor in optimised.initializer}
        self.stands_for: dict[str, str] = {}  # tensor of the optimised model -> of the model
        self.owner: dict[str, int] = {}  # tensor of the model -> node of the optimised model
        named = {name for node in self.nodes for name in node.output if name in model.producer}
        self.claimed = named | {
            name for node in self.nodes for name in (self._named_after(node) or ())
        }
        for index, node in enumerate(self.nodes):
            self._resolve(index, node)

    def shares(self, weights: Sequence[float]) -> dict[Kernel, Shares]:
        """Return the result of :func:`attribute`."""
        regions: list[list[int]] = [[] for _ in self.nodes]
        owned: dict[int, list[str]] = {}
        for tensor, index in self.owner.items():
            owned.setdefault(index, []).append(tensor)
        for index, tensors in owned.items():
            regions[index] = self._region(tensors)
        for index, node in enumerate(self.nodes):
            match = _MARKED.match(node.name)
            if not regions[index] and match:
                regions[index] = [int(match[1])]
        self._lend(regions)
        keys = kernels_of((node.name, node.op_type) for node in self.nodes)
        return {key: _split(region, weights) for key, region in zip(keys, regions, strict=True)}

    def _named_after(self, node: Any) -> list[str] | None:
        """Return the tensors that the node's name says it makes; None if it says nothing."""
        match = _MARKED.match(node.name)
        if match:  # also with an ending: fusions append one to the name of their main node
            return list(self.model.nodes[int(match[1])].output)
        base = _LAYOUT_ENDING.sub("", node.name)
        return [base] if base != node.name and base in self.model.producer else None

    def _resolve(self, index: int, node: Any) -> None:
        """Find the tensors of the model that the outputs of a node are."""
        named_after = self._named_after(node)
        reads = [self.stands_for.get(name, name) for name in self.inputs[index]]
        for position, output in enumerate(node.output):
            tensor: str | None = None
            if output in self.model.producer:
                tensor = output
            elif named_after and position < len(named_after):
                tensor = self._advance(named_after[position], node, reads)
            elif named_after is None:
                tensor = self._passed_on(reads)
            if output and tensor:
                self.stands_for[output] = tensor
                if tensor in self.model.producer:
                    self.owner.setdefault(tensor, index)

    def _passed_on(self, reads: Iterable[str]) -> str | None:
        """Return the one tensor that an inserted node changes in layout or type."""
        tensors = [name for name in reads if name not in self.stored]
        return tensors[0] if len(tensors) == 1 else None

    def _advance(self, tensor: str, node: Any, reads: Sequence[str]) -> str:
        """Step over an addition and an activation that were absorbed without a new name."""
        activations = [a.s.decode() for a in node.attribute if a.name == "activation"]
        while True:
            users = self.model.consumers.get(tensor, [])
            if len(users) != 1 or tensor in self.model.results:
                return tensor
            user = self.model.nodes[users[0]]
            others = [n for n in self.model.inputs[users[0]] if n != tensor and not self._folded(n)]
            absorbed = (others and set(others) <= set(reads)) or (
                not others and user.op_type in activations
            )
            if not absorbed or self.claimed.intersection(user.output) or len(user.output) != 1:
                return tensor
            tensor = user.output[0]

    def _folded(self, tensor: str) -> bool:
        producer = self.model.producer.get(tensor)
        return tensor in self.stored or (producer is not None and self.model.constant[producer])

    def _region(self, tensors: Iterable[str]) -> list[int]:
        """Return the nodes from `tensors` back to the tensors that other nodes make."""
        seen: set[int] = set()
        todo = [self.model.producer[name] for name in tensors]
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            for name in self.model.inputs[node]:
                known = name in self.owner or self._folded(name)
                if not known and name in self.model.producer:
                    todo.append(self.model.producer[name])
        return sorted(seen)

    def _lend(self, regions: list[list[int]]) -> None:
        """Give inserted nodes, which stand for no part of the model, the region of a neighbour."""
        maker: dict[str, int] = {}
        reader: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            maker.update((name, index) for name in node.output if name)
            for name in self.inputs[index]:
                reader.setdefault(name, index)
        for back in (True, False):  # producers first, in order; then consumers, from the end
            order = range(len(self.nodes)) if back else reversed(range(len(self.nodes)))
            for index in order:
                if regions[index]:
                    continue
                outputs = [name for name in self.nodes[index].output if name]
                if not back:
                    near = [reader[name] for name in outputs if name in reader]
                elif any(name in self.model.producer for name in outputs):
                    near = [maker[name] for name in self.inputs[index] if name in maker]
                else:
                    near = []
                regions[index] = next((regions[n] for n in near if regions[n]), [])


def _split(region: Sequence[int], weights: Sequence[float]) -> Shares:
    total = sum(weights[node] for node in region)
    if total > 0:
        return {node: weights[node] / total for node in region if weights[node] > 0}
    return {node: 1 / len(region) for node in region}
