# SPDX-License-Identifier: Apache-2.0
"""`stagewright plan --machine`: the whole way from files to a checked plan file."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "latency"], "Latency: 75 us (proven least)"),
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
        (["--mode", "training"], "--mode training: expected a workload of dnn-partitioning"),
        (["--mode", "inference"], "machine: expected the devices to plan for, got none"),
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


def test_exports_say_that_they_do_not_know_such_plans(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, machine = files
    out = str(tmp_path / "plan.json")
    assert main(["plan", graph, "--machine", machine, "-o", out]) == 0
    command = ["export", out, "--to", "csv", "--model", graph, "-o", str(tmp_path / "x.csv")]
    assert main(command) == 2
    assert "machine: expected identical devices" in capsys.readouterr().err
