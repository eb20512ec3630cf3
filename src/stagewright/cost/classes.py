# SPDX-License-Identifier: Apache-2.0
"""Classes of operators that reach about the same share of what a device could do."""

from __future__ import annotations

from typing import Final

__all__ = ["CLASSES", "class_of"]

_MEMBERS: Final[dict[str, str]] = {
    "conv": "Conv FusedConv NhwcConv ConvInteger QLinearConv DeformConv",
    "conv-transpose": "ConvTranspose",
    "matmul": (
        "Gemm MatMul FusedGemm FusedMatMul TransposeMatMul QGemm MatMulInteger QLinearMatMul "
        "MatMulIntegerToFloat DynamicQuantizeMatMul MatMulNBits MatMulBnb4 Einsum linear mm bmm "
        "matmul addmm baddbmm"
    ),
    "attention": (
        "Attention QAttention MultiHeadAttention GroupQueryAttention LinearAttention "
        "DecoderMaskedMultiHeadAttention scaled_dot_product_attention sdpa"
    ),
    "recurrent": "LSTM GRU RNN",
    "normalise": (
        "BatchNormalization LayerNormalization InstanceNormalization GroupNormalization GroupNorm "
        "RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization "
        "SkipSimplifiedLayerNormalization SkipGroupNorm LpNormalization layer_norm rms_norm "
        "MeanVarianceNormalization EmbedLayerNormalization batch_norm group_norm"
    ),
    "lrn": "LRN",
    "softmax": "Softmax LogSoftmax QLinearSoftmax BiasSoftmax softmax log_softmax",
    "pool": (
        "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool "
        "QLinearGlobalAveragePool QLinearAveragePool max_pool2d avg_pool2d adaptive_avg_pool2d"
    ),
    "reduce": (
        "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceSumSquare ArgMax ArgMin CumSum mean sum"
    ),
    "transcendental": (
        "Sigmoid Tanh Erf Exp Log Pow Sqrt Gelu FastGelu BiasGelu QuickGelu Swish Mish Softplus "
        "Elu Selu Celu Sin Cos gelu silu sigmoid tanh exp erf pow sqrt"
    ),
    "elementwise": (
        "Add Sub Mul Div Relu Clip LeakyRelu PRelu HardSigmoid HardSwish Sum Max Min Mean Where "
        "Neg Abs Not And Or Equal Less Greater Cast QuantizeLinear DequantizeLinear QLinearAdd "
        "QLinearMul relu add sub mul div"
    ),
    "move": (
        "Concat Split Slice Gather GatherElements GatherND Pad Tile Expand Resize Upsample "
        "ScatterND ScatterElements cat slice"
    ),
    "transpose": "Transpose DepthToSpace SpaceToDepth transpose permute",
}
_KINDS: Final = ("conv-3x3", "conv-pointwise", "conv-depthwise", "conv-grouped", "conv-first")
_OF: Final = {op: name for name, ops in _MEMBERS.items() for op in ops.split()}

CLASSES: Final = (*_MEMBERS, *_KINDS, "other")
"""Every class; the kinds of convolutions are told apart by the reader."""


def class_of(op: str, kind: str = "") -> str:
    """Return the class of a node by its operator (with or without domain) and kind."""
    if kind in _KINDS:
        return kind
    return _OF.get(op, _OF.get(op.rpartition(".")[2], "other"))
