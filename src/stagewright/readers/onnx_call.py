# SPDX-License-Identifier: Apache-2.0
"""One use of an operator, as the rules for its cost see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .onnx_types import Value

__all__ = ["Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """An operator with what is known of its inputs (None where left out) and outputs."""

    op: str
    domain: str
    names: Sequence[str]
    inputs: Sequence[Value | None]
    outputs: Sequence[Value]
    attributes: Mapping[str, Any]

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute, or the default the operator's documentation gives."""
        return self.attributes.get(name, default)

    def has(self, position: int) -> bool:
        """Return True if the input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def dims(self, position: int) -> tuple[int, ...]:
        """Return the dimensions of an input; empty where it is left out."""
        value = self.inputs[position] if position < len(self.inputs) else None
        return () if value is None else value.dims

    def size(self, position: int) -> int:
        """Return the number of elements of an input, 0 where unknown."""
        value = self.inputs[position] if position < len(self.inputs) else None
        return 0 if value is None else (value.numel or 0)

    def out_dims(self, position: int = 0) -> tuple[int, ...]:
        """Return the dimensions of an output."""
        return self.outputs[position].dims if position < len(self.outputs) else ()

    def out(self, position: int = 0) -> int:
        """Return the number of elements of an output, 0 where unknown."""
        return (self.outputs[position].numel or 0) if position < len(self.outputs) else 0
