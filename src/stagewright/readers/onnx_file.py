# SPDX-License-Identifier: Apache-2.0
"""The only door to ONNX files: parsing, external data, initialisers, names of nodes.

Model files are hostile: locations of external data must stay inside the model's folder, and the
sizes stored must agree with each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, numpy_helper

from ..errors import ModelError
from .onnx_types import DATA_LIMIT, ELEMENT_BITS, Array, Value, product

__all__ = ["TensorFile", "domain_of", "load_model", "onnx_node_names"]

_PROTO_LIMIT: Final = 2**31 - 1


def load_model(path: Path) -> Any:
    """Parse an ONNX file without its external data.

    Raises
    ------
    ModelError
        If the file cannot be read, is no ONNX model, or holds no node.
    """
    expected = "an ONNX model"
    try:
        size = path.stat().st_size
        if size > _PROTO_LIMIT:
            raise ModelError(
                str(path),
                "an ONNX model of at most 2 GiB",
                f"{size} bytes",
                "Store its weights as external data.",
            )
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(str(path), "a readable file", error.strerror or str(error)) from None
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(
            str(path), expected, "a damaged or truncated file, or another kind"
        ) from None
    if not model.HasField("graph") or not model.ir_version:
        raise ModelError(str(path), expected, "a file without a graph or an IR version")
    if not model.opset_import:
        raise ModelError(f"{path}: opset_import", "at least one operator set", "none")
    _check_texts(model, path)
    if not model.graph.node:
        raise ModelError(f"{path}: graph", "at least one node", "none")
    return model


def _check_texts(model: Any, path: Path) -> None:
    """Refuse names that are no UTF-8; protobuf hands those out as bytes."""
    texts: list[Any] = [o.domain for o in model.opset_import]
    for function in model.functions:
        texts += [function.name, function.domain, function.overload]
        texts += [*function.input, *function.output, *(o.domain for o in function.opset_import)]
        texts += (text for node in function.node for text in _texts_of_node(node))
    texts += _texts_of_graph(model.graph)
    for text in texts:
        if isinstance(text, bytes):
            raise ModelError(f"{path}: names", "UTF-8 text", repr(text))


def _texts_of_graph(graph: Any) -> Iterator[Any]:
    yield graph.name
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield info.name
        yield from (d.dim_param for d in info.type.tensor_type.shape.dim)
    for tensor in (*graph.initializer, *(s.values for s in graph.sparse_initializer)):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for node in graph.node:
        yield from _texts_of_node(node)


def _texts_of_node(node: Any) -> Iterator[Any]:
    yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
    for attribute in node.attribute:
        yield attribute.name
        yield attribute.ref_attr_name
        yield from (
            text for entry in attribute.t.external_data for text in (entry.key, entry.value)
        )
        if attribute.HasField("g"):
            yield from _texts_of_graph(attribute.g)


def domain_of(node: Any) -> str:
    """Return the operator domain; the standard one is ``""`` under either of its names."""
    return "" if node.domain == "ai.onnx" else str(node.domain)


def onnx_node_names(model: Any) -> list[str]:
    """Return a unique name for every node of the main graph, in file order.

    It is the node's own name where that is unique and not empty, else ``Op:first_output``; a
    number is appended where that is taken.  The nodes of the cost graph carry these names, so a
    node that is not in it (a constant, or folded into one) is one whose name is missing there.

    Parameters
    ----------
    model
        An ``onnx.ModelProto``.
    """
    counts = Counter(node.name for node in model.graph.node)
    taken = {name for name, count in counts.items() if name and count == 1}
    names: list[str] = []
    for node in model.graph.node:
        name = str(node.name)
        if not name or counts[name] > 1:
            base = f"{node.op_type}:{next((o for o in node.output if o), '')}"
            name, number = base, 2
            while name in taken:
                name, number = f"{base}#{number}", number + 1
            taken.add(name)
        names.append(name)
    return names


class TensorFile:
    """Sizes and small contents of the tensors stored in a model file.

    A missing external data file is no fault here: planning needs only sizes, which the model file
    has, so a plan can be made where the weights are not.  Running the model needs them.

    Parameters
    ----------
    path
        The model file; external data lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path.resolve().parent

    def value(self, tensor: Any, root: str) -> Value:
        """Return the constant that a TensorProto stores.

        Raises
        ------
        ModelError
            If its type, dimensions, or stored size are wrong, or it points outside the folder.
        """
        item = f"{self.path}: initialiser '{tensor.name or root}'"
        elem, dims = int(tensor.data_type), tuple(tensor.dims)
        if elem not in ELEMENT_BITS:
            raise ModelError(item, "a known element type", f"number {elem}")
        if any(d < 0 for d in dims):
            raise ModelError(item, "dimensions >= 0", str(list(dims)))
        size = -(-product(dims) * ELEMENT_BITS[elem] // 8)
        if tensor.data_location == TensorProto.EXTERNAL:
            data = self._external(tensor, item, size)
        else:
            if tensor.raw_data and len(tensor.raw_data) != size:
                raise ModelError(item, f"{size} bytes for {list(dims)}", f"{len(tensor.raw_data)}")
            data = _content(tensor, item)
        return Value(elem, dims, const=True, data=data, root=root, stored=size)

    def sparse_value(self, sparse: Any, root: str) -> Value:
        """Return the constant that a SparseTensorProto stores: its values and indices."""
        values = self.value(sparse.values, root)
        indices = self.value(sparse.indices, root)
        stored = values.stored + indices.stored
        return Value(values.elem, tuple(sparse.dims), const=True, root=root, stored=stored)

    def _external(self, tensor: Any, item: str, size: int) -> Array | None:
        """Check where and how much; return the content if it is small and present."""
        keys = {entry.key: entry.value for entry in tensor.external_data}
        place = self._contained(keys.get("location", ""), item)
        offset = _number(keys.get("offset", "0"), f"{item}: offset")
        length = _number(keys.get("length", str(size)), f"{item}: length")
        if length != size:
            raise ModelError(f"{item}: length", f"{size} for {list(tensor.dims)}", str(length))
        if not place.is_file():
            return None
        if place.stat().st_size < offset + size:
            raise ModelError(
                f"{item}: external data '{keys['location']}'",
                f"at least {offset + size} bytes",
                f"{place.stat().st_size}",
            )
        if product(tensor.dims) > DATA_LIMIT:
            return None
        with place.open("rb") as file:
            file.seek(offset)
            copy = TensorProto(
                dims=tensor.dims, data_type=tensor.data_type, raw_data=file.read(size)
            )
        return _content(copy, item)

    def _contained(self, location: str, item: str) -> Path:
        """Return the external data file, which must lie in the model's folder."""
        where = f"{item}: external data location"
        expected = "a relative path inside the model's folder"
        windows = PureWindowsPath(location)
        if not location or "\0" in location:
            raise ModelError(where, expected, repr(location))
        # A windows path covers the others: it knows both separators, drives and roots.
        if windows.anchor or ".." in windows.parts:
            raise ModelError(where, expected, repr(location))
        place = (self._folder / location).resolve()
        if not place.is_relative_to(self._folder):
            raise ModelError(where, expected, f"{location!r}, a link to {place}")
        return place


def _number(text: str, item: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ModelError(item, "a whole number >= 0", repr(text))
    return int(text)


def _content(tensor: Any, item: str) -> Array | None:
    """Return the content of a small tensor; None for a large one or one stripped of its data."""
    count = product(tensor.dims)
    if count > DATA_LIMIT or tensor.data_type == TensorProto.STRING:
        return None
    if count and not any(
        len(getattr(tensor, name))
        for name in (
            "raw_data",
            "float_data",
            "int32_data",
            "int64_data",
            "double_data",
            "uint64_data",
        )
    ):
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        expected = f"{count} elements for {list(tensor.dims)}"
        raise ModelError(item, expected, "data of another length") from None


def bodies_of(node: Any) -> Iterator[Any]:
    """Yield the subgraphs among a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def captured_names(graph: Any) -> list[str]:
    """Return the outer-scope names that a body (and the bodies in it) reads, each once."""
    defined = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    defined |= {s.values.name for s in graph.sparse_initializer}
    captured: dict[str, None] = {}
    for node in graph.node:
        inner = [name for body in bodies_of(node) for name in captured_names(body)]
        for name in (*node.input, *inner):
            if name and name not in defined:
                captured[name] = None
        defined.update(node.output)
    for output in graph.output:
        if output.name and output.name not in defined:
            captured[output.name] = None
    return list(captured)
