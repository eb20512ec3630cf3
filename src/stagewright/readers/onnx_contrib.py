# SPDX-License-Identifier: Apache-2.0
"""Output shapes of operators for which onnx has no inference function, com.microsoft's above all.

Source: the operators' documentation in onnxruntime (docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from onnx import TensorProto

from .onnx_types import Shape, Value

__all__ = ["CONTRIB_SHAPES"]

Inputs = Sequence[Value | None]
ShapeRule = Callable[[Mapping[str, Any], Inputs, int], list[Value]]


def _at(inputs: Inputs, position: int) -> Value:
    value = inputs[position] if position < len(inputs) else None
    return Value() if value is None else value


def _typed(value: Value, shape: Shape | None, elem: int | None = None) -> Value:
    return Value(value.elem if elem is None else elem, shape)


def _same(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """Every output is like the first input."""
    return [_typed(_at(inputs, 0), _at(inputs, 0).shape)] * count


def _norm(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """Output, mean, inverse deviation, and the sum of input and skip."""
    x = _typed(_at(inputs, 0), _at(inputs, 0).shape)
    rows = None if x.shape is None else (*x.shape[:-1], 1)
    small = Value(TensorProto.FLOAT, rows)
    return [x, small, small, x]


def broadcast(shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape that all broadcast to; an unknown dimension stays unknown beside ones."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return None
    rank = max((len(s) for s in known), default=0)
    padded = [(1,) * (rank - len(s)) + s for s in known]
    return tuple(
        next((d for d in column if d is not None and d != 1), None if None in column else 1)
        for column in zip(*padded, strict=True)
    )


def _broadcast_of(*positions: int) -> ShapeRule:
    def rule(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
        shape = broadcast([_at(inputs, p).shape for p in positions])
        return [_typed(_at(inputs, positions[0]), shape)]

    return rule


def matmul(a: Shape | None, b: Shape | None) -> Shape | None:
    """Return the shape of a matrix product of two shapes of rank >= 2."""
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return None
    front = broadcast([a[:-2], b[:-2]])
    return None if front is None else (*front, a[-2], b[-1])


def _matmul(b_at: int, elem: int | None = None) -> ShapeRule:
    """Make the rule of a product of input 0 with input `b_at`."""

    def rule(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
        a, b = _at(inputs, 0).shape, _at(inputs, b_at).shape
        if attributes.get("transA") and a is not None:
            a = (*a[:-2], *a[-2:][::-1])
        if attributes.get("transB") and b is not None:
            b = (*b[:-2], *b[-2:][::-1])
        return [_typed(_at(inputs, 0), matmul(a, b), elem)]

    return rule


def _matmul_bits(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    a = _at(inputs, 0)
    return [_typed(a, None if a.shape is None else (*a.shape[:-1], attributes.get("N")))]


def _attention(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """Attention: input (B, S, D), weights (D, q + k + v); output (B, S, v) and present state."""
    x, weights = _at(inputs, 0), _at(inputs, 1)
    if weights.shape is not None and len(weights.shape) > 2:
        return _standard_attention(attributes, inputs, count)
    if x.shape is None or weights.shape is None or len(x.shape) != 3:
        return []
    sizes, columns = attributes.get("qkv_hidden_sizes"), weights.dims[-1]
    hidden = sizes[2] if sizes else columns // 3
    heads = attributes.get("num_heads", 1)
    present = (2, x.shape[0], heads, x.shape[1], hidden // heads)
    return [_typed(x, (*x.shape[:2], hidden)), _typed(x, present)]


def _standard_attention(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """Attention of operator set 23, for an onnx that is older: (B, heads, S, d) or (B, S, D)."""
    query, key, value = (_at(inputs, i) for i in range(3))
    if query.numel is None or key.numel is None or value.numel is None:
        return []
    q, k, v = query.dims, key.dims, value.dims
    heads, groups = attributes.get("q_num_heads", 1), attributes.get("kv_num_heads", 1)
    flat = len(q) == 3
    past = _at(inputs, 4).dims[2] if _at(inputs, 4).dims else 0
    shape = (*q[:2], heads * (v[2] // groups)) if flat else (*q[:3], v[3])
    states = [
        (d[0], groups, past + d[1], d[2] // groups) if flat else (*d[:2], past + d[2], d[3])
        for d in (k, v)
    ]
    return [_typed(query, shape), *(_typed(query, state) for state in states)]


def _multi_head(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """MultiHeadAttention: the output has the query's rows and the value's width."""
    query, key, value = (_at(inputs, i) for i in range(3))
    if query.shape is None:
        return []
    if len(query.shape) == 5:  # packed (B, S, heads, 3, size)
        b, s, heads, _, size = query.dims
        return [_typed(query, (b, s, heads * size))]
    width = query.shape[-1]
    if value.shape is not None:
        v = value.dims
        width = v[-1] if len(v) == 3 else v[1] * v[3]
    heads, keys = attributes.get("num_heads", 1), key.dims
    past = _at(inputs, 6).dims
    length = (keys[-2] if keys else query.dims[1]) + (past[2] if len(past) == 4 else 0)
    state = (query.shape[0], heads, length, (width or 0) // heads)
    return [_typed(query, (*query.shape[:2], width)), *[_typed(query, state)] * 2]


def _group_query(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """GroupQueryAttention: the present state keeps the shape of the past one (a ring buffer)."""
    query, key, past = _at(inputs, 0), _at(inputs, 1), _at(inputs, 3)
    heads, groups = attributes.get("num_heads", 1), attributes.get("kv_num_heads", 1)
    if query.shape is None or len(query.shape) != 3:
        return []
    packed = key.shape is None
    size = query.dims[-1] // (heads + 2 * groups if packed else heads)
    state = past.shape or (query.shape[0], groups, query.shape[1], size)
    output = _typed(query, (*query.shape[:2], heads * size))
    return [output, *[_typed(query, state)] * 2]


def _embed(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """EmbedLayerNormalization: ids (B, S), table (words, D); output (B, S, D), mask index (B)."""
    ids, table = _at(inputs, 0), _at(inputs, 2)
    if ids.shape is None or table.shape is None:
        return []
    output = _typed(table, (*ids.shape, table.shape[-1]))
    return [output, Value(TensorProto.INT32, ids.shape[:1]), output]


def _split_gelu(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    x = _at(inputs, 0)
    return [_typed(x, None if x.shape is None else (*x.shape[:-1], x.dims[-1] // 2))]


def _dequantize(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    return [_typed(_at(inputs, 1), _at(inputs, 0).shape)]


def _quantize(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    zero = _at(inputs, 2)
    return [Value(zero.elem or TensorProto.UINT8, _at(inputs, 0).shape)]


def _global_pool(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    x = _at(inputs, 0)
    if x.shape is None:
        return []
    last = bool(attributes.get("channels_last", 0))
    ones = (1,) * (len(x.shape) - 2)
    shape = (x.shape[0], *ones, x.shape[-1]) if last else (*x.shape[:2], *ones)
    return [_typed(x, shape)]


def _quantized_concat(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """QLinearConcat: scale and zero point of the output, then triples of tensor, scale, zero."""
    parts = [_at(inputs, i) for i in range(2, len(inputs), 3)]
    if not parts or any(p.numel is None for p in parts):
        return []
    dims, axis = list(parts[0].dims), attributes.get("axis", 0)
    dims[axis] = sum(p.dims[axis] for p in parts)
    return [_typed(parts[0], tuple(dims))]


def _gemm(attributes: Mapping[str, Any], inputs: Inputs, count: int, b_at: int = 1) -> list[Value]:
    a, b = _at(inputs, 0), _at(inputs, b_at)
    if a.shape is None or b.shape is None or len(a.shape) != 2 or len(b.shape) != 2:
        return []
    rows = a.shape[1 if attributes.get("transA") else 0]
    return [_typed(a, (rows, b.shape[0 if attributes.get("transB") else 1]))]


def _quantized_gemm(attributes: Mapping[str, Any], inputs: Inputs, count: int) -> list[Value]:
    """QGemm is quantised only where the output's scale and zero point are given."""
    made = _gemm(attributes, inputs, count, b_at=3)
    elem = _at(inputs, 8).elem or TensorProto.FLOAT
    return [replace(value, elem=elem) for value in made]


