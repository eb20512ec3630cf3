# SPDX-License-Identifier: Apache-2.0
"""Element types of tensors: how they lie in memory on their way, and how the caller sees them.

A tensor of a type that numpy has travels as an array of that type.  bfloat16 and the 8-bit floats
travel as unsigned integers of their size, the 4-bit and 2-bit types as the bytes that hold several
elements each, first element lowest; nothing is converted.  The caller gives and gets them as the types
of ml_dtypes, which onnx itself uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Element", "element_of"]

_NUMPY: Final = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
# Name in ONNX: number in TensorProto.DataType, bits, name in ml_dtypes.
_OTHERS: Final = {
    "bfloat16": (16, 16, "bfloat16"),
    "float8e4m3fn": (17, 8, "float8_e4m3fn"),
    "float8e4m3fnuz": (18, 8, "float8_e4m3fnuz"),
    "float8e5m2": (19, 8, "float8_e5m2"),
    "float8e5m2fnuz": (20, 8, "float8_e5m2fnuz"),
    "float8e8m0": (24, 8, "float8_e8m0fnu"),
    "uint4": (21, 4, "uint4"),
    "int4": (22, 4, "int4"),
    "float4e2m1": (23, 4, "float4_e2m1fn"),
    "uint2": (25, 2, "uint2"),
    "int2": (26, 2, "int2"),
}


@dataclass(frozen=True)
class Element:
    """An element type.

    Parameters
    ----------
    dtype
        What an array of it is made of on its way.
    number
        Its number in ONNX where numpy has no such type, else None.
    bits
        Bits of one element; below 8 several lie in one byte.
    """

    dtype: np.dtype[Any]
    number: int | None
    bits: int
    foreign: str = ""

    @property
    def packed(self) -> bool:
        """Whether several elements lie in one byte."""
        return self.bits < 8

    @property
    def binding(self) -> Any:
        """The type as onnxruntime's I/O binding takes it."""
        return self.dtype.type if self.number is None else self.number

    @property
    def outside(self) -> np.dtype[Any]:
        """The type of the caller's arrays."""
        if self.number is None:
            return self.dtype
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.foreign))
        return dtype

    def stored_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the array that holds a tensor of `shape` on its way."""
        return (-(-math.prod(shape) * self.bits // 8),) if self.packed else tuple(shape)

    def nbytes(self, shape: Sequence[int]) -> int:
        """Return the bytes that a tensor of `shape` takes."""
        return math.prod(self.stored_shape(shape)) * self.dtype.itemsize

    def store(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the caller's array as it travels; a view where that is possible."""
        if self.number is None:
            return array
        if not self.packed:
            return np.ascontiguousarray(array).reshape(array.shape).view(self.dtype)
        per_byte = 8 // self.bits
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8) & ((1 << self.bits) - 1)
        full = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
        full[: flat.size] = flat
        shifts = np.arange(per_byte, dtype=np.uint8) * self.bits
        packed: npt.NDArray[Any] = np.bitwise_or.reduce(
            full.reshape(-1, per_byte) << shifts, axis=1, dtype=np.uint8
        )
        return packed

    def load(self, array: npt.NDArray[Any], shape: Sequence[int] | None) -> npt.NDArray[Any]:
        """Return what travelled as the caller's array; `shape` is needed for packed types."""
        if self.number is None:
            return array
        if not self.packed or shape is None:
            return array.view(self.outside)
        shifts = np.arange(8 // self.bits, dtype=np.uint8) * self.bits
        parts = (array[:, None] >> shifts) & ((1 << self.bits) - 1)
        elements = parts.reshape(-1)[: math.prod(shape)].astype(np.uint8)
        if self.foreign.startswith("int"):
            # Two's complement: the sign fills the byte, as ml_dtypes holds it.
            sign = 1 << (self.bits - 1)
            elements = ((elements ^ sign) - sign).astype(np.uint8)
        return elements.view(self.outside).reshape(tuple(shape))


@cache
def element_of(kind: str) -> Element | None:
    """Return the element type of an ONNX type such as ``tensor(float)``.

    None for strings, sequences, maps and types that have no elements of known size.
    """
    name = kind.removeprefix("tensor(").removesuffix(")")
    if name in _NUMPY:
        dtype = np.dtype(_NUMPY[name])
        return Element(dtype, None, dtype.itemsize * 8)
    if name in _OTHERS:
        number, bits, foreign = _OTHERS[name]
        return Element(np.dtype("uint16" if bits == 16 else "uint8"), number, bits, foreign)
    return None
