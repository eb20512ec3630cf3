# SPDX-License-Identifier: Apache-2.0
"""The page of the paper's experiments says what its results say, and is the one that they make."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb")

from benchmarks.report import __main__ as report
from benchmarks.report import bounds, searches, times
from benchmarks.report.pictures import PICTURES, draw
from benchmarks.report.rows import VIEWS, across, markdown

from stagewright.benching.methods import METHODS
from stagewright.benching.results import Results
from stagewright.benching.tables import asking, query

PICTURE_FOLDER = report.PAGE.parent / "pictures"


def row(method: str, name: str = "a", /, **others: Any) -> dict[str, Any]:
    key = {"set": "testbed", "instance": name, "machine": "fast", "source_digest": "d", "k": 16,
           "machine_options": "{}", "method": method, "seed": 0, "time_limit": 5.0, "threads": 1}  # fmt: skip
    answer = {"nodes": 20, "seconds": 0.5, "peak_mib": 50.0, "evidence": "flow", "version": "1"}
    return key | answer | others


def filled(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "some.parquet"
    results = Results(path)
    for one in rows:
        results.add({}, one)
    results.close()
    return path


def table_of(text: str, first: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this title."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip(" `") for cell in line.strip("|").split("|")])
    return rows


def test_the_page_is_the_one_that_the_committed_results_make() -> None:
    files = sorted(report.RESULTS.glob("*.parquet"))
    assert files
    wrong = "run: python -m benchmarks.report"
    assert report.page(files) == report.PAGE.read_text(encoding="utf-8"), wrong
    for name in PICTURES:
        text = (PICTURE_FOLDER / f"{name}.svg").read_text(encoding="utf-8")
        assert len(text) < 150_000
        assert "<svg" in text


def test_bounds_stand_over_the_best_plan_of_any_method(tmp_path: Path) -> None:
    rows = [
        row("plan", upper=100, lower=100),
        row("simple", lower=25),
        row("plan", "b", upper=200, lower=64),
        row("plan", "b", upper=160, lower=80, time_limit=60.0),
        row("random-100", "b", upper=128),
        row("simple", "b", lower=64, evidence="recomputed"),
        row("mip", "b", lower=100, evidence="claimed"),
        # Not planned, so what can be reached is not known.
        row("random-100", "c", upper=50),
        row("simple", "c", lower=10),
    ]
    with asking([filled(tmp_path, rows)], VIEWS) as ask:
        text = "\n\n".join(bounds.abstract(ask))
        cells = {cells[0]: cells[1:] for cells in table_of(text, "k = 16")}
        assert cells["instances"] == ["369", "2"]
        simple, best = math.sqrt(0.25 * 0.5), math.sqrt(1 * 80 / 128)
        assert cells["simple bound over the best plan, geometric mean"][1] == f"{simple:.4f}"
        # A solver's claim is left out.
        assert cells["best bound over the best plan, geometric mean"][1] == f"{best:.4f}"
        assert cells["the gap to 1 becomes smaller by"][1] == f"{(1 - simple) / (1 - best):.2f}"
        assert cells["proven optimal"][1] == "50.0 %"
        assert f"short by {0.995 - best:.4f}" in text
        ladder = {cells[0]: cells[1] for cells in table_of("\n".join(bounds.quality(ask)), "bound")}
        assert ladder["mip"] == f"{100 / 128:.4f} (1)"
        assert ladder["simple"] == f"{simple:.4f} (2)"
        assert ladder["all together"] == f"{best:.4f} (2)"
        (worst,) = table_of("\n".join(bounds.worst(ask)), "instance")
        assert (worst[0], worst[5], worst[-1]) == ("b", "0.6250", "60")
        within = table_of("\n".join(times.proven_within(ask)), "instances")
        assert within == [["testbed fast", "16", "2", "0.0 %", "50.0 %", "50.0 %", "50.0 %"]]


def test_graphs_are_counted_by_area(tmp_path: Path) -> None:
    rows = [
        row("plan", f"{area}/{nodes}", upper=1, lower=1, nodes=nodes, edges=2 * nodes, reduced_nodes=9, ideals=i)
        for area, nodes, i in (("vision", 20, 7), ("vision", 40, None), ("language", 90, 5))
    ]  # fmt: skip
    with asking([filled(tmp_path, rows)], VIEWS) as ask:
        found = table_of("\n".join(bounds.graphs(ask)), "set")
    assert [cells[1:] for cells in found] == [
        ["language", "1", "90 (90)", "180 (180)", "9 (9)", "5", "1 of 1"],
        ["vision", "2", "30 (40)", "60 (80)", "9 (9)", "7", "1 of 2"],
        ["all", "3", "40 (90)", "80 (180)", "9 (9)", "6", "2 of 3"],
    ]


def test_searches_and_peers_are_compared_on_the_same_instances(tmp_path: Path) -> None:
    rows = [
        row("plan", upper=100, lower=100),
        row("random-100", upper=150),
        row("cpsat", upper=100, lower=100),
        row("highs", lower=40),
        row("metis", error="MissingDependencyError: none"),
        row("plan", "b", upper=50, lower=50),
    ]
    with asking([filled(tmp_path, rows)], VIEWS) as ask:
        found = table_of("\n".join(searches.searches(ask)), "instances")
        assert [cells[2:7] for cells in found] == [
            ["plan", "1", "1.0000", "1.0000", "1 of 1"],
            ["random-100", "1", "1.5000", "1.5000", "0 of 1"],
        ]
        text = "\n".join(searches.peers(ask))
        usual = {cells[2]: cells[3:] for cells in table_of(text, "instances")}
        text = text[text.index("`cpsat` and") :]
        peers = {cells[2]: cells[3:] for cells in table_of(text, "instances")}
        assert peers["cpsat"][:6] == ["1", "1", "1.0000", "1.0000", "1", "1"]
        assert peers["highs"][:6] == ["1", "0", "-", "-", "0", "0"]
        assert usual["metis"][:6] == ["1", "0", "-", "-", "0", "-"]
        assert usual["plan"][0] == peers["plan"][0] == "1"


def test_relaxations_overflow_and_other_costs_are_joined_to_their_counterparts(tmp_path: Path) -> None:  # fmt: skip
    rows = [
        row("plan", upper=200, lower=200),
        row("bottleneck", lower=150, evidence="claimed"),
        row("bottleneck-lp", lower=100, evidence="claimed"),
        row("plan", machine="edge", upper=300, lower=150),
        row("plan", machine="edge-roomy", upper=200, lower=200),
        row("plan", machine="half-link", upper=240, lower=240),
        row("plan@fast", machine="half-link", upper=252),
    ]
    with asking([filled(tmp_path, rows)], VIEWS) as ask:
        (gap,) = table_of("\n".join(bounds.integrality(ask)), "instances")
        assert gap[2:] == ["bottleneck", "1", "0.5000", "0.7500", "1.5000", "1.5000", "1"]
        (over,) = table_of("\n".join(searches.overflow(ask)), "k")
        assert over == ["16", "1", "1", "1.5000", "1.5000", "0.5000", "1.0000", "0.0 %", "100.0 %"]
        (other,) = table_of("\n".join(searches.other_costs(ask)), "machine")
        assert other == ["half-link", "16", "1", "1.0500", "1.0500", "1 of 1", "100.0 %", "1.2000"]


def test_coverage_is_told_in_words_too(tmp_path: Path) -> None:
    one = {"orders": 10_000, "plans": 90, "values": 12, "least": 120, "most": 240, "log10_orders": 20.2,
           "random-100": 130, "random-10000": 120, "brkga-100": {"value": 125, "as_good": 0.25},
           "brkga-10000": {"value": 110, "as_good": 0.0}}  # fmt: skip
    rows = [row("plan", upper=100, lower=100), row("coverage-10000", details=json.dumps(one))]
    path = filled(tmp_path, rows)
    with asking([path], VIEWS) as ask:
        text = "\n".join(searches.coverage(ask))
    assert table_of(text, "graph") == [
        ["a", "20", "10^20", "10,000", "90", "12", "2.0000", "1.2000", "1.1000", "25.0 %", "0.0 %"]
    ]
    assert "on 1 no random order is as good" in text
    assert "10,000 evaluations 1.2000 random, 1.1000 BRKGA" in text
    assert [r["proven"] for r in query(path, "SELECT proven FROM ratios ORDER BY method")] == [None, True]  # fmt: skip


def test_growth_is_fitted_to_powers(tmp_path: Path) -> None:
    rows = []
    for nodes in (1000, 10_000, 100_000):
        details = json.dumps({"slicing": 1e-9 * nodes**1.5, "compile": 1e-6 * nodes})
        own = {
            "set": "growth",
            "machine": "",
            "instance": f"layered-{nodes}",
            "nodes": nodes,
            "k": 4,
        }
        rows.append(row("parts", details=details, upper=9, **own))
        rows.append(row("plan", upper=102, lower=100, close_seconds=1e-6 * nodes, **own))
        rows.append(row("anchor", lower=100, **(own | {"seconds": 1e-10 * nodes**2})))
    with asking([filled(tmp_path, rows)], VIEWS) as ask:
        text = "\n".join(times.growth(ask))
    for part in ("slicing n^1.50 (1.50 to 1.50)", "compile n^1.00", "anchor n^2.00", "plan, to 2 % n^1.00"):  # fmt: skip
        assert part in text
    assert table_of(text, "family")[0][-4:] == ["2.000 %", "0.001", "50", "50"]


def test_times_are_fitted_to_nodes_and_stages(tmp_path: Path) -> None:
    rows = [
        row(
            "anchor",
            f"i{nodes}",
            lower=1,
            upper=9,
            k=k,
            nodes=nodes,
            seconds=1e-6 * nodes**2 * k**0.5,
        )
        for nodes in (100, 400, 900)
        for k in (4, 16)
    ]
    rows += [row("parts", f"i{n}", upper=9, nodes=n, details=json.dumps({"reduce": 1e-5 * n})) for n in (100, 400)]  # fmt: skip
    with asking([filled(tmp_path, rows)], VIEWS) as ask:
        text = "\n\n".join(times.running_times(ask))
    (anchor,) = [cells for cells in table_of(text, "set") if cells[1] == "anchor"]
    assert anchor[7] == "2.00"
    assert anchor[9] == "0.50"
    start = text.index("| set | part |")
    assert [cells[1:] for cells in table_of(text[start:], "set")] == [
        ["reduce", "2", "0.0025", "0.004", "1.00", "1.00"]
    ]


def test_what_was_not_run_is_named_with_its_cost(tmp_path: Path) -> None:
    small = row("plan", "b", stopped="skipped: 9 nodes for 16 stages", seconds=0.0)
    path = filled(tmp_path, [row("plan", upper=9, lower=9, seconds=36.0), small])
    wanted = tmp_path / "wanted.json"
    wanted.write_text(json.dumps([["testbed", [["testbed", "fast", 16, "plan", 400]]]]))
    text = report.page([path], wanted)
    assert ["benchmarks/grids/testbed.toml", "400", "1", "1", "2.0"] in table_of(text, "grid")
    assert "- testbed: `plan` (398)" in text
    assert "All of it has run." not in text
    wanted.write_text(json.dumps([["testbed", [["testbed", "fast", 16, "plan", 2]]]]))
    assert "All of it has run." in report.page([path], wanted)
    assert not [line for line in text.splitlines() if "nan" in line]


def test_another_page_is_written_from_other_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.md"
    path = filled(tmp_path, [row("plan", upper=9, lower=9), row("simple", lower=10)])
    monkeypatch.setattr("sys.argv", ["report", "--page", str(target), str(path)])
    assert report.main() == 1
    assert "contradiction: {'set': 'testbed', 'instance': 'a'" in capsys.readouterr().err
    assert "of the same instance (a fault): 1." in target.read_text()


def test_pictures_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [row(method, upper=100 if method == "plan" else None, lower=50, k=k)
            for method in ("plan", "simple", "anchor") for k in (2, 16)]  # fmt: skip
    rows.append(row("parts", upper=9, details='{"reduce": 0.1}', set="growth", machine=""))
    with asking([filled(tmp_path, rows)], VIEWS) as ask:
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            draw(ask, tmp_path / folder)
    for name in PICTURES:
        one, two = ((tmp_path / folder / f"{name}.svg").read_bytes() for folder in ("one", "two"))
        assert one == two
        assert b"matplotlib.org" not in one.split(b"<defs>")[0]


def test_results_are_taken_over_and_the_later_run_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "kept")
    monkeypatch.setattr(report, "WANTED", tmp_path / "kept" / "wanted.json")
    monkeypatch.setattr(report, "_EXPERIMENTS", ("synthetic", "none-of-these"))
    report.take([filled(tmp_path, [row("plan", upper=9, lower=8), row("simple", lower=3)])])
    gone = row("plan", "erdos-n1-s1", upper=9, lower=9, set="synthetic", machine="")
    report.take([filled(tmp_path, [row("plan", upper=9, lower=9), gone])])
    with asking([tmp_path / "kept" / "some.parquet"]) as ask:
        found = ask("SELECT method, lower FROM results ORDER BY method")
    assert [tuple(r.values()) for r in found] == [("plan", 9), ("simple", 3)]
    ((name, entries),) = json.loads((tmp_path / "kept" / "wanted.json").read_text())
    assert name == "synthetic"
    assert ["synthetic", "", 16, "plan", 1000] in entries
    assert {entry[3] for entry in entries} <= set(METHODS)


def test_tables_are_whole() -> None:
    rows = [{"bound": "b", "k": k, "n": k} for k in (2, 4)] + [{"bound": "c", "k": 4, "n": 1}]
    assert across(rows, "bound", "k", lambda r: str(r["n"])).splitlines() == [
        "| bound | k = 2 | k = 4 |",
        "| --- | --- | --- |",
        "| b | 2 | 4 |",
        "| c | - | 1 |",
    ]
    assert markdown(["a", "b", "c"], [[None, 1234, 0.5]]).endswith("| - | 1,234 | 0.5000 |")
