# SPDX-License-Identifier: Apache-2.0
"""Operations of composite operators, counted on the operators that they are made of."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from .torch_call import TorchCall, base_name, bind, tensors_in
from .torch_flops import flops_of, has_rule

__all__ = ["count_parts"]


class _Counter(TorchDispatchMode):  # type: ignore[misc]  # torch is skipped by the type checker
    """Adds up the operations of every operator that runs under it."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.names: list[str] = []
        self.unknown: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = base_name(func)
        call = TorchCall(name, bind(func, args, kwargs), tuple(tensors_in(result)))
        self.names.append(name)
        if has_rule(name):
            self.flops += flops_of(call)
        elif call.outputs and not func.is_view:
            self.unknown.append(name)
        return result


def count_parts(target: Any, args: Any, kwargs: Any) -> tuple[int, list[str]] | None:
    """Run a call on fake tensors; return its operations, and the parts that have no rule either.

    None if the operator has no parts.
    """
    name = base_name(target)
    with _Counter() as counter:
        target(*args, **kwargs)
    if counter.names == [name] or not counter.names:
        return None
    return counter.flops, counter.unknown
