# SPDX-License-Identifier: Apache-2.0
"""The command bench, from a grid to its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagewright.cli import main

pytest.importorskip("duckdb")

GRID = """
stages = [2]
methods = ["plan", "simple"]
limits = [0.3]
[[instances]]
set = "synthetic"
random = 2
"""


def test_grid_is_run_and_its_table_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.toml").write_text(GRID)
    assert main(["bench", "grid.toml", "--processes", "1"]) == 0
    shown = capsys.readouterr()
    assert "4 runs: 0 known, 4 done now, 0 of these failed; written: grid.parquet" in shown.err
    lines = shown.out.splitlines()
    assert lines[0].startswith("| set | k | method | time_limit | runs | failed | bound |")
    assert [line.split(" | ")[2] for line in lines[2:]] == ["plan", "simple"]
    assert main(["bench", "table", "grid.parquet", "--json", "--by", "instance"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["rows"]) == 4
    assert document["contradictions"] == []
    assert main(["bench", "table", "grid.parquet", "--query", "SELECT count(*) AS n FROM results"]) == 0  # fmt: skip
    assert capsys.readouterr().out == "| n |\n| --- |\n| 4 |\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: expected a readable grid"),
        (["table"], "bench: expected models, one GRID.toml, or: table RESULTS.parquet, got table"),
        (["table", "none.parquet"], "none.parquet: expected a file of results, got none"),
        (
            ["a.toml", "b.toml"],
            "bench: expected models, one GRID.toml, or: table RESULTS.parquet, got a.toml b.toml",
        ),
        (["none.toml", "--processes", "0"], "--processes: expected a whole number >= 1, got 0"),
    ],
)
def test_wrong_use_ends_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err
