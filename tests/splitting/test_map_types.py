# SPDX-License-Identifier: Apache-2.0
"""Classifiers that give out maps from label to probability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.splitting.helpers import run_whole, split

from stagewright.readers import StagewrightWarning
from stagewright.readers.onnx_model import read_onnx
from stagewright.runtime import Pipeline, measure
from stagewright.runtime.measure import _difference
from stagewright.splitting.map_types import has_map

LABELS = [3, 5, 9]
TEXT = "seq(map(int64,tensor(float)))"


def classifier() -> onnx.ModelProto:
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "scores"],
            "classify",
            domain="ai.onnx.ml",
            classlabels_ints=LABELS,
            coefficients=[0.5, -1.0, 0.25, 2.0, 1.5, -0.5],
            intercepts=[0.0, 0.1, 0.2],
            post_transform="SOFTMAX",
        ),
        helper.make_node("Normalizer", ["scores"], ["p"], "n", domain="ai.onnx.ml", norm="L1"),
        helper.make_node(
            "ZipMap", ["p"], ["named"], "zip", domain="ai.onnx.ml", classlabels_int64s=LABELS
        ),
    ]
    scores = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    named = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, scores))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [4]),
        helper.make_value_info("named", named),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 2])]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs)
    opsets = [helper.make_opsetid("ai.onnx.ml", 1), helper.make_opsetid("", 15)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_a_classifier_is_split_and_its_maps_come_out(tmp_path: Path) -> None:
    path, folder, manifest = split(classifier(), tmp_path, ["classify"], ["n"], ["zip"])
    with pytest.warns(StagewrightWarning, match="without a cost rule"):
        assert read_onnx(path).node_names == ("classify", "n", "zip")
    assert [t.type for t in manifest.outputs] == ["tensor(int64)", TEXT]
    last = onnx.load(folder / "stage2.onnx").graph.output
    assert [has_map(v.type) for v in last] == [True]
    feeds = {"x": np.arange(8, dtype=np.float32).reshape(4, 2)}
    with Pipeline(folder) as pipeline:
        got = pipeline.run(feeds)
    assert _difference([got["named"]], [run_whole(path, feeds)["named"]])[0]
    assert [sorted(row) for row in got["named"]] == [LABELS] * 4
    assert measure(folder, items=8).comparison.equal is True


@pytest.mark.parametrize(
    ("got", "equal"), [({1: 0.5}, True), ({1: 0.75}, False), ({2: 0.5}, False), ([0.5], False)]
)
def test_maps_are_compared(got: object, equal: bool) -> None:
    assert _difference(got, {1: 0.5})[0] is equal
