# SPDX-License-Identifier: Apache-2.0
"""Operators whose result has a size, or is a number, that depends on data: taken at their largest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import ModelError

__all__ = ["SIZED_BY_DATA", "concrete", "run_sized"]

SIZED_BY_DATA: Final = frozenset(
    ("nonzero", "masked_select", "item", "_local_scalar_dense", "index", "unique", "_unique2",
     "unique_dim", "unique_consecutive", "bincount")
)  # fmt: skip
"""Operators that :func:`run_sized` runs."""


def run_sized(
    name: str, target: Any, args: Any, kwargs: Any, node: Any, symbols: Mapping[Any, int]
) -> tuple[Any, bool]:
    """Run one of these operators; return the result and whether its size is an upper limit.

    Raises
    ------
    ModelError
        If a number read from a tensor has no known limit.
    """
    import torch

    if name in ("item", "_local_scalar_dense"):
        return _number(node, symbols), True
    first = args[0]
    if name == "nonzero":
        return first.new_empty((first.numel(), first.dim()), dtype=torch.int64), True
    if name == "masked_select":
        count = torch.broadcast_shapes(first.shape, args[1].shape)
        return first.new_empty((count.numel(),)), True
    if name == "index":
        indices, bounded = [], False
        for index in args[1]:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                row = index.new_empty((index.numel(),), dtype=torch.int64)
                indices += [row] * index.dim()
                bounded = True
            else:
                indices.append(index)
        return target(first, indices), bounded
    if name == "bincount":
        length = max(int(kwargs.get("minlength", 0)), first.numel())
        return first.new_empty((length,), dtype=torch.int64), True
    longest = first.new_empty((first.numel(),)) if name != "unique_dim" else first.clone()
    count = first.numel() if name != "unique_dim" else int(first.shape[int(args[1])])
    extra = [first.new_empty((count,), dtype=torch.int64) for _ in range(2)]
    return (longest, *extra), True


def _number(node: Any, symbols: Mapping[Any, int]) -> Any:
    """Return the largest value of a number that the program reads from a tensor."""
    value = node.meta.get("val")
    if isinstance(value, (int, float, bool)):
        return value
    found = concrete(value, symbols)
    if found is None:
        raise ModelError(
            f"operator 'item' in '{node.name}'",
            "numbers that do not depend on data, or that torch._check() limits",
            "a number read from a tensor",
            "Compute it outside the model, or state its limit with torch._check(n <= limit).",
        )
    return found


def concrete(value: Any, symbols: Mapping[Any, int]) -> int | None:
    """Return a size as an integer: itself, by its symbols, or its upper limit; None if unknown."""
    if isinstance(value, int):
        return value
    inner = getattr(value, "node", None)
    if inner is None:
        return None
    expression = inner.expr.subs(symbols)
    if expression.is_Integer:
        return int(expression)
    environment = inner.shape_env
    limit = environment.bound_sympy(expression).upper if environment is not None else None
    # int_oo and the default limits of a machine integer say nothing.
    if limit is None or not getattr(limit, "is_Integer", False) or int(limit) >= 2**31:
        return None
    return int(limit)
