# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of PyTorch operators.

The convention is that of :mod:`.onnx_flops`, so that one model counts alike through both readers: a
multiply-add is two, every other elementary operation is one, moving or converting data is none.
Attention counts the pairs of query and key that it needs: with ``is_causal`` those on and below the
diagonal, with a mask given as a tensor all of them, since a kernel cannot know what the mask hides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from .onnx_types import product, words
from .torch_call import TorchCall

__all__ = ["flops_of", "has_rule", "visible_pairs"]

Rule = Callable[[TorchCall], int]

_PER_OUTPUT: Final[dict[str, int]] = {
    # one operation per element
    **dict.fromkeys(
        words(
            "abs acos acosh add and asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or "
            "bitwise_xor bitwise_left_shift bitwise_right_shift ceil clamp_max clamp_min cos cosh "
            "div divide eq erf erfc exp exp2 floor floor_divide fmod ge greater gt isfinite isinf "
            "isnan ldexp le less log log10 log2 logical_and logical_not logical_or logical_xor lt "
            "lshift maximum minimum fmax fmin mul multiply ne neg not or pow float_power "
            "reciprocal relu remainder round rshift rsub sgn sigmoid sign sin sinh sqrt square "
            "sub subtract tan tanh true_divide trunc xor threshold bernoulli rand randn randint "
            "normal uniform rand_like randn_like gt_ masked_fill_where dropout native_dropout"
        ),
        1,
    ),
    **dict.fromkeys(
        words("clamp clip expm1 hardtanh leaky_relu log1p prelu relu6 rsqrt silu logaddexp"), 2
    ),
    **dict.fromkeys(
        words("addcdiv addcmul celu elu erfinv hardsigmoid lerp logit selu softplus softshrink"), 3
    ),
    **dict.fromkeys(words("hardswish log_sigmoid mish glu"), 4),
    **dict.fromkeys(words("softmax _softmax log_softmax _log_softmax _safe_softmax"), 5),
    "softsign": 3,
    "dropout": 0,  # at inference
    "feature_dropout": 0,
}

_PER_INPUT: Final[dict[str, int]] = {
    # statistics, then scale and shift: sum, subtract, square, sum, multiply, scale, shift
    **dict.fromkeys(
        words("layer_norm native_layer_norm group_norm native_group_norm instance_norm"), 7
    ),
    **dict.fromkeys(words("rms_norm _fused_rms_norm normalize"), 4),
    **dict.fromkeys(words("var std var_mean std_mean logsumexp cosine_similarity"), 4),
    # reductions and scans: one pass
    **dict.fromkeys(
        words(
            "all amax amin any aminmax argmax argmin count_nonzero cummax cummin cumprod cumsum "
            "logcumsumexp max mean median min nansum nanmean prod sum nonzero masked_select "
            "bincount bucketize searchsorted histc diff trace adaptive_max_pool1d "
            "adaptive_max_pool2d adaptive_max_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
            "adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d multinomial nll_loss"
        ),
        1,
    ),
    **dict.fromkeys(
        words("norm linalg_vector_norm frobenius_norm dist mse_loss l1_loss nll_loss_nd"), 2
    ),
    "cross_entropy_loss": 6,
}

_FREE: Final = frozenset(
    words(
        "alias arange as_strided atleast_1d broadcast_tensors broadcast_to cat channel_shuffle "
        "chunk clone concat concatenate constant_pad_nd contiguous copy detach diag diag_embed "
        "diagonal diagonal_scatter dstack embedding empty empty_like empty_strided expand "
        "expand_as eye fill flatten flip full full_like gather hstack im2col imag index index_copy "
        "index_fill index_put index_select lift_fresh lift_fresh_copy linspace logspace "
        "masked_fill masked_scatter meshgrid movedim narrow new_empty new_empty_strided new_full "
        "new_ones new_zeros numpy_T one_hot ones ones_like pad permute pixel_shuffle "
        "pixel_unshuffle put ravel real reflection_pad1d reflection_pad2d reflection_pad3d repeat "
        "repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape "
        "reshape_as resize roll rot90 scalar_tensor scatter select select_scatter set slice "
        "slice_scatter split split_with_sizes split_with_sizes_copy split_copy squeeze stack "
        "swapaxes t take take_along_dim tensor_split tile to _to_copy transpose tril tril_indices "
        "triu triu_indices type_as unbind unflatten unfold unfold_copy unsafe_chunk unsafe_split "
        "unsafe_split_with_sizes unsqueeze view view_as view_as_complex view_as_real vstack where "
        "zero zeros zeros_like convert_element_type _conj conj resolve_conj resolve_neg "
        "complex unfold_copy pad_sequence _unsafe_index _unsafe_view bitwise_cast random_ "
        "nan_to_num _shape_as_tensor isin_free randperm copysign upsample_nearest1d "
        "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
        "_upsample_nearest_exact2d _upsample_nearest_exact3d"
    )
)
"""Operators that only move, make or convert data."""


