# SPDX-License-Identifier: Apache-2.0
"""Inputs to measure a model with: given ones, or random ones from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import InputError

__all__ = ["given_inputs", "sample_inputs"]

Array = npt.NDArray[Any]

_FLOATS: Final = {"float16": np.float16, "float": np.float32, "double": np.float64}
_INTEGERS: Final = {
    f"{sign}int{bits}": np.dtype(f"{sign}int{bits}")
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


def given_inputs(session: Any, path: Path, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Return the inputs that the caller gives, as arrays of the types that the model takes.

    Raises
    ------
    InputError
        If a name is none of the model's inputs.
    """
    kinds = {argument.name: _kind(argument) for argument in session.get_inputs()}
    for name in inputs:
        if name not in kinds:
            raise InputError(f"{path}: inputs", f"names out of {', '.join(kinds)}", repr(name))
    types: dict[str, npt.DTypeLike] = {**_FLOATS, **_INTEGERS, "bool": np.bool_}
    return {name: np.asarray(array, types.get(kinds[name])) for name, array in inputs.items()}


def sample_inputs(
    session: Any, path: Path, shapes: Mapping[str, Sequence[int]], *, seed: int = 0
) -> dict[str, Array]:
    """Return a random array for every input of a session that `shapes` names.

    Floating-point inputs are normal, integers 0 or 1 so that indices stay valid, truth values
    either, texts empty.

    Raises
    ------
    InputError
        If an input is no tensor of such elements.
    """
    generator = np.random.default_rng(seed)
    return {
        argument.name: _array(generator, argument, tuple(shapes[argument.name]), path)
        for argument in session.get_inputs()
        if argument.name in shapes
    }


def _kind(argument: Any) -> str:
    return str(argument.type).removeprefix("tensor(").removesuffix(")")


def _array(
    generator: np.random.Generator, argument: Any, shape: tuple[int, ...], path: Path
) -> Array:
    kind = _kind(argument)
    if kind in _FLOATS:
        return generator.standard_normal(shape).astype(_FLOATS[kind])
    if kind in _INTEGERS:
        return generator.integers(0, 2, shape).astype(_INTEGERS[kind])
    if kind == "bool":
        return generator.integers(0, 2, shape).astype(np.bool_)
    if kind == "string":
        return np.full(shape, "", dtype=object)
    raise InputError(
        f"{path}: input '{argument.name}'",
        "a tensor of numbers, truth values or texts",
        str(argument.type),
    )
