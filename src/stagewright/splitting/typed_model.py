# SPDX-License-Identifier: Apache-2.0
"""A model file opened for splitting: sizes fixed, and a type on every value that has one.

A stage file must state the type of each of its inputs, also where the model says nothing about
that tensor, so types are inferred first.  Weights stay out of the inference: they may be larger
than one protobuf message can be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError, ModelError
from ..readers.onnx_symbols import symbol, ties
from .map_types import has_map, keep_map, map_text, take_maps_off
from .session_types import session_types

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["file_sha256", "load_proto", "node_names", "typed_ir"]

# Larger tensors cannot hold a shape, so type inference never needs their values.
_SMALL_BYTES: Final = 4096


def load_proto(path: Path) -> onnx.ModelProto:
    """Read a model file without its external data.

    Raises
    ------
    ModelError
        If it cannot be opened or is not an ONNX model.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as fault:
        raise ModelError(str(path), "a readable file", fault.strerror or str(fault)) from None
    except Exception as fault:  # noqa: BLE001  # protobuf's own error, whose module has no types
        raise ModelError(str(path), "an ONNX model", str(fault)) from None
    if not model.HasField("graph"):
        raise ModelError(str(path), "an ONNX model", "a file without a graph")
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise ModelError(
            f"{path}: initialiser '{name}'",
            "a dense tensor (sparse ones cannot be split)",
            "a sparse one",
            "Store it densely.",
        )
    return model


def node_names(model: onnx.ModelProto) -> list[str]:
    """Return the cost graph's name of every node of the main graph, in file order."""
    from ..readers.onnx_model import onnx_node_names

    return onnx_node_names(model)


def file_sha256(path: Path) -> str:
    """Return the hash of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def typed_ir(
    model: onnx.ModelProto,
    folder: Path,
    shapes: Mapping[str, Sequence[int]],
    dims: Mapping[str, int],
) -> ir.Model:
    """Return the model as IR, with inferred types and with the given sizes in place.

    Parameters
    ----------
    model
        The model; its inputs are changed to the given sizes.
    folder
        Where its external data lies.
    shapes
        Input name to shape.
    dims
        Symbolic size name to value.
    """
    import onnx_ir as ir

    inner = _fix_sizes(model, shapes, dims)
    inferred = _inferred_types(model)
    if inner:
        kept = [value for value in model.graph.value_info if value.name not in inner]
        del model.graph.value_info[:]
        model.graph.value_info.extend([*kept, *_inner_types(inner, inferred)])
        inferred = _inferred_types(model)
    take_maps_off(model)
    try:
        result = ir.serde.deserialize_model(model)
    except Exception as fault:
        raise ModelError("model", "a valid ONNX graph", _first_line(fault)) from fault
    ir.external_data.set_base_dir(result.graph, str(folder))
    for value in _values(result.graph):
        proto = inferred.get(value.name or "")
        if proto is None:
            continue
        if has_map(proto):
            keep_map(value, proto)
            continue
        value.type = ir.serde.deserialize_type_proto_for_type(proto) or value.type
        shape = ir.serde.deserialize_type_proto_for_shape(proto)
        value.shape = value.shape if shape is None else shape  # that of a scalar is empty
    _ask_the_runtime(model, result.graph)
    return result


def _ask_the_runtime(model: onnx.ModelProto, graph: ir.Graph) -> None:
    """Type what stands behind operators that the standard does not have."""
    untyped = (v for v in _values(graph) if v.type is None and map_text(v) is None)
    missing = {v.name: v for v in untyped if v.name}
    if missing:
        found = session_types(_without_weights(model), list(missing))
        for name, (kind, shape) in found.items():
            missing[name].type, missing[name].shape = kind, shape


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    initialised = graph.initializers
    yield from (v for v in graph.inputs if v.name not in initialised)
    for node in graph:
        yield from (v for v in node.outputs if v.name)


def _first_line(fault: BaseException) -> str:
    while fault.__cause__ is not None:
        fault = fault.__cause__
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]


def _fix_sizes(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], dims: Mapping[str, int]
) -> dict[str, Sequence[int]]:
    """Write given sizes into the inputs and, where they are named, into the other values.

    Returns the shapes that were given for inner tensors.
    """
    graph = model.graph
    inputs = {value.name: value for value in graph.input}
    named = {d.dim_param for v in graph.input for d in _dims_of(v) if symbol(d.dim_param)}
    for name in dims:
        if name not in named:
            known = ", ".join(sorted(named)) or "none"
            raise InputError(
                f"dimension '{name}'", f"a symbolic size of an input ({known})", "none"
            )
    made = {output for node in graph.node for output in node.output}
    sizes, contradicted = dict(dims), False
    for name, shape in shapes.items():
        if name not in inputs and name not in made:
            expected = f"an input ({', '.join(inputs)}) or another tensor of the model"
            raise InputError(f"shape of '{name}'", expected, "an unknown name")
        if any(size < 0 for size in shape):
            raise InputError(f"shape of '{name}'", "sizes >= 0", str(list(shape)))
        if name not in inputs:
            continue
        contradicted |= _fix_input(inputs[name], shape, sizes)
    if contradicted:
        # What the file says about other tensors holds for the old size only.
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    for value in (*graph.input, *graph.value_info, *graph.output):
        for dim in _dims_of(value):
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
            elif dim.dim_param and not symbol(dim.dim_param):
                dim.ClearField("dim_param")  # else two unknown sizes would count as one
    return {name: shape for name, shape in shapes.items() if name not in inputs}


def _inner_types(
    shapes: Mapping[str, Sequence[int]], inferred: Mapping[str, onnx.TypeProto]
) -> Iterator[onnx.ValueInfoProto]:
    """Yield declarations of inner tensors whose shape was given and whose type is known."""
    import onnx

    for name, shape in shapes.items():
        kind = inferred.get(name)
        if kind is not None and kind.HasField("tensor_type"):
            element = kind.tensor_type.elem_type
            yield onnx.helper.make_tensor_value_info(name, element, list(shape))


def _dims_of(value: onnx.ValueInfoProto) -> Sequence[Any]:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return ()
    return list(value.type.tensor_type.shape.dim)


def _fix_input(value: onnx.ValueInfoProto, shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Give one input its shape and note the symbolic sizes; tell if a fixed size changed."""
    item = f"shape of '{value.name}'"
    old = _dims_of(value)
    if value.type.tensor_type.HasField("shape") and len(old) != len(shape):
        raise InputError(item, f"{len(old)} sizes", f"{len(shape)}: {list(shape)}")
    if not old:
        old = [value.type.tensor_type.shape.dim.add() for _ in shape]
    changed = False
    for dim, size in zip(old, shape, strict=True):
        if ties(dim.dim_param) and sizes.setdefault(dim.dim_param, size) != size:
            raise InputError(
                item, f"{sizes[dim.dim_param]} for the size '{dim.dim_param}'", str(size)
            )
        changed |= dim.HasField("dim_value") and dim.dim_value != size
        dim.dim_value = size
    return changed


