# SPDX-License-Identifier: Apache-2.0
"""`stagewright plan --machine`: the whole way from files to a checked plan file."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest

from stagewright.cli import main

GRAPH = {
    "format": "stagewright-graph/1",
    "name": "chain",
    "time_unit": "us",
    "nodes": [{"name": f"n{i}", "op": "Conv", "work": 10 + i} for i in range(6)],
    "tensors": [{"producer": i, "consumers": [i + 1], "bytes": 1000} for i in range(5)],
}
MACHINE = """
[[device]]
kind = "fast"
count = 2
bandwidth = "1GB/s"
cost = 5
[[device]]
kind = "slow"
scale = 2
bandwidth = "1GB/s"
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "g.json").write_text(json.dumps(GRAPH))
    (tmp_path / "m.toml").write_text(MACHINE)
    return str(tmp_path / "g.json"), str(tmp_path / "m.toml")


def test_plan_and_check(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, machine = files
    out = str(tmp_path / "plan.json")
    assert main(["plan", graph, "--machine", machine, "-o", out]) == 0
    shown = capsys.readouterr().out
    assert "Proven optimal" in shown
    assert "Devices of the stages: fast | " in shown
    assert main(["check", graph, out]) == 0
    assert "everything verified" in capsys.readouterr().out
    plan = json.loads(Path(out).read_text())
    plan["stages"][0]["device"] = "slow"
    Path(out).write_text(json.dumps(plan))
    assert main(["check", graph, out]) == 1


@pytest.mark.parametrize("by_file", [True, False])
def test_devices_that_run_several_stages(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], by_file: bool
) -> None:
    graph, machine = files
    out = str(tmp_path / "plan.json")
    if by_file:
        Path(machine).write_text("shared = true\n" + MACHINE)
    asked = ["plan", graph, "--machine", machine, "-o", out, "--time-limit", "20"]
    assert main([*asked, *([] if by_file else ["--share-devices"])]) == 0
    assert "Devices of the stages: fast 0 | " in capsys.readouterr().out
    plan = json.loads(Path(out).read_text())
    assert plan["machine"]["shared"] is True
    assert {stage["number"] for stage in plan["stages"]} == {0, 1, 2}
    # A solver's claim is not redone.
    assert main(["check", graph, out]) in (0, 3)
    plan["stages"][0]["number"] = 1
    Path(out).write_text(json.dumps(plan))
    assert main(["check", graph, out]) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "latency"], "Latency: 75 us (proven least)"),
        (["--objective", "makespan"], "Makespan: 75 us (proven least)"),
        (["--objective", "cost", "--period-limit", "150us"], "Cost: 1 (proven least)"),
        (["--objective", "cost", "--period-limit", "80us"], "Cost: 5 (proven least)"),
        (["--objective", "period", "--latency-limit", "75us"], "Period: 75 us (proven least)"),
    ],
)
def test_objectives(
    options: list[str],
    said: str,
    files: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph, machine = files
    out = str(tmp_path / "plan.json")
    assert main(["plan", graph, "--machine", machine, *options, "-o", out]) == 0
    assert said in capsys.readouterr().out
    assert main(["check", graph, out]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--stages: expected the number of devices, or --machine FILE, got neither"),
        (["--stages", "2", "--machine", "m.toml"], "--stages: expected none beside --machine"),
        (["--stages", "2", "--work", "w.json"], "--work: expected --machine or --objective"),
        (["--mode", "training"], "machine: expected the devices to plan for, got none"),
        (["--stages", "2", "--microbatches", "4"], "--microbatches: expected --mode training"),
        (
            ["--machine", "m.toml", "--replicas", "4"],
            "expected --mode training, got --mode inference",
        ),
        (
            ["--mode", "training", "--stages", "2", "--bandwidth", "1GB/s", "--optimizer", "x"],
            "optimizer: expected one of sgd, momentum, adam, adam-mixed",
        ),
        (
            ["--mode", "training", "--stages", "2", "--backward-factor", "x"],
            "backward factor: expected a number from 0 to 1000, got 'x'",
        ),
        (["--mode", "inference"], "machine: expected the devices to plan for, got none"),
        (
            ["--mode", "inference", "--bandwidth", "1GB/s"],
            "--bandwidth: expected none beside --mode w",
        ),
        (["--machine", "m.toml", "--start", "p.json"], "--start: expected none beside --machine"),
        (["--machine", "none.toml"], "none.toml: expected a readable machine file"),
        (["--objective", "cost"], "objective cost: expected a limit of the period"),
    ],
)
def test_wrong_use(
    options: list[str], said: str, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    if options == ["--objective", "cost"]:
        options = [*options, "--machine", files[1]]
    assert main(["plan", files[0], *options]) == 2
    assert said in capsys.readouterr().err


def test_nothing_reaches_the_rate(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    graph, machine = files
    options = ["--machine", machine, "--objective", "cost", "--period-limit", "20us"]
    assert main(["plan", graph, *options]) == 1
    assert "no plan reaches the period" in capsys.readouterr().err


def test_exports_name_the_devices(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, machine = files
    out, table = str(tmp_path / "plan.json"), tmp_path / "x.csv"
    assert main(["plan", graph, "--machine", machine, "-o", out]) == 0
    used = [stage["device"] for stage in json.loads(Path(out).read_text())["stages"]]
    assert main(["export", out, "--to", "csv", "--model", graph, "-o", str(table)]) == 0
    assert f"in the order of ranks: {', '.join(used)}" in capsys.readouterr().err
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["device"] for row in rows] == [used[int(row["stage"])] for row in rows]
    factor = {"fast": 1, "slow": 2}
    works = {n["name"]: n["work"] for n in GRAPH["nodes"]}  # type: ignore[index]
    for row in rows:
        work = Decimal(works[row["node"]]) / 10**6
        assert Decimal(row["work_seconds"]) == work * factor[row["device"]]


def test_what_plans_of_training_cannot_do(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, machine = files
    out = str(tmp_path / "plan.json")
    assert main(["plan", graph, "--machine", machine, "--mode", "training", "-o", out]) == 0
    assert "Backward pass: a node beside each forward node" in capsys.readouterr().out
    for command, said in (
        (["export", out, "--to", "vllm"], "plan for vllm: expected one for inference"),
        (
            ["split", graph, out, "-o", str(tmp_path / "s")],
            f"{out}: expected a plan for inference to be split",
        ),
    ):
        assert main(command) == 2
        assert said in capsys.readouterr().err
    assert main(["export", out, "--to", "csv", "-o", str(tmp_path / "x.csv")]) == 0


def test_a_plan_of_another_model_is_named_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    plans = []
    for name, node in (("one", "a"), ("two", "b")):
        text = f'<ir_version: 8, opset_import: ["" : 17]> m (float[4] x) => (float[4] y) {{ [{node}] y = Exp(x) }}'
        onnx.save(onnx.parser.parse_model(text), tmp_path / f"{name}.onnx")
        plans.append(str(tmp_path / f"{name}.json"))
        model = str(tmp_path / f"{name}.onnx")
        command = ["plan", model, "--stages", "1", "--device", "l4", "-o", plans[-1]]
        assert main(command) == 0
    capsys.readouterr()
    command = ["split", str(tmp_path / "one.onnx"), plans[1], "-o", str(tmp_path / "s")]
    assert main(command) in (1, 2)
    said = capsys.readouterr().err
    assert f"{plans[1]}: stages[0].nodes: expected nodes of graph 'm', got 'b'" in said
    assert "give the one that its source.model names" in said


def test_the_devices_of_a_workload(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that names its devices needs no --machine; --stages asks for identical ones instead."""
    model, out = tmp_path / "w.json", str(tmp_path / "plan.json")
    node = {"supportedOnFpga": 1, "size": 0.0, "isBackwardNode": 0}
    works = [4, 3, 2, 5]
    nodes = [
        {**node, "id": i, "name": f"n{i}", "cpuLatency": 9 * w, "fpgaLatency": w}
        for i, w in enumerate(works)
    ]
    edges = [{"sourceId": i, "destId": i + 1, "cost": 0.0} for i in range(3)]
    machine = {"maxSizePerFPGA": 1e9, "maxFPGAs": 2, "maxCPUs": 1}
    model.write_text(json.dumps({**machine, "nodes": nodes, "edges": edges}))
    assert main(["plan", str(model), "-o", out]) == 0
    assert "Devices of the stages: accelerator | accelerator" in capsys.readouterr().out
    plan = json.loads(Path(out).read_text())
    assert [kind["name"] for kind in plan["machine"]["devices"]] == ["accelerator", "cpu"]
    assert main(["check", str(model), out]) == 0
    assert main(["plan", str(model), "--together", "n[0-2]", "-o", out]) == 0
    assert json.loads(Path(out).read_text())["stages"][0]["nodes"] == ["n0", "n1", "n2"]
    assert main(["check", str(model), out]) == 0
    assert main(["plan", str(model), "--stages", "4", "-o", out]) == 0
    assert "devices" not in json.loads(Path(out).read_text())["machine"]
    assert main(["plan", str(model), "--stages", "4", "--objective", "latency", "-o", out]) == 0
    assert len(json.loads(Path(out).read_text())["stages"]) == 1
    capsys.readouterr()
    assert main(["plan", str(model), "--bandwidth", "1GB/s"]) == 2
    assert "none beside the devices that" in capsys.readouterr().err


TRAINING = """
[training]
schedule = "gpipe"
microbatches = 6
optimizer = "sgd"
recompute = "auto"
replicas = 2
"""


def test_training_by_a_schedule(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options and a machine file say the same; options win; the checker adds the backward pass again."""
    graph, _ = files
    out, machine = str(tmp_path / "plan.json"), tmp_path / "t.toml"
    machine.write_text(TRAINING + '[[device]]\nkind = "device"\ncount = 4\nbandwidth = "1GB/s"\n')
    equal = ["--mode", "training", "--stages", "4", "--bandwidth", "1GB/s"]
    said = ["--schedule", "gpipe", "--microbatches", "6", "--optimizer", "sgd"]
    said += ["--recompute", "auto", "--replicas", "2"]
    assert main(["plan", graph, *equal, *said, "-o", out]) == 0
    shown = capsys.readouterr().out
    assert "Schedule: gpipe, 6 microbatches; a step takes" in shown
    assert "6 in flight" in shown or "3 in flight" in shown
    assert main(["check", graph, out]) == 0
    assert "everything verified" in capsys.readouterr().out
    first = json.loads(Path(out).read_text())
    assert first["training"]["schedule"] == {
        "name": "gpipe",
        "microbatches": 6,
        "state_factor": 2,
        "recompute": "auto",
        "replicas": 2,
    }
    assert main(["plan", graph, "--mode", "training", "--machine", str(machine), "-o", out]) == 0
    second = json.loads(Path(out).read_text())
    assert second["stages"] == first["stages"]
    other = ["--schedule", "1f1b", "--backward-factor", "1.5"]
    command = ["plan", graph, "--mode", "training", "--machine", str(machine), *other, "-o", out]
    assert main(command) == 0
    third = json.loads(Path(out).read_text())
    assert third["training"]["schedule"]["name"] == "1f1b"
    assert third["bottleneck"] < first["bottleneck"]
    assert main(["check", graph, out]) == 0
    third["source"]["backward"] = "3"
    Path(out).write_text(json.dumps(third))
    assert main(["check", graph, out]) == 1
    machine.write_text(TRAINING.replace("gpipe", "zb") + '[[device]]\nkind = "device"\n')
    assert main(["plan", graph, "--mode", "training", "--machine", str(machine)]) == 2
    assert (
        "training: schedule: expected gpipe, 1f1b or interleaved, got 'zb'"
        in capsys.readouterr().err
    )
