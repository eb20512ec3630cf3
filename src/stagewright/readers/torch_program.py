# SPDX-License-Identifier: Apache-2.0
"""Exported programs (``torch.export.ExportedProgram``) to cost graphs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, ModelError
from ..graph import CostGraph
from . import StagewrightWarning
from .torch_call import tensors_in
from .torch_graph import build_graph
from .torch_walk import Notes, Version, Walk

__all__ = ["WalkedProgram", "graph_of_walk", "read_program", "walk_program"]


@dataclass(frozen=True)
class WalkedProgram:
    """A program after its walk.

    Attributes
    ----------
    program
        The program that was walked: the one given, or that with its vmapped parts rewritten.
    walk
        Its steps.
    values
        What its placeholders were given: fake tensors of concrete sizes, and plain values.
    outputs
        What it returns.
    """

    program: Any
    walk: Walk
    values: list[Any]
    outputs: list[Version]


def read_program(
    program: Any,
    *,
    name: str,
    item: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    resident: Collection[str] = (),
    prefix: str = "",
    replicate: bool = True,
) -> CostGraph:
    """Return the cost graph of an exported program.

    Parameters
    ----------
    program
        What ``torch.export.export`` or ``torch.export.load`` returned.
    name, item
        Name of the graph, and of the model in messages.
    shapes
        Shapes of inputs by name, for programs with dynamic dimensions; the example's by default.
    resident
        Names of inputs that stay on the device that reads them, such as the key-value cache.
    prefix
        Leading part of module paths that is left out of names.
    replicate
        Mark masks, position tables and their like as replicable.

    Raises
    ------
    ModelError
        If a size depends on data beyond what is known, or nothing depends on an input.

    Warns
    -----
    StagewrightWarning
        Once, if some cost had to be estimated; the message lists what.
    """
    item = item or name
    found = walk_program(program, item, shapes=shapes, resident=resident, prefix=prefix)
    graph = graph_of_walk(found, name, item, replicate=replicate)
    _warn(item, found.walk.notes)
    return graph


def graph_of_walk(
    found: WalkedProgram, name: str, item: str, *, replicate: bool = True
) -> CostGraph:
    """Return the cost graph of a walked program; parameters and errors as for :func:`read_program`."""
    return build_graph(name, item, found.walk, found.outputs, replicate=replicate)


def walk_program(
    program: Any,
    item: str,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    resident: Collection[str] = (),
    prefix: str = "",
    walk_type: type[Walk] = Walk,
) -> WalkedProgram:
    """Walk a program on fake tensors; parameters and errors as for :func:`read_program`.

    `walk_type` is who walks: a subclass may note more than the cost graph needs.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    program = _without_vmap(program)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad(), mode:
        inputs = _Inputs(program, item, dict(shapes or {}))
        walk = walk_type(item, mode, inputs.symbols)
        values = inputs.give_to(walk, resident)
        outputs = walk.run(program.graph_module, values)
        versions = [walk.version_of(t) for t in tensors_in(outputs)]
    if prefix:
        for step in walk.steps:
            step.path = step.path.removeprefix(prefix).removeprefix(".")
    return WalkedProgram(program, walk, values, versions)


def _without_vmap(program: Any) -> Any:
    """Return a program whose vmapped parts, if it has any, are plain operators on whole batches.

    Only those programs are rewritten: the rewriting also takes composite operators apart.
    """
    names = (getattr(node.target, "__name__", "") for node in program.graph.nodes)
    if "_vmap_increment_nesting" not in names:
        return program
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions({})


