# SPDX-License-Identifier: Apache-2.0
"""Who sends which tensors to whom, and where they lie in the shared memory.

The caller's process is the pipeline's outside: it comes before stage 0 as a source and after the
last stage as a target.  A tensor goes from its source straight to each target; nothing is relayed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ..errors import InputError
from ..splitting.manifest import MODEL_INPUT, MODEL_OUTPUT, Manifest, TensorType
from .element_types import Element, element_of

__all__ = ["OUTSIDE", "Route", "array_element", "routes_of", "shared_layout", "stored_shape"]

OUTSIDE: Final = -1
_ALIGNMENT: Final = 64


@dataclass(frozen=True)
class Route:
    """The tensors that one stage hands to another, and how many items may be on the way.

    `source` or `target` is OUTSIDE for the caller.
    """

    source: int
    target: int
    tensors: tuple[TensorType, ...]
    slots: int

    @property
    def spills(self) -> bool:
        """Whether it has tensors of numbers without a fixed size."""
        return any(array_element(t) and stored_shape(t) is None for t in self.tensors)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors."""
        return tuple(t.name for t in self.tensors)


def array_element(tensor: TensorType) -> Element | None:
    """Return the type of a tensor's elements; None for strings, sequences and the like.

    Raises
    ------
    InputError
        If such a tensor cannot be handed from one stage to the next.
    """
    element = element_of(tensor.type)
    if element and element.packed and _sizes(tensor) is None:
        raise InputError(
            f"tensor '{tensor.name}'",
            f"a fixed shape, since it is of {tensor.type} and crosses between stages",
            "sizes that are not known",
            "Split with --shape or --dim, or cut the model where another tensor crosses.",
        )
    if element or tensor.type.startswith(("seq(", "optional(")) or tensor.type == "tensor(string)":
        return element
    raise InputError(
        f"tensor '{tensor.name}'",
        "a type that onnxruntime hands out, since it crosses between stages",
        tensor.type,
        "Cut the model where another tensor crosses.",
    )


def _sizes(tensor: TensorType) -> tuple[int, ...] | None:
    """Return the shape if every size is a number."""
    if tensor.shape is None:
        return None
    sizes = tuple(d for d in tensor.shape if isinstance(d, int))
    return sizes if len(sizes) == len(tensor.shape) else None


def stored_shape(tensor: TensorType) -> tuple[int, ...] | None:
    """Return the shape of the array that holds the tensor on its way; None if it is not fixed."""
    element, sizes = array_element(tensor), _sizes(tensor)
    # A wrong number of bytes in the manifest means that somebody does not trust the shape.
    if element is None or sizes is None or tensor.nbytes is None:
        return None
    return element.stored_shape(sizes)


def routes_of(manifest: Manifest, depth: int) -> list[Route]:
    """Return every pair that exchanges tensors, by source and then target.

    A tensor that skips stages waits while those work, so its route holds `depth` items for each
    step of the pipeline it spans; otherwise a skip would throttle the whole.

    Raises
    ------
    InputError
        If a tensor cannot be handed from one stage to the next.
    """
    last = len(manifest.stages)
    pairs: dict[tuple[int, int], list[TensorType]] = {}
    types = {t.name: t for t in manifest.inputs}
    for stage in manifest.stages:
        types.update((t.name, t) for t in stage.outputs)
    for tensor in manifest.tensors:
        source = OUTSIDE if tensor.source == MODEL_INPUT else int(tensor.source)
        for target in tensor.targets:
            number = last if target == MODEL_OUTPUT else int(target)
            if (source, number) != (OUTSIDE, last):
                array_element(types[tensor.name])  # raises if it cannot cross
                pairs.setdefault((source, number), []).append(types[tensor.name])
    for stage_number in range(last):
        if not any(target == stage_number for _, target in pairs):
            # It needs no tensor, but must still be told when an item begins.
            pairs[OUTSIDE, stage_number] = []
    return [
        Route(
            source,
            OUTSIDE if target == last else target,
            tuple(tensors),
            slots=depth * (target - source),
        )
        for (source, target), tensors in sorted(pairs.items())
    ]


def shared_layout(route: Route) -> tuple[list[int | None], int]:
    """Return each tensor's offset in a slot (None: it has no fixed size) and the slot's size."""
    offsets: list[int | None] = []
    end = 0
    for tensor in route.tensors:
        element, shape = array_element(tensor), stored_shape(tensor)
        if element is None or shape is None:
            offsets.append(None)
            continue
        offsets.append(end)
        # Not the manifest's number of bytes: a wrong one would let tensors overlap.
        end += -(-math.prod(shape) * element.dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
    return offsets, end
