# SPDX-License-Identifier: Apache-2.0
"""The one door to every reader: paths, modules and exported programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import load
from .torch_module import is_torch_object, read_torch

if TYPE_CHECKING:
    from ..graph import CostGraph
    from .settings import ReadSettings

__all__ = ["read_anything"]


def read_anything(
    model: Any,
    example_inputs: Any,
    shapes: Mapping[str, Sequence[int]] | None,
    dims: Mapping[str, int] | None,
    options: Mapping[str, str] | None,
    settings: ReadSettings,
) -> CostGraph:
    """Read whatever can be read; the parameters are those of :func:`stagewright.read`.

    Raises
    ------
    InputError
        If it is nothing readable, or something was given that it does not take.
    """
    if is_torch_object(model):
        settings.refuse_model_options(type(model).__name__, "what is given")
        for name, given in (("dims", dims), ("options", options)):
            if given:
                raise InputError(name, "none for a module or a program", str(dict(given)))
        return read_torch(model, example_inputs, shapes=shapes, replicate=settings.replicate)
    if example_inputs is not None:
        raise InputError(
            "example_inputs", "none for a file", type(example_inputs).__name__, "Leave it out."
        )
    if not isinstance(model, (str, Path)):
        raise InputError("model", "a path, a module or an exported program", type(model).__name__)
    return load(model, shapes=shapes, dims=dims, options=options, settings=settings)
