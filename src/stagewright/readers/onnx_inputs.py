# SPDX-License-Identifier: Apache-2.0
"""Fixing the shapes of a model's inputs: symbolic dimensions, shapes given by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .onnx_file import load_model
from .onnx_symbols import symbol, ties
from .onnx_types import Value, from_type

__all__ = ["Fixed", "batch_dims", "fix_inputs"]


class Fixed:
    """Inputs with their values, the dimensions fixed on the way, shapes of inner tensors."""

    def __init__(self) -> None:
        self.inputs: dict[str, Value] = {}
        self.dims: dict[str, int] = {}
        self.inner: dict[str, tuple[int, ...]] = {}
        self.overridden = False


def _real_inputs(graph: Any) -> list[Any]:
    """Return the inputs that are none of the initialisers (before IR version 4 all were listed)."""
    initial = {t.name for t in graph.initializer} | {
        s.values.name for s in graph.sparse_initializer
    }
    return [info for info in graph.input if info.name not in initial]


def _declared(info: Any) -> list[int | str] | None:
    """Return the dimensions of an input as numbers and names (``""`` for a nameless one)."""
    kind = info.type.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return []
    tensor = getattr(info.type, kind)
    if not tensor.HasField("shape"):
        return None
    return [
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else symbol(d.dim_param)
        for d in tensor.shape.dim
    ]


def batch_dims(
    path: Path, batch: int, shapes: Mapping[str, Sequence[int]], dims: Mapping[str, int]
) -> dict[str, int]:
    """Return `dims` with the symbolic dimensions that inputs begin with set to the batch.

    Inputs whose shape is given, and dimensions that are, stay as they are.

    Raises
    ------
    ModelError
        If no input begins with a symbolic dimension: the batch is fixed in the file.
    """
    _check_size(f"{path}: batch", batch)
    inputs = [i for i in _real_inputs(load_model(path).graph) if i.name not in shapes]
    first = {declared[0] for i in inputs if (declared := _declared(i))}
    names = [name for name in first if isinstance(name, str) and name]
    if not names:
        raise ModelError(
            f"{path}: batch",
            "an input that begins with a symbolic dimension",
            ", ".join(sorted(map(repr, first))) or "none",
            "Export the model with a dynamic batch, or give every input's shape (--shape).",
        )
    return {**dict.fromkeys(sorted(names), batch), **dims}


def fix_inputs(
    path: Path,
    graph: Any,
    shapes: Mapping[str, Sequence[int]],
    dims: Mapping[str, int],
) -> Fixed:
    """Give every input of the model a shape.

    Raises
    ------
    ModelError
        If a name in `shapes` or `dims` is unknown, a shape contradicts another one or has the
        wrong rank, or some input is left without a shape.
    """
    inputs = _real_inputs(graph)
    names = {d for i in inputs for d in _declared(i) or [] if isinstance(d, str) and d}
    _check_dims(path, names, dims)
    fixed = Fixed()
    fixed.dims = dict(dims)
    _take_shapes(path, graph, inputs, shapes, fixed)
    missing = []
    for info in inputs:
        value = from_type(info.type, fixed.dims)
        if info.name in shapes:
            value = replace(value, shape=tuple(shapes[info.name]))
        if value.kind == "tensor" and not value.elem:
            raise ModelError(f"{path}: input '{info.name}'", "an element type", "none")
        if value.kind == "tensor" and value.numel is None:
            missing.append(info)
        fixed.inputs[info.name] = value
    if missing:
        raise _missing(path, missing, fixed.dims)
    return fixed


def _check_dims(path: Path, names: set[str], dims: Mapping[str, int]) -> None:
    for name, size in dims.items():
        if name not in names:
            known = ", ".join(f"'{n}'" for n in sorted(names)) or "none, since all are fixed"
            raise ModelError(
                f"{path}: dimension '{name}'", f"a symbolic dimension ({known})", "an unknown name"
            )
        _check_size(f"{path}: dimension '{name}'", size)


def _check_size(item: str, size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size < 2**63:
        raise ModelError(item, "a whole number >= 1", repr(size))


def _take_shapes(
    path: Path, graph: Any, inputs: list[Any], shapes: Mapping[str, Sequence[int]], fixed: Fixed
) -> None:
    """Check the shapes given, and fix the symbolic dimensions that they imply."""
    by_name = {info.name: info for info in inputs}
    inner = {name for node in graph.node for name in node.output if name} if shapes else set()
    for name, shape in shapes.items():
        item = f"{path}: shape of '{name}'"
        for size in shape:
            _check_size(item, size)
        if name not in by_name:
            if name not in inner:
                known = ", ".join(f"'{n}'" for n in by_name)
                raise ModelError(
                    item, f"an input ({known}) or a tensor of the model", "an unknown name"
                )
            fixed.inner[name] = tuple(shape)
            continue
        declared = _declared(by_name[name])
        if declared is None:
            continue
        if len(declared) != len(shape):
            raise ModelError(item, f"{len(declared)} dimensions {_text(declared)}", str(len(shape)))
        for dim, size in zip(declared, shape, strict=True):
            if isinstance(dim, int):
                fixed.overridden |= dim != size
            elif ties(dim) and fixed.dims.setdefault(dim, size) != size:
                raise ModelError(f"{item}: dimension '{dim}'", str(fixed.dims[dim]), str(size))


def _text(dims: Sequence[int | str]) -> str:
    return f"({', '.join(str(d) or '?' for d in dims)})"


def _missing(path: Path, inputs: list[Any], dims: Mapping[str, int]) -> ModelError:
    """Return the error that lists every input without a shape, with an example to type."""
    listed, names = [], {}
    for info in inputs:
        declared = _declared(info)
        listed.append(f"'{info.name}' {'of unknown rank' if declared is None else _text(declared)}")
        for dim in declared or []:
            if isinstance(dim, str) and dim and dim not in dims:
                names[dim] = 1
    known = _declared(inputs[0])
    first: list[int | str] = ["", 3, 224, 224] if known is None else known
    sizes = [
        dim if isinstance(dim, int) else dims.get(dim, 1 if i == 0 else 128)
        for i, dim in enumerate(first)
    ]
    example = f"--shape {inputs[0].name}={'x'.join(str(s) for s in sizes)}"
    by_name = "".join(f"--dim {name}=1 " for name in list(names)[:3])
    return ModelError(
        f"{path}: shapes of inputs",
        "fixed dimensions",
        "; ".join(listed),
        f"Give for example {f'{by_name.strip()} or ' if by_name else ''}{example}.",
    )
