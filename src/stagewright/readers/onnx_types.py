# SPDX-License-Identifier: Apache-2.0
"""What is known about a value of an ONNX graph before it runs: type, shape, sometimes content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, TypeProto

__all__ = [
    "DATA_LIMIT",
    "ELEMENT_BITS",
    "NAMES",
    "STRING",
    "Array",
    "Value",
    "from_type",
    "to_type",
]

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]

DATA_LIMIT: Final = 4096
"""Most elements of a constant whose content is followed (shapes, axes, scales); larger constants
are only sizes here."""

STRING: Final = TensorProto.STRING

NAMES: Final[dict[int, str]] = {
    number: name.lower() for name, number in TensorProto.DataType.items() if number
} | {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
"""Element type numbers to the names of :attr:`CostGraph.node_dtypes`."""


def _bits(name: str) -> int:
    """Return the bits of an element type from its name: the digits after the letters."""
    special = {"bool": 8, "string": 0, "float": 32, "double": 64, "bfloat16": 16}
    if name in special:
        return special[name]
    digits = (
        name.removeprefix("u").removeprefix("int").removeprefix("float").removeprefix("complex")
    )
    count = ""
    for letter in digits:
        if not letter.isdigit():
            break
        count += letter
    return int(count)


ELEMENT_BITS: Final[dict[int, int]] = {number: _bits(name) for number, name in NAMES.items()}


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor (or another kind of value) as far as it is known.

    Attributes
    ----------
    elem
        ONNX element type number, 0 where unknown.
    shape
        Dimensions, None for an unknown one; None where even the rank is unknown.
    kind
        ``tensor``, ``sequence`` (elem and shape are those of its elements), or ``other``.
    length
        Number of elements of a sequence, None where unknown.
    const
        Known before the model runs: a parameter, or folded out of parameters.
    data
        The content, for constants (and static shapes) of at most `DATA_LIMIT` elements.
    root
        Name of the stored parameter this constant lies in; layout changes keep it.
    stored
        Bytes the parameter `root` takes on a device.
    """

    elem: int = 0
    shape: Shape | None = None
    kind: str = "tensor"
    length: int | None = None
    const: bool = False
    data: Array | None = None
    root: str = ""
    stored: int = 0

    @property
    def numel(self) -> int | None:
        """Number of elements, None where unknown."""
        if self.shape is None:
            return None
        count = 1
        for dim in self.shape:
            if dim is None:
                return None
            count *= dim
        return count

    @property
    def nbytes(self) -> int | None:
        """Size in bytes, None where unknown (strings have no size known in advance)."""
        if self.kind == "other":
            return None
        count, bits = self.numel, ELEMENT_BITS.get(self.elem, 0)
        if count is None or not bits:
            return None
        size = -(-count * bits // 8)
        if self.kind == "sequence":
            return None if self.length is None else size * self.length
        return size

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimensions with 0 for unknown ones; for cost rules, which check `numel` first."""
        return tuple(dim or 0 for dim in self.shape or ())

    @property
    def complete(self) -> bool:
        """True when nothing about the type is missing."""
        return self.kind == "other" or (self.elem != 0 and self.numel is not None)


def from_type(proto: Any, fixed: Mapping[str, int] | None = None) -> Value:
    """Return what a TypeProto says; a symbolic dimension is unknown unless `fixed` has it."""
    which = proto.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(proto, which)
        shape: Shape | None = None
        if tensor.HasField("shape"):
            shape = tuple(
                (d.dim_value if d.dim_value >= 0 else None)
                if d.HasField("dim_value")
                else (fixed or {}).get(d.dim_param)
                for d in tensor.shape.dim
            )
        return Value(tensor.elem_type, shape)
    if which == "sequence_type":
        inner = from_type(proto.sequence_type.elem_type, fixed)
        return Value(inner.elem, inner.shape, "sequence")
    if which == "optional_type":
        # An optional costs what is inside.
        return from_type(proto.optional_type.elem_type, fixed)
    return Value(kind="tensor" if which is None else "other")


def to_type(value: Value) -> Any:
    """Return the TypeProto for shape inference."""
    proto = TypeProto()
    if value.kind == "other":
        return proto
    tensor = (
        proto.sequence_type.elem_type.tensor_type if value.kind == "sequence" else proto.tensor_type
    )
    tensor.elem_type = value.elem
    if value.shape is not None:
        tensor.shape.SetInParent()
        for dim in value.shape:
            made = tensor.shape.dim.add()
            if dim is not None:
                made.dim_value = dim
    return proto


def of_data(data: Array, elem: int) -> Value:
    """Return the value of a small array that is known."""
    return Value(elem, tuple(data.shape), data=data)


def elem_of(data: Array) -> int:
    """Return the element type number of a NumPy array."""
    from onnx.helper import np_dtype_to_tensor_dtype

    return int(np_dtype_to_tensor_dtype(data.dtype))


def product(numbers: Any) -> int:
    """Return the product of integers as an unbounded integer."""
    return math.prod(int(n) for n in numbers)


def as_ints(value: Value | None) -> list[int] | None:
    """Return the content as a list of integers, None where it is unknown."""
    if value is None or value.data is None or value.data.dtype.kind not in "iub":
        return None
    return [int(v) for v in np.atleast_1d(value.data).reshape(-1)]


def words(text: str) -> list[str]:
    """Return the words of a text: long lists of operators read better without quotes."""
    return text.split()