class _Inputs:
    """Fake tensors for everything a program is given, with storages shared as in the original."""

    def __init__(self, program: Any, item: str, shapes: dict[str, Sequence[int]]) -> None:
        self.program, self.item = program, item
        self.symbols: dict[Any, int] = {}
        self._bases: dict[tuple[int, Any], Any] = {}
        self.nodes = [n for n in program.graph.nodes if n.op == "placeholder"]
        self.specs = program.graph_signature.input_specs
        users = [s.arg.name for s in self.specs if s.kind.name == "USER_INPUT"]
        for given in shapes:
            if given not in users:
                raise InputError(
                    f"{item}: shapes", f"names of inputs ({', '.join(users)})", f"'{given}'"
                )
        self.shapes = shapes
        self.examples = self._examples()

    def _examples(self) -> dict[str, Any]:
        """Return the example tensors by input name, as far as the program keeps them."""
        kept = getattr(self.program, "example_inputs", None)
        names = [
            spec.arg.name
            for spec, node in zip(self.specs, self.nodes, strict=True)
            if spec.kind.name == "USER_INPUT" and hasattr(node.meta.get("val"), "shape")
        ]
        tensors = list(tensors_in(kept)) if kept else []
        return dict(zip(names, tensors, strict=False)) if len(names) == len(tensors) else {}

    def give_to(self, walk: Walk, resident: Collection[str]) -> list[Any]:
        """Return one value per placeholder and introduce the tensors to the walk."""
        values = []
        for spec, node in zip(self.specs, self.nodes, strict=True):
            kind = spec.kind.name
            if kind in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
                tensor = self._stored(spec.target)
                fake = self._alias(tensor)
                walk.give(fake, name=spec.target, resident=True, constant=True)
            elif hasattr(node.meta.get("val"), "shape"):
                fake = self._input(spec.arg.name, node.meta["val"])
                stays = spec.arg.name in resident
                walk.give(fake, name=spec.arg.name, resident=stays, constant=False)
            else:
                fake = getattr(spec.arg, "value", node.meta.get("val"))
            values.append(fake)
        return values

    def _stored(self, target: str) -> Any:
        for where in (self.program.state_dict, self.program.constants):
            if target in where:
                return where[target]
        raise ModelError(
            f"{self.item}: parameter '{target}'",
            "its tensor in the program",
            "none",
            "Export anew.",
        )

    def _alias(self, tensor: Any) -> Any:
        """Return a fake tensor that shares its storage with those whose originals do."""
        import torch

        storage = tensor.untyped_storage()
        key = (storage._cdata, tensor.dtype)
        if key not in self._bases:
            count = -(-storage.nbytes() // tensor.element_size())
            # The original is kept as well: its address must not be given away.
            self._bases[key] = (
                torch.empty(count, dtype=tensor.dtype, device=tensor.device),
                storage,
            )
        base = self._bases[key][0]
        return base.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def _input(self, name: str, value: Any) -> Any:
        """Return a fake input of the shape given, or of the example's."""
        import torch

        example = self.examples.get(name)
        sizes = []
        given = self.shapes.get(name)
        if given is not None and len(given) != len(value.shape):
            raise InputError(
                f"{self.item}: shape of input '{name}'",
                f"{len(value.shape)} sizes",
                f"{len(given)} ({'x'.join(map(str, given))})",
            )
        for axis, size in enumerate(value.shape):
            wanted = None if given is None else int(given[axis])
            if isinstance(size, int):
                if wanted not in (None, size):
                    raise InputError(
                        f"{self.item}: shape of input '{name}'",
                        f"{size} on axis {axis}, which the program fixes",
                        str(wanted),
                        "Export with this dimension dynamic, or at this size.",
                    )
                sizes.append(size)
                continue
            sizes.append(self._dynamic(name, axis, size, wanted, example))
        return torch.empty(sizes, dtype=value.dtype, device=value.device)

    def _dynamic(self, name: str, axis: int, size: Any, wanted: int | None, example: Any) -> int:
        """Return the size of a dynamic axis and note its symbol."""
        symbol = size.node.expr
        known = self.symbols.get(symbol)
        if wanted is None:
            wanted = known if known is not None else self._example_size(axis, size, example)
        if wanted is None:
            raise InputError(
                f"{self.item}: input '{name}'",
                "a known size on every axis",
                f"dynamic axis {axis}",
                f"Give its shape, for example --shape {name}=1x128.",
            )
        if known not in (None, wanted):
            raise InputError(
                f"{self.item}: input '{name}'",
                f"{known} on axis {axis}, as the same dimension of another input",
                str(wanted),
            )
        if symbol.is_Symbol:
            self.symbols[symbol] = wanted
        return wanted

    def _example_size(self, axis: int, size: Any, example: Any) -> int | None:
        if example is not None and isinstance(example.shape[axis], int):
            return int(example.shape[axis])
        return int(size.node.hint) if size.node.has_hint() else None


def _warn(item: str, notes: Notes) -> None:
    """Issue one warning that names everything that was estimated."""
    kinds: tuple[tuple[str, Counter[str]], ...] = (
        ("operators without a cost rule (bytes only)", notes.unknown),
        ("loops of unknown length counted as one iteration", notes.loops),
        ("results whose size depends on the data, at their largest", notes.bounded),
    )
    parts = [
        f"{text}: {', '.join(f'{op} x{n}' if n > 1 else op for op, n in sorted(counter.items()))}"
        for text, counter in kinds
        if counter
    ]
    if parts:
        warnings.warn(StagewrightWarning(f"{item}: {'; '.join(parts)}"), stacklevel=4)
