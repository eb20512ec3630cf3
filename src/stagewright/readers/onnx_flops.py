# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of ONNX operators.

The convention: a multiply-add is two, every other elementary operation (add, multiply, divide,
compare, exp, tanh, sqrt ...) is one, moving or converting data is none.  Operations on integers
count alike.  Each rule is a small function of a :class:`Call`; :func:`flops_of` looks it up by the
operator's name, which com.microsoft shares with the standard domain where they mean the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from .onnx_call import Call
from .onnx_flops_blocks import BLOCK_RULES
from .onnx_types import product, words

__all__ = ["FREE_OPS", "RULES", "flops_of", "has_rule"]

Rule = Callable[[Call], int]

_PER_OUTPUT: Final[dict[str, int]] = {
    # one operation per element
    **dict.fromkeys(
        words(
            "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot "
            "BitwiseOr BitwiseXor Ceil Cos Cosh Div Equal Erf Exp Floor Greater GreaterOrEqual "
            "IsInf IsNaN Less LessOrEqual Log Mod Mul Neg Not Or Pow Reciprocal Relu Round "
            "Sigmoid Sign Sin Sinh Sqrt Sub Tan Tanh ThresholdedRelu Xor BiasAdd Bernoulli "
            "RandomNormal RandomNormalLike RandomUniform RandomUniformLike QLinearSigmoid"
        ),
        1,
    ),
    **dict.fromkeys(words("Clip LeakyRelu PRelu Swish QuickGelu QLinearLeakyRelu"), 2),
    **dict.fromkeys(words("Elu HardSigmoid Selu Shrink Softplus Softsign Mish"), 3),
    **dict.fromkeys(words("Celu HardSwish"), 4),
    "Gelu": 5,  # x / 2 * (1 + erf(x / sqrt 2))
    "BiasGelu": 6,
    "FastGelu": 8,  # the tanh form
    "BiasSplitGelu": 7,
    # quantisation: divide, round, add the zero point; and back: subtract, multiply
    "QuantizeLinear": 3,
    "DequantizeLinear": 2,
    "DynamicQuantizeLinear": 5,  # ... after the largest and the smallest were found
    # dequantise both, one operation, quantise: counted on the output
    "QLinearAdd": 8,
    "QLinearMul": 8,
    # windows: a cosine series
    "HannWindow": 4,
    "HammingWindow": 4,
    "BlackmanWindow": 7,
    # normalisations whose statistics are given
    "BatchNormalization": 2,
    # softmax: largest, subtract, exp, sum, divide
    "Softmax": 5,
    "LogSoftmax": 5,
    "QLinearSoftmax": 8,
    "BiasSoftmax": 6,
    "Hardmax": 2,
    # rotate pairs: two multiplies and an add per element
    "RotaryEmbedding": 3,
}

_PER_INPUT: Final[dict[str, int]] = {
    # statistics over groups: sum, subtract, square, sum, multiply, scale, shift
    **dict.fromkeys(
        words("LayerNormalization InstanceNormalization GroupNormalization GroupNorm"), 7
    ),
    "RMSNormalization": 4,  # square, sum, multiply, scale
    "SimplifiedLayerNormalization": 4,
    "SkipLayerNormalization": 8,
    "SkipSimplifiedLayerNormalization": 5,
    "SkipGroupNorm": 8,
    "MeanVarianceNormalization": 5,
    "LpNormalization": 3,
    # reductions
    **dict.fromkeys(
        words(
            "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ArgMax ArgMin CumSum CumProd "
            "GlobalAveragePool GlobalMaxPool QLinearGlobalAveragePool MaxRoiPool"
        ),
        1,
    ),
    **dict.fromkeys(
        words("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare GlobalLpPool"), 2
    ),
    "NegativeLogLikelihoodLoss": 1,
    "SoftmaxCrossEntropyLoss": 6,
    # sampling and searching: one pass of comparisons
    **dict.fromkeys(words("Multinomial NonZero Compress TfIdfVectorizer"), 1),
}

FREE_OPS: Final = frozenset(
    words(
        "BitCast Cast CastLike Dropout CenterCropPad Concat ConcatFromSequence Constant "
        "ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND "
        "Identity ImageDecoder MaxUnpool OneHot Optional OptionalGetElement "
        "OptionalHasElement Pad Range RegexFullMatch Reshape ReverseSequence Scatter "
        "ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase "
        "SequenceInsert SequenceLength Shape Size Slice SpaceToDepth Split SplitToSequence "
        "Squeeze StringConcat StringNormalizer StringSplit TensorScatter Tile Transpose Trilu "
        "Unsqueeze Where QLinearConcat MemcpyToHost MemcpyFromHost If Loop Scan SequenceMap"
    )
)
"""Operators that only move data (the bodies of control flow are counted where they run)."""


def _conv(call: Call) -> int:
    return _convolution(call, 1, len(call.inputs) > 2 and call.inputs[2] is not None)


def _quantized_conv(call: Call) -> int:
    return _convolution(call, 3, len(call.inputs) > 8 and call.inputs[8] is not None)


def _convolution(call: Call, weight: int, bias: bool) -> int:
    """Weights (M, C / group, kernel...): every output needs C / group * kernel multiply-adds."""
    return call.out() * (2 * product(call.dims(weight)[1:]) + bias)


def _conv_transpose(call: Call) -> int:
    """Weights (C, M / group, kernel...): every input goes into M / group * kernel outputs."""
    bias = call.out() if len(call.inputs) > 2 and call.inputs[2] is not None else 0
    return 2 * call.size(0) * product(call.dims(1)[1:]) + bias


