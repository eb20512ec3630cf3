# SPDX-License-Identifier: Apache-2.0
"""The messages of TensorFlow's CostGraphDef, described here so that TensorFlow is not needed.

Field numbers are those of tensorflow/core/framework/cost_graph.proto; DataType is read as its name or number.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["cost_graph_def"]

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {
    "string": _Field.TYPE_STRING,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "bool": _Field.TYPE_BOOL,
    "float": _Field.TYPE_FLOAT,
}
# Message -> fields as "name type number", "*" before the type of repeated ones.
_MESSAGES: Final = {
    "Dim": "size int64 1; name string 2",
    "Shape": "dim *.Dim 2; unknown_rank bool 3",
    "InputInfo": "preceding_node int32 1; preceding_port int32 2",
    "OutputInfo": "size int64 1; alias_input_port int64 2; shape .Shape 3; dtype .DataType 4",
    "Node": "name string 1; device string 2; id int32 3; input_info *.InputInfo 4; "
    "output_info *.OutputInfo 5; temporary_memory_size int64 6; is_final bool 7; "
    "control_input *int32 8; compute_cost int64 9; host_temp_memory_size int64 10; "
    "device_temp_memory_size int64 11; persistent_memory_size int64 12; compute_time int64 14; "
    "memory_time int64 15; device_persistent_memory_size int64 16; inaccurate bool 17",
    "AggregatedCost": "cost float 1; dimension string 2",
    "CostGraphDef": "node *.Node 1; cost *.AggregatedCost 2",
}
_DATA_TYPES: Final = [
    "INVALID",
    "FLOAT",
    "DOUBLE",
    "INT32",
    "UINT8",
    "INT16",
    "INT8",
    "STRING",
    "COMPLEX64",
    "INT64",
    "BOOL",
    "QINT8",
    "QUINT8",
    "QINT32",
    "BFLOAT16",
    "QINT16",
    "QUINT16",
    "UINT16",
    "COMPLEX128",
    "HALF",
    "RESOURCE",
    "VARIANT",
    "UINT32",
    "UINT64",
    "FLOAT8_E5M2",
    "FLOAT8_E4M3FN",
]


def cost_graph_def() -> Any:
    """Return an empty CostGraphDef."""
    return _message_class()()


@cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="stagewright_cost_graph.proto", package="tensorflow", syntax="proto3"
    )
    types = file.enum_type.add(name="DataType")
    for code, name in enumerate(_DATA_TYPES):
        types.value.add(name=f"DT_{name}", number=code)
        types.value.add(name=f"DT_{name}_REF", number=code + 100)
    for title, fields in _MESSAGES.items():
        message = file.message_type.add(name=title)
        for text in fields.split("; "):
            key, kind, number = text.split()
            field = message.field.add(name=key, number=int(number))
            repeated = kind.startswith("*")
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            if kind.startswith("."):
                field.type = _Field.TYPE_ENUM if kind == ".DataType" else _Field.TYPE_MESSAGE
                field.type_name = f".tensorflow{kind}"
            else:
                field.type = _TYPES[kind]
    # A pool of its own: TensorFlow, where it is loaded too, has these messages under its own names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.CostGraphDef"))