def _matmul(call: TorchCall) -> int:
    left = call.get("self", "tensor")
    return 2 * call.out() * int(left.shape[-1])


def _addmm(call: TorchCall) -> int:
    """Count a product, and the addition of a bias or an accumulator."""
    left = call.get("mat1", "batch1", "mat", "vec1")
    return call.out() * (2 * int(left.shape[-1]) + 1)


def _linear(call: TorchCall) -> int:
    return call.out() * (2 * int(call.get("weight").shape[-1]) + (call.get("bias") is not None))


def _grouped_mm(call: TorchCall) -> int:
    """Rows go to one of several matrices each: every output element is one inner product."""
    return 2 * call.out() * int(call.get("self", "input", "mat_a").shape[-1])


def _bilinear(call: TorchCall) -> int:
    weight = call.get("weight")
    return 2 * call.out() * int(weight.shape[1]) * (int(weight.shape[2]) + 1)


def _conv(call: TorchCall) -> int:
    """Weights (out, in / groups, kernel...); transposed ones (in, out / groups, kernel...)."""
    weight, bias = call.get("weight"), call.get("bias")
    taps = product(weight.shape[1:])
    if "transpose" in call.op or call.get("transposed", default=False):
        return 2 * call.size() * taps + (call.out() if bias is not None else 0)
    return call.out() * (2 * taps + (bias is not None))


def visible_pairs(queries: int, keys: int, causal: bool) -> int:
    """Return how many pairs of query and key an attention looks at.

    A causal one lets query i see the keys 0 to i, as SDPA defines it.
    """
    if not causal:
        return queries * keys
    short = min(queries, keys)
    return short * (short + 1) // 2 + max(0, queries - keys) * keys


def _attention(call: TorchCall) -> int:
    """Two products over the visible pairs, scale and softmax, and the addition of a mask."""
    query, key, value = (call.get(name) for name in ("query", "key", "value"))
    pairs = visible_pairs(
        int(query.shape[-2]), int(key.shape[-2]), bool(call.get("is_causal", default=False))
    )
    heads = product(query.shape[:-2])
    masked = call.get("attn_mask", "attn_bias") is not None
    return heads * pairs * (2 * int(query.shape[-1]) + 2 * int(value.shape[-1]) + 6 + masked)


