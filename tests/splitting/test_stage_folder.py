# SPDX-License-Identifier: Apache-2.0
"""What is refused, and what the folder and its manifest look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
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


def set_at(data: Any, path: str, value: Any) -> None:
    *way, last = path.split("/")
    for key in way:
        data = data[int(key) if isinstance(data, list) else key]
    data[int(last) if isinstance(data, list) else last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "x/1", "format: expected 'stagewright-stages/1', got 'x/1'"),
        ("stages", 5, "expected objects as docs/running.md says, got 'int' object is not iterable"),
        (
            "stages/0/file",
            "../m.onnx",
            "stages: expected file names without folders, got '../m.onnx'",
        ),
        ("inputs/0/shape", [1, -3], "got tensor 'x' of sizes (1, -3) and 12 bytes"),
        ("inputs/0/name", 7, "got name 7 of type 'tensor(float)'"),
        ("tensors/1/from", 1, "tensor 'p': expected a source that gives it, got 1"),
        ("tensors/1/from", "x", "tensor 'p': expected a source that gives it, got 'x'"),
        ("tensors/1/to", [0], "tensor 'p': expected later stages that take it as targets, got 0"),
        ("tensors/1/to", [], "stage 1: input 'p': expected a source, got none"),
        ("tensors/2/to", [], "model output 'y': expected a source, got none"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(
    tmp_path: Path, path: str, value: Any, message: str
) -> None:
    text = f"{HEAD} m (float[1, 3] x) => (float[1, 3] y) {{ [a] p = Relu(x) [b] y = Exp(p) }}"
    _, out, _ = split(text, tmp_path, ["a"], ["b"])
    data = json.loads((out / "manifest.json").read_text())
    set_at(data, path, value)
    (out / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(InputError) as caught:
        Manifest.load(out)
    assert message in str(caught.value)


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "stagewright-stages/1"}')
    with pytest.raises(InputError, match="expected the key 'model', got none"):
        Manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="expected JSON text"):
        Manifest.load(tmp_path)


def test_undefined_names_and_sparse_weights_are_refused(tmp_path: Path) -> None:
    text = f"{HEAD} m (float[3] x) => (float[3] y) {{ [a] p = Mul(x, w) [b] y = Exp(p) }}"
    with pytest.raises(ModelError, match=r"node 'a' \(Mul\): input 'w': .* that nothing defines"):
        split(text, tmp_path, ["a"], ["b"])
    model = onnx.parser.parse_model(text)
    values = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    places = numpy_helper.from_array(np.array([0, 2]), "places")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [3]))
    with pytest.raises(ModelError, match="initialiser 'w': expected a dense tensor"):
        split(model, tmp_path, ["a"], ["b"])


def test_missing_and_broken_models_are_named(tmp_path: Path) -> None:
    builder = GraphBuilder("m")
    builder.add_node("a")
    graph, plan = builder.build(), Plan(((0,),))
    with pytest.raises(ModelError, match="expected a readable file, got No such file"):
        split_onnx(tmp_path / "none.onnx", graph, plan, tmp_path / "out", document=None)
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="expected an ONNX model"):
        split_onnx(tmp_path / "bad.onnx", graph, plan, tmp_path / "out", document=None)
