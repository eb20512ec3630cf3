# SPDX-License-Identifier: Apache-2.0
"""Grids run, go on where they were stopped, and their tables say what the rows say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from stagewright.benching import driver
from stagewright.benching.driver import run_grid
from stagewright.benching.grid import Grid, Job
from stagewright.benching.packs import line_of, write_pack
from stagewright.benching.random_dags import random_dag
from stagewright.benching.results import Results
from stagewright.benching.runs import answer_of
from stagewright.benching.tables import contradictions, query, summary
from stagewright.errors import InputError
from stagewright.machine import Machine
from stagewright.portfolio import Settings
from stagewright.solve import solve

pytest.importorskip("duckdb")

GRID = """
stages = [2, 3]
methods = ["plan", "simple", "random-100"]
limits = [20]
[[instances]]
set = "small"
files = ["*.jsonl.xz"]
"""


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    lines = [line_of(random_dag("erdos", 10, seed), f"e{seed}") for seed in range(2)]
    write_pack(tmp_path / "small.jsonl.xz", lines)
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return Grid.load(path)


def key(instance: str, method: str, **others: Any) -> dict[str, Any]:
    own = {"set": "s", "instance": instance, "machine": "", "source_digest": "d", "k": 2}
    return {**own, "machine_options": "{}", "method": method, "seed": 0, "time_limit": 1.0,
            "threads": 1, **others}  # fmt: skip


def filled(path: Path, rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> Path:
    results = Results(path)
    for own, answer in rows:
        results.add(own, answer)
    results.close()
    return path


def test_rows_are_what_the_methods_say(grid: Grid) -> None:
    jobs = [job for job in grid.jobs() if job.instance == grid.instances[0] and job.stages == 3]
    found = {job.method: answer_of(job) for job in jobs}
    graph = random_dag("erdos", 10, 0)
    # What proves these graphs takes far less than the limit, so that equal runs end equally.
    solution = solve(graph, Machine(3), Settings(time_limit=20, threads=1))
    plan = found["plan"]
    assert (plan["upper"], plan["lower"]) == (solution.bottleneck, solution.lower_bound)
    assert (plan["nodes"], plan["edges"]) == (graph.num_nodes, graph.num_edges)
    assert plan["graph_sha256"] == graph.sha256
    assert found["simple"]["lower"] <= plan["lower"] <= plan["upper"]
    assert found["simple"]["upper"] is None
    assert found["random-100"]["upper"] >= plan["upper"]
    assert found["random-100"]["lower"] is None


def test_a_stopped_run_goes_on(grid: Grid, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"

    def stop(row: dict[str, Any], done: int, wanted: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    total = len(list(grid.jobs()))
    first = run_grid(grid, path, processes=1, progress=stop)
    assert (first.runs, first.interrupted) == (total, True)
    kept = query(path, "SELECT count(*) AS n FROM results")[0]["n"]
    assert 4 <= kept < total
    seen: list[dict[str, Any]] = []
    second = run_grid(grid, path, processes=1, progress=lambda row, *_: seen.append(row))
    assert (second.known, second.done, second.failed) == (kept, total - kept, 0)
    assert len(seen) == total - kept
    assert run_grid(grid, path).done == 0
    assert contradictions(path) == []
    assert not list(tmp_path.glob("*.journal"))


def test_a_cluster_gives_what_processes_give(grid: Grid, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'stagewright[ray]'")
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    run_grid(grid, here, processes=1)
    ran = run_grid(grid, there, ray="local")
    assert (ran.done, ran.failed) == (len(list(grid.jobs())), 0)
    text = "SELECT instance, k, method, graph_sha256, upper, lower FROM results ORDER BY ALL"
    assert query(here, text) == query(there, text)


def test_a_fault_in_a_cluster_costs_its_own_row(
    grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def solved(job: Job) -> dict[str, Any]:
        if job.method == "simple":
            raise ZeroDivisionError("fault")
        return {"upper": 3}

    monkeypatch.setattr(driver, "over_ray", lambda function, jobs, **_: map(function, jobs))
    monkeypatch.setattr(driver, "answer_of", solved)
    ran = run_grid(grid, tmp_path / "out.parquet", ray="")
    assert (ran.done, ran.failed) == (12, 4)
    rows = query(tmp_path / "out.parquet", "SELECT DISTINCT method, error FROM results ORDER BY 1")
    assert [(r["method"], r["error"]) for r in rows] == [
        ("plan", None), ("random-100", None), ("simple", "ZeroDivisionError: fault")]  # fmt: skip


def test_journal_of_a_killed_run_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    results = Results(path)
    results.add(key("a", "plan"), {"upper": 5, "lower": 4})
    with results.journal.open("a") as file:
        file.write('{"set": "s", "inst')
    again = Results(path)
    assert len(again) == 1
    again.add(key("b", "plan"), {"upper": 6, "lower": 6})
    assert len(Results(path)) == 2
    again.close()
    rows = query(path, "SELECT instance, upper FROM results ORDER BY instance")
    assert rows == [{"instance": "a", "upper": 5}, {"instance": "b", "upper": 6}]


def test_rows_of_other_code_are_made_anew_unless_any_will_do(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    results = Results(path)
    results.made_by["code"] = "older"
    results.add(key("a", "plan"), {"upper": 5, "lower": 4})
    results.close()
    assert not Results(path).has(key("a", "plan"))
    assert Results(path, any_code=True).has(key("a", "plan"))
    filled(path, [(key("a", "plan"), {"upper": 5, "lower": 5})])
    assert query(path, "SELECT lower FROM results") == [{"lower": 5}]


def test_a_method_without_an_answer_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.graph.json").write_text("{}")
    path = tmp_path / "grid.toml"
    path.write_text('stages = [2]\n[[instances]]\nset = "x"\nfiles = ["bad.graph.json"]\n')
    ran = run_grid(Grid.load(path), tmp_path / "out.parquet", processes=1)
    assert (ran.done, ran.failed) == (1, 1)
    (row,) = query(tmp_path / "out.parquet", "SELECT error, upper FROM results")
    assert row["upper"] is None
    assert "bad.graph.json" in row["error"]


def test_summary_is_the_mean_of_what_was_kept(tmp_path: Path) -> None:
    path = filled(
        tmp_path / "out.parquet",
        [
            (key("a", "plan"), {"upper": 100, "lower": 100, "seconds": 1.0}),
            (key("b", "plan"), {"upper": 110, "lower": 90, "seconds": 3.0}),
            (key("a", "simple"), {"lower": 50}),
            (key("b", "simple"), {"lower": 80}),
            (key("a", "brkga-100"), {"upper": 120}),
            (key("b", "brkga-100"), {"upper": 100}),
            (key("c", "plan"), {"error": "LimitError: none"}),
        ],
    )
    brkga, plan, simple = summary(path)
    assert (plan["method"], plan["runs"], plan["failed"]) == ("plan", 3, 1)
    assert plan["bound"] == pytest.approx(math.sqrt(1.0 * 0.9))
    assert plan["bound_least"] == pytest.approx(0.9)
    assert plan["plan"] == pytest.approx(math.sqrt(1.1))
    assert plan["plan_worst"] == pytest.approx(1.1)
    assert plan["proven"] == pytest.approx(1 / 3)
    assert (plan["seconds"], plan["seconds_most"]) == (2.0, 3.0)
    assert simple["bound"] == pytest.approx(math.sqrt(0.5 * 0.8))
    assert (simple["proven"], simple["plan"]) == (0.0, None)
    assert brkga["plan"] == pytest.approx(math.sqrt(1.2))
    assert brkga["proven"] is None
    assert len(summary(path, ["instance"])) == 7


def test_a_bound_of_zero_makes_the_mean_zero(tmp_path: Path) -> None:
    rows = [(key(n, "plan"), {"upper": 10, "lower": low}) for n, low in (("a", 0), ("b", 10))]
    (row,) = summary(filled(tmp_path / "out.parquet", rows))
    assert row["bound"] == 0


def test_a_bound_above_a_plan_is_a_contradiction(tmp_path: Path) -> None:
    rows = [(key("a", "plan"), {"upper": 10, "lower": 9}), (key("a", "simple"), {"lower": 11})]
    (wrong,) = contradictions(filled(tmp_path / "out.parquet", rows))
    assert (wrong["method"], wrong["lower"], wrong["best"]) == ("simple", 11, 10)


def test_faults_of_tables_are_told(tmp_path: Path) -> None:
    path = filled(tmp_path / "out.parquet", [(key("a", "plan"), {"upper": 10, "lower": 9})])
    with pytest.raises(InputError, match="--by: expected some of set, machine, instance, seed"):
        summary(path, ["colour"])
    with pytest.raises(InputError, match="query: expected SQL over the columns set, instance"):
        query(path, "SELEC 1")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with pytest.raises(InputError, match="query: expected SQL"):
        query(path, f"SELECT * FROM read_text('{secret}')")
    with pytest.raises(InputError, match="expected a file of results, got none"):
        summary(tmp_path / "none.parquet")
    other = tmp_path / "other.parquet"
    other.write_text(json.dumps({}))
    with pytest.raises(InputError, match="expected results of `stagewright bench`"):
        Results(other)
    with pytest.raises(InputError, match="expected a file in an existing folder"):
        Results(tmp_path / "none" / "out.parquet")
