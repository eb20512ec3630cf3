# SPDX-License-Identifier: Apache-2.0
"""Maps, such as classifiers give out (label to probability): types that the IR does not know.

They are taken off the model before it becomes IR and put back into the stage files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["has_map", "keep_map", "map_text", "put_maps_back", "take_maps_off"]

_KEY: Final = "stagewright.map"


def has_map(kind: onnx.TypeProto) -> bool:
    """Return True if a map is in the type."""
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        return has_map(getattr(kind, which).elem_type)
    return bool(which == "map_type")


def take_maps_off(model: onnx.ModelProto) -> None:
    """Leave the values of the main graph that hold maps without a type."""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if has_map(value.type):
            value.ClearField("type")


def keep_map(value: ir.Value, kind: onnx.TypeProto) -> None:
    """Note a value's type beside it."""
    value.meta[_KEY] = kind


def map_text(value: ir.Value) -> str | None:
    """Return the type as onnxruntime writes it; None for a value that holds no map."""
    kind = value.meta.get(_KEY)
    return None if kind is None else _text(kind)


def _text(kind: Any) -> str:
    import onnx

    which = kind.WhichOneof("value")
    if which == "sequence_type":
        return f"seq({_text(kind.sequence_type.elem_type)})"
    if which == "optional_type":
        return f"optional({_text(kind.optional_type.elem_type)})"
    if which == "map_type":
        key = onnx.TensorProto.DataType.Name(kind.map_type.key_type).lower()
        return f"map({key},{_text(kind.map_type.value_type)})"
    return f"tensor({onnx.TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()})"


def put_maps_back(path: Path, edges: Iterable[ir.Value]) -> None:
    """Write the types of maps into a stage file's inputs and outputs."""
    import onnx

    kinds = {v.name: v.meta[_KEY] for v in edges if _KEY in v.meta}
    if not kinds:
        return
    proto = onnx.load(str(path), load_external_data=False)
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name in kinds:
            value.type.CopyFrom(kinds[value.name])
    onnx.save(proto, str(path))
