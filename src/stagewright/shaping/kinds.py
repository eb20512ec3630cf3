# SPDX-License-Identifier: Apache-2.0
"""What an operator does to its iteration space: the vocabulary of the fusion rules.

ONNX, PyTorch and StableHLO names are held in lower case without domain, overload and trailing underscore.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

__all__ = ["Kind", "changes_type", "kind_of"]


class Kind(Enum):
    """How a node walks over its data."""

    CONTRACTION = auto()  # a product of matrices, a convolution
    POINTWISE = auto()  # each element of the result from the same element of the inputs
    REDUCTION = auto()  # rows to one element each
    ROWS = auto()  # rows to rows of the same shape, with statistics of each: softmax, norms
    VIEW = auto()  # the same storage under another shape
    OTHER = auto()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_CHANGING: Final = frozenset(
    _words(
        "cast castlike quantizelinear dequantizelinear where equal greater greaterorequal less "
        "lessorequal isinf isnan and or not xor "
        "to _to_copy type_as eq ne gt ge lt le isfinite logical_and logical_or logical_not masked_fill "
        "convert compare select"
    )
)
"""Pointwise operators whose result may have elements of another size than their inputs."""

_KINDS: Final[dict[Kind, str]] = {
    Kind.CONTRACTION: (
        "conv fusedconv nhwcconv convinteger qlinearconv convtranspose gemm fusedgemm qgemm matmul "
        "fusedmatmul transposematmul matmulinteger matmulintegertofloat qlinearmatmul "
        "dynamicquantizematmul matmulnbits matmulbnb4 "
        "conv1d conv2d conv3d convolution _convolution conv_transpose1d conv_transpose2d "
        "conv_transpose3d linear addmm mm bmm baddbmm mv dot_general dot"
    ),
    Kind.POINTWISE: (
        "abs acos acosh add asin asinh atan atanh bitshift bitwiseand bitwisenot bitwiseor bitwisexor "
        "ceil cos cosh div erf exp floor log mod mul neg pow reciprocal relu round sigmoid sign sin sinh "
        "sqrt sub tan tanh thresholdedrelu biasadd clip leakyrelu prelu swish quickgelu elu "
        "hardsigmoid selu shrink softplus softsign mish celu hardswish gelu biasgelu fastgelu "
        "batchnormalization sum max min mean sigmoid qlinearadd qlinearmul qlinearsigmoid "
        "qlinearleakyrelu dropout "
        "rsub rsqrt square silu relu6 hardtanh leaky_relu hard_swish hardsigmoid log_sigmoid "
        "addcmul addcdiv maximum minimum clamp clamp_min clamp_max batch_norm "
        "_native_batch_norm_legit_no_training true_divide floor_divide lerp expm1 log1p native_dropout "
        "broadcast_in_dim exponential exponential_minus_one log_plus_one logistic multiply subtract "
        "divide negate power minimum maximum rsqrt cosine sine remainder"
    ),
    Kind.REDUCTION: (
        "reducemax reducemean reducemin reduceprod reducesum reducel1 reducel2 reducelogsum "
        "reducelogsumexp reducesumsquare "
        "reduce amax amin var var_mean logsumexp linalg_vector_norm"
    ),
    Kind.ROWS: (
        "softmax logsoftmax biassoftmax layernormalization rmsnormalization "
        "simplifiedlayernormalization skiplayernormalization skipsimplifiedlayernormalization "
        "instancenormalization groupnormalization groupnorm skipgroupnorm meanvariancenormalization "
        "lpnormalization "
        "_softmax _log_softmax log_softmax layer_norm native_layer_norm rms_norm _fused_rms_norm "
        "group_norm native_group_norm instance_norm"
    ),
    Kind.VIEW: (
        "reshape flatten squeeze unsqueeze identity bitcast view _unsafe_view alias detach "
        "view_as unflatten"
    ),
}
_TABLE: Final = {
    name: kind for kind, names in _KINDS.items() for name in _words(names)
} | dict.fromkeys(_CHANGING, Kind.POINTWISE)


def _plain(op: str) -> str:
    """Return ``add`` for ``Add``, ``com.microsoft.Add``, ``aten.add.Tensor`` and ``add_``."""
    parts = op.lower().replace("::", ".").split(".")
    name = parts[1] if parts[0] == "aten" and len(parts) > 1 else parts[-1]
    return name.rstrip("_") or name


# torch.sum and torch.mean reduce, ONNX Sum and Mean are pointwise.
_TORCH_REDUCTIONS: Final = frozenset(_words("sum mean prod max min"))


def kind_of(op: str, *, flops: int = 1, nbytes: int = 1) -> Kind:
    """Return the kind of an operator; a node that moves or computes something is no view."""
    if op.islower() and _plain(op) in _TORCH_REDUCTIONS:
        return Kind.REDUCTION
    kind = _TABLE.get(_plain(op), Kind.OTHER)
    if not flops and not nbytes:
        return Kind.VIEW if kind in (Kind.VIEW, Kind.POINTWISE) else Kind.OTHER
    return Kind.OTHER if kind is Kind.VIEW else kind


def changes_type(op: str) -> bool:
    """Whether the elements of the result may be wider or narrower than those of the inputs."""
    return _plain(op) in _CHANGING
