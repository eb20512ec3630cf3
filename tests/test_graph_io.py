# SPDX-License-Identifier: Apache-2.0
"""Charging inputs and outputs: the costs by hand, the command, and what plan files remember."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.graph import CostGraph, GraphBuilder, GraphIO
from stagewright.graph_io import count_graph_io
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate
from stagewright.readers import load

MACHINE = Machine(2, bandwidth=10**9, latency=1000)


def sample() -> CostGraph:
    b = GraphBuilder("sample")
    for name, work in (("a", 10_000), ("b", 20_000), ("c", 30_000)):
        b.add_node(name, work=work)
    b.add_tensor(0, [1], nbytes=4)
    b.add_tensor(1, [2], nbytes=8)
    b.add_io("x", 100, [0], is_input=True)
    b.add_io("mask", 10, [2, 1], is_input=True)
    b.add_io("y", 50, [2], is_input=False)
    return b.build()


def cost(nbytes: int) -> int:
    return 1000 + nbytes * 1000  # latency and a nanosecond per byte, picoseconds


def test_stages_pay_for_inputs_and_outputs() -> None:
    graph = count_graph_io(sample(), MACHINE)
    assert graph.work.tolist() == [10_000 + cost(100), 20_000 + cost(10), 30_000 + cost(50)]
    # The mask enters at b and goes on to c from there.
    assert graph.tensor_producer.tolist() == [0, 1, 1]
    assert graph.tensor_consumers.rows() == [[1], [2], [2]]
    assert graph.tensor_bytes.tolist() == [4, 8, 10]
    assert graph.io == ()
    assert graph.notes == ("graph inputs and outputs are charged: 2 and 1",)
    first, second = evaluate(graph, MACHINE, Plan(((0, 1), (2,))))
    assert first.work == 30_000 + cost(100) + cost(10)
    assert (first.io_out, second.io_in) == (cost(8) + cost(10), cost(8) + cost(10))
    assert second.work == 30_000 + cost(50)


def test_a_cheaper_plan_may_follow() -> None:
    free, charged = sample(), count_graph_io(sample(), MACHINE)
    assert sw.plan(free, 2, bandwidth=10**9, latency="1ns").plan.stages == ((0, 1), (2,))
    assert sw.plan(charged, 2, bandwidth=10**9, latency="1ns").plan.stages == ((0,), (1, 2))


def test_what_is_not_known_is_refused() -> None:
    b = GraphBuilder("plain")
    b.add_node("a", work=1)
    with pytest.raises(InputError) as caught:
        count_graph_io(b.build(), MACHINE)
    assert str(caught.value) == (
        "graph 'plain': inputs and outputs: expected a model that says what they are (ONNX, PyTorch, StableHLO), "
        "got a graph without. Leave out --count-graph-io."
    )
    b.add_io("x", -1, [0], is_input=True)
    with pytest.raises(InputError, match="input 'x': expected a known size, got an unknown one"):
        count_graph_io(b.build(), MACHINE)
    with pytest.raises(InputError, match="bandwidth: expected a value"):
        count_graph_io(sample(), Machine(2))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two inputs (one is read twice, one never), an initialiser listed as input, two outputs."""

    def info(name: str, *dims: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    weight = TensorProto(name="w", dims=[4, 8], data_type=TensorProto.FLOAT, raw_data=bytes(128))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], "mm"),
            helper.make_node("Relu", ["h"], ["r"], "relu"),
            helper.make_node("MatMul", ["x", "w"], ["g"], "again"),
            helper.make_node("Add", ["r", "g"], ["y"], "add"),
        ],
        "m",
        [info("x", 2, 4), info("w", 4, 8), info("idle", 9)],
        [info("y", 2, 8), info("r", 2, 8)],
        [weight],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_onnx_models_say_what_they_read_and_return(model: Path) -> None:
    graph = load(model)
    assert graph.io == (
        GraphIO("x", True, 32, (0, 2)),
        GraphIO("r", False, 64, (1,)),
        GraphIO("y", False, 64, (3,)),
    )


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_the_command_charges_and_remembers(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, options = tmp_path / "plan.json", ("-k", 2, "--device", "cpu-core", "--no-fuse")
    machine = (*options, "--bandwidth", "1GB/s", "--latency", "1us")
    assert run("plan", model, *machine, "-o", tmp_path / "free.json") == 0
    assert run("plan", model, *machine, "--count-graph-io", "-o", plan) == 0
    documents = [json.loads((tmp_path / name).read_text()) for name in ("free.json", "plan.json")]
    work = [sum(stage["work"] for stage in d["stages"]) for d in documents]
    # x, r and y: a microsecond each, and a nanosecond per byte.
    assert work[1] - work[0] == pytest.approx(3e-6 + 160e-9)
    assert "count_graph_io" not in documents[0]["source"]
    assert documents[1]["source"]["count_graph_io"] is True
    capsys.readouterr()
    assert run("check", model, plan) == 0
    assert "valid, everything verified" in capsys.readouterr().out
    assert run("split", model, plan, "-o", tmp_path / "stages") == 0
    bound = ("--method", "simple", "--json")
    values = []
    for extra in ((), ("--count-graph-io",)):
        capsys.readouterr()
        assert run("bound", model, *machine, *bound, *extra) == 0
        values.append(json.loads(capsys.readouterr().out)["value"])
    assert values[0] < values[1] <= documents[1]["bottleneck"]
    robust = ("robust", model, *machine, "--samples", 2, "--count-graph-io", "--json")
    assert run(*robust) == 0
    nominal = json.loads(capsys.readouterr().out)["plans"]
    assert min(p["bottleneck"] for p in nominal) == pytest.approx(documents[1]["bottleneck"])


def test_a_graph_file_can_hold_the_charges(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "charged.graph.json"
    charge = ("--count-graph-io", "--bandwidth", "1GB/s", "--latency", "1us")
    assert run("convert", model, out, *charge) == 0
    graph = load(out)
    # At mm the input x enters and goes on to the other product; relu and add send outputs.
    assert graph.work.tolist() == [1_032_000, 1_064_000, 0, 1_064_000]
    assert (0, [2], 32) in list(
        zip(
            graph.tensor_producer.tolist(),
            graph.tensor_consumers.rows(),
            graph.tensor_bytes.tolist(),
            strict=True,
        )
    )
    assert run("plan", out, "-k", 2, "--bandwidth", "1GB/s", "--count-graph-io") == 2
    assert "got a graph without. Leave out --count-graph-io." in capsys.readouterr().err


def test_pytorch_modules_say_what_they_read_and_return() -> None:
    torch = pytest.importorskip("torch")

    class Twice(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is optional, so untyped here
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(8, 16)

        def forward(self, x: Any, mask: Any) -> Any:
            hidden = torch.relu(self.inner(x))
            return hidden, hidden * mask

    graph = sw.read(Twice(), (torch.zeros(2, 8), torch.zeros(2, 16)))
    assert graph.node_ops == ("linear", "relu", "mul")
    assert graph.io == (
        GraphIO("input 0", True, 64, (0,)),
        GraphIO("input 1", True, 128, (2,)),
        GraphIO("output 0", False, 128, (1,)),
        GraphIO("output 1", False, 128, (2,)),
    )
