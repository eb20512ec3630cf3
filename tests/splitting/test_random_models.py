# SPDX-License-Identifier: Apache-2.0
"""Random models, cut at random: the stage files together give what the whole model gives."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.splitting.helpers import assert_same, random_plan, run_stages, run_whole

from stagewright.readers.onnx_model import read_onnx
from stagewright.splitting import split_onnx


def random_model(rng: random.Random) -> onnx.ModelProto:
    """A DAG of small operators over 2 x 4 tensors; some shapes left to inference."""
    values, nodes = ["x", "z"], []
    weights: dict[str, Any] = {}
    numbers = np.random.default_rng(rng.randrange(2**32))
    for i in range(rng.randint(4, 14)):
        kind = rng.choice(["Add", "Mul", "Relu", "Split", "Concat", "MatMul", "Mask", "Reshape"])
        a, b, out = rng.choice(values), rng.choice(values), f"v{i}"
        if kind in ("Add", "Mul"):
            nodes.append(helper.make_node(kind, [a, b], [out], f"n{i}"))
        elif kind == "Relu":
            nodes.append(helper.make_node("Tanh", [a], [out], f"n{i}"))
        elif kind == "Split":
            nodes.append(helper.make_node("Split", [a], [f"l{i}", f"r{i}"], f"s{i}", axis=1))
            nodes.append(helper.make_node("Concat", [f"r{i}", f"l{i}"], [out], f"n{i}", axis=1))
        elif kind == "Concat":
            nodes.append(helper.make_node("Concat", [a, b], [f"c{i}"], f"c{i}", axis=0))
            nodes.append(helper.make_node("Slice", [f"c{i}", "one", "three"], [out], f"n{i}"))
        elif kind == "MatMul":
            name = rng.choice([f"w{i}", *weights])
            weights.setdefault(name, numbers.standard_normal((4, 4), dtype=np.float32) / 2)
            nodes.append(helper.make_node("MatMul", [a, name], [out], f"n{i}"))
        elif kind == "Mask":
            nodes.append(helper.make_node("Shape", [b], [f"h{i}"], f"h{i}"))
            nodes.append(helper.make_node("ConstantOfShape", [f"h{i}"], [f"k{i}"], f"k{i}"))
            nodes.append(helper.make_node("Sub", [a, f"k{i}"], [out], f"n{i}"))
        else:
            nodes.append(helper.make_node("Shape", [a], [f"h{i}"], f"h{i}"))
            nodes.append(helper.make_node("Reshape", [b, f"h{i}"], [out], f"n{i}"))
        values.append(out)
    outputs = {values[-1], *rng.sample(values[2:], rng.randint(0, 2))}
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4]) for n in ("x", "z")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4]) for n in sorted(outputs)],
        [
            *(numpy_helper.from_array(w, n) for n, w in weights.items()),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([3]), "three"),
        ],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("seed", range(60))
def test_any_plan_of_any_model_gives_the_models_outputs(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path, out = tmp_path / "model.onnx", tmp_path / "out"
    onnx.save(random_model(rng), path)
    graph = read_onnx(path)
    plan = random_plan(graph, rng.randint(1, 4), rng)
    split_onnx(path, graph, plan, out, document=None)
    numbers = np.random.default_rng(seed)
    feeds = {n: numbers.standard_normal((2, 4), dtype=np.float32) for n in ("x", "z")}
    assert_same(run_stages(out, feeds), run_whole(path, feeds))