def _inferred_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Return the type of every value of the main graph for which one is known."""
    import onnx

    slim = _without_weights(model)
    try:
        slim = onnx.shape_inference.infer_shapes(slim, data_prop=True)
    except Exception:  # noqa: BLE001  # inference is a help; what it cannot do is reported where it is missed
        slim = model
    values = (*slim.graph.value_info, *slim.graph.input, *slim.graph.output)
    return {v.name: v.type for v in values if v.type.WhichOneof("value") is not None}


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every large tensor is a stub of its type and shape."""
    import onnx

    slim = onnx.ModelProto(ir_version=model.ir_version)
    slim.opset_import.extend(model.opset_import)
    slim.functions.extend(model.functions)
    graph, source = slim.graph, model.graph
    graph.name = source.name
    graph.input.extend(source.input)
    graph.output.extend(source.output)
    graph.value_info.extend(source.value_info)
    graph.sparse_initializer.extend(source.sparse_initializer)
    for tensor in source.initializer:
        graph.initializer.append(_stub(tensor) if _is_large(tensor) else tensor)
    for node in source.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and _is_large(value):
            graph.initializer.append(_stub(value, node.output[0]))
        else:
            graph.node.append(node)
    return slim


def _is_large(tensor: onnx.TensorProto) -> bool:
    import onnx

    return tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.ByteSize() > _SMALL_BYTES


def _stub(tensor: onnx.TensorProto, name: str = "") -> onnx.TensorProto:
    import onnx

    stub = onnx.TensorProto(name=name or tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    stub.data_location = onnx.TensorProto.EXTERNAL
    stub.external_data.add(key="location", value="not-read")
    return stub