_LIKE_FIRST = (
    "Gelu FastGelu BiasGelu QuickGelu GroupNorm SkipGroupNorm RotaryEmbedding Inverse BiasDropout "
    "BiasAdd BiasSoftmax QLinearSoftmax QLinearSigmoid QLinearLeakyRelu MoE QMoE "
    "RMSNormalization Swish TensorScatter GroupNormalization "
    "MeanVarianceNormalization Scaler Normalizer Imputer"
)

CONTRIB_SHAPES: Final[dict[str, ShapeRule]] = {
    **dict.fromkeys(_LIKE_FIRST.split(), _same),
    "SkipLayerNormalization": _norm,
    "SkipSimplifiedLayerNormalization": _norm,
    "SimplifiedLayerNormalization": _norm,
    "EmbedLayerNormalization": _embed,
    "BiasSplitGelu": _split_gelu,
    "QLinearAdd": _broadcast_of(0, 3),
    "QLinearMul": _broadcast_of(0, 3),
    "QLinearConcat": _quantized_concat,
    "QLinearGlobalAveragePool": _global_pool,
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
    "FusedMatMul": _matmul(1),
    "TransposeMatMul": _matmul(1),
    "FusedGemm": _gemm,
    "QGemm": _quantized_gemm,
    "MatMulIntegerToFloat": _matmul(1, TensorProto.FLOAT),
    "DynamicQuantizeMatMul": _matmul(1, TensorProto.FLOAT),
    "MatMulNBits": _matmul_bits,
    "MatMulBnb4": _matmul_bits,
    "Attention": _attention,
    "QAttention": _attention,
    "MultiHeadAttention": _multi_head,
    "DecoderMaskedMultiHeadAttention": _multi_head,
    "GroupQueryAttention": _group_query,
}
"""Shape rules by operator name, used where onnx has no schema for the operator."""
