# SPDX-License-Identifier: Apache-2.0
"""The walk over a model: one node at a time, in file order, through bodies and functions.

A node all of whose inputs are constant is folded: it runs once, when a model is loaded, so it is
no node of the cost graph, and what it makes is a parameter of whoever reads it.  Such a parameter
takes the bytes of the **result**, which is what a device holds (an Expand of a scalar to a large
mask is a large mask).  Two cases take less: a layout change (Reshape, Transpose ...) of a
parameter is the same parameter, and DequantizeLinear keeps the smaller of source and result, since
runtimes multiply with the quantised weights.  Shape and Size of a tensor with a known shape are
constant whatever made the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import ModelError
from . import onnx_control
from .onnx_call import Call
from .onnx_file import TensorFile, bodies_of, captured_names, domain_of
from .onnx_flops import flops_of, has_rule
from .onnx_function import constant, opsets_of, with_attributes
from .onnx_infer import Inference, attributes_of, bounded, infer
from .onnx_kinds import kind_of
from .onnx_scope import Misfit, Notes, Scope, Step
from .onnx_traffic import bytes_of
from .onnx_types import Value, from_type, words

__all__ = ["Notes", "Scope", "Step", "Walker"]

VISIT_LIMIT: Final = 5_000_000
"""Most nodes looked at, repeated function bodies included: nested calls can grow without bound."""

DEPTH_LIMIT: Final = 64
"""Deepest nesting of bodies and functions; a function that calls itself stops here."""

_RANDOM: Final = frozenset(
    words("RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli")
)
_FAULTS: Final = (
    IndexError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
)
"""What the rules raise on ranks and attributes that no operator's documentation allows."""

_LAYOUT: Final = frozenset(words("Reshape Squeeze Unsqueeze Flatten Identity Transpose"))


