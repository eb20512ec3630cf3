# SPDX-License-Identifier: Apache-2.0
"""Following the content of shape computations: the rules agree with onnx's reference evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from stagewright.readers.onnx_infer import attributes_of
from stagewright.readers.onnx_model import read_onnx
from stagewright.readers.onnx_types import words
from stagewright.readers.onnx_values import evaluate

from .models import constant, info, make_model, save
from .test_onnx_params import op


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


A = np.arange(24, dtype=np.int64).reshape(2, 3, 4) - 7
F = A.astype(np.float32) / 2
ONE_FIVE = helper.make_tensor("v", TensorProto.INT64, [1], [5])


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"),
    [
        ("Identity", [A], {}),
        ("Unsqueeze", [A, ints(0, -1)], {}),
        ("Squeeze", [A[:1], ints(0)], {}),
        ("Squeeze", [A[:1, :, :1]], {}),
        ("Slice", [A, ints(0), ints(1)], {}),
        ("Slice", [A, ints(-2, 1), ints(100, -1), ints(1, 2)], {}),
        ("Slice", [A, ints(-1), ints(-(2**63)), ints(2), ints(-1)], {}),
        ("Slice", [A, ints(3), ints(0), ints(2), ints(-2)], {}),
        ("Reshape", [A, ints(0, -1)], {}),
        ("Reshape", [A, ints(4, 6)], {}),
        ("Cast", [A], {"to": TensorProto.FLOAT}),
        ("Cast", [F], {"to": TensorProto.INT32}),
        ("ConstantOfShape", [ints(2, 3)], {}),
        ("ConstantOfShape", [ints(2, 3)], {"value": ONE_FIVE}),
        ("Range", [ints(3)[0], ints(11)[0], ints(3)[0]], {}),
        ("Range", [ints(9)[0], ints(1)[0], ints(-2)[0]], {}),
        ("Expand", [ints(1, 2, 3), ints(2, 3)], {}),
        ("Tile", [A, ints(1, 2, 2)], {}),
        ("Gather", [A, ints(1, -1)], {"axis": 2}),
        ("Gather", [ints(4, 5), np.int64(1)], {}),
        ("Concat", [A, A], {"axis": 1}),
        ("Split", [A, ints(1, 2)], {"axis": 1}),
        ("Transpose", [A], {"perm": [2, 0, 1]}),
        ("Transpose", [A], {}),
        *[(k, [A, ints(3, -2, 1, 5)], {}) for k in words("Add Sub Mul Div Mod Max Min")],
        ("Mod", [F, F[:1] + 0.25], {"fmod": 1}),
        ("Div", [F, np.float32(4)], {}),
        *[(k, [F], {}) for k in ("Neg", "Abs", "Sign", "Floor", "Ceil", "Round")],
        ("Sqrt", [np.abs(F)], {}),
        ("Sum", [F, F, F], {}),
        *[(k, [A, ints(0)], {}) for k in words("Equal Less LessOrEqual Greater GreaterOrEqual")],
        *[(k, [A > 0, A > 3], {}) for k in ("And", "Or")],
        ("Not", [A > 0], {}),
        ("Where", [A > 0, A, ints(0)], {}),
        ("ReduceProd", [A, ints(0)], {"keepdims": 0}),
        ("ReduceSum", [A], {}),
        ("ReduceSum", [A], {"noop_with_empty_axes": 1}),
        ("ReduceMax", [A, ints(1, 2)], {}),
        ("ReduceMin", [A, ints(-1)], {}),
    ],
)  # fmt: skip
def test_rules_agree_with_the_reference(kind: str, inputs: list[Any], attributes: Any) -> None:
    names = [f"i{k}" for k in range(len(inputs))]
    outputs = ["o0", "o1"] if kind == "Split" else ["o0"]
    node = helper.make_node(kind, names, outputs, **attributes)
    expected = ReferenceEvaluator(node, opsets={"": 21}).run(
        None, dict(zip(names, map(np.asarray, inputs), strict=True))
    )
    made = evaluate(kind, attributes_of(node), [np.asarray(i) for i in inputs])
    assert made is not None
    for mine, theirs in zip(made, expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("Div", [ints(1), ints(0)]),
        ("Mod", [ints(1), ints(0)]),
        ("ConstantOfShape", [ints(2**40)]),
        ("Range", [ints(0)[0], ints(2**60)[0], ints(1)[0]]),
        ("Range", [ints(0)[0], ints(5)[0], ints(0)[0]]),
        ("Expand", [ints(1), ints(2**40)]),
        ("Tile", [ints(1), ints(2**40)]),
        ("Gather", [ints(1), ints(7)]),
        ("Reshape", [ints(1), ints(7)]),
        ("Split", [A]),
        ("Relu", [A]),
        ("Add", []),
    ],
)
def test_what_cannot_be_followed_is_left_alone(kind: str, inputs: list[Any]) -> None:
    assert evaluate(kind, {}, inputs) is None


def test_old_operator_sets_have_attributes_for_inputs() -> None:
    slice_ = {"starts": [1], "ends": [3], "axes": [2]}
    for made, expected in (
        (evaluate("Slice", slice_, [A]), A[:, :, 1:3]),
        (evaluate("Unsqueeze", {"axes": [0]}, [A]), A[None]),
        (evaluate("Reshape", {"shape": [24]}, [A]), A.reshape(24)),
    ):
        assert made is not None
        np.testing.assert_array_equal(made[0], expected)


def test_a_shape_is_followed_through_arithmetic(tmp_path: Path) -> None:
    nodes = [
        op("shape", "Shape", "x", start=1),
        op("count", "Size", "x"),
        op("halves", "Div", "shape", "two"),
        op("first", "Gather", "halves", "zero"),
        op("doubled", "Mul", "first", "two"),
        op("scalar", "Squeeze", "doubled"),
        op("rows", "Range", "start", "scalar", "step"),
        op("rowed", "Unsqueeze", "rows", "one"),
        op("target", "Concat", "doubled", "minus", axis=0),
        op("flat", "Reshape", "x", "target"),
        op("picked", "Gather", "flat", "rows"),
    ]
    initial = [
        constant("two", [2]),
        constant("zero", [0]),
        constant("one", [1]),
        constant("minus", [-1]),
        constant("start", 0),
        constant("step", 1),
    ]
    graph = read_onnx(save(make_model(nodes, [info("x", [5, 7, 6])], [], initial), tmp_path))
    assert graph.node_names == ("flat", "picked")
    assert graph.tensor_bytes.tolist() == [840, 840]
