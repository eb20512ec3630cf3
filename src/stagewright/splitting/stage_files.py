# SPDX-License-Identifier: Apache-2.0
"""Writing one stage as an ONNX file, and a folder of them in one step."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError, ModelError
from .contents import Contents, ModelFacts
from .manifest import MANIFEST_NAME, TensorType
from .map_types import map_text, put_maps_back

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["new_folder", "param_bytes", "tensor_type", "write_stage"]

# A stage with more weights than this keeps them in a file beside it, written tensor by tensor.
_INLINE_BYTES: Final = 64 * 2**20
_EXTERNAL_FROM_BYTES: Final = 1024


def tensor_type(value: ir.Value, where: str) -> TensorType:
    """Describe a value at the edge of a stage.

    Raises
    ------
    ModelError
        If its type is not known.
    """
    if (text := map_text(value)) is not None:
        return TensorType(value.name or "", text, None, None)
    if value.type is None:
        raise ModelError(
            f"{where}: tensor '{value.name}'",
            "a known element type, since it crosses between stages",
            "none in the file, and none could be inferred",
            "Run shape inference on the model, or keep its producer and consumers together.",
        )
    shape = None
    if value.shape is not None:
        shape = tuple(d if isinstance(d, int) else d.value for d in value.shape)
    text, nbytes = _type_text(value.type), None
    if shape is not None and text.startswith("tensor(") and text != "tensor(string)":
        sizes = [d for d in shape if isinstance(d, int)]
        if len(sizes) == len(shape):
            nbytes = math.ceil(math.prod(sizes) * value.type.dtype.itemsize)
    return TensorType(value.name or "", text, shape, nbytes)


def _type_text(kind: ir.TypeProtocol) -> str:
    import onnx_ir as ir

    if isinstance(kind, ir.SequenceType):
        return f"seq({_type_text(kind.elem_type)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({_type_text(kind.elem_type)})"
    prefix = "sparse_tensor" if isinstance(kind, ir.SparseTensorType) else "tensor"
    return f"{prefix}({kind.dtype.name.lower()})"


def param_bytes(facts: ModelFacts, stage: Contents) -> int:
    """Return the bytes of the parameters that the planned nodes of a stage read, each once.

    A parameter is an initialiser or the value of a copied node that depends on constants alone.
    """
    used = {v for i in stage.planned for v in facts.uses[i]}
    return sum(_constant_bytes(facts, value) for value in used)


def _constant_bytes(facts: ModelFacts, value: ir.Value) -> int:
    if value in facts.weights:
        return 0 if value.const_value is None else value.const_value.nbytes
    maker = facts.producer(value)
    if maker < 0 or facts.home[maker] >= 0 or facts.is_known_shape(maker):
        return 0
    if value.type is None or value.shape is None or not value.shape.is_static():
        return 0
    return math.ceil(math.prod(value.shape.numpy()) * value.type.dtype.itemsize)


def write_stage(model: ir.Model, facts: ModelFacts, stage: Contents, path: Path) -> None:
    """Write one stage file, and its data file if it has many weights, and check it.

    Raises
    ------
    ModelError
        If the stage is not valid ONNX, which means that the model was not.
    """
    import onnx
    import onnx_ir as ir

    try:
        with _sizes_as_constants(stage.constants):
            graph = _stage_graph(model, facts, stage)
        part = _stage_model(model, graph)
        if _weight_bytes(part) > _INLINE_BYTES:
            data = f"{path.name}.data"
            ir.save(part, path, external_data=data, size_threshold_bytes=_EXTERNAL_FROM_BYTES)
        else:
            ir.external_data.load_to_model(part)
            ir.save(part, path)
        put_maps_back(path, (*stage.inputs, *stage.outputs))
        _check(path)
    except (ValueError, RuntimeError, TypeError, onnx.checker.ValidationError) as fault:
        cause: BaseException = fault
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ModelError(
            f"model: stage file '{path.name}'", "a valid ONNX model", str(cause).strip()
        ) from fault


def _check(path: Path) -> None:
    """Let onnx's checker look at a stage file.

    The checker wants a rank for every input and output, runtimes do not, and some tensors have
    none (an If whose branches differ in it).  For its eyes, such a tensor gets a shape.
    """
    import onnx

    proto = onnx.load(str(path), load_external_data=False)
    edges = [
        v.type.tensor_type
        for v in (*proto.graph.input, *proto.graph.output)
        if v.type.HasField("tensor_type")
    ]
    if all(kind.HasField("shape") for kind in edges):
        onnx.checker.check_model(str(path))
        return
    for kind in edges:
        kind.shape.SetInParent()
    twin = path.with_name(f".{path.name}")  # beside its data file, which the checker looks for
    try:
        onnx.save(proto, str(twin))
        onnx.checker.check_model(str(twin))
    finally:
        twin.unlink(missing_ok=True)


def _weight_bytes(part: ir.Model) -> int:
    """Return the size of all initialisers, those of bodies included."""
    values = (v for graph in part.graphs() for v in graph.initializers.values())
    return sum(0 if v.const_value is None else v.const_value.nbytes for v in values)


@contextmanager
def _sizes_as_constants(values: Sequence[ir.Value]) -> Iterator[None]:
    """Let outputs of Shape and Size nodes carry their known value while a stage is copied."""
    import numpy as np
    import onnx_ir as ir

    for value in values:
        node = value.producer()
        source = None if node is None else node.inputs[0]
        if node is None or source is None or source.shape is None:
            continue
        sizes = list(source.shape.numpy())
        if node.op_type == "Size":
            content = np.array(math.prod(sizes), np.int64)
        else:
            start = node.attributes.get_int("start", 0)
            content = np.array(sizes[start : node.attributes.get_int("end", len(sizes))], np.int64)
        value.const_value = ir.tensor(content, name=value.name)
        value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(content.shape)
    try:
        yield
    finally:
        for value in values:
            value.const_value = None


def _stage_graph(model: ir.Model, facts: ModelFacts, stage: Contents) -> ir.Graph:
    """Copy the nodes of a stage, with all that their bodies capture, into a graph of its own."""
    import onnx_ir as ir

    weights = [*stage.initializers, *stage.constants]
    # Before IR version 4 every initialiser is an input too; later, one that is can be overridden.
    listed = set(model.graph.inputs)
    given = [v for v in weights if v in listed or (model.ir_version or 0) < 4]
    view = ir.GraphView(
        [*stage.inputs, *given],
        stage.outputs,
        nodes=[facts.nodes[i] for i in stage.nodes],
        initializers=weights,
        doc_string=model.graph.doc_string,
        opset_imports=dict(model.graph.opset_imports),
        name=model.graph.name,
        metadata_props=dict(model.graph.metadata_props),
    )
    graph = view.clone()
    _load_attributes(graph)
    return graph


def _load_attributes(graph: ir.Graph) -> None:
    """Bring tensors that attributes keep in data files into the stage file itself."""
    import onnx_ir as ir

    for node in ir.traversal.RecursiveGraphIterator(graph):
        for name, attribute in list(node.attributes.items()):
            if attribute.is_ref() or attribute.type != ir.AttributeType.TENSOR:
                continue
            tensor = attribute.as_tensor()
            if isinstance(tensor, ir.ExternalTensor):
                loaded = ir.Tensor(tensor.numpy().copy(), name=tensor.name, dtype=tensor.dtype)
                node.attributes[name] = ir.AttrTensor(name, loaded)


def _stage_model(model: ir.Model, graph: ir.Graph) -> ir.Model:
    import onnx_ir as ir

    return ir.Model(
        graph,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        functions=[function.clone() for function in model.functions.values()],
        metadata_props=dict(model.metadata_props),
    )


@contextmanager
def new_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write into, and move it to `target` when all went well.

    Raises
    ------
    InputError
        If `target` holds something and may not be replaced, or cannot be written beside.
    """
    _check_target(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as fault:
        raise InputError(
            str(target), "a place where a folder can be made", fault.strerror or str(fault)
        ) from None
    try:
        yield made
        made.chmod(0o777 & ~_umask())
        _move(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _check_target(target: Path, *, overwrite: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise InputError(str(target), "a folder or a free name", "something else of that name")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise InputError(
            str(target),
            "a free name or an empty folder",
            "a folder with content",
            "Use --overwrite.",
        )
    if not (target / MANIFEST_NAME).is_file():
        raise InputError(
            str(target),
            f"an earlier output to overwrite (with a {MANIFEST_NAME})",
            "a folder with other content",
            "Remove it yourself, or choose another name.",
        )


def _move(made: Path, target: Path) -> None:
    """Put `made` in the place of `target`; the old folder goes only when the new one is there."""
    if not target.exists() or not any(target.iterdir()):
        made.replace(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.replace(old)
    try:
        made.replace(target)
    except OSError:
        old.replace(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
