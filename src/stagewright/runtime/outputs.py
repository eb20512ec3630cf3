# SPDX-License-Identifier: Apache-2.0
"""Outputs of the model: from how tensors travel to what the caller gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..splitting.manifest import TensorType
from .element_types import element_of

__all__ = ["as_outputs"]


def as_outputs(expected: Sequence[TensorType], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs in the model's order and types (:mod:`.element_types`)."""
    outputs = {}
    for tensor in expected:
        element, value = element_of(tensor.type), values[tensor.name]
        if element is not None and element.number is not None:
            value = element.load(value, [d for d in tensor.shape or () if isinstance(d, int)])
        outputs[tensor.name] = value
    return outputs
