# SPDX-License-Identifier: Apache-2.0
"""The command bench, and --json of commands that write files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.test_cli import chain, json_of, run

from stagewright.readers.graph_writer import write_graph_file


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}.graph.json" for n in (5, 9)]
    for path, n in zip(paths, (5, 9), strict=True):
        write_graph_file(chain(n), path)
    return paths


def test_rows_are_those_of_plan(models: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", *models, "--stages", "2,3", "--bandwidth", "1GB/s", "--json") == 0
    document = json_of(capsys)
    assert [(Path(r["model"]), r["stages"]) for r in document["rows"]] == [
        (model, k) for model in models for k in (2, 3)
    ]
    assert document["proven"] == 4
    assert document["geometric_mean_lower_over_upper"] == 1
    for row in document["rows"]:
        assert run("plan", row["model"], "-k", row["stages"], "--bandwidth", "1GB/s", "--json") == 0
        assert json_of(capsys)["bottleneck"] == row["bottleneck"]


def test_table(models: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", *models, "--bandwidth", "1GB/s") == 0
    shown = capsys.readouterr().out
    assert shown.count("optimal") == 6
    assert "6 of 6 proven; geometric mean of lower/upper 1.0000; longest " in shown


def test_rows_without_a_plan_cost_no_other_row(
    models: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ("--bandwidth", "1GB/s", "--memory-limit", "1500B", "--stages", "1,2")
    assert run("bench", *models, *limit) == 0
    shown = capsys.readouterr()
    assert shown.out.count("none (proven)") == 4
    assert shown.err.count("no plan of") == 4


def test_convert_and_split_tell_what_they_wrote_as_json(
    models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", models[0], tmp_path / "out.graph.json", "--json") == 0
    told = json_of(capsys)
    assert (told["nodes"], told["tensors"], told["left_out"]) == (5, 4, [])
    assert told["graph_sha256"]
    import onnx

    model = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"
    plan = tmp_path / "plan.json"
    assert run("plan", model, "-k", 2, "--device", "h100-sxm", "-o", plan, "--json") == 0
    capsys.readouterr()
    assert run("split", model, plan, "-o", tmp_path / "stages", "--json") == 0
    manifest = json_of(capsys)
    assert manifest == json.loads((tmp_path / "stages" / "manifest.json").read_text())
