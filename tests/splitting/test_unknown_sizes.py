# SPDX-License-Identifier: Apache-2.0
"""Tensors whose size or rank nobody states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.splitting.helpers import by_names, check, cost_graph, run_whole, split

from stagewright.runtime import Pipeline
from stagewright.splitting import split_onnx

FLOAT = TensorProto.FLOAT
IMAGE = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)


def two_nodes(dims: list[str | int]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["p"], "a"),
        helper.make_node("Exp", ["p"], ["y"], "b"),
    ]
    ends = [helper.make_tensor_value_info(name, FLOAT, dims) for name in "xy"]
    inner = [helper.make_tensor_value_info("p", FLOAT, dims)]
    graph = helper.make_graph(nodes, "m", ends[:1], ends[1:], value_info=inner)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("name", ["?", "-1", "unk__3"])
def test_placeholders_are_independent_sizes(tmp_path: Path, name: str) -> None:
    fixed = check(
        two_nodes([1, name, name]), tmp_path, {"x": IMAGE}, ["a"], ["b"], shapes={"x": [1, 3, 4]}
    )
    assert [t.shape for t in (*fixed.inputs, fixed.stages[1].inputs[0])] == [(1, 3, 4)] * 2


def test_placeholders_do_not_reach_the_stages(tmp_path: Path) -> None:
    free = check(two_nodes([1, "?", "?"]), tmp_path, {"x": IMAGE}, ["a"], ["b"])
    assert free.inputs[0].shape == (1, None, None)
    with Pipeline(tmp_path / "stages", engine="thread") as pipeline:
        got = pipeline.run({"x": IMAGE})["y"]
    np.testing.assert_allclose(got, np.exp(np.maximum(IMAGE, 0)), rtol=1e-6)


def ranks_differ() -> onnx.ModelProto:
    """A model whose If gives a tensor of rank 2 or 3."""

    def branch(kind: str, *inputs: str) -> onnx.GraphProto:
        made = helper.make_tensor_type_proto(FLOAT, None)
        output = helper.make_value_info(f"{kind}_out", made)
        node = helper.make_node(kind, ["p", *inputs], [output.name], kind)
        return helper.make_graph([node], kind, [], [output])

    nodes = [
        helper.make_node("Relu", ["x"], ["p"], "a"),
        helper.make_node(
            "If",
            ["flag"],
            ["q"],
            "b",
            then_branch=branch("Squeeze"),
            else_branch=branch("Identity"),
        ),
        helper.make_node("Exp", ["q"], ["y"], "c"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, [1, 3, 4]),
        helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
    ]
    output = helper.make_value_info("y", helper.make_tensor_type_proto(FLOAT, None))
    graph = helper.make_graph(nodes, "m", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("flag", [False, True])
def test_a_tensor_of_unknown_rank_crosses(tmp_path: Path, flag: bool) -> None:
    path, out, manifest = split(ranks_differ(), tmp_path, ["a"], ["b"], ["c"])
    assert [t.shape for t in manifest.stages[2].inputs] == [None]
    assert sorted(f.name for f in out.iterdir()) == [
        "manifest.json",
        "stage0.onnx",
        "stage1.onnx",
        "stage2.onnx",
    ]
    feeds = {"x": IMAGE, "flag": np.array(flag)}
    with Pipeline(out, engine="thread") as pipeline:
        got = pipeline.run(feeds)["y"]
    np.testing.assert_allclose(got, run_whole(path, feeds)["y"])
    assert got.ndim == (2 if flag else 3)


def test_a_stage_of_unknown_rank_is_checked_all_the_same(tmp_path: Path) -> None:
    model = ranks_differ()
    graph = cost_graph(model)
    model.graph.node[2].attribute.add(name="no_such", type=onnx.AttributeProto.INT, i=1)
    onnx.save(model, tmp_path / "model.onnx")
    plan = by_names(graph, ["a", "b"], ["c"])
    with pytest.raises(
        Exception, match=r"stage1.onnx': expected a valid ONNX model, got .*no_such"
    ):
        split_onnx(tmp_path / "model.onnx", graph, plan, tmp_path / "out", document=None)
