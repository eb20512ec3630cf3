# SPDX-License-Identifier: Apache-2.0
"""One call of a PyTorch operator, as the rules for operations and bytes see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TorchCall", "base_name", "bind", "tensors_in"]


@dataclass(frozen=True)
class TorchCall:
    """An operator with its arguments and results; tensors have sizes and no data.

    Attributes
    ----------
    op
        Base name of the operator: ``add`` for ``aten.add_.Tensor``.  Operators that are not ATen's keep
        their namespace, as in ``torchvision.nms``.
    values
        Every argument by its name in the schema, defaults included.
    outputs
        Tensors that the call returns, in order.
    writes
        Names of the arguments that are written in place.
    """

    op: str
    values: Mapping[str, Any]
    outputs: tuple[Any, ...]
    writes: tuple[str, ...] = ()

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first argument of these names that the schema has and that is not None."""
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        return default

    @property
    def tensors(self) -> list[Any]:
        """All tensors among the arguments, in order, the same object once."""
        return list({id(t): t for t in tensors_in(self.values.values())}.values())

    @property
    def first(self) -> Any:
        """The first tensor among the arguments, None without one."""
        return next(iter(tensors_in(self.values.values())), None)

    def out(self) -> int:
        """Return the elements of the first result (of what is written, when nothing is returned)."""
        if self.outputs:
            return int(self.outputs[0].numel())
        return self.size()

    def size(self) -> int:
        """Return the elements of the first tensor argument, 0 without one."""
        return 0 if self.first is None else int(self.first.numel())


def base_name(target: Any) -> str:
    """Return an operator's name without overload and in-place mark."""
    namespace, _, name = target._schema.name.partition("::")
    if name.startswith("__i") and name.endswith("__"):  # __iadd__, __ior__ ...
        name = f"__{name[3:]}"
    stem = name if name.endswith("__") else name.rstrip("_") or name
    stem = stem.strip("_") if name.endswith("__") else stem
    return stem if namespace in ("aten", "prims") else f"{namespace}.{stem}"


def bind(target: Any, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return every argument of a call by its name in the schema."""
    values: dict[str, Any] = {}
    given = list(args)
    for position, argument in enumerate(target._schema.arguments):
        if position < len(given) and not argument.kwarg_only:
            values[argument.name] = given[position]
        elif argument.name in kwargs:
            values[argument.name] = kwargs[argument.name]
        else:
            values[argument.name] = argument.default_value
    return values


def tensors_in(value: Any) -> Iterable[Any]:
    """Yield the tensors inside nested lists, tuples and dicts, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        for inner in value:
            yield from tensors_in(inner)
