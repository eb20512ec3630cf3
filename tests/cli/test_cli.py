# SPDX-License-Identifier: Apache-2.0
"""The command as users meet it: results, exit codes, messages, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stagewright.cli import main
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.readers.graph_writer import write_graph_file

BAD = Path(__file__).resolve().parent.parent / "data" / "bad"
EXPECTED: dict[str, str] = json.loads((BAD / "expected.json").read_text())


def chain(n: int = 6, name: str = "chain") -> CostGraph:
    builder = GraphBuilder(name)
    for v in range(n):
        builder.add_node(f"v{v}", work=10**9 * (v + 1))
    for v in range(n - 1):
        builder.add_tensor(v, [v + 1], nbytes=1000)
    return builder.build()


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    path = tmp_path / "chain.graph.json"
    write_graph_file(chain(), path)
    return path


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_plan_check_and_report(
    graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, page = tmp_path / "plan.json", tmp_path / "page.html"
    assert (
        run("plan", graph_file, "-k", 3, "--bandwidth", "1GB/s", "-o", plan, "--report", page) == 0
    )
    shown = capsys.readouterr()
    assert "Proven optimal" in shown.out
    assert shown.err == f"written: {plan}\nwritten: {page}\n"
    document = json.loads(plan.read_text())
    assert document["status"] == "optimal"
    assert document["source"]["model"] == str(graph_file)
    assert [s["nodes"] for s in document["stages"]] == [["v0", "v1", "v2"], ["v3", "v4"], ["v5"]]
    assert run("check", graph_file, plan) == 0
    assert capsys.readouterr().out.endswith("valid, everything verified\n")
    assert "<html" in page.read_text()
    assert run("report", plan, "-o", page) == 0


def test_plan_json_is_the_plan_file(graph_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", graph_file, "-k", 2, "--bandwidth", "1GB/s", "--json") == 0
    document = json_of(capsys)
    assert document["format"] == "stagewright-plan/1"
    assert document["machine"] == {"stages": 2, "bandwidth": 1e9, "latency": 0, "memory": None}


def test_check_refuses_a_changed_plan(
    graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    run("plan", graph_file, "-k", 3, "--bandwidth", "1GB/s", "-o", plan)
    document = json.loads(plan.read_text())
    document["stages"][0]["nodes"], document["stages"][1]["nodes"] = (
        document["stages"][1]["nodes"],
        document["stages"][0]["nodes"],
    )
    plan.write_text(json.dumps(document))
    capsys.readouterr()
    assert run("check", graph_file, plan, "--json") == 1
    report = json_of(capsys)
    assert not report["valid"]
    assert report["problems"]


@pytest.mark.parametrize("method", ["simple", "anchor", "average", "cover", "skeleton", "exact"])
def test_bound(method: str, graph_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("-k", 3, "--bandwidth", "1GB/s", "--method", method)
    assert run("bound", graph_file, *options, "--json") == 0
    found = json_of(capsys)
    assert set(found) == {"method", "value", "seconds", "evidence"}
    assert found["method"] == method
    assert 0 < found["value"] <= 0.009002
    assert run("bound", graph_file, *options) == 0
    assert capsys.readouterr().out.startswith(f"{method}: no plan has a bottleneck below ")


def test_convert_round_trip(
    graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.json.gz"
    assert run("convert", graph_file, copy) == 0
    assert "6 nodes, 5 tensors, 0 parameters" in capsys.readouterr().err
    assert run("convert", copy, tmp_path / "again.json") == 0
    assert (tmp_path / "again.json").read_bytes() == graph_file.read_bytes()


@pytest.mark.filterwarnings("default::stagewright.readers.StagewrightWarning")
def test_convert_from_and_to_other_formats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = BAD.parent / "formats" / "pipedream.graph.txt"
    machine = ("-k", 2, "--bandwidth", "1MB/s")
    assert (
        run("plan", profile, *machine, "-o", tmp_path / "plan.json", "--option", "input=keep") == 0
    )
    assert "warning" in capsys.readouterr().err
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["source"]["options"] == {"input": "keep"}
    assert len(document["stages"]) == 2
    # The plan file knows the option: the same graph is checked, and drawn.
    assert run("check", profile, tmp_path / "plan.json") == 0
    for name in ("g.dot", "g.graphml"):
        assert run("convert", profile, tmp_path / name, "--plan", tmp_path / "plan.json") == 0
    assert "cluster_1" in (tmp_path / "g.dot").read_text()
    assert run("convert", profile, tmp_path / "g.pbtxt") == 0
    assert "left out" not in capsys.readouterr().err
    assert run("convert", tmp_path / "g.pbtxt", tmp_path / "g.json") == 0
    assert run("convert", profile, tmp_path / "g.other") == 2
    assert "g.other: expected a name that ends in .json" in capsys.readouterr().err
    assert run("plan", profile, *machine, "--option", "input") == 2
    assert "--option: expected NAME=VALUE, got 'input'" in capsys.readouterr().err


def test_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("devices") == 0
    assert "h100-sxm" in capsys.readouterr().out
    assert run("devices", "--json") == 0
    assert {"devices", "links"} == set(json_of(capsys))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_bad_files_end_with_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", BAD / name, "-k", 2, "--bandwidth", "1GB/s", "--device", "cpu-core") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert EXPECTED[name] in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-k", "2"],
            (
                "bandwidth: expected a value, since some tensor is given in bytes, got none. "
                "Give --bandwidth."
            ),
        ),
        (
            ["-k", "0", "--bandwidth", "1GB/s"],
            "stages: expected a whole number from 1 to 1048576, got 0",
        ),
        (
            ["-k", "2", "--bandwidth", "fast"],
            "bandwidth: expected a bandwidth above 0 such as 25GB/s",
        ),
        (
            ["-k", "2", "--bandwidth", "1GB/s", "--latency", "5 lightyears"],
            "latency: expected a time",
        ),
        (["-k", "2", "--bandwidth", "1GB/s", "--memory", "-3"], "memory"),
        (["-k", "2", "--device", "h100"], "device 'h100': expected the name of a device"),
        (["-k", "2", "--link", "string"], "link 'string': expected the name of a link"),
        (
            ["-k", "2", "--bandwidth", "1GB/s", "--time-limit", "-1"],
            "time limit: expected a number",
        ),
        (
            ["-k", "2", "--bandwidth", "1GB/s", "--shape", "x=ax3"],
            "--shape: expected INPUT=1x3x224x224",
        ),
        (["-k", "2", "--bandwidth", "1GB/s", "--dim", "8"], "--dim: expected NAME=8"),
    ],
)
def test_bad_options(
    options: list[str], message: str, graph_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run("plan", graph_file, *options)
    except SystemExit as stop:  # argparse's own refusal
        code = int(str(stop.code))
    assert code == 2
    assert message in capsys.readouterr().err


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", tmp_path / "absent.onnx", "-k", 2) == 2
    assert "absent.onnx" in capsys.readouterr().err


def test_check_of_no_plan_file(
    graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.json").write_text('{"format": "something else"}')
    assert run("check", graph_file, tmp_path / "plan.json") == 2
    assert "format: expected 'stagewright-plan/1', got 'something else'" in capsys.readouterr().err


def test_unwritable_output_loses_nothing(
    graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "absent" / "plan.json"
    assert run("plan", graph_file, "-k", 2, "--bandwidth", "1GB/s", "-o", missing) == 2
    assert "expected a writable file" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from stagewright.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxruntime', 'rich', 'stagewright._native'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def wide_graph() -> CostGraph:
    """Many parallel chains: too many ideals to list, so the search goes on until stopped."""
    builder = GraphBuilder("wide")
    tips = []
    for c in range(24):
        previous = -1
        for i in range(6):
            node = builder.add_node(f"c{c}n{i}", work=10**9 + 7919 * (31 * c + 17 * i) ** 2 % 10**9)
            if previous >= 0:
                builder.add_tensor(previous, [node], time=10**8 + 104729 * c * i % 10**8)
            previous = node
        tips.append(previous)
    return builder.build()


def test_interrupt_leaves_the_best_plan(tmp_path: Path) -> None:
    graph, plan = tmp_path / "wide.json", tmp_path / "plan.json"
    write_graph_file(wide_graph(), graph)
    command = [sys.executable, "-m", "stagewright", "plan", graph, "-k", "7", "-o", plan]
    process = subprocess.Popen(
        [*map(str, command), "--time-limit", "100"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()  # the first line of progress: the search has begun
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert json.loads(plan.read_text())["stopped_because"] == "interrupted"
    assert main(["check", str(graph), str(plan)]) in (0, 3)


def test_time_limit_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_graph_file(wide_graph(), tmp_path / "wide.json")
    assert run("plan", tmp_path / "wide.json", "-k", 7, "--time-limit", 1, "--json") == 0
    document = json_of(capsys)
    assert document["stopped_because"] == "the time limit"
    assert document["status"] == "bounded"


def test_pipeline_from_model_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    assert onnxruntime
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for i in range(4):
        weights.append(numpy_helper.from_array(rng.normal(size=(64, 64)).astype("f4"), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"h{i}"], name=f"mm{i}"))
        nodes.append(helper.make_node("Tanh", [f"h{i}"], [f"x{i + 1}"], name=f"tanh{i}"))
    edge = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [32, 64]) for n in ("x0", "x4")]
    graph = helper.make_graph(nodes, "mlp", edge[:1], edge[1:], weights)
    model = tmp_path / "mlp.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), model
    )
    profile, plan, stages = tmp_path / "p.json", tmp_path / "plan.json", tmp_path / "stages"
    assert run("profile", model, "-o", profile, "--repetitions", 5) == 0
    common = ("-k", 2, "--profile", profile, "--bandwidth", "8GB/s")
    assert run("plan", model, *common, "-o", plan) == 0
    assert run("check", model, plan) == 0
    assert run("split", model, plan, "-o", stages) == 0
    capsys.readouterr()
    assert run("run", stages, "--items", 20, "--json") == 0
    report = json_of(capsys)
    assert report["outputs_equal"] is True
    assert len(report["stages"]) == len(json.loads(plan.read_text())["stages"])
    assert run("split", model, plan, "-o", stages) == 2
    assert "expected" in capsys.readouterr().err
