# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations and bytes moved of StableHLO operations.

The convention of :mod:`.onnx_flops`: a multiply-add is two, every other elementary operation one, moving or
converting data none.  Bytes are what an operation reads and writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from .stablehlo_module import Op, Type

__all__ = ["VIEWS", "bytes_of", "flops_of", "has_rule"]

VIEWS: Final = frozenset(
    [
        "reshape",
        "bitcast_convert",
        "optimization_barrier",
        "copy",
        "sharding_constraint",
        "get_tuple_element",
    ]
)
"""Operations whose result is their operand in other clothes."""

_MOVING: Final = (
    frozenset(
        [
            "broadcast",
            "broadcast_in_dim",
            "dynamic_broadcast_in_dim",
            "concatenate",
            "convert",
            "constant",
            "iota",
            "dynamic_iota",
            "slice",
            "dynamic_slice",
            "dynamic_update_slice",
            "gather",
            "dynamic_gather",
            "pad",
            "dynamic_pad",
            "reverse",
            "transpose",
            "tuple",
            "after_all",
            "create_token",
            "partition_id",
            "replica_id",
            "real",
            "imag",
            "complex",
            "get_dimension_size",
        ]
    )
    | VIEWS
)
_PER_OUTPUT: Final = frozenset(
    [
        "abs",
        "add",
        "and",
        "atan2",
        "cbrt",
        "ceil",
        "compare",
        "cosine",
        "count_leading_zeros",
        "divide",
        "exponential",
        "exponential_minus_one",
        "floor",
        "is_finite",
        "log",
        "log_plus_one",
        "logistic",
        "maximum",
        "minimum",
        "multiply",
        "negate",
        "not",
        "or",
        "popcnt",
        "power",
        "remainder",
        "round_nearest_afz",
        "round_nearest_even",
        "rsqrt",
        "select",
        "shift_left",
        "shift_right_arithmetic",
        "shift_right_logical",
        "sign",
        "sine",
        "sqrt",
        "subtract",
        "tan",
        "tanh",
        "xor",
        "rng",
        "rng_bit_generator",
        "reduce_precision",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "bessel_i1e",
        "conj",
        "cosh",
        "digamma",
        "erf",
        "erf_inv",
        "erfc",
        "is_inf",
        "is_neg_inf",
        "is_pos_inf",
        "lgamma",
        "next_after",
        "polygamma",
        "sinh",
        "square",
        "zeta",
    ]
)
Types = Sequence[Type]


def _dot(op: Op, inputs: Types, outputs: Types) -> int:
    contracted = op.lists.get("contracting", [len(inputs[0].shape) - 1])
    return 2 * outputs[0].count * math.prod(inputs[0].shape[d] for d in contracted)


def _convolution(op: Op, inputs: Types, outputs: Types) -> int:
    kernel = inputs[1]
    (features,) = op.lists["features"]
    taps = kernel.count // max(1, kernel.shape[features])
    # Of a dilated input, all but one in so many taps meet zeros.
    return 2 * outputs[0].count * taps // math.prod(op.lists.get("lhs_dilation", []))


def _inner(op: Op) -> int:
    """Return how many operations the body does per element, at least one."""
    ops = [inner for region in op.regions for inner in region.ops]
    return max(1, sum(inner.name not in _MOVING for inner in ops))


def _sort(op: Op, inputs: Types, outputs: Types) -> int:
    dimension = op.lists.get("dimensions", [len(inputs[0].shape) - 1])[0]
    length = inputs[0].shape[dimension] if inputs[0].shape else 1
    return inputs[0].count * max(1, math.ceil(math.log2(max(2, length)))) * _inner(op)


def _window(op: Op, inputs: Types, outputs: Types) -> int:
    return outputs[0].count * math.prod(op.lists.get("window_dimensions", [])) * _inner(op)


def _fft(op: Op, inputs: Types, outputs: Types) -> int:
    count = max(inputs[0].count, outputs[0].count)
    return 5 * count * max(1, math.ceil(math.log2(max(2, inputs[0].shape[-1]))))


_RULES: Final[dict[str, Callable[[Op, Types, Types], int]]] = {
    "dot_general": _dot,
    "dot": _dot,
    "convolution": _convolution,
    "dynamic_conv": _convolution,
    "reduce": lambda op, inputs, outputs: (
        sum(t.count for t in inputs[: len(outputs)]) // len(outputs) * _inner(op)
    ),
    "reduce_window": _window,
    "select_and_scatter": lambda op, inputs, outputs: (
        (inputs[0].count + inputs[1].count) * _inner(op)
    ),
    "scatter": lambda op, inputs, outputs: inputs[-1].count * _inner(op),
    "map": lambda op, inputs, outputs: outputs[0].count * _inner(op),
    "sort": _sort,
    "top_k": _sort,
    "clamp": lambda op, inputs, outputs: 2 * outputs[0].count,
    "batch_norm_inference": lambda op, inputs, outputs: 2 * outputs[0].count,
    "fft": _fft,
    "cholesky": lambda op, inputs, outputs: outputs[0].count * outputs[0].shape[-1] // 3,
    "triangular_solve": lambda op, inputs, outputs: outputs[0].count * inputs[0].shape[-1],
}


def has_rule(op: Op) -> bool:
    """Whether the operations of `op` are counted; others have bytes only."""
    return op.name in _RULES or op.name in _PER_OUTPUT or op.name in _MOVING


def flops_of(op: Op, inputs: Types, outputs: Types) -> int:
    """Return the operations of one call, bodies of loops and branches apart."""
    if op.name in _RULES:
        return _RULES[op.name](op, inputs, outputs)
    return sum(t.count for t in outputs) if op.name in _PER_OUTPUT else 0


def bytes_of(op: Op, read: Sequence[int], outputs: Types) -> int:
    """Return the bytes that one call moves; `read` holds the stored size of each operand.  Views move nothing."""
    if op.name in VIEWS or op.name == "tuple":
        return 0
    written = sum(t.nbytes for t in outputs)
    if op.name in ("slice", "dynamic_slice"):
        return 2 * written
    if op.name in ("gather", "dynamic_gather"):
        return 2 * written + read[1]
    if op.name == "dynamic_update_slice":
        return 2 * read[1]
    return written + sum(read)
