# SPDX-License-Identifier: Apache-2.0
"""ONNX models to cost graphs: nodes with FLOPs and bytes, tensors, parameters.

The work of every node is 0 here; the cost layer prices it for a device.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import GraphError, ModelError
from ..graph import CostGraph, GraphBuilder
from .notes import StagewrightWarning
from .onnx_file import bodies_of, captured_names, domain_of, load_model, onnx_node_names
from .onnx_function import opsets_of
from .onnx_inputs import fix_inputs
from .onnx_scope import Notes, Scope, Step
from .onnx_types import NAMES, STRING, Array, Value
from .onnx_walk import Walker

__all__ = ["OnnxReading", "onnx_node_names", "read_onnx", "read_onnx_details"]


@dataclass(frozen=True)
class OnnxReading:
    """A cost graph and what ties it to the model file.

    Attributes
    ----------
    graph
        The cost graph.
    names
        Name of every node of the file, in file order (:func:`onnx_node_names`); those that are
        not in the graph are Constant nodes and folded ones.
    static
        Contents of folded tensors that came from Shape or Size of a tensor that is *not* constant:
        a part of the model cannot compute these without that tensor, so it takes the content.
    """

    graph: CostGraph
    names: tuple[str, ...]
    static: Mapping[str, Array] = field(repr=False)


def read_onnx(
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    fold: bool = True,
) -> CostGraph:
    """Read an ONNX model without its weights.

    Parameters
    ----------
    path
        The model file.  External data files need not be there; only sizes are read.
    shapes
        Shapes of inputs, and of inner tensors whose shape cannot be inferred, by name.
    dims
        Values of symbolic dimensions by name.
    fold
        Fold nodes whose inputs are all constant into parameters (see :mod:`.onnx_walk`).

    Raises
    ------
    ModelError
        If the file is damaged or unsafe, or some shape stays unknown: a plan made from guessed
        sizes would be worthless, so the message says which tensors to give `shapes` for.

    Warns
    -----
    StagewrightWarning
        Once, if some cost had to be estimated; the message lists what.
    """
    return read_onnx_details(path, shapes=shapes, dims=dims, fold=fold).graph


def read_onnx_details(
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    fold: bool = True,
) -> OnnxReading:
    """Read an ONNX model as :func:`read_onnx` does, and say how the file's nodes map to it."""
    path = Path(path)
    model = load_model(path)
    fixed = fix_inputs(path, model.graph, shapes or {}, dims or {})
    walker = Walker(path, model, fold=fold, fixed=fixed.dims, given=fixed.inner)
    opsets = opsets_of(model.opset_import)
    scope = walker.open_graph(model.graph, Scope(str(path), opsets))
    for name, shape in fixed.inner.items():
        scope.declared[name] = replace(scope.declared.get(name, Value()), shape=shape)
    scope.values.update(fixed.inputs)
    names = onnx_node_names(model)
    steps = [
        walker.step(node, scope, f"{path}: node '{name}'")
        for node, name in zip(model.graph.node, names, strict=True)
    ]
    assembly = _Assembly(path, model, names, steps, scope, walker.notes)
    graph = assembly.build()
    if fixed.overridden:
        walker.notes.stale.clear()  # the user's shapes are meant to differ from the file's
    _warn(path, walker.notes)
    return OnnxReading(graph, tuple(names), assembly.static())