def _varlen_attention(call: TorchCall) -> int:
    """Attention over packed sequences, as if all had the greatest length."""
    query, key, value = (call.get(name) for name in ("query", "key", "value"))
    longest_q = int(call.get("max_q", "max_seqlen_q", default=query.shape[-3]))
    longest_k = int(call.get("max_k", "max_seqlen_k", default=key.shape[-3]))
    causal = bool(call.get("is_causal", "custom_mask_type", default=False))
    sequences = max(1, product(query.shape[:-2]) // max(1, longest_q))
    pairs = visible_pairs(longest_q, longest_k, causal) * sequences
    heads = int(query.shape[-2])
    return heads * pairs * (2 * int(query.shape[-1]) + 2 * int(value.shape[-1]) + 6)


def _gelu(call: TorchCall) -> int:
    return call.out() * (8 if call.get("approximate") == "tanh" else 5)


def _batch_norm(call: TorchCall) -> int:
    """At inference a scale and a shift; while training the statistics as well."""
    training = bool(call.get("training", "use_input_stats", default=False))
    return call.size() * (7 if training else 2)


def _pool(call: TorchCall) -> int:
    """Count what each window sees: no more than the input has, however large the kernel is."""
    kernel = list(call.get("kernel_size"))
    spatial = 1 if "1d" in call.op else 3 if "3d" in call.op else 2
    sides = kernel * spatial if len(kernel) == 1 else kernel
    return call.out() * product(map(min, sides, call.first.shape[-spatial:]))


def _recurrent(call: TorchCall) -> int:
    """Every weight matrix meets every time step; gates and state take some more per element."""
    inputs, weights = call.get("input", "data"), call.get("params", default=())
    rows = product(inputs.shape[:-1])
    return sum(2 * rows * int(w.numel()) for w in weights if w.dim() == 2) + 10 * call.out()


def _cell(call: TorchCall) -> int:
    rows = int(call.get("input").shape[0])
    weights = [call.get("w_ih"), call.get("w_hh")]
    return sum(2 * rows * int(w.numel()) for w in weights) + 10 * call.out()


def _top_k(call: TorchCall) -> int:
    """One pass with a heap of k."""
    return call.size() * max(1, math.ceil(math.log2(max(2, int(call.get("k", default=2))))))


def _sort(call: TorchCall) -> int:
    first = call.first
    length = int(first.shape[-1]) if first.dim() else 1
    return call.size() * max(1, math.ceil(math.log2(max(2, length))))


def _interpolate(call: TorchCall) -> int:
    """Count a weighted sum of the neighbours along each axis."""
    taps = 4 if "bicubic" in call.op else 2
    axes = 1 if "linear1d" in call.op else 3 if "trilinear" in call.op else 2
    return 2 * call.out() * int(taps**axes)


def _grid_sample(call: TorchCall) -> int:
    mode = int(call.get("interpolation_mode", default=0))
    axes = call.first.dim() - 2
    return 2 * call.out() * int((2, 0, 4)[mode] ** axes)


def _distance(call: TorchCall) -> int:
    return 3 * call.out() * int(call.first.shape[-1])


def _transform(call: TorchCall) -> int:
    """Five n log2 n operations for a transform of n complex points."""
    n = max(call.out(), call.size())
    return 5 * n * max(1, math.ceil(math.log2(max(2, int(call.first.shape[-1])))))


def _cross(call: TorchCall) -> int:
    return 3 * call.out()


def _round_trip(call: TorchCall) -> int:
    """Fake quantisation: divide, round, clamp, and back."""
    return 5 * call.out()


def _scatter_reduce(call: TorchCall) -> int:
    source = call.get("src", "source", "updates", "values", "value")
    return int(source.numel()) if hasattr(source, "numel") else 0


def _embedding_bag(call: TorchCall) -> int:
    return int(call.get("indices").numel()) * int(call.get("weight").shape[-1])


_ATTENTION: Final = (
    "scaled_dot_product_attention _scaled_dot_product_flash_attention "
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention "
    "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable "
    "_scaled_dot_product_attention_math"
)

_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(words("mm bmm matmul mv dot vdot inner _int_mm linalg_matmul"), _matmul),
    **dict.fromkeys(words("addmm baddbmm addmv addbmm addr _addmm_activation"), _addmm),
    "linear": _linear,
    **dict.fromkeys(words("_grouped_mm _scaled_grouped_mm _scaled_mm"), _grouped_mm),
    "transformers.grouped_mm_fallback": _grouped_mm,
    "bilinear": _bilinear,
    **dict.fromkeys(
        words(
            "conv1d conv2d conv3d convolution _convolution conv_transpose1d conv_transpose2d "
            "conv_transpose3d"
        ),
        _conv,
    ),
    **dict.fromkeys(words(_ATTENTION), _attention),
    **dict.fromkeys(
        words("_flash_attention_forward _efficient_attention_forward"), _varlen_attention
    ),
    "gelu": _gelu,
    **dict.fromkeys(
        words(
            "batch_norm native_batch_norm _native_batch_norm_legit cudnn_batch_norm "
            "_native_batch_norm_legit_no_training _batch_norm_with_update"
        ),
        _batch_norm,
    ),
    **dict.fromkeys(
        words(
            "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
            "avg_pool1d avg_pool2d avg_pool3d max_pool1d_with_indices"
        ),
        _pool,
    ),
    **dict.fromkeys(words("lstm gru rnn_tanh rnn_relu"), _recurrent),
    **dict.fromkeys(words("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"), _cell),
    "topk": _top_k,
    **dict.fromkeys(words("sort argsort msort unique _unique2 unique_consecutive"), _sort),
    **dict.fromkeys(
        words(
            "upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
            "_upsample_bilinear2d_aa _upsample_bicubic2d_aa"
        ),
        _interpolate,
    ),
    **dict.fromkeys(words("grid_sampler grid_sampler_2d grid_sampler_3d"), _grid_sample),
    **dict.fromkeys(words("cdist _cdist_forward _euclidean_dist"), _distance),
    **dict.fromkeys(
        words("fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_fftn _fft_r2c _fft_c2r _fft_c2c"),
        _transform,
    ),
    "cross": _cross,
    "linalg_cross": _cross,
    **dict.fromkeys(
        words("fake_quantize_per_tensor_affine fake_quantize_per_channel_affine"), _round_trip
    ),
    **dict.fromkeys(words("scatter_add scatter_reduce index_add index_reduce"), _scatter_reduce),
    **dict.fromkeys(words("embedding_bag _embedding_bag"), _embedding_bag),
}


def has_rule(op: str) -> bool:
    """Return True if the operator's cost is known."""
    return op in _FREE or op in _PER_OUTPUT or op in _PER_INPUT or op in _RULES


def flops_of(call: TorchCall) -> int:
    """Return the operations of one call, whose operator must have a rule."""
    if call.op in _RULES:
        return _RULES[call.op](call)
    if call.op in _FREE:
        return 0
    if call.op in _PER_OUTPUT:
        return _PER_OUTPUT[call.op] * call.out()
    size: Any = call.size()
    return _PER_INPUT[call.op] * int(size)
