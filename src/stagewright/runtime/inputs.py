# SPDX-License-Identifier: Apache-2.0
"""Inputs of the model: checked before they enter the pipeline, or made at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..splitting.manifest import TensorType
from .wiring import array_element

__all__ = ["checked_inputs", "random_inputs"]


def checked_inputs(expected: Sequence[TensorType], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs in the model's order, as they travel (:mod:`.element_types`).

    Raises
    ------
    InputError
        If a name is missing or unknown, or a value's type or shape is not the model's.
    """
    names = [t.name for t in expected]
    for name in names:
        if name not in given:
            raise InputError(f"input '{name}'", "a value", "none")
    for name in given:
        if name not in names:
            known = ", ".join(f"'{n}'" for n in names) or "none"
            raise InputError(f"input '{name}'", f"the model's inputs ({known})", "another name")
    sizes: dict[str, int] = {}
    return {t.name: _checked(t, given[t.name], sizes) for t in expected}


def _checked(tensor: TensorType, value: Any, sizes: dict[str, int]) -> Any:
    item = f"input '{tensor.name}'"
    element = array_element(tensor)
    if tensor.type.startswith("optional("):
        return value
    if tensor.type.startswith("seq("):
        if not isinstance(value, list):
            raise InputError(item, f"a list, for {tensor.type}", type(value).__name__)
        return value
    if not isinstance(value, np.ndarray | np.generic):
        raise InputError(item, "a numpy array", type(value).__name__)
    array = np.asarray(value)
    if element is None and array.dtype.kind not in "OUST":
        raise InputError(item, "an array of strings", f"{array.dtype}")
    if element is not None and array.dtype != element.outside:
        raise InputError(item, f"elements of type {element.outside}", f"{array.dtype}")
    _check_shape(item, tensor, array.shape, sizes)
    return array if element is None else element.store(array)


def _check_shape(
    item: str, tensor: TensorType, shape: tuple[int, ...], sizes: dict[str, int]
) -> None:
    if tensor.shape is None:
        return
    wanted = [sizes.get(d, d) if isinstance(d, str) else d for d in tensor.shape]
    fits = len(shape) == len(wanted) and all(
        not isinstance(want, int) or want == got for want, got in zip(wanted, shape, strict=True)
    )
    if not fits:
        text = ", ".join("?" if want is None else str(want) for want in wanted)
        raise InputError(item, f"shape [{text}]", f"{list(shape)}")
    sizes.update((d, n) for d, n in zip(tensor.shape, shape, strict=True) if isinstance(d, str))


def random_inputs(
    expected: Sequence[TensorType], seed: int, dims: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return inputs made at random: integers 0 or 1, floats from the normal distribution.

    Parameters
    ----------
    expected
        The model's inputs.
    seed
        The same seed gives the same inputs.
    dims
        Symbolic size name to value; others are 1, as are sizes without a name.

    Raises
    ------
    InputError
        If an input is a sequence or of strings: what to put there is not known.
    """
    rng = np.random.default_rng(seed)
    chosen = dims or {}
    values: dict[str, Any] = {}
    for tensor in expected:
        element = array_element(tensor)
        if element is None or tensor.shape is None:
            raise InputError(
                f"input '{tensor.name}'",
                "a tensor of numbers with a known rank, to fill at random",
                tensor.type if element is None else "an unknown rank",
                "Use Pipeline and give the inputs.",
            )
        shape = [d if isinstance(d, int) else chosen.get(d or "", 1) for d in tensor.shape]
        real = element.dtype.kind == "f" or "float" in element.foreign
        numbers = rng.standard_normal(shape) if real else rng.integers(0, 2, shape)
        values[tensor.name] = np.asarray(numbers).astype(element.outside)
    return values