class _Assembly:
    """Puts the nodes, tensors and parameters of a walked model together."""

    def __init__(
        self,
        path: Path,
        model: Any,
        names: Sequence[str],
        steps: Sequence[Step],
        scope: Scope,
        notes: Notes,
    ) -> None:
        self.path, self.scope, self.notes = path, scope, notes
        self.model, self.names, self.steps = model, names, steps
        self.live = [
            (node, name, step)
            for node, name, step in zip(model.graph.node, names, steps, strict=True)
            if not step.folded
        ]

    def build(self) -> CostGraph:
        """Return the cost graph.

        Raises
        ------
        ModelError
            If no node depends on an input, or a tensor's size is unknown.
        """
        if not self.live:
            raise ModelError(
                f"{self.path}: graph", "a node that depends on an input", "only constant ones"
            )
        builder = GraphBuilder(self.model.graph.name or self.path.stem)
        consumers: dict[str, dict[int, None]] = {}
        readers: dict[str, dict[int, None]] = {}
        sizes: dict[str, int] = {}
        try:
            for node, name, step in self.live:
                index = self._add_node(builder, node, name, step)
                for tensor in _read_names(node):
                    consumers.setdefault(tensor, {})[index] = None
                for root, size in step.reads.items():
                    readers.setdefault(root, {})[index] = None
                    sizes[root] = size
            self._add_tensors(builder, consumers)
            for root, users in readers.items():
                builder.add_param(sizes[root], users)
            self._add_io(builder, consumers)
            return builder.build()
        except GraphError as error:
            raise ModelError(
                f"{self.path}: {error.item}", error.expected, error.got, error.remedy
            ) from None

    def _add_node(self, builder: GraphBuilder, node: Any, name: str, step: Step) -> int:
        domain = domain_of(node)
        return builder.add_node(
            name,
            op=f"{domain}.{node.op_type}" if domain else node.op_type,
            flops=step.flops,
            nbytes=step.nbytes,
            dtype=self._dtype(node, step),
            kind=step.kind,
        )

    def _dtype(self, node: Any, step: Step) -> str:
        """Return the element type the node computes in."""
        if node.op_type.startswith(("QLinear", "QAttention", "QGemm")) or node.op_type in (
            "MatMulInteger",
            "ConvInteger",
            "MatMulIntegerToFloat",
            "DynamicQuantizeMatMul",
        ):
            return "int8"
        values = [*step.outputs, *(self.scope.values.get(n) for n in node.input if n)]
        elems = [v.elem for v in values if v is not None and v.elem]
        # A comparison makes booleans and an index integers, but computes in its input's type.
        floats = [e for e in elems if "float" in NAMES.get(e, "")]
        return NAMES.get((floats or elems or [0])[0], "")

    def _add_io(self, builder: GraphBuilder, consumers: dict[str, dict[int, None]]) -> None:
        """Say what the model's inputs and outputs are: inputs that are read, outputs that a node makes."""
        for info in self.model.graph.input:
            value = self.scope.values.get(info.name)
            if consumers.get(info.name) and value is not None and not value.const:
                size = -1 if value.nbytes is None else value.nbytes
                builder.add_io(info.name, size, consumers[info.name], is_input=True)
        outputs = {output.name for output in self.model.graph.output}
        for index, (node, _, step) in enumerate(self.live):
            for name, value in zip(node.output, step.outputs, strict=False):
                if name in outputs:
                    size = -1 if value.nbytes is None else value.nbytes
                    builder.add_io(name, size, [index], is_input=False)

    def _add_tensors(self, builder: GraphBuilder, consumers: dict[str, dict[int, None]]) -> None:
        unknown: list[str] = []
        outputs = {output.name for output in self.model.graph.output}
        for index, (node, name, step) in enumerate(self.live):
            for tensor, value in zip(node.output, step.outputs, strict=False):
                if not tensor:
                    continue
                size, users = value.nbytes, consumers.get(tensor, {})
                if size is None:
                    if not users and tensor not in outputs:
                        continue  # such as the unused mask of Dropout
                    if users and value.kind == "tensor" and value.elem != STRING:
                        unknown.append(f"'{tensor}' (node '{name}', {node.op_type})")
                    self.notes.sizeless[f"'{tensor}'"] += 1
                builder.add_tensor(index, users, nbytes=size or 0)
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise ModelError(
                f"{self.path}: shapes",
                "every tensor's shape to follow from the inputs",
                f"unknown ones: {', '.join(unknown[:5])}{more}",
                f"Give the first, for example --shape {unknown[0].split(chr(39))[1]}=1x128.",
            )

    def static(self) -> dict[str, Array]:
        """Return the contents of constants that hang on Shape or Size of a varying tensor."""
        tainted: dict[str, Array] = {}
        for node, step in zip(self.model.graph.node, self.steps, strict=True):
            if not step.folded:
                continue
            values = [self.scope.values.get(name) for name in node.input if name]
            if any(v is not None and not v.const for v in values) or any(
                name in tainted for name in _read_names(node)
            ):
                for name, value in zip(node.output, step.outputs, strict=False):
                    if value.data is not None:
                        tainted[name] = value.data
        return tainted


def _read_names(node: Any) -> dict[str, None]:
    """Return the names a node reads: its inputs, and what its bodies capture."""
    inner = (name for body in bodies_of(node) for name in captured_names(body))
    return dict.fromkeys(name for name in (*node.input, *inner) if name)


def _warn(path: Path, notes: Notes) -> None:
    """Issue one warning that names everything that was estimated."""
    kinds = (
        ("operators without a cost rule (bytes only)", notes.unknown),
        ("loops of unknown length counted as one iteration", notes.loops),
        ("outputs whose size depends on the data, at their largest", notes.bounded),
        ("tensors without a known size counted as 0 bytes", notes.sizeless),
        ("declared shapes that contradict the inferred ones, ignored", notes.stale),
        ("branches that cannot run at these shapes, taken as never chosen", notes.unfit),
    )
    parts = [f"{text}: {_counted(counter)}" for text, counter in kinds if counter]
    if parts:
        warnings.warn(StagewrightWarning(f"{path}: {'; '.join(parts)}"), stacklevel=4)


def _counted(counter: Counter[str]) -> str:
    shown = [f"{name} x{count}" if count > 1 else name for name, count in counter.most_common(8)]
    more = len(counter) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
