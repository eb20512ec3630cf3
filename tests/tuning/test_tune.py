# SPDX-License-Identifier: Apache-2.0
"""The command tune, and its files: what it writes, plan, check and split take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import stagewright as sw
from stagewright.cli import main
from stagewright.cost.profile_file import Profile
from stagewright.errors import InputError
from stagewright.source import Source
from stagewright.tuning import Measurement, StageMeasurement

onnx = pytest.importorskip("onnx", reason="reads ONNX models")
pytest.importorskip("onnxruntime", reason="measures with onnxruntime (extra: run)")

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MODEL = str(LIGHT / "light_squeezenet.onnx")


def test_tune_plan_check_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, profile = tmp_path / "plan.json", tmp_path / "plan.profile.json"
    run = ["--engine", "thread", "--items", "24", "--rounds", "2", "--time-limit", "5"]
    assert main(["tune", MODEL, "-k", "2", *run, "-o", str(plan), "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert f"written: {profile}" in shown.err
    rounds = found["rounds"]
    assert 1 <= len(rounds) <= 2
    assert found["period"] == min(r["measured"] for r in rounds) > 0
    assert rounds[found["best"] - 1]["measured"] == found["period"]
    for r in rounds:
        assert r["predicted"] == max(stage["predicted"] for stage in r["stages"])
        assert all(s["busy"] == s["compute"] + s["send"] > 0 for s in r["stages"])
    document = json.loads(plan.read_text())
    assert document["source"]["profile"] == str(profile)
    assert sum(len(s["nodes"]) for s in document["stages"]) == sum(
        s["nodes"] for s in rounds[0]["stages"]
    )
    known = Profile.load(profile)
    assert known.tuned == len(rounds)
    assert known.bandwidth == document["machine"]["bandwidth"]
    # What it wrote is all that the other commands need.
    assert main(["check", MODEL, str(plan)]) in (0, 3)
    assert "problem" not in capsys.readouterr().out
    again = tmp_path / "again.json"
    planning = ["plan", MODEL, "-k", "2", "--profile", str(profile), "-o", str(again)]
    assert main(planning) == 0
    replanned = json.loads(again.read_text())
    assert replanned["machine"] == document["machine"]
    assert replanned["graph_sha256"] == document["graph_sha256"]
    assert replanned["bottleneck"] <= document["bottleneck"]
    assert main(["split", MODEL, str(plan), "-o", str(tmp_path / "stages")]) == 0


def test_costs_to_begin_with_may_be_estimated(tmp_path: Path) -> None:
    """Estimated costs, corrected by a made-up runtime on which everything takes three times as long."""

    def slow(result: sw.Result) -> Measurement:
        costs = json.loads(json.dumps(result.to_json(), default=float))["stages"]
        stages = [
            StageMeasurement(3 * s["work"] + s["io_in"] + s["io_out"], 0.0, 0, 0) for s in costs
        ]
        return Measurement(max(s.busy for s in stages), tuple(stages))

    source = Source(MODEL, device="cpu-core")
    found = sw.tune(MODEL, 3, source=source, measure=slow, threads=1)
    before, after = sw.read(MODEL, device="cpu-core"), found.tuned.costs.graph
    assert after.total_work == pytest.approx(3 * before.total_work, rel=0.01)
    path = found.save(tmp_path / "plan.json", tmp_path / "costs.json")
    assert path == tmp_path / "costs.json"
    graph = sw.read(MODEL, profile=path)
    assert graph.sha256 == found.result.graph.sha256
    assert sw.check(graph, tmp_path / "plan.json").problems == []


def test_what_cannot_be_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="rounds: expected a whole number >= 1, got 0"):
        sw.tune(MODEL, 2, rounds=0)
    graph = tmp_path / "graph.json"
    assert main(["convert", MODEL, str(graph)]) == 0
    output = ["-o", str(tmp_path / "plan.json")]
    assert main(["tune", str(graph), "-k", "2", *output]) == 2
    assert "an ONNX model, whose stages can be run" in capsys.readouterr().err
    assert main(["tune", MODEL, "-k", "2", "-o", str(tmp_path / "no" / "plan.json")]) == 2
    assert "a file in an existing folder" in capsys.readouterr().err
