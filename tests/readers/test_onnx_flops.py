# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of single operators against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stagewright.readers.onnx_flops import _PER_INPUT, _PER_OUTPUT, FREE_OPS, RULES

from .models import INT8, INT64, MS, UINT8, one_node

I8 = INT8
U8 = UINT8
SCALE: Any = np.float32(1)
ZERO: Any = np.uint8(0)
X = (2, 3, 8, 8)  # 384 elements


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


# op, inputs, attributes, flops
PLAIN: list[tuple[str, list[Any], dict[str, Any], int]] = [
    # convolutions: outputs x (2 x channels per group x kernel (+ 1 for a bias))
    ("Conv", [X, (4, 3, 3, 3)], {}, 2 * 4 * 6 * 6 * (2 * 27)),
    ("Conv", [X, (4, 3, 3, 3), (4,)], {"pads": [1] * 4}, 2 * 4 * 64 * (2 * 27 + 1)),
    ("Conv", [X, (6, 1, 3, 3)], {"group": 3, "strides": [2, 2]}, 2 * 6 * 9 * (2 * 9)),
    ("Conv", [(1, 2, 10), (4, 2, 3)], {"dilations": [2]}, 4 * 6 * (2 * 2 * 3)),
    # transposed: inputs x 2 x outputs per group x kernel, + outputs for a bias
    ("ConvTranspose", [(1, 3, 4, 4), (3, 5, 2, 2)], {"strides": [2, 2]}, 2 * 48 * 20),
    ("ConvTranspose", [(1, 3, 4, 4), (3, 5, 2, 2), (5,)], {"strides": [2, 2]}, 1920 + 5 * 64),
    ("DeformConv", [(1, 2, 4, 4), (3, 2, 3, 3), (1, 18, 2, 2)], {}, 12 * 36 + 8 * 2 * 4 * 9),
    ("ConvInteger", [((1, 2, 4, 4), U8), ((3, 2, 3, 3), U8)], {}, 12 * 36),
    (
        "QLinearConv",
        [((1, 2, 4, 4), U8), SCALE, ZERO, ((3, 2, 3, 3), U8), SCALE, ZERO, SCALE, ZERO],
        {},
        12 * 36,
    ),
    # products
    ("Gemm", [(4, 5), (5, 6)], {}, 2 * 4 * 5 * 6),
    ("Gemm", [(5, 4), (6, 5), (6,)], {"transA": 1, "transB": 1}, 2 * 120 + 24),
    ("MatMul", [(4, 5), (5, 6)], {}, 240),
    ("MatMul", [(2, 1, 4, 5), (3, 5, 6)], {}, 6 * 240),
    ("MatMul", [(5,), (5,)], {}, 10),
    ("MatMul", [(5,), (2, 5, 6)], {}, 2 * 6 * 2 * 5),
    ("MatMulInteger", [((4, 5), U8), ((5, 6), U8)], {}, 240),
    (
        "QLinearMatMul",
        [((4, 5), U8), SCALE, ZERO, ((5, 6), U8), SCALE, ZERO, SCALE, ZERO],
        {},
        240,
    ),
    ("Einsum", [(2, 3, 4), (2, 4, 5)], {"equation": "bij,bjk->bik"}, 2 * 2 * 3 * 4 * 5),
    ("Einsum", [(7, 3, 4), (7, 4, 5)], {"equation": "...ij,...jk->...ik"}, 2 * 7 * 60),
    ("Einsum", [(3, 4)], {"equation": "ij->ji"}, 0),
    ("Einsum", [(3, 4)], {"equation": "ij->i"}, 12),
    ("Einsum", [(3,), (4,)], {"equation": "i,j->ij"}, 12),
    ("Einsum", [(3,), (3,)], {"equation": "i,i"}, 6),
    # elementwise: outputs, broadcast
    ("Add", [(4, 1), (1, 5)], {}, 20),
    ("Pow", [(4, 5), (1,)], {}, 20),
    ("Equal", [(4, 5), (5,)], {}, 20),
    ("Relu", [(4, 5)], {}, 20),
    ("Erf", [(4, 5)], {}, 20),
    ("Sum", [(4, 5), (5,), (1,)], {}, 40),
    ("Max", [(4, 5)], {}, 0),
    ("Mean", [(4, 5), (4, 5)], {}, 40),
    ("Clip", [(4, 5)], {}, 40),
    ("PRelu", [(4, 5), (5,)], {}, 40),
    ("HardSwish", [(4, 5)], {}, 80),
    ("Gelu", [(4, 5)], {}, 100),
    ("Mish", [(4, 5)], {}, 60),
    # normalisation
    ("BatchNormalization", [X, (3,), (3,), (3,), (3,)], {}, 2 * 384),
    ("InstanceNormalization", [X, (3,), (3,)], {}, 7 * 384),
    ("GroupNormalization", [X, (3,), (3,)], {"num_groups": 3}, 7 * 384),
    ("LayerNormalization", [(4, 5), (5,), (5,)], {}, 7 * 20),
    ("LpNormalization", [(4, 5)], {}, 60),
    ("LRN", [X], {"size": 5}, 384 * 14),
    ("MeanVarianceNormalization", [X], {}, 5 * 384),
    ("Softmax", [(4, 5)], {}, 100),
    ("LogSoftmax", [(4, 5)], {}, 100),
    ("Hardmax", [(4, 5)], {}, 40),
    # pooling
    ("MaxPool", [X], {"kernel_shape": [2, 2], "strides": [2, 2]}, 6 * 16 * 4),
    ("AveragePool", [X], {"kernel_shape": [3, 3]}, 6 * 36 * 9),
    # A window that reaches beyond the input on both sides sees all of it and no more.
    ("AveragePool", [X], {"kernel_shape": [9, 20], "pads": [4, 10, 4, 10]}, 6 * 8 * 9 * 8 * 8),
    ("LpPool", [X], {"kernel_shape": [2, 2]}, 2 * 6 * 49 * 4),
    ("GlobalAveragePool", [X], {}, 384),
    ("GlobalMaxPool", [X], {}, 384),
    ("GlobalLpPool", [X], {}, 2 * 384),
    (
        "RoiAlign",
        [(1, 2, 8, 8), (3, 4), ((3,), INT64)],
        {"output_height": 2, "output_width": 2},
        3 * 2 * 4 * 4 * 8,
    ),
    # reductions and searches
    ("ReduceSum", [(4, 5)], {"keepdims": 0}, 20),
    ("ReduceMean", [(4, 5), ints(1)], {}, 20),
    ("ReduceL2", [(4, 5)], {}, 40),
    ("ReduceLogSumExp", [(4, 5)], {}, 40),
    ("ArgMax", [(4, 5)], {}, 20),
    ("CumSum", [(4, 5), ints(1)], {}, 20),
    # quantisation
    ("QuantizeLinear", [(4, 5), SCALE, ZERO], {}, 60),
    ("DequantizeLinear", [((4, 5), U8), SCALE, ZERO], {}, 40),
    # sampling
    ("Resize", [(1, 1, 4, 4), None, None, ints(1, 1, 8, 8)], {"mode": "nearest"}, 0),
    ("Resize", [(1, 1, 4, 4), None, None, ints(1, 1, 8, 8)], {"mode": "linear"}, 2 * 64 * 4),
    ("Resize", [(1, 1, 4, 4), None, floats(1, 1, 2, 1)], {"mode": "cubic"}, 2 * 32 * 4),
    ("GridSample", [(1, 2, 4, 4), (1, 3, 3, 2)], {}, 2 * 18 * 4),
    ("AffineGrid", [(1, 2, 3), ints(1, 2, 4, 5)], {}, 2 * 40 * 3),
    ("Det", [(5, 3, 3)], {}, 5 * 18),
    ("Col2Im", [(1, 4, 9), ints(4, 4), ints(2, 2)], {}, 36),
    # transforms: 5 n log2 n each
    ("DFT", [(2, 16, 1), None, ints(1)[0]], {}, 2 * 5 * 16 * 4),
    ("DFT", [(2, 16, 8, 2), None, ints(2)[0]], {"inverse": 1}, 32 * 5 * 8 * 3),
    ("STFT", [(1, 64, 1), ints(16)[0], (16,)], {"onesided": 1}, 4 * (5 * 16 * 4 + 16)),
    ("STFT", [(1, 64, 1), ints(16)[0], None, ints(16)[0]], {"onesided": 1}, 4 * 320),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "flops"), PLAIN, ids=[f"{i}-{p[0]}" for i, p in enumerate(PLAIN)]
)
def test_operators(
    tmp_path: Path, op: str, inputs: list[Any], attributes: dict[str, Any], flops: int
) -> None:
    graph = one_node(tmp_path, op, inputs, attributes=attributes)
    assert graph.flops.tolist() == [flops]


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "attributes", "flops"),
    [
        ("TopK", [(4, 8), ints(4)], 2, {}, 32 * 2),
        ("TopK", [(4, 8), ints(1)], 2, {}, 32),
        ("DynamicQuantizeLinear", [(4, 5)], 3, {}, 100),
        ("Dropout", [(4, 5)], 2, {}, 0),
        ("Split", [(4, 6)], 2, {"num_outputs": 2}, 0),
        ("SoftmaxCrossEntropyLoss", [(4, 5), ((4,), INT64)], 1, {}, 120),
    ],
)
def test_operators_of_several_outputs(
    tmp_path: Path, op: str, inputs: list[Any], outputs: int, attributes: Any, flops: int
) -> None:
    graph = one_node(tmp_path, op, inputs, outputs=outputs, attributes=attributes)
    assert graph.flops.tolist() == [flops]


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Cast", [(4, 5)]),
        ("Transpose", [(4, 5)]),
        ("Concat", [(4, 5), (4, 5)]),
        ("Where", [((4, 5), onnx.TensorProto.BOOL), (4, 5), (4, 5)]),
        ("Gather", [(4, 5), ((2,), INT64)]),
        ("Reshape", [(4, 5), ints(20)]),
        ("Tile", [(4, 5), ints(2, 2)]),
        ("OneHot", [((4,), INT64), ints(3)[0], floats(0, 1)]),
    ],
)
def test_moving_data_is_free(tmp_path: Path, op: str, inputs: list[Any]) -> None:
    attributes = {"Cast": {"to": 10}, "Concat": {"axis": 0}}.get(op, {})
    assert one_node(tmp_path, op, inputs, attributes=attributes).flops.tolist() == [0]


