# SPDX-License-Identifier: Apache-2.0
"""Exports that are folders, read back by those who consume them: onnx, onnxruntime, Triton's own schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from tests.splitting.helpers import assert_same, run_stages, run_whole, session

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError

ort = pytest.importorskip("onnxruntime")

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
two_layers (float[n,4] x, float s) => (float[n,4] y, float total)
<float[4,4] w0 = {1,2,0,1,0,1,0,0,0,0,1,0,3,0,0,1}, float[4,4] w1 = {1,0,0,2,0,1,0,0,1,0,1,0,0,0,0,1}>
{
  [a] h0 = MatMul (x, w0)
  [b] h1 = Relu (h0)
  [scale] k = Mul (s, s)
  [c] h2 = MatMul (h1, w1)
  [d] h3 = Mul (h2, k)
  [e] y = Add (h3, h1)
  [f] total = ReduceSum <keepdims = 0> (y)
}
"""
FEEDS = {"x": np.arange(8, dtype=np.float32).reshape(2, 4), "s": np.array(2, np.float32)}


def model_of(text: str) -> onnx.ModelProto:
    """Parse a model; values without axes get the shape that says so."""
    model = onnx.parser.parse_model(text)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.SetInParent()
    return model


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Path, Path]:
    path, plan = tmp_path / "two layers.onnx", tmp_path / "plan.json"
    onnx.save(model_of(MODEL), path)
    code = main(["plan", str(path), "-k", "3", "--device", "h100-sxm", "--dim", "n=2", "--no-fuse",
                 "--never-cut", "a..b", "--last", "^(e|f)$", "--first", "^(scale|a|b)$", "--time-limit", "5",
                 "-o", str(plan)])  # fmt: skip
    assert code == 0
    return path, plan


def test_onnx_stages_compute_the_same(planned: tuple[Path, Path], tmp_path: Path) -> None:
    model, plan = planned
    export = sw.export(plan, "onnx", tmp_path / "out")
    assert_same(run_stages(tmp_path / "out", FEEDS), run_whole(model, FEEDS))
    assert export.loss.loss == 0
    with pytest.raises(InputError, match="a folder with content"):
        sw.export(plan, "onnx", tmp_path / "out")
    with pytest.raises(InputError, match="a folder to write"):
        sw.export(plan, "triton")


def config_of(folder: Path) -> Any:
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="Triton's own schema")
    from google.protobuf import text_format

    return text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())


def test_triton_reads_the_repository(planned: tuple[Path, Path], tmp_path: Path) -> None:
    """Follow the ensemble as the server does: by the names that its steps map to each other."""
    model, plan = planned
    stages = len(json.loads(plan.read_text())["stages"])
    places = ["cpu", "gpu", "gpu:1"][:stages]
    sw.export(plan, "triton", tmp_path / "repository", places=places)
    repository = tmp_path / "repository"
    ensemble = config_of(repository / "two_layers")
    assert ensemble.platform == "ensemble"
    assert (repository / "two_layers" / "1").is_dir()
    kinds = []
    values: dict[str, Any] = dict(FEEDS)
    assert {i.name: list(i.dims) for i in ensemble.input} == {"x": [2, 4], "s": [1]}
    for step in ensemble.ensemble_scheduling.step:
        config = config_of(repository / step.model_name)
        assert (config.name, config.backend) == (step.model_name, "onnxruntime")
        kinds += [(group.kind, list(group.gpus)) for group in config.instance_group]
        part = session(repository / step.model_name / "1" / "model.onnx")
        assert {i.name for i in config.input} == {i.name for i in part.get_inputs()}
        for tensor, real in zip(config.input, part.get_inputs(), strict=True):
            assert tensor.name == real.name
            assert list(tensor.dims) == (real.shape or [1])
            assert tensor.HasField("reshape") == (not real.shape)
            assert tensor.data_type == config_types()["TYPE_FP32"]
        given = {name: values[key] for name, key in step.input_map.items()}
        results = part.run(list(step.output_map), given)
        values |= dict(zip(step.output_map.values(), results, strict=True))
    assert kinds == [(2, []), (1, []), (1, [1])][:stages]
    assert_same({o.name: values[o.name] for o in ensemble.output}, run_whole(model, FEEDS))


def config_types() -> Any:
    from tritonclient.grpc import model_config_pb2

    return dict(model_config_pb2.DataType.items())


def test_onnxruntime_takes_the_annotations(planned: tuple[Path, Path], tmp_path: Path) -> None:
    model, plan = planned
    places = ["cpu"] * len(json.loads(plan.read_text())["stages"])
    export = sw.export(plan, "onnxruntime", tmp_path / "out", places=places)
    annotated = onnx.load(str(tmp_path / "out" / "model.onnx"))
    onnx.checker.check_model(annotated)
    said = {n.name: {p.key: p.value for p in n.metadata_props}["layer_ann"] for n in annotated.graph.node}  # fmt: skip
    stages = json.loads(plan.read_text())["stages"]
    assert said == {name: f"stage{i}" for i, s in enumerate(stages) for name in s["nodes"]}
    (key, value), = export.value["session_options"].items()  # fmt: skip
    assert value == f"cpu({','.join(f'=stage{i}' for i in range(len(stages)))})"
    options = ort.SessionOptions()
    options.add_session_config_entry(key, value)
    path = str(tmp_path / "out" / "model.onnx")
    run = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in run.get_outputs()]
    assert_same(dict(zip(names, run.run(names, FEEDS), strict=True)), run_whole(model, FEEDS))
    assert any("one session runs the stages in turns" in note for note in export.notes)


def test_the_command(
    planned: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plan = planned
    capsys.readouterr()
    assert main(["export", str(plan), "--to", "json", "--json"]) == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert content["value"]["stages"] == [
        s["nodes"] for s in json.loads(plan.read_text())["stages"]
    ]
    assert content["cost"]["loss"] == 0
    assert "bottleneck" in shown.err
    assert main(["export", str(plan), "--to", "csv", "-o", str(tmp_path / "t.csv")]) == 0
    assert (tmp_path / "t.csv").read_text().startswith("stage,position,node")
    assert capsys.readouterr().out == ""
    assert main(["export", str(plan), "--to", "vllm"]) == 2
    assert "numbered layers" in capsys.readouterr().err
    assert main(["export", str(plan), "--to", "nobody"]) == 2
    assert "one of accelerate, csv" in capsys.readouterr().err
    assert main(["export", str(plan), "--to", "csv", "--place", "cpu,gpu,gpu,gpu"]) == 2
    assert "places: expected one per stage" in capsys.readouterr().err


def test_another_graph_is_refused(planned: tuple[Path, Path], tmp_path: Path) -> None:
    _, plan = planned
    other = tmp_path / "other.onnx"
    onnx.save(model_of(MODEL.replace("[f] total", "[g] total")), other)
    with pytest.raises(InputError, match="made for another graph"):
        sw.export(plan, "json", model=other)
