# SPDX-License-Identifier: Apache-2.0
"""Parts of model-local functions: operator sets, references to attributes, Constant nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from onnx import NodeProto, TensorProto, helper

from ..errors import ModelError
from .onnx_file import TensorFile
from .onnx_types import Value

__all__ = ["constant", "opsets_of", "with_attributes"]

_CONSTANTS: Final = {
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
    "value_string": TensorProto.STRING,
    "value_strings": TensorProto.STRING,
}


def opsets_of(imports: Iterable[Any]) -> dict[str, int]:
    """Return versions by domain."""
    return {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in imports}


def with_attributes(node: Any, given: Mapping[str, Any]) -> Any:
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
            copy.g.node.extend(with_attributes(n, given) for n in attribute.g.node)
    return made


def constant(node: Any, file: TensorFile, prefix: str, item: str) -> Value:
    """Return the parameter that a Constant node holds."""
    name = next(iter(node.output), "")
    root = prefix + name
    for attribute in node.attribute:
        if attribute.name == "value":
            return file.value(attribute.t, root)
        if attribute.name == "sparse_value":
            return file.sparse_value(attribute.sparse_tensor, root)
        if attribute.name in _CONSTANTS:
            content = helper.get_attribute_value(attribute)
            listed = isinstance(content, (list, tuple)) or hasattr(content, "__len__")
            scalar = not attribute.name.endswith("s")
            dims = [] if scalar or not listed else [len(content)]
            if (elem := _CONSTANTS[attribute.name]) == TensorProto.STRING:
                return Value(elem, tuple(dims), const=True, root=root)
            values = [content] if scalar else content
            return file.value(helper.make_tensor(name, elem, dims, values), root)
    raise ModelError(item, "a Constant with a value", "none")
