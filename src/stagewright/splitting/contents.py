# SPDX-License-Identifier: Apache-2.0
"""What each stage file must hold: its nodes, the nodes it copies, and its edges.

A node of the model is *planned* (the plan puts it in a stage), *copyable* (its value follows from
constants and the model's inputs alone, so every stage that needs it recomputes it) or neither; the
last kind moves to the earliest stage that has its inputs, and its outputs cross like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..errors import InputError, ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Contents", "ModelFacts", "stage_contents", "used_values"]

# Two runs of these differ, so a copy would not be the same value.
_RANDOM_OPS: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
    | {"Bernoulli", "Dropout"}
)
_SHAPE_OPS: Final = frozenset({"Shape", "Size"})


@dataclass
class Contents:
    """One stage: nodes by file position, values at its edges in a fixed order.

    `constants` are outputs of Shape nodes whose tensor is not in this stage: its size is known, so
    they become initialisers.
    """

    planned: list[int]
    nodes: list[int] = field(default_factory=list)
    inputs: list[ir.Value] = field(default_factory=list)
    outputs: list[ir.Value] = field(default_factory=list)
    initializers: list[ir.Value] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)


def used_values(node: ir.Node, graph: ir.Graph) -> list[ir.Value]:
    """Return the values of the main graph that a node reads, those its bodies capture included."""
    import onnx_ir as ir

    found: dict[ir.Value, None] = {v: None for v in node.inputs if v is not None}
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    for body in bodies:
        # A body may also hand an outer value straight to its own outputs.
        captured = [v for inner in ir.traversal.RecursiveGraphIterator(body) for v in inner.inputs]
        captured.extend(body.outputs)
        found.update((v, None) for v in captured if v is not None and v.graph is graph)
    return list(found)


class ModelFacts:
    """The main graph seen from the plan.

    Parameters
    ----------
    graph
        The main graph.
    home
        Stage of each node in file order; -1 for nodes the plan does not mention.
    replicable
        Whether each node may be copied although the plan mentions it.
    stages
        Number of stages.
    """

    def __init__(
        self, graph: ir.Graph, home: Sequence[int], replicable: Sequence[bool], stages: int
    ) -> None:
        self.graph, self.stages = graph, stages
        self.nodes = list(graph)
        self.home = list(home)
        self.position = {node: i for i, node in enumerate(self.nodes)}
        self.uses = [used_values(node, graph) for node in self.nodes]
        self.weights = set(graph.initializers.values())
        self.model_inputs = [v for v in graph.inputs if v not in self.weights]
        self._check_sources()
        self.copyable: list[bool] = []
        for i in range(len(self.nodes)):
            self.copyable.append((self.home[i] < 0 or replicable[i]) and self._may_copy(i))
        self._settle_the_rest()

    def _check_sources(self) -> None:
        known = self.weights.union(self.model_inputs)
        for node, uses in zip(self.nodes, self.uses, strict=True):
            for value in uses:
                if self.producer(value) < 0 and value not in known:
                    raise ModelError(
                        f"node '{node.name}' ({node.op_type}): input '{value.name}'",
                        "an input, an initialiser or a node's output of the model",
                        "a name that nothing defines",
                    )

    def producer(self, value: ir.Value) -> int:
        """Return the file position of the node that makes `value`, -1 if none does."""
        node = value.producer()
        return -1 if node is None else self.position.get(node, -1)

    def is_known_shape(self, index: int) -> bool:
        """Tell whether a node only asks for the size of a tensor whose size is fixed."""
        node = self.nodes[index]
        source = node.inputs[0] if node.inputs else None
        return (
            node.op_type in _SHAPE_OPS
            and node.domain in ("", "ai.onnx")
            and source is not None
            and source.shape is not None
            and source.shape.is_static()
        )

    def _may_copy(self, index: int) -> bool:
        if self.nodes[index].op_type in _RANDOM_OPS:
            return False
        if self.is_known_shape(index):
            return True
        # Producers come first in the file, so theirs are known already.
        makers = [self.producer(v) for v in self.uses[index]]
        return all(maker < 0 or (maker < index and self.copyable[maker]) for maker in makers)

    def _settle_the_rest(self) -> None:
        """Give a stage to every node that has none and cannot be copied, or is an output."""
        for i in range(len(self.nodes)):
            if self.home[i] < 0 and not self.copyable[i]:
                makers = [self.producer(v) for v in self.uses[i]]
                self.home[i] = max((self.home[m] for m in makers if m >= 0), default=0)
                self.home[i] = max(0, self.home[i])
        for value in self.graph.outputs:
            maker = self.producer(value)
            if maker >= 0 and self.home[maker] < 0:
                self.home[maker] = self._last_or_source(maker)

    def _last_or_source(self, index: int) -> int:
        """Return where a copyable output is made: by its tensor for a Shape node, else last."""
        source = self.nodes[index].inputs[0] if self.is_known_shape(index) else None
        maker = -1 if source is None else self.producer(source)
        return self.home[maker] if maker >= 0 and self.home[maker] >= 0 else self.stages - 1


def stage_contents(facts: ModelFacts) -> list[Contents]:
    """Return what every stage holds.

    Raises
    ------
    InputError
        If a stage needs a tensor that a later stage makes.
    """
    stages = [_closure(facts, stage) for stage in range(facts.stages)]
    needed: set[ir.Value] = set(facts.graph.outputs)
    for stage in stages:
        needed.update(stage.inputs)
    last = facts.stages - 1
    for number, stage in enumerate(stages):
        for index in stage.planned:
            made = [v for v in facts.nodes[index].outputs if v.name]
            stage.outputs.extend(v for v in made if v in needed)
        if number == last:
            given = [v for v in facts.graph.outputs if v in facts.weights]
            stage.outputs.extend(dict.fromkeys(given))
            stage.initializers = list(dict.fromkeys([*stage.initializers, *given]))
        if not stage.outputs:
            # Nothing here is used by anyone; a model must have an output all the same.
            unread = [v for i in stage.planned for v in facts.nodes[i].outputs if v.name]
            stage.outputs.extend(unread[-1:])
    return stages


def _closure(facts: ModelFacts, stage: int) -> Contents:
    """Collect what the nodes of one stage need, and what that needs in turn."""
    planned = [i for i, home in enumerate(facts.home) if home == stage]
    inside = set(planned)
    inputs: dict[ir.Value, None] = {}
    weights: dict[ir.Value, None] = {}
    sizes: dict[int, None] = {}
    waiting = [v for i in reversed(planned) for v in reversed(facts.uses[i])]
    while waiting:
        value = waiting.pop()
        maker = facts.producer(value)
        if value in facts.weights:
            weights[value] = None
        elif maker in inside:
            continue
        elif maker < 0:
            inputs[value] = None
        elif not facts.copyable[maker]:
            _check_order(facts, value, maker, stage)
            inputs[value] = None
        elif facts.is_known_shape(maker):
            sizes[maker] = None
        else:
            inside.add(maker)
            waiting.extend(facts.uses[maker])
    constants = _settle_sizes(facts, sizes, inside, inputs)
    order = {v: i for i, v in enumerate(facts.model_inputs)}
    return Contents(
        planned=planned,
        nodes=sorted(inside),
        inputs=sorted(inputs, key=lambda v: (facts.producer(v), order.get(v, 0), v.index() or 0)),
        initializers=[v for v in facts.graph.initializers.values() if v in weights],
        constants=constants,
    )


def _settle_sizes(
    facts: ModelFacts, sizes: Iterable[int], inside: set[int], inputs: Mapping[ir.Value, None]
) -> list[ir.Value]:
    """Copy a Shape node where its tensor is at hand; elsewhere its output becomes a constant."""
    constants: list[ir.Value] = []
    for index in sizes:
        source = facts.nodes[index].inputs[0]
        if source is not None and (source in inputs or facts.producer(source) in inside):
            inside.add(index)
        else:
            constants.extend(facts.nodes[index].outputs)
    return constants


def _check_order(facts: ModelFacts, value: ir.Value, maker: int, stage: int) -> None:
    if facts.home[maker] > stage:
        raise InputError(
            "plan",
            f"stages in an order that fits the model (stage {stage} needs tensor '{value.name}')",
            f"a plan that makes it in the later stage {facts.home[maker]}",
            "Make the plan again from this model.",
        )