class Walker:
    """Walks a model; see the module's description.

    Parameters
    ----------
    path
        The model file, for messages and external data.
    model
        The parsed model.
    fold
        False keeps nodes with constant inputs (Constant nodes are parameters all the same).
    fixed
        Values of symbolic dimensions.
    given
        Shapes the user gave for inner tensors of the main graph.
    """

    def __init__(
        self,
        path: Path,
        model: Any,
        *,
        fold: bool,
        fixed: Mapping[str, int],
        given: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.path, self.fold, self.fixed, self.given = path, fold, fixed, given
        self.notes = Notes()
        self.file = TensorFile(path)
        self.visits = 0
        self.functions = {
            ("" if f.domain == "ai.onnx" else f.domain, f.name, f.overload): f
            for f in model.functions
        }

    def open_graph(self, graph: Any, scope: Scope) -> Scope:
        """Fill a scope with the initialisers and declared types of a graph."""
        for tensor in graph.initializer:
            if not tensor.name or tensor.name in scope.values:
                kind = f"a second one named '{tensor.name}'" if tensor.name else "one without"
                raise ModelError(f"{scope.item}: initialisers", "a unique name each", kind)
            scope.values[tensor.name] = self.file.value(tensor, scope.prefix + tensor.name)
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            scope.values[name] = self.file.sparse_value(sparse, scope.prefix + name)
        for info in (*graph.value_info, *graph.output):
            if info.HasField("type"):
                scope.declared[info.name] = from_type(info.type, self.fixed)
        return scope

    def open_body(
        self, graph: Any, outer: Scope, item: str, actual: Iterable[Value | None]
    ) -> Scope:
        """Open a body: its inputs get the values given, or what the file declares of them."""
        scope = self._inner(outer, item)
        self.open_graph(graph, scope)
        for info, value in zip(graph.input, actual, strict=False):
            scope.values[info.name] = value
        for info in graph.input:
            scope.values.setdefault(info.name, from_type(info.type, self.fixed))
        return scope

    def _inner(self, outer: Scope, item: str, parent: bool = True) -> Scope:
        if outer.depth >= DEPTH_LIMIT:
            name = item.rpartition("node ")[2]
            raise ModelError(
                f"{self.path}: bodies and functions",
                f"at most {DEPTH_LIMIT} levels",
                f"more, at node {name}",
            )
        return Scope(
            item, outer.opsets, outer if parent else None, f"{item}/", depth=outer.depth + 1
        )

    def run(self, nodes: Iterable[Any], scope: Scope) -> Step:
        """Walk the nodes of a body and return their summed cost."""
        total = Step()
        for node in nodes:
            name = node.name or next((o for o in node.output if o), node.op_type)
            step = self.step(node, scope, f"{scope.item}: node '{name}'")
            if not step.folded:
                total.add(step)
        return total

    def step(self, node: Any, scope: Scope, item: str) -> Step:
        """Look at one node, record its outputs in `scope`, return what it costs."""
        self.visits += 1
        if self.visits > VISIT_LIMIT:
            raise ModelError(
                f"{self.path}: functions", f"at most {VISIT_LIMIT} nodes when expanded", "more"
            )
        domain = domain_of(node)
        if node.op_type == "Constant" and domain == "":
            step = Step([constant(node, self.file, scope.prefix, item)], folded=True)
        else:
            step = self._operator(node, domain, scope, item)
        for name, value in zip(node.output, step.outputs, strict=False):
            if name in scope.values and name:
                raise ModelError(f"{item}: output '{name}'", "a name not yet taken", "a second use")
            scope.values[name] = value
        return step

    def _operator(self, node: Any, domain: str, scope: Scope, item: str) -> Step:
        inputs = [scope.find(name, item) if name else None for name in node.input]
        captured = [scope.find(n, item) for b in bodies_of(node) for n in captured_names(b)]
        step = self._measure(node, domain, inputs, scope, item)
        outputs = list(step.outputs)
        if self._is_constant(node, domain, inputs, captured):
            return Step(_as_parameters(node, inputs, outputs, scope.prefix), folded=True)
        # Static shapes are known before the run, but the node that computes them still runs.
        step.outputs = [replace(v, const=False, root="", stored=0) for v in outputs]
        step.reads |= {v.root: v.stored for v in inputs if v is not None and v.const}
        return step

    def _is_constant(
        self, node: Any, domain: str, inputs: list[Value | None], captured: list[Value | None]
    ) -> bool:
        if not self.fold or (domain == "" and node.op_type in _RANDOM):
            return False
        present = [v for v in (*inputs, *captured) if v is not None]
        if domain == "" and node.op_type in ("Shape", "Size") and present:
            return present[0].const or present[0].numel is not None
        return all(v.const for v in present) and (bool(present) or domain == "")

    def _measure(
        self, node: Any, domain: str, inputs: list[Value | None], scope: Scope, item: str
    ) -> Step:
        """Return outputs and cost, whether or not the node will be folded."""
        function = self.functions.get((domain, node.op_type, node.overload))
        if function is not None:
            step = self._call(function, node, inputs, scope, item)
            step.outputs = self._settled(node, inputs, step.outputs, scope)
            return step
        control = onnx_control.RULES.get(node.op_type) if domain == "" else None
        try:
            if control is None:
                return self._plain(node, domain, inputs, scope)
            step = control(self, node, inputs, scope, item)
            step.outputs = self._settled(node, inputs, step.outputs, scope)
        except Inference as error:
            raise Misfit(item, f"inputs that fit {node.op_type}", str(error)) from None
        except _FAULTS as error:
            shapes = ", ".join(str(list(v.dims)) for v in inputs if v is not None)
            fit = f"inputs and attributes that fit {node.op_type}"
            raise Misfit(item, fit, f"the shapes {shapes}") from error
        return step

    def _plain(self, node: Any, domain: str, inputs: list[Value | None], scope: Scope) -> Step:
        """Return outputs and cost of an operator without a body."""
        outputs = infer(node, domain, inputs, scope.opsets)
        outputs = self._settled(node, inputs, outputs, scope)
        call = Call(node.op_type, domain, node.input, inputs, outputs, attributes_of(node))
        return Step(outputs, flops=self._flops(call), nbytes=bytes_of(call), kind=kind_of(call))

    def _settled(
        self, node: Any, inputs: list[Value | None], outputs: Sequence[Value], scope: Scope
    ) -> list[Value]:
        """Fill open shapes from what is declared, then with the largest they can be."""
        declared = [self._complete(v, n, scope) for v, n in zip(outputs, node.output, strict=False)]
        if any(not v.elem and n in self.given for v, n in zip(declared, node.output, strict=False)):
            # The user knows the shape; an operator nobody knows most likely keeps the element type.
            elem = next((v.elem for v in inputs if v is not None and v.elem), 0)
            declared = [v if v.elem else replace(v, elem=elem) for v in declared]
        settled = bounded(node, inputs, declared)
        if settled != declared and node.op_type != "Loop":
            self.notes.bounded[node.op_type] += 1
        return settled

    def _flops(self, call: Call) -> int:
        known = call.domain == "" or call.domain.split(".")[:2] == ["com", "microsoft"]
        if not (known and has_rule(call.op)):
            self.notes.unknown[f"{call.domain}.{call.op}" if call.domain else call.op] += 1
            return 0
        if any(v is not None and v.numel is None for v in (*call.inputs, *call.outputs)):
            return 0  # the reader reports what is missing
        return flops_of(call)

    def _complete(self, value: Value, name: str, scope: Scope) -> Value:
        """Fill in what inference left open with what the file (or the user) declares."""
        declared = scope.declared.get(name)
        if declared is None or value.kind != "tensor" or declared.kind != "tensor":
            return value if declared is None or value.complete else declared
        shape = value.shape if value.shape is not None else declared.shape
        if shape is not None and declared.shape is not None and len(shape) == len(declared.shape):
            pairs = zip(shape, declared.shape, strict=True)
            if any(a != b for a, b in pairs if a is not None and b is not None):
                self._contradiction(name, shape, scope)
            shape = tuple(b if a is None else a for a, b in zip(shape, declared.shape, strict=True))
        return replace(value, elem=value.elem or declared.elem, shape=shape)

    def _contradiction(self, name: str, shape: tuple[int | None, ...], scope: Scope) -> None:
        if scope.depth == 0 and name in self.given:
            raise ModelError(
                f"{self.path}: shape of '{name}'",
                f"({', '.join('?' if d is None else str(d) for d in shape)}), which is inferred",
                str(self.given[name]),
            )
        self.notes.stale[f"'{name}'"] += 1

    def _call(
        self, function: Any, node: Any, inputs: list[Value | None], scope: Scope, item: str
    ) -> Step:
        """Return the summed cost of a model-local function's body."""
        inner = self._inner(scope, item, parent=False)
        inner.opsets = {**scope.opsets, **opsets_of(function.opset_import)}
        padded = [*inputs, *[None] * len(function.input)]
        inner.values.update(zip(function.input, padded, strict=False))
        for info in function.value_info:
            inner.declared[info.name] = from_type(info.type, self.fixed)
        given = {a.name: a for a in (*function.attribute_proto, *node.attribute)}
        total = self.run((with_attributes(n, given) for n in function.node), inner)
        outputs = [inner.find(name, item) or Value() for name in function.output]
        total.outputs = outputs[: len(node.output)]
        return total


def _as_parameters(
    node: Any, inputs: Sequence[Value | None], outputs: list[Value], prefix: str
) -> list[Value]:
    """Return the outputs of a folded node as parameters."""
    source = inputs[0] if inputs else None
    if node.op_type in _LAYOUT and source is not None and source.root:
        return [replace(v, const=True, root=source.root, stored=source.stored) for v in outputs]
    made = []
    for value, name in zip(outputs, node.output, strict=False):
        stored = value.nbytes or 0
        if node.op_type == "DequantizeLinear":
            parts = {v.root: v.stored for v in inputs if v is not None}
            stored = min(stored, sum(parts.values()))
        made.append(replace(value, const=True, root=prefix + name, stored=stored))
    return made
