# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of the large operators: attention, recurrent nets, transforms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from .onnx_call import Call
from .onnx_types import product

__all__ = ["BLOCK_RULES"]

_SOFTMAX: Final = 5
"""Operations of a softmax per element, as in :mod:`.onnx_flops`."""


def _scores(batch: int, heads: int, queries: int, keys: int, qk: int, v: int, masked: bool) -> int:
    """Return scaled scores, mask, softmax and the weighted sum of the values.

    `qk` and `v` are the sizes of one head.
    """
    cells = batch * heads * queries * keys
    return cells * (2 * qk + 2 * v + 1 + masked + _SOFTMAX)


def _attention(call: Call) -> int:
    """Attention of the standard domain (3-D or 4-D) and com.microsoft's with its projection."""
    if call.domain:
        return _projected_attention(call)
    query, key, value = call.dims(0), call.dims(1), call.dims(2)
    past = call.dims(4)[2] if call.has(4) else 0
    masked = call.has(3) or bool(call.attribute("is_causal", 0))
    if len(query) == 4:
        batch, heads, queries, size = query
        return _scores(batch, heads, queries, key[2] + past, size, value[3], masked)
    heads, groups = call.attribute("q_num_heads", 1), call.attribute("kv_num_heads", 1)
    batch, queries, width = query
    return _scores(batch, heads, queries, key[1] + past, width // heads, value[2] // groups, masked)


def _projected_attention(call: Call) -> int:
    """Input (B, S, D) times weights (D, q + k + v), then attention over S (and the past)."""
    batch, length, width = call.dims(0)
    columns = call.dims(1)[-1]
    sizes = call.attribute("qkv_hidden_sizes", None) or [columns // 3] * 3
    heads = call.attribute("num_heads", 1)
    at = 8 if call.op == "QAttention" else 4
    past = call.dims(at)[3] if len(call.dims(at)) == 5 else 0
    projection = batch * length * columns * (2 * width + 1)
    masked = call.has(3) or bool(call.attribute("unidirectional", 0))
    return projection + _scores(
        batch, heads, length, length + past, sizes[0] // heads, sizes[2] // heads, masked
    )


def _multi_head(call: Call) -> int:
    """Query (B, S, D) or packed (B, S, heads, 3, size), keys (B, L, D) or (B, heads, L, size)."""
    query, key, value = call.dims(0), call.dims(1), call.dims(2)
    heads = call.attribute("num_heads", 1)
    batch, queries = query[:2]
    if len(query) == 5:
        size = query[-1]
        return _scores(batch, heads, queries, queries, size, size, call.has(4))
    size = query[-1] // heads
    keys = (key[2] if len(key) == 4 else key[1]) if key else queries
    past = call.dims(6)[2] if len(call.dims(6)) == 4 else 0
    v = size if not value else value[3] if len(value) == 4 else value[2] // heads
    bias = product(query) * call.has(3)
    return bias + _scores(batch, heads, queries, keys + past, size, v, call.has(4))


def _group_query(call: Call) -> int:
    """GroupQueryAttention; the whole buffer of past keys counts as filled."""
    heads, groups = call.attribute("num_heads", 1), call.attribute("kv_num_heads", 1)
    batch, queries, width = call.dims(0)
    size = width // (heads if call.has(1) else heads + 2 * groups)
    past = call.dims(3)[2] if len(call.dims(3)) == 4 else 0
    present = call.out_dims(1)
    keys = max(present[2] if len(present) == 4 else 0, past, queries)
    rotary = 3 * batch * queries * (heads + groups) * size if call.attribute("do_rotary", 0) else 0
    return rotary + _scores(batch, heads, queries, keys, size, size, masked=True)


def _linear_attention(call: Call) -> int:
    """Per token and head: update a state of (key, value) size, and read it with the query."""
    batch, length = call.dims(0)[0], call.dims(0)[-2]
    heads = int(call.attribute("q_num_heads", 1))
    key, value = call.size(1), call.size(2)
    tokens = max(1, batch * length)
    groups = max(1, int(call.attribute("kv_num_heads", heads)))
    state = (key // tokens // groups) * (value // tokens // groups)
    return tokens * heads * state * 6


def _causal_conv(call: Call) -> int:
    """Count a depthwise convolution over time; weights (channels, 1, kernel)."""
    return 2 * call.out() * call.dims(1)[-1]


_GATES: Final = {"LSTM": (4, 9), "GRU": (3, 8), "RNN": (1, 1)}
"""Gates, and elementwise operations per hidden element and step: activations and the state update
(LSTM: 5 activations, 3 multiplies, 1 add; GRU: 3 activations, 3 multiplies, 2 adds)."""


def _recurrent(call: Call) -> int:
    """X (steps, batch, inputs), W (directions, gates * hidden, inputs), R (..., hidden)."""
    gates, pointwise = _GATES[call.op]
    directions, _, inputs = call.dims(1)
    hidden = call.dims(2)[-1]
    steps = call.size(0) // max(1, inputs)  # steps x batch in either layout
    per_step = gates * hidden * (2 * inputs + 2 * hidden + 2 * call.has(3)) + pointwise * hidden
    return steps * directions * per_step


def _einsum(call: Call) -> int:
    """Operands times the product of all index sizes: one multiply-add per cell for two operands.

    More operands count as one multiply each and an add, without a better order of contraction.
    """
    left, _, right = call.attribute("equation", "").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, position in zip(left.split(","), range(len(call.inputs)), strict=True):
        _index_sizes(term, call.dims(position), sizes)
    letters = {c for c in left if c.isalpha()}
    summed = bool(letters - set(right)) if "->" in call.attribute("equation", "") else True
    return product(sizes.values()) * (len(call.inputs) - 1 + summed)


def _index_sizes(term: str, dims: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Record the size of each index of a term; ``...`` stands for as many as are left over."""
    front, dots, back = term.partition("...")
    for letter, size in zip(front, dims, strict=False):
        sizes[letter] = max(size, sizes.get(letter, 1))
    if dots:
        rest = dims[len(front) : len(dims) - len(back)]
        for position, size in enumerate(reversed(rest)):
            key = f"...{position}"
            sizes[key] = max(size, sizes.get(key, 1))
        for letter, size in zip(back, dims[len(dims) - len(back) :], strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))


def _fft(length: int) -> int:
    """Operations of one complex transform: 5 n log2 n."""
    return math.ceil(5 * length * math.log2(length)) if length > 1 else 0


def _dft(call: Call) -> int:
    """One transform of the longer of input and output for every other index."""
    dims, out = call.dims(0), call.out_dims()
    axis = call.attribute("axis", 1)
    if call.has(2) and (given := call.inputs[2]) is not None and given.data is not None:
        axis = int(given.data.reshape(-1)[0])  # operator set 20 and later
    elif call.has(2) or "axis" not in call.attributes:
        axis = max(range(len(dims) - 1), key=lambda i: dims[i]) if call.has(2) else axis
    length = max(dims[axis], out[axis])
    transforms = product(d for i, d in enumerate(dims[:-1]) if i != axis % len(dims))
    return transforms * _fft(length)


def _stft(call: Call) -> int:
    """Output (batch, frames, bins, 2): a window (if given) and a transform for each frame."""
    batch, frames, bins, _ = call.out_dims()
    length = call.dims(2)[0] if call.has(2) else 0
    length = length or (2 * (bins - 1) if call.attribute("onesided", 1) else bins)
    return batch * frames * (_fft(length) + length * call.has(2))


def _embed_norm(call: Call) -> int:
    """Add two or three embeddings and normalise."""
    return call.out() * (7 + 1 + call.has(1))


def _moe(call: Call) -> int:
    """Mixture of experts: each row goes through `k` experts of two (or three) matrices."""
    width = call.dims(0)[-1]
    rows = call.size(0) // max(1, width)
    hidden = call.dims(2)[-1] if call.op == "MoE" else call.dims(2)[1]
    matrices = 3 if call.has(6) else 2
    return int(rows * call.attribute("k", 1) * 2 * width * hidden * matrices)


def _swiglu(call: Call) -> int:
    return 3 * call.out()


BLOCK_RULES: Final[dict[str, Callable[[Call], int]]] = {
    "Attention": _attention,
    "QAttention": _projected_attention,
    "MultiHeadAttention": _multi_head,
    "DecoderMaskedMultiHeadAttention": _multi_head,
    "GroupQueryAttention": _group_query,
    "LinearAttention": _linear_attention,
    "CausalConvWithState": _causal_conv,
    **dict.fromkeys(_GATES, _recurrent),
    "Einsum": _einsum,
    "DFT": _dft,
    "STFT": _stft,
    "EmbedLayerNormalization": _embed_norm,
    "MoE": _moe,
    "QMoE": _moe,
    "SwiGLU": _swiglu,
}
