# SPDX-License-Identifier: Apache-2.0
"""An ONNX model with modules in its names, from the command line to the running pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.graph import CostGraph
from stagewright.readers.graph_writer import write_graph_file

LAYERS, WIDTH = 4, 32


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small stack of layers: a product with bias and activation, another, a residual addition."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def node(name: str, op: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [f"{name}.out"], name=name, **attributes))
        return f"{name}.out"

    def weight(name: str, *shape: int) -> str:
        weights.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / 8, name))
        return name

    x = node("/embed/MatMul", "MatMul", ["x", weight("embed", WIDTH, WIDTH)])
    for i in range(LAYERS):
        scope = f"/model/layers.{i}"
        norm = node(
            f"{scope}/norm/LayerNormalization", "LayerNormalization", [x, weight(f"g{i}", WIDTH)]
        )
        up = node(f"{scope}/mlp/up/MatMul", "MatMul", [norm, weight(f"u{i}", WIDTH, 4 * WIDTH)])
        bias = node(f"{scope}/mlp/up/Add", "Add", [up, weight(f"b{i}", 4 * WIDTH)])
        act = node(f"{scope}/mlp/act/Relu", "Relu", [bias])
        down = node(f"{scope}/mlp/down/MatMul", "MatMul", [act, weight(f"d{i}", 4 * WIDTH, WIDTH)])
        x = node(f"{scope}/Add", "Add", [x, down])
    node("/head/Softmax", "Softmax", [x])
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [16, WIDTH])],
        [helper.make_tensor_value_info("/head/Softmax.out", TensorProto.FLOAT, [16, WIDTH])],
        weights,
    )
    path = tmp_path / "stack.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def layers_of(stage: dict[str, Any]) -> set[str]:
    return {n.split("/")[2] for n in stage["nodes"] if n.startswith("/model/")}


def test_layers_end_to_end(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, stages = tmp_path / "plan.json", tmp_path / "stages"
    wanted = ("--granularity", "layer", "--first", "embed", "--together", "layers.0/|layers.1/")
    machine = ("-k", 3, "--device", "cpu-core", "--bandwidth", "10GB/s")
    assert run("plan", model, *machine, *wanted, "-o", plan) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Fusion: 26 nodes run as 14 kernels (20 of them in 8 fused ones)" in shown
    assert "Granularity layer: 24 nodes in 4 units, 2 on their own." in shown
    assert "Together layers.0/|layers.1/: 12 nodes." in shown
    assert "First stage embed: 1 node." in shown
    assert "Cuts between any two operators" in shown
    document = json.loads(plan.read_text())
    for stage in document["stages"]:
        for other in document["stages"]:
            assert stage is other or layers_of(stage).isdisjoint(layers_of(other))
    homes = [layers_of(stage) & {"layers.0", "layers.1"} for stage in document["stages"]]
    assert [home for home in homes if home] == [{"layers.0", "layers.1"}]
    assert "/embed/MatMul" in document["stages"][0]["nodes"]
    assert document["source"]["granularity"] == "layer"
    assert document["source"]["constraints"] == {
        "together": ["layers.0/|layers.1/"],
        "first": ["embed"],
    }
    finer = document["operator_level"]
    assert 0 < finer["lower_bound"] <= finer["bottleneck"] <= document["bottleneck"]
    assert finer["loss"] == pytest.approx(document["bottleneck"] / finer["bottleneck"] - 1)
    # None of the options is needed again.
    assert run("check", model, plan) == 0
    assert capsys.readouterr().out.endswith("valid, everything verified\n")
    assert run("report", plan, "-o", tmp_path / "page.html") == 0
    assert "Granularity layer: 24 nodes" in (tmp_path / "page.html").read_text()
    assert run("split", model, plan, "-o", stages) == 0
    pytest.importorskip("onnxruntime", reason="running needs onnxruntime")
    capsys.readouterr()
    assert run("run", stages, "--model", model, "--items", 8, "--engine", "thread", "--json") == 0
    assert json.loads(capsys.readouterr().out)["outputs_equal"] is True


def test_another_constraint_makes_the_plan_invalid(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    machine = ("-k", 2, "--device", "cpu-core", "--bandwidth", "10GB/s")
    assert run("plan", model, *machine, "-o", plan) == 0
    assert run("check", model, plan) == 0
    assert run("check", model, plan, "--together", "embed|head") == 1
    assert "problem:" in capsys.readouterr().out


def test_fusion_is_a_choice(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fused, plain = (sw.read(model, device="cpu-core", fuse=fuse) for fuse in (None, False))
    assert fused.total_work < plain.total_work
    assert len(fused.group_names) == 8
    assert not plain.group_names
    assert not plain.notes
    assert fused.node_names == plain.node_names
    copy = tmp_path / "stack.graph.json"
    assert run("convert", model, copy) == 0  # operations and bytes; priced and fused when read
    again = sw.read(copy, device="cpu-core")
    assert again.sha256 != plain.sha256
    assert again.group_names == fused.group_names
    assert run("convert", model, copy, "--device", "cpu-core") == 0
    assert sw.read(copy, device="cpu-core").sha256 == fused.sha256  # work that is stated stays
    with pytest.raises(InputError, match=r"fuse: expected work that is estimated \(a device\)"):
        sw.read(copy, fuse=True)
    capsys.readouterr()
    assert run("plan", copy, "-k", 2, "--bandwidth", "1GB/s", "--fuse") == 2
    assert "fuse: expected work that is estimated" in capsys.readouterr().err


def test_what_the_measured_runtime_fused_is_not_cut(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="measuring needs onnxruntime")
    profile = tmp_path / "profile.json"
    assert run("profile", model, "-o", profile, "--repetitions", 2, "--warmup", 1) == 0
    recorded = json.loads(profile.read_text())["fused"]
    assert recorded
    free, tied = (sw.read(model, profile=profile, fuse=fuse) for fuse in (False, None))
    assert free.work.tolist() == tied.work.tolist()  # nothing is priced again
    assert not free.group_names
    assert len(tied.group_names) == len(recorded)
    for nodes in recorded:
        assert len({int(tied.group[tied.index_of[name]]) for name in nodes}) == 1
    assert tied.notes[0].startswith("fusion: the measured runtime ran ")


def test_options_add_to_the_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = tmp_path / "cuts.toml"
    cuts.write_text('first = ["embed"]\nnever_cut = [["/embed/MatMul", "layers.0/Add"]]\n')
    options = ("-k", 2, "--device", "cpu-core", "--bandwidth", "10GB/s", "--constraints", cuts)
    assert run("plan", model, *options, "--last", "head", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["source"]["constraints"] == {
        "never_cut": [["/embed/MatMul", "layers.0/Add"]],
        "first": ["embed"],
        "last": ["head"],
    }
    assert document["notes"][1:] == [
        "never cut /embed/MatMul..layers.0/Add: 7 nodes",
        "first stage embed: 1 node",
        "last stage head: 1 node",
    ]
    assert layers_of(document["stages"][0]) >= {"layers.0"}
    assert run("bound", model, *options, "--method", "simple") == 0
    assert run("plan", model, *options, "--together", "nothing") == 2
    assert "--together nothing: expected an expression" in capsys.readouterr().err
    reserve = ("--memory", "20KB", "--reserve", "all=1KB")
    assert run("plan", model, *options, *reserve, "--json") == 0
    assert json.loads(capsys.readouterr().out)["machine"]["memory"] == 19000
    assert run("plan", model, *options, "--reserve", "all") == 2
    assert "expected STAGE=BYTES" in capsys.readouterr().err


def test_graphs_in_memory_need_no_source(model: Path) -> None:
    graph: CostGraph = sw.read(model, device="cpu-core")
    result = sw.plan(graph, 3, bandwidth="10GB/s", granularity="module", time_limit=10)
    assert result.operator_level is not None
    assert result.operator_level.bottleneck <= result.solution.bottleneck
    assert sw.check(graph, result).valid
    assert sw.check(result.graph, result).valid
    path = sw.plan(model, 3, device="cpu-core", bandwidth="10GB/s", granularity="module")
    assert path.plan == result.plan
    assert path.source is not None
    assert path.source.granularity == "module"


def test_written_graphs_keep_their_groups(model: Path, tmp_path: Path) -> None:
    graph = sw.read(model, device="cpu-core", granularity="layer")
    write_graph_file(graph, tmp_path / "g.json")
    again = sw.read(tmp_path / "g.json")
    assert again.sha256 == graph.sha256
    assert "layer model.layers.0" in {name.split(" & ")[0] for name in again.group_names}
