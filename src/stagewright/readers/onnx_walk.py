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

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from onnx import NodeProto, TensorProto, helper

from ..errors import ModelError
from . import onnx_control
from .onnx_call import Call
from .onnx_file import TensorFile, bodies_of, captured_names, domain_of
from .onnx_flops import flops_of
from .onnx_infer import Inference, attributes_of, infer
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
_LAYOUT: Final = frozenset(words("Reshape Squeeze Unsqueeze Flatten Identity Transpose"))


@dataclass(slots=True)
class Notes:
    """What had to be estimated; the reader puts it into one warning."""

    unknown: Counter[str] = field(default_factory=Counter)
    loops: Counter[str] = field(default_factory=Counter)
    bounded: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    sizeless: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Step:
    """What one node, or a whole body, costs and reads."""

    outputs: Sequence[Value] = ()
    folded: bool = False
    flops: int = 0
    nbytes: int = 0
    reads: dict[str, int] = field(default_factory=dict)

    def add(self, other: Step, times: int = 1) -> None:
        """Add the cost of a part that runs `times` times."""
        self.flops += times * other.flops
        self.nbytes += times * other.nbytes
        self.reads |= other.reads


@dataclass(slots=True)
class Scope:
    """Names and their values in a graph, a body (which sees its parent's too) or a function."""

    item: str
    opsets: Mapping[str, int]
    parent: Scope | None = None
    prefix: str = ""
    depth: int = 0
    values: dict[str, Value | None] = field(default_factory=dict)
    declared: dict[str, Value] = field(default_factory=dict)

    def find(self, name: str, item: str) -> Value | None:
        """Return the value of a name; None for an optional input a function was not given."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        raise ModelError(
            f"{item}: input '{name}'",
            "the output of an earlier node, an input or an initialiser",
            "an unknown name",
            "Sort the nodes topologically, or repair the model.",
        )


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
    """

    def __init__(self, path: Path, model: Any, *, fold: bool, fixed: Mapping[str, int]) -> None:
        self.path, self.fold, self.fixed = path, fold, fixed
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

    def open_body(self, graph: Any, outer: Scope, item: str, actual: Iterable[Value | None]) -> Scope:
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
            raise ModelError(item, f"at most {DEPTH_LIMIT} nested bodies and functions", "more")
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
            raise ModelError(f"{self.path}: functions", f"at most {VISIT_LIMIT} nodes", "more")
        domain = domain_of(node)
        if node.op_type == "Constant" and domain == "":
            step = Step([self._constant(node, scope, item)], folded=True)
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
        outputs = [
            self._complete(value, name, scope)
            for value, name in zip(step.outputs, node.output, strict=False)
        ]
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
        if (function := self.functions.get((domain, node.op_type, node.overload))) is not None:
            return self._call(function, node, inputs, scope, item)
        control = onnx_control.RULES.get(node.op_type) if domain == "" else None
        if control is not None:
            step: Step = control(self, node, inputs, scope, item)
            return step
        try:
            outputs = infer(node, domain, inputs, scope.opsets)
        except Inference as error:
            raise ModelError(item, f"inputs that fit {node.op_type}", str(error)) from None
        outputs = [
            self._complete(v, n, scope) for v, n in zip(outputs, node.output, strict=True)
        ]
        call = Call(node.op_type, domain, node.input, inputs, outputs, attributes_of(node))
        flops = self._flops(call, item)
        return Step(outputs, flops=flops, nbytes=bytes_of(call))

    def _flops(self, call: Call, item: str) -> int:
        known = call.domain in ("", "com.microsoft") or call.domain.startswith("com.microsoft.")
        if any(v is not None and v.numel is None for v in (*call.inputs, *call.outputs)):
            return 0  # the reader reports what is missing
        try:
            flops = flops_of(call) if known else None
        except (IndexError, ValueError, TypeError, KeyError, ArithmeticError):
            shapes = ", ".join(str(list(v.dims)) for v in call.inputs if v is not None)
            raise ModelError(item, f"inputs that fit {call.op}", f"the shapes {shapes}") from None
        if flops is None:
            self.notes.unknown[f"{call.domain}.{call.op}" if call.domain else call.op] += 1
        return flops or 0

    def _complete(self, value: Value, name: str, scope: Scope) -> Value:
        """Fill in what inference left open with what the file (or the user) declares."""
        declared = scope.declared.get(name)
        if declared is None or value.kind != "tensor" or declared.kind != "tensor":
            return value if declared is None or value.complete else declared
        shape = value.shape if value.shape is not None else declared.shape
        if shape is not None and declared.shape is not None and len(shape) == len(declared.shape):
            if any(a != b for a, b in zip(shape, declared.shape, strict=True) if a is not None and b is not None):
                self.notes.stale[name] += 1
            shape = tuple(b if a is None else a for a, b in zip(shape, declared.shape, strict=True))
        return replace(value, elem=value.elem or declared.elem, shape=shape)

    def _constant(self, node: Any, scope: Scope, item: str) -> Value:
        """Return the parameter that a Constant node holds."""
        name = next(iter(node.output), "")
        root = scope.prefix + name
        for attribute in node.attribute:
            if attribute.name == "value":
                return self.file.value(attribute.t, root)
            if attribute.name == "sparse_value":
                return self.file.sparse_value(attribute.sparse_tensor, root)
            if attribute.name in _CONSTANTS:
                content = helper.get_attribute_value(attribute)
                listed = isinstance(content, (list, tuple)) or hasattr(content, "__len__")
                scalar = not attribute.name.endswith("s")
                dims = [] if scalar or not listed else [len(content)]
                if (elem := _CONSTANTS[attribute.name]) == TensorProto.STRING:
                    return Value(elem, tuple(dims), const=True, root=root)
                values = [content] if scalar else content
                return self.file.value(helper.make_tensor(name, elem, dims, values), root)
        raise ModelError(item, "a Constant with a value", "none")

    def _call(
        self, function: Any, node: Any, inputs: list[Value | None], scope: Scope, item: str
    ) -> Step:
        """Return the summed cost of a model-local function's body."""
        inner = self._inner(scope, item, parent=False)
        inner.opsets = {**scope.opsets, **_opsets(function.opset_import)}
        padded = [*inputs, *[None] * len(function.input)]
        inner.values.update(zip(function.input, padded, strict=False))
        for info in function.value_info:
            inner.declared[info.name] = from_type(info.type, self.fixed)
        given = {a.name: a for a in (*function.attribute_proto, *node.attribute)}
        total = self.run((_with_attributes(n, given) for n in function.node), inner)
        outputs = [inner.find(name, item) or Value() for name in function.output]
        total.outputs = outputs[: len(node.output)]
        return total


_CONSTANTS: Final = {
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
    "value_string": TensorProto.STRING,
    "value_strings": TensorProto.STRING,
}


def _opsets(imports: Iterable[Any]) -> dict[str, int]:
    return {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in imports}


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


def _with_attributes(node: Any, given: Mapping[str, Any]) -> Any:
    """Return the node with references to the function's attributes resolved, bodies included."""
    if not any(a.ref_attr_name or a.HasField("g") for a in node.attribute):
        return node
    made = NodeProto()
    made.CopyFrom(node)
    del made.attribute[:]
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in given:
                made.attribute.add().CopyFrom(given[attribute.ref_attr_name])
                made.attribute[-1].name = attribute.name
            continue
        copy = made.attribute.add()
        copy.CopyFrom(attribute)
        if attribute.HasField("g"):
            del copy.g.node[:]
            copy.g.node.extend(_with_attributes(n, given) for n in attribute.g.node)
    return made