@pytest.mark.parametrize(
    ("op", "opset", "inputs", "flops"),
    [
        ("Swish", 24, [(4, 5)], 40),
        ("RMSNormalization", 23, [(4, 5), (5,)], 80),
        ("BatchNormalization", 7, [X, (3,), (3,), (3,), (3,)], 768),
        ("Upsample", 9, [(1, 1, 2, 2), floats(1, 1, 2, 2)], 0),
        ("Softmax", 1, [(4, 5)], 100),
        ("Relu", 25, [(4, 5)], 20),
        ("Relu", 1, [(4, 5)], 20),
    ],
)
def test_operator_sets(tmp_path: Path, op: str, opset: int, inputs: list[Any], flops: int) -> None:
    assert one_node(tmp_path, op, inputs, opset=opset).flops.tolist() == [flops]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "dims", "flops"),
    [
        ("FusedConv", [(1, 2, 4, 4), (3, 2, 3, 3), (3,)], {"activation": "Relu", "pads": [1] * 4},
         48, 48 * 37),
        ("FusedMatMul", [(5, 4), (5, 6)], {"transA": 1}, 24, 240),
        ("FusedMatMul", [(4, 5), (6, 5)], {"transB": 1}, 24, 240),
        ("FusedGemm", [(4, 5), (6, 5)], {"transB": 1}, 24, 240),
        ("MatMulNBits", [(4, 32), ((6, 1, 16), U8), (6,)], {"K": 32, "N": 6}, 24,
         2 * 24 * 32 + 2 * 32 * 6),
        ("DynamicQuantizeMatMul", [(4, 5), ((5, 6), U8), (1,)], {}, 24, 240 + 100),
        ("FastGelu", [(4, 5)], {}, 20, 160),
        ("BiasGelu", [(4, 5), (5,)], {}, 20, 120),
        ("QuickGelu", [(4, 5)], {}, 20, 40),
        ("SkipLayerNormalization", [(1, 4, 5), (1, 4, 5), (5,)], {}, 20, 160),
        ("SkipSimplifiedLayerNormalization", [(1, 4, 5), (1, 4, 5), (5,)], {}, 20, 100),
        ("QLinearAdd", [((4, 5), U8), SCALE, ZERO, ((4, 5), U8), SCALE, ZERO, SCALE, ZERO], {},
         20, 160),
        ("QLinearGlobalAveragePool", [(X, U8), SCALE, ZERO, SCALE, ZERO], {}, 6, 384),
        ("EmbedLayerNormalization", [((1, 4), INT64), ((1, 4), INT64), (9, 5), (9, 5), (2, 5), (5,),
         (5,)], {}, 20, 20 * 9),
        ("MoE", [(4, 8), (4, 2), (2, 8, 16), None, (2, 16, 8)], {"k": 2}, 32,
         4 * 2 * 2 * 8 * 16 * 2),
    ],
)  # fmt: skip
def test_contrib_operators(
    tmp_path: Path, op: str, inputs: list[Any], attributes: Any, dims: int, flops: int
) -> None:
    graph = one_node(tmp_path, op, inputs, domain=MS, attributes=attributes)
    assert graph.flops.tolist() == [flops]
    assert graph.node_ops == (f"com.microsoft.{op}",)
    elem = 1 if op.startswith("QLinear") else 4
    assert graph.tensor_bytes.tolist() == [dims * elem]


def test_every_standard_operator_has_a_rule() -> None:
    schemas = onnx.defs.get_all_schemas()
    known = {*FREE_OPS, *RULES, *_PER_OUTPUT, *_PER_INPUT}
    missing = {s.name for s in schemas if s.domain == "" and s.since_version <= 25} - known
    assert not missing


def test_no_operator_has_two_rules() -> None:
    tables = [set(FREE_OPS), set(RULES), set(_PER_OUTPUT), set(_PER_INPUT)]
    assert sum(map(len, tables)) == len(set.union(*tables))
