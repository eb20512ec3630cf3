# SPDX-License-Identifier: Apache-2.0
"""Bytes that ONNX operators move: what they read (parameters too) plus what they write."""

from __future__ import annotations

from typing import Final

from .onnx_call import Call
from .onnx_types import Value, words

__all__ = ["bytes_of"]

_VIEWS: Final = frozenset(
    words(
        "Reshape Squeeze Unsqueeze Flatten Identity Shape Size Optional OptionalGetElement "
        "BitCast OptionalHasElement SequenceConstruct SequenceAt SequenceInsert SequenceErase "
        "SequenceEmpty SequenceLength"
    )
)
"""Operators that hand on the same storage."""

_PARTIAL: Final = frozenset(words("Gather GatherElements GatherND Slice Split Compress"))
"""Operators that read only the part of the first input that they write."""

_INTO: Final = frozenset(words("ScatterND ScatterElements Scatter TensorScatter"))
"""Operators that copy the first input and write the updates over a part of it."""


def bytes_of(call: Call) -> int:
    """Return the bytes one node moves; values of unknown size count as none.

    An input that is named twice is read once.  Views move nothing; Gather and Slice read the rows
    they write.  Dropout is a view at inference.  GroupQueryAttention reads its whole cache and
    appends the new rows to it in place; other attention writes the extended cache anew.
    """
    if call.op in _VIEWS or (call.op == "Dropout" and not _training(call)):
        return 0
    written = sum(_size(v) for v in call.outputs)
    if call.op in _PARTIAL:
        return 2 * written + sum(_size(v) for v in call.inputs[1:])
    if call.op == "EmbedLayerNormalization":
        # Two or three embedding rows for each row written, and the ids.
        return written * (3 + call.has(1)) + sum(_size(v) for v in call.inputs[:2])
    distinct = dict(zip(call.names, call.inputs, strict=True))
    read = sum(_size(v) for v in distinct.values())
    if call.op == "GroupQueryAttention" and call.has(3):
        written += _new_rows(call) - sum(_size(v) for v in call.outputs[1:3])
    if call.op in _INTO:
        return read + written + _size(call.inputs[2] if len(call.inputs) > 2 else None)
    return read + written


def _new_rows(call: Call) -> int:
    """Return the bytes of keys and values that are appended to a cache in place."""
    if call.has(1):
        return _size(call.inputs[1]) + _size(call.inputs[2])
    heads, groups = int(call.attribute("num_heads", 1)), int(call.attribute("kv_num_heads", 1))
    return _size(call.inputs[0]) * 2 * groups // (heads + 2 * groups)  # packed with the query


def _size(value: Value | None) -> int:
    return 0 if value is None else value.nbytes or 0


def _training(call: Call) -> bool:
    mode = call.inputs[2] if len(call.inputs) > 2 else None
    return mode is not None and (mode.data is None or bool(mode.data))
