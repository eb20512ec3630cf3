# SPDX-License-Identifier: Apache-2.0
"""Higher-order operators: those that only wrap are walked through, control flow is one node.

A loop costs its body times its iterations, a branch the dearer side, ``flex_attention`` what the pairs
that its mask may show cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .onnx_types import product
from .torch_call import TorchCall, tensors_in
from .torch_sizes import concrete

if TYPE_CHECKING:
    from .torch_walk import Walk

__all__ = ["is_wrapper", "operator_name", "run_control", "unwrapped"]

_WRAPPERS = {
    # name -> where its body stands, where the body's arguments start
    "wrap_with_set_grad_enabled": (1, 2),
    "wrap_with_autocast": (4, 5),
    "tag_activation_checkpoint": (0, 1),
    "wrap_activation_checkpoint": (0, 1),
    "wrap": (0, 1),
    "invoke_subgraph": (0, 2),
    "hints_wrapper": (0, 1),
    "strict_mode": (0, 1),
}


def run_control(walk: Walk, node: Any, args: Any, kwargs: Any) -> Any:
    """Run one higher-order operator and return its result.

    Raises
    ------
    ModelError
        If a size of its result is unknown.
    """
    name = operator_name(node.target)
    with walk.faults(node, name):
        if is_wrapper(node.target):
            return walk.run(*unwrapped(node.target, args))
        result = _results(walk, node)
        values = {f"argument{i}": value for i, value in enumerate(args) if _holds_data(value)}
        flops, moved = _RULES.get(name, _unknown)(walk, name, args)
        call = TorchCall(name, values, tuple(tensors_in(result)))
        _record(walk, node, call, flops, moved)
        return result


def operator_name(target: Any) -> str:
    """Return the name of a higher-order operator."""
    name = str(target.name() if callable(target.name) else target.name)
    return name.rpartition("::")[2].removesuffix("_impl")


def is_wrapper(target: Any) -> bool:
    """Return True for higher-order operators that run their body once and do nothing else."""
    import torch

    higher = isinstance(target, torch._ops.HigherOrderOperator)
    return higher and operator_name(target) in _WRAPPERS


def unwrapped(target: Any, args: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return the body of a wrapper and what it is given."""
    name = operator_name(target)
    body, start = _WRAPPERS[name]
    operands = args[1] if name in ("hints_wrapper", "strict_mode") else args[start:]
    return args[body], tuple(operands)


def _holds_data(value: Any) -> bool:
    return not callable(value)


def _record(walk: Walk, node: Any, call: TorchCall, flops: int, moved: int | None) -> None:
    before = len(walk.steps)
    walk.add(node, call, lambda: (flops, []))
    if moved is not None and len(walk.steps) > before:
        walk.steps[-1].nbytes = moved


def _results(walk: Walk, node: Any) -> Any:
    """Return new tensors of the sizes that the export noted."""
    import torch
    from torch.utils._pytree import tree_map

    def fresh(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            shape = [concrete(n, walk.symbols) for n in value.shape]
            if None in shape:
                raise ValueError(f"a result of shape {tuple(value.shape)} that data decide")
            return torch.empty(shape, dtype=value.dtype, device=value.device)
        found = concrete(value, walk.symbols)
        return value if found is None else found

    return tree_map(fresh, node.meta["val"])


def _body(walk: Walk, module: Any, operands: Sequence[Any]) -> tuple[int, int]:
    """Return operations and bytes of one run of a body."""
    from .torch_walk import Walk

    inner = Walk(walk.item, walk.mode, walk.symbols)
    inputs = [_copy(value) for value in operands]
    for i, tensor in enumerate(tensors_in(inputs)):
        inner.give(tensor, name=f"input {i}", resident=False, constant=False)
    inner.run(module, inputs)
    for mine, theirs in zip(_counters(walk), _counters(inner), strict=True):
        mine.update(theirs)
    return sum(s.flops for s in inner.steps), sum(s.nbytes for s in inner.steps)


def _counters(walk: Walk) -> tuple[Any, ...]:
    return walk.notes.unknown, walk.notes.loops, walk.notes.bounded


def _copy(value: Any) -> Any:
    import torch

    return torch.empty_like(value) if isinstance(value, torch.Tensor) else value


def _cond(walk: Walk, name: str, args: Any) -> tuple[int, int | None]:
    _, yes, no, operands = args[:4]
    sides = [_body(walk, side, operands) for side in (yes, no)]
    return max(flops for flops, _ in sides), max(moved for _, moved in sides)


def _while(walk: Walk, name: str, args: Any) -> tuple[int, int | None]:
    condition, body, carried = args[:3]
    operands = [*carried, *(args[3] if len(args) > 3 else ())]
    walk.notes.loops[name] += 1
    parts = [_body(walk, module, operands) for module in (condition, body)]
    return sum(flops for flops, _ in parts), sum(moved for _, moved in parts)


def _scan(walk: Walk, name: str, args: Any) -> tuple[int, int | None]:
    """Run the body on the carried values and one slice of each scanned tensor, once per slice."""
    body, initial, scanned, extra = args[0], args[1], args[2], args[3] if len(args) > 3 else ()
    length = int(scanned[0].shape[0]) if scanned else 1
    operands = [*initial, *(x.select(0, 0) for x in scanned), *extra]
    flops, moved = _body(walk, body, operands)
    return length * flops, length * moved


def _associative(walk: Walk, name: str, args: Any) -> tuple[int, int | None]:
    """Combine n elements: n - 1 times, as a sequence would; the body takes whole tensors."""
    body, scanned = args[0], args[1]
    extra = args[2] if len(args) > 2 else ()
    length = int(scanned[0].shape[0]) if scanned else 1
    one = [x.select(0, 0) for x in scanned]
    flops, moved = _body(walk, body, [*one, *one, *extra])
    return max(0, length - 1) * flops, max(0, length - 1) * moved


def _map(walk: Walk, name: str, args: Any) -> tuple[int, int | None]:
    body, mapped, extra = args[0], args[1], args[2] if len(args) > 2 else ()
    length = int(mapped[0].shape[0]) if mapped else 1
    flops, moved = _body(walk, body, [*(x.select(0, 0) for x in mapped), *extra])
    return length * flops, length * moved


def _flex_attention(walk: Walk, name: str, args: Any) -> tuple[int, int | None]:
    """Count both products and the softmax over all pairs, and what the score's change takes.

    What a block mask hides is data, so every pair counts; reads and writes are those of fused attention.
    """
    query, key, value, change = args[:4]
    pairs = product(query.shape[:-1]) * int(key.shape[-2])
    per_pair = 2 * int(query.shape[-1]) + 2 * int(value.shape[-1]) + 6
    if hasattr(change, "graph"):
        numbers = [query.new_empty((), dtype=query.dtype)]
        numbers += [query.new_empty((), dtype=_int32()) for _ in range(4)]
        buffers = args[7] if len(args) > 7 else ()
        flops, _ = _body(walk, change, [*numbers, *buffers])
        per_pair += flops
    return pairs * per_pair, None


def _int32() -> Any:
    import torch

    return torch.int32


def _unknown(walk: Walk, name: str, args: Any) -> tuple[int, int | None]:
    walk.notes.unknown[name] += 1
    return 0, None


_RULES: dict[str, Callable[[Walk, str, Any], tuple[int, int | None]]] = {
    "cond": _cond,
    "while_loop": _while,
    "scan": _scan,
    "associative_scan": _associative,
    "map": _map,
    "flex_attention": _flex_attention,
}
