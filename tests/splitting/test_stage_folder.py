# SPDX-License-Identifier: Apache-2.0
"""What is refused, and what the folder and its manifest look like."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from tests.splitting.helpers import by_names, cost_graph, split

from stagewright.errors import InputError, ModelError
from stagewright.graph import GraphBuilder
from stagewright.plans import Plan
from stagewright.splitting import Manifest, split_onnx

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


def test_a_plan_for_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    text = f"{HEAD} m (float[1, 3] x) => (float[1, 3] y) {{ [a] p = Relu(x) [b] y = Exp(p) }}"
    onnx.save(onnx.parser.parse_model(text), path)
    builder = GraphBuilder("other")
    builder.add_node("a"), builder.add_node("z")
    graph = builder.build()
    with pytest.raises(InputError) as caught:
        split_onnx(path, graph, Plan(((0,), (1,))), tmp_path / "out", document=None)
    assert str(caught.value) == (
        f"model '{path}': expected the nodes of the cost graph 'other', got a model without 1 of "
        "them, first 'z'. Give the model file that the plan was made from."
    )
    fitting = cost_graph(onnx.load(path))
    with pytest.raises(InputError, match="each of the graph's 2 nodes once, got 1 nodes"):
        split_onnx(path, fitting, Plan(((0,),)), tmp_path / "out", document=None)
    with pytest.raises(
        InputError, match=r"needs tensor 'p'\), got a plan that makes it in the later"
    ):
        split_onnx(path, fitting, Plan(((1,), (0,))), tmp_path / "out", document=None)


def test_the_folder_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    text = f"{HEAD} m (float[1, 3] x) => (float[1, 3] y) {{ [a] p = Relu(x) [b] y = Exp(p) }}"
    path, out, _ = split(text, tmp_path, ["a"], ["b"])
    assert sorted(f.name for f in out.iterdir()) == ["manifest.json", "stage0.onnx", "stage1.onnx"]
    with pytest.raises(
        InputError, match="a free name or an empty folder, got a folder with content"
    ):
        split(text, tmp_path, ["a"], ["b"])
    split(text, tmp_path, ["a", "b"], overwrite=True)
    assert sorted(f.name for f in out.iterdir()) == ["manifest.json", "stage0.onnx"]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model.onnx", "stages"]
    (out / "manifest.json").unlink()
    with pytest.raises(InputError, match="an earlier output to overwrite"):
        split(text, tmp_path, ["a", "b"], overwrite=True)
    graph = cost_graph(onnx.load(path))
    (tmp_path / "empty").mkdir()
    split_onnx(path, graph, Plan(((0, 1),)), tmp_path / "empty", document=None)


def test_the_manifest_round_trips_and_holds_the_predictions(tmp_path: Path) -> None:
    text = f"{HEAD} m (float[1, 3] x) => (float[1, 3] y) {{ [a] p = Relu(x) [b] y = Exp(p) }}"
    stages = [{"nodes": [n], "total": 0.5, "work": 0.25, "io_in": 0.25} for n in "ab"]
    path, out, _ = split(text, tmp_path, ["a"], ["b"])
    graph = cost_graph(onnx.load(path))
    document = {"bottleneck": 0.5, "stages": stages}
    plan = by_names(graph, ["a"], ["b"])
    manifest = split_onnx(path, graph, plan, out, document=document, overwrite=True)
    assert Manifest.load(out) == manifest
    assert manifest.predicted_period == 0.5
    assert manifest.stages[0].predicted == {"total": 0.5, "work": 0.25, "io_in": 0.25}
    assert manifest.graph_sha256 == graph.sha256
    with pytest.raises(InputError, match="plan document: stages: expected 2 stages, got 1"):
        split_onnx(
            path, graph, plan, out, document={"bottleneck": 1, "stages": stages[:1]}, overwrite=True
        )


def test_missing_and_broken_models_are_named(tmp_path: Path) -> None:
    builder = GraphBuilder("m")
    builder.add_node("a")
    graph, plan = builder.build(), Plan(((0,),))
    with pytest.raises(ModelError, match="expected a readable file, got No such file"):
        split_onnx(tmp_path / "none.onnx", graph, plan, tmp_path / "out", document=None)
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="expected an ONNX model"):
        split_onnx(tmp_path / "bad.onnx", graph, plan, tmp_path / "out", document=None)