def _deform_conv(call: Call) -> int:
    """Count a convolution, and a bilinear sample (4 taps) of the input per tap of the kernel."""
    kernel = product(call.dims(1)[2:])
    samples = product((call.dims(0)[0], call.dims(0)[1], *call.out_dims()[2:])) * kernel
    return _convolution(call, 1, len(call.inputs) > 3 and call.inputs[3] is not None) + 8 * samples


def _gemm(call: Call) -> int:
    a = call.dims(0)
    inner = a[0] if call.attribute("transA", 0) else a[1]
    bias = len(call.inputs) > 2 and call.inputs[2] is not None
    return call.out() * (2 * inner + bias)


def _matmul(call: Call) -> int:
    a = call.dims(0)
    return 2 * call.out() * a[-2 if call.attribute("transA", 0) and len(a) > 1 else -1]


def _dynamic_matmul(call: Call) -> int:
    """Count a product, and the quantisation of its left side."""
    return _matmul(call) + 5 * call.size(0)


def _scaled_matmul(call: Call) -> int:
    return _matmul(call) + 2 * call.out()


def _matmul_bits(call: Call) -> int:
    """Count a product with weights of a few bits, which are dequantised on the way."""
    k, n = int(call.attribute("K", 0)), int(call.attribute("N", 0))
    return 2 * call.out() * k + 2 * k * n


def _variadic(call: Call) -> int:
    return call.out() * (len(call.inputs) - 1)


def _mean(call: Call) -> int:
    return call.out() * len(call.inputs)


def _pool(call: Call) -> int:
    """Count what each window sees: no more than the input has, however large the kernel is."""
    return call.out() * product(map(min, call.attribute("kernel_shape", ()), call.dims(0)[2:]))


def _lp_pool(call: Call) -> int:
    return 2 * _pool(call)


def _lrn(call: Call) -> int:
    """Squares and sums over a window of channels, then scale, shift, power and divide."""
    return call.out() * (2 * int(call.attribute("size", 1)) + 4)


def _top_k(call: Call) -> int:
    """One pass with a heap of k."""
    dims, axis = call.out_dims(), call.attribute("axis", -1)
    return call.size(0) * max(1, math.ceil(math.log2(max(2, dims[axis]))))


def _sort(call: Call) -> int:
    return call.size(0) * max(1, math.ceil(math.log2(max(2, call.size(0)))))


def _resize(call: Call) -> int:
    """Count a weighted sum of 2 (linear) or 4 (cubic) neighbours along each resized axis."""
    taps = {"linear": 2, "bilinear": 2, "cubic": 4}.get(call.attribute("mode", "nearest"))
    if taps is None:
        return 0
    changed = sum(a != b for a, b in zip(call.dims(0), call.out_dims(), strict=False))
    return int(2 * call.out() * taps**changed)


def _grid_sample(call: Call) -> int:
    mode = call.attribute("mode", "linear")
    taps = {"nearest": 0, "cubic": 4, "bicubic": 4}.get(mode, 2)
    return 2 * call.out() * int(taps ** (len(call.dims(0)) - 2))


def _roi_align(call: Call) -> int:
    """Bilinear samples (4 taps); an adaptive sampling ratio is taken as 2."""
    ratio = call.attribute("sampling_ratio", 0) or 2
    return int(call.out() * ratio * ratio * 8)


def _affine_grid(call: Call) -> int:
    """Each coordinate is a row of theta (2 x 3 or 3 x 4) times a position."""
    return 2 * call.out() * (call.out_dims()[-1] + 1)


def _determinant(call: Call) -> int:
    n = call.dims(0)[-1]
    return call.size(0) // max(1, n * n) * 2 * n**3 // 3


def _inverse(call: Call) -> int:
    n = call.dims(0)[-1]
    return call.size(0) * 2 * n


def _suppression(call: Call) -> int:
    """Each kept box is compared with every box: 12 operations for an overlap."""
    return 12 * call.out_dims()[0] * call.dims(0)[1]


def _col2im(call: Call) -> int:
    return call.size(0)


def _mel(call: Call) -> int:
    return 4 * call.out()


RULES: Final[dict[str, Rule]] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "NhwcConv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _quantized_conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deform_conv,
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **dict.fromkeys(
        ("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "TransposeMatMul"), _matmul
    ),
    "MatMulIntegerToFloat": _scaled_matmul,
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "MatMulNBits": _matmul_bits,
    "MatMulBnb4": _matmul_bits,
    **dict.fromkeys(("Sum", "Max", "Min"), _variadic),
    "Mean": _mean,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _lp_pool,
    "LRN": _lrn,
    "TopK": _top_k,
    "Unique": _sort,
    "Resize": _resize,
    "Upsample": _resize,
    "GridSample": _grid_sample,
    "RoiAlign": _roi_align,
    "AffineGrid": _affine_grid,
    "Det": _determinant,
    "Inverse": _inverse,
    "NonMaxSuppression": _suppression,
    "Col2Im": _col2im,
    "MelWeightMatrix": _mel,
    **BLOCK_RULES,
}


def has_rule(op: str) -> bool:
    """Return True if the operator's cost is known."""
    return op in FREE_OPS or op in _PER_OUTPUT or op in _PER_INPUT or op in RULES


def flops_of(call: Call) -> int:
    """Return the floating-point operations of one node, whose operator must have a rule.

    Raises
    ------
    IndexError, ValueError, TypeError, KeyError, ArithmeticError
        If the inputs have not the ranks the operator asks for; the caller names the node.
    """
    op = call.op
    if op in FREE_OPS:
        return 0
    if (factor := _PER_OUTPUT.get(op)) is not None:
        return factor * call.out()
    if (factor := _PER_INPUT.get(op)) is not None:
        return factor * call.size(0)
    return RULES[op](call)
