# SPDX-License-Identifier: Apache-2.0
"""The command report: with the graph where it can be had, and saying why where not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagewright.cli import main
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.readers.graph_writer import write_graph_file


def chain(nodes: int, *, work: int = 10**9) -> CostGraph:
    builder = GraphBuilder("chain")
    for v in range(nodes):
        builder.add_node(f"v{v}", work=work)
    for v in range(nodes - 1):
        builder.add_tensor(v, [v + 1], nbytes=1000)
    return builder.build()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "chain.graph.json"
    write_graph_file(chain(6), path)
    return path


@pytest.fixture
def plan(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "plan.json"
    assert run("plan", model, "-k", 3, "--bandwidth", "1GB/s", "-o", path) == 0
    capsys.readouterr()
    return path


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def page_of(*arguments: object, output: Path) -> str:
    assert run("report", *arguments, "-o", output) == 0
    return output.read_text(encoding="utf-8")


def test_the_graph_is_found_by_the_plan(plan: Path, tmp_path: Path) -> None:
    text = page_of(plan, output=tmp_path / "page.html")
    assert 'id="graph-view"' in text
    assert "Certificate: valid, everything was verified." in text
    assert "What if" not in text


def test_what_if(plan: Path, tmp_path: Path) -> None:
    text = page_of(plan, "--what-if", 5, output=tmp_path / "page.html")
    assert "All 30 were made within 5" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_pages_without_graph_say_why(
    model: Path, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    text = page_of(plan, "--no-graph", output=page)
    assert 'id="graph-view"' not in text
    assert "left out (--no-graph)" in text
    moved = model.rename(tmp_path / "moved.json")
    text = page_of(plan, "--what-if", output=page)
    why = "is not there. Give the model: stagewright report PLAN.json MODEL."
    assert why in text
    told = capsys.readouterr().err
    assert why in told
    assert "--what-if needs the graph" in told
    assert "Certificate: not verified when this page was written." in text
    assert 'id="graph-view"' in page_of(plan, moved, output=page)


def test_another_graph_is_refused(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.graph.json"
    write_graph_file(chain(6, work=5), other)
    assert run("report", plan, other, "-o", tmp_path / "page.html") == 2
    assert "expected the graph that the plan is for, of hash" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_models_that_run_code_are_not_read_unasked(plan: Path, tmp_path: Path) -> None:
    document = json.loads(plan.read_text())
    program = tmp_path / "program.pt2"
    program.write_bytes(b"PK\x03\x04")
    document["source"]["model"] = str(program)
    plan.write_text(json.dumps(document))
    text = page_of(plan, output=tmp_path / "page.html")
    assert "which is not done unasked" in text


def test_a_changed_plan_is_called_invalid(plan: Path, tmp_path: Path) -> None:
    document = json.loads(plan.read_text())
    document["bounds"][0]["value"] *= 1.5
    document["bounds"] = document["bounds"][:1]
    document["bottleneck"] *= 2
    plan.write_text(json.dumps(document))
    assert "Certificate: INVALID." in page_of(plan, output=tmp_path / "page.html")


def test_an_invalid_plan_is_not_drawn(plan: Path, tmp_path: Path) -> None:
    document = json.loads(plan.read_text())
    del document["stages"][0]["nodes"][0]
    plan.write_text(json.dumps(document))
    text = page_of(plan, "--what-if", 2, output=tmp_path / "page.html")
    assert "the plan is not valid: 1 nodes are in no stage, first" in text
    assert "Certificate: INVALID." in text
    assert 'id="graph-view"' not in text


def test_devices_of_several_kinds_are_named(plan: Path, tmp_path: Path) -> None:
    document = json.loads(plan.read_text())
    link = {"bandwidth": 10**9, "latency": 0}
    kind = {"name": "fast", "count": 9, "link": link, "memory": None, "memory_limit": 1 << 30}
    document["machine"]["devices"] = [{**kind, "host": "<a>"}]
    for stage in document["stages"]:
        stage["device"] = "fast"
    plan.write_text(json.dumps(document))
    text = page_of(plan, "--no-check", output=tmp_path / "page.html")
    assert '<th scope="col">Device</th>' in text
    assert "<td>fast</td>" in text
    assert "<td>&lt;a&gt;</td>" in text
    assert "1\N{NO-BREAK SPACE}GiB at most" in text
    assert 'id="graph-view"' in text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"link": None}, "machine.devices[0].link: expected an object"),
        ({"name": "other"}, "stages[0].device: expected one of other, got 'fast'"),
        ({"work": [1]}, "device 'fast': work: expected 6 numbers"),
    ],
)
def test_faults_of_devices(
    fault: dict[str, object], said: str, plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(plan.read_text())
    link = {"bandwidth": None, "latency": 0}
    kind = {"name": "fast", "count": 9, "link": link, "memory": None, "memory_limit": None}
    document["machine"]["devices"] = [kind | fault]
    for stage in document["stages"]:
        stage["device"] = "fast"
    plan.write_text(json.dumps(document))
    assert run("report", plan, "-o", plan.with_suffix(".html")) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-1", "nan", "soon"])
def test_wrong_seconds(text: str, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run("report", plan, "-o", "page.html", f"--what-if={text}")
    assert end.value.code == 2
    assert "--what-if" in capsys.readouterr().err


def test_runs_write_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.eye(8, dtype="f4"), "w")
    nodes = [
        helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"], name=f"mm{i}") for i in (0, 1)
    ]
    edge = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 8]) for n in ("x0", "x2")]
    graph = helper.make_graph(nodes, "g", edge[:1], edge[1:], [weight])
    model, stages, page = tmp_path / "m.onnx", tmp_path / "stages", tmp_path / "page.html"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), model
    )
    plan = tmp_path / "plan.json"
    assert run("plan", model, "-k", 2, "--device", "h100-sxm", "-o", plan) == 0
    assert run("split", model, plan, "-o", stages) == 0
    assert json.loads((stages / "plan.json").read_text()) == json.loads(plan.read_text())
    assert run("run", stages, "--items", 8, "--report", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "Measured against predicted" in text
    assert 'id="graph-view"' in text
    page.unlink()
    (tmp_path / "taken").mkdir()  # a trace that cannot be written does not cost the page
    trace = ("--trace", tmp_path / "taken", "--explain")
    assert run("run", stages, "--items", 24, "--report", page, *trace) == 2
    assert page.is_file()
    (stages / "plan.json").unlink()
    capsys.readouterr()
    assert run("run", stages, "--items", 8, "--report", page) == 2
    assert "expected a readable file" in capsys.readouterr().err
