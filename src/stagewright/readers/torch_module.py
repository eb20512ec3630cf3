# SPDX-License-Identifier: Apache-2.0
"""What Python hands over: modules with example inputs, and exported programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..graph import CostGraph

__all__ = ["export_torch", "is_torch_object", "read_torch"]


def is_torch_object(model: Any) -> bool:
    """Return True for modules and exported programs; does not import torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    if isinstance(model, torch.nn.Module):
        return True
    return type(model).__name__ == "ExportedProgram" and type(model).__module__.startswith("torch.")


def read_torch(
    model: Any,
    example_inputs: Any = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    replicate: bool = True,
) -> CostGraph:
    """Read a module or an exported program, in this process.

    Parameters
    ----------
    model
        An ``nn.Module``, whose weights may be on the meta device, or an ``ExportedProgram``.
    example_inputs
        For a module: a tuple of positional inputs, a dict of inputs by name, or one tensor.
    shapes
        For a program with dynamic dimensions: shapes of inputs by name.
    replicate
        Mark masks, position tables and their like as replicable.

    Raises
    ------
    InputError
        If the inputs do not fit what was given.
    ModelError
        If the module cannot be exported; the message has the first cause.
    """
    from .torch_program import read_program

    program, name = export_torch(model, example_inputs, shapes)
    return read_program(program, name=name, shapes=shapes, replicate=replicate)


def export_torch(
    model: Any, example_inputs: Any = None, shapes: Mapping[str, Sequence[int]] | None = None
) -> tuple[Any, str]:
    """Return the program of a module, or the program given, and its name.

    Parameters and errors are those of :func:`read_torch`.
    """
    import torch

    from .torch_export import export_module, require_inputs

    if not isinstance(model, torch.nn.Module):
        if example_inputs is not None:
            raise InputError(
                "example_inputs",
                "none for an exported program, which knows its inputs",
                type(example_inputs).__name__,
                "Give `shapes` to fix its dynamic dimensions.",
            )
        return model, _name_of(model)
    if shapes:
        raise InputError(
            "shapes",
            "none for a module, whose example inputs have shapes",
            str(dict(shapes)),
        )
    args, kwargs = require_inputs(example_inputs)
    return export_module(model, args, kwargs), type(model).__name__


def _name_of(program: Any) -> str:
    """Return the class that a program was exported from, as far as its nodes tell."""
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        for path, kind in stack.values():
            if not path:
                text = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
                return str(text).rpartition(".")[2]
    return "program"
