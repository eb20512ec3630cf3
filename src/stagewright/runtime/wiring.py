# SPDX-License-Identifier: Apache-2.0
"""Who sends which tensors to whom, and where they lie in the shared memory.

The caller's process is the pipeline's outside: it comes before stage 0 as a source and after the
last stage as a target.  A tensor goes from its source straight to each target; nothing is relayed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..splitting.manifest import MODEL_INPUT, MODEL_OUTPUT, Manifest, TensorType

__all__ = ["OUTSIDE", "Route", "array_dtype", "routes_of", "shared_layout"]

OUTSIDE: Final = -1
_ALIGNMENT: Final = 64
_DTYPES: Final[dict[str, str]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


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
    def names(self) -> tuple[str, ...]:
        """Names of the tensors."""
        return tuple(t.name for t in self.tensors)


def array_dtype(tensor: TensorType) -> npt.DTypeLike | None:
    """Return the numpy type of a tensor's elements; None for strings, sequences and the like.

    Raises
    ------
    InputError
        If numpy has no such type, so that Python cannot hand it on.
    """
    if tensor.type in _DTYPES:
        return np.dtype(_DTYPES[tensor.type])
    if tensor.type.startswith(("seq(", "optional(")) or tensor.type == "tensor(string)":
        return None
    raise InputError(
        f"tensor '{tensor.name}'",
        "a type that numpy has, since it crosses between stages",
        tensor.type,
        "Cut the model where another tensor crosses.",
    )


def routes_of(manifest: Manifest, depth: int) -> list[Route]:
    """Return every pair that exchanges tensors, by source and then target.

    A tensor that skips stages waits while those work, so its route holds `depth` items for each
    step of the pipeline it spans; otherwise a skip would throttle the whole.
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
        dtype = array_dtype(tensor)
        sizes = [size for size in tensor.shape or () if isinstance(size, int)]
        fixed = tensor.shape is not None and len(sizes) == len(tensor.shape)
        if dtype is None or tensor.nbytes is None or not fixed:
            offsets.append(None)
            continue
        offsets.append(end)
        # Not the manifest's number of bytes: a wrong one would let tensors overlap.
        end += -(-math.prod(sizes) * np.dtype(dtype).itemsize // _ALIGNMENT) * _ALIGNMENT
    return offsets, end
