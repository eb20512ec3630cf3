# SPDX-License-Identifier: Apache-2.0
"""Grids run, go on where they were stopped, and their tables say what the rows say."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from stagewright.benching import driver
from stagewright.benching.coverage import log_orders
from stagewright.benching.driver import run_grid
from stagewright.benching.grid import Grid, Instance, Job
from stagewright.benching.methods import METHODS
from stagewright.benching.packs import line_of, write_pack
from stagewright.benching.random_dags import random_dag
from stagewright.benching.results import COLUMNS, Results, database
from stagewright.benching.runs import answer_of, load
from stagewright.benching.tables import contradictions, query, summary
from stagewright.errors import InputError
from stagewright.graph import GraphBuilder
from stagewright.machine import Machine
from stagewright.problem import compile_problem
from stagewright.search.orders import random_order
from stagewright.settings import Settings
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


def test_longer_runs_are_made_only_where_a_gap_is_left(tmp_path: Path) -> None:
    path, results = tmp_path / "grid.toml", tmp_path / "out.parquet"
    path.write_text(
        'stages = [2]\nlimits = [5]\nopen_limits = [6, 7]\n[[instances]]\nset = "r"\nrandom = 3\n'
    )
    grid = Grid.load(path)
    easy, open_, closed_later = grid.instances
    for instance, ends in ((easy, {5.0: 9}), (open_, {5.0: 8, 6.0: 8}), (closed_later, {5.0: 8})):
        known = {job.time_limit: job for job in grid.jobs() if job.instance == instance}
        filled(results, [(known[t].key, {"upper": 9, "lower": v}) for t, v in ends.items()])
    ran = run_grid(grid, results, processes=1)
    assert (ran.runs, ran.known, ran.done, ran.spared) == (9, 4, 2, 3)
    rows = query(results, "SELECT instance, time_limit FROM results WHERE upper <> 9 ORDER BY 2")
    assert rows == [
        {"instance": closed_later.name, "time_limit": 6.0},
        {"instance": open_.name, "time_limit": 7.0},
    ]


def answers(tmp_path: Path, text: str) -> dict[str, dict[str, Any]]:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return {job.method: answer_of(job) for job in Grid.load(path).jobs()}


def test_every_plan_is_above_every_bound(tmp_path: Path) -> None:
    for module in ("pymetis", "highspy", "ortools"):
        pytest.importorskip(module)
    write_pack(tmp_path / "one.jsonl.xz", [line_of(random_dag("layered", 16, 3), "a")])
    methods = [m for m in METHODS if m not in ("published", "superblock", "islands-10000")]
    found = answers(
        tmp_path,
        f"stages = [3]\nlimits = [20]\nmethods = {json.dumps(methods)}\n"
        '[[instances]]\nset = "s"\nfiles = ["*.xz"]\n',
    )
    assert {m: a["error"] for m, a in found.items() if a["error"]} == {}
    best = found["plan"]["upper"]
    assert found["plan"]["lower"] == best
    for method, answer in found.items():
        assert answer["lower"] is None or answer["lower"] <= best, method
        assert answer["upper"] is None or answer["upper"] >= best, method
    for method in ("bottleneck", "guess"):
        assert found[f"{method}-lp"]["lower"] <= found[method]["lower"]
    assert found["cpsat"]["upper"] == found["highs"]["upper"] == best
    assert found["equal-parameters"]["stopped"] == "does not apply: no parameters"
    covered = json.loads(found["coverage-10000"]["details"])
    assert covered["least"] == covered["random-10000"] >= best
    assert covered["values"] <= covered["plans"] <= 10_000
    seconds = json.loads(found["parts"]["details"])
    assert min(seconds.values()) >= 0
    assert {"reduce", "slicing", "segment costs"} < set(seconds)


def test_orders_are_counted(tmp_path: Path) -> None:
    problem = compile_problem(random_dag("layered", 8, 2), Machine(2))
    successors = problem.successors()
    count = sum(
        all(order.index(u) < order.index(v) for u in range(8) for v in successors[u])
        for order in itertools.permutations(range(8))
    )
    drawn = [random_order(problem, seed).tolist() for seed in range(4000)]
    assert log_orders(problem, drawn) == pytest.approx(math.log10(count), abs=0.02)
    assert len({tuple(order) for order in drawn}) <= count


def test_plans_for_other_costs_are_priced_here(tmp_path: Path) -> None:
    builder = GraphBuilder("g")
    for v, flops in enumerate((8, 2, 2, 8, 8)):
        builder.add_node(f"v{v}", op="Conv", flops=flops * 10**11, nbytes=10)
        if v:
            builder.add_tensor(v - 1, [v], nbytes=(1, 9, 9, 9)[v - 1] * 10**7)
    write_pack(tmp_path / "one.jsonl.xz", [line_of(builder.build(), "a")])
    found = answers(
        tmp_path,
        'stages = [2]\nlimits = [20]\nmethods = ["plan", "plan@usual"]\n'
        '[machines.usual]\ndevice = "h100-sxm"\n'
        '[machines.slow]\ndevice = "h100-sxm"\nscale_link = 0.001\n'
        '[[instances]]\nset = "s"\nmachines = ["slow"]\nfiles = ["*.xz"]\n',
    )
    # With the usual link the cut in the middle balances work; over the slow one it costs more than it saves.
    assert found["plan@usual"]["upper"] > found["plan"]["upper"]
    assert found["plan@usual"]["lower"] is None


def test_faster_devices_take_less_time(tmp_path: Path) -> None:
    def work(options: tuple[tuple[str, Any], ...]) -> int:
        source = (str(tmp_path / "one.jsonl.xz"), True)
        instance = Instance("s", "a", "m", "pack", source, "d", (("device", "h100-sxm"), *options))
        return load(instance, 2)[0].total_work

    builder = GraphBuilder("g")
    for v, (flops, nbytes) in enumerate(((10**15, 1), (1, 10**12))):
        builder.add_node(f"v{v}", op="Conv", flops=flops, nbytes=nbytes)
    builder.add_tensor(0, [1], nbytes=1)
    write_pack(tmp_path / "one.jsonl.xz", [line_of(builder.build(), "a")])
    usual = work(())
    half, quarter = work((("scale_compute", 2.0),)), work((("scale_memory_rate", 2.0),))
    assert half < usual > quarter
    assert usual - half + usual - quarter == pytest.approx(usual / 2, rel=1e-3)


def test_more_stages_than_nodes_are_not_run(tmp_path: Path) -> None:
    write_pack(tmp_path / "one.jsonl.xz", [line_of(random_dag("erdos", 10, 1), "a")])
    text = 'stages = [11]\n[[instances]]\nset = "s"\nfiles = ["*.xz"]\n'
    answer = answers(tmp_path, text)["plan"]
    assert answer["stopped"] == "skipped: 10 nodes for 11 stages"
    assert answer["upper"] is answer["lower"] is answer["error"] is None
    path = filled(tmp_path / "r.parquet", [(key("a", "plan"), answer)])
    assert query(path, "SELECT * FROM ratios") == []


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "r.parquet", [(key("a", "plan"), {"upper": 5, "lower": 4})])
    with database() as opened:
        kept = ", ".join(name for name in COLUMNS if name not in ("details", "ideals"))
        opened.execute(
            f"CREATE TABLE t AS SELECT {kept.replace('set', chr(34) + 'set' + chr(34), 1)} FROM read_parquet('{path}')"
        )
        opened.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    assert query(path, "SELECT upper, details FROM results") == [{"upper": 5, "details": None}]


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
    assert not Results(path, any_code=True, again_open=True).has(key("a", "plan"))
    filled(path, [(key("a", "plan"), {"upper": 5, "lower": 5})])
    assert query(path, "SELECT lower FROM results") == [{"lower": 5}]


def test_of_other_code_only_open_plans_are_made_again(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    results = Results(path)
    results.add(key("own", "plan"), {"upper": 5, "lower": 4})
    results.made_by["code"] = "older"
    results.add(key("closed", "plan"), {"upper": 5, "lower": 5})
    results.add(key("open", "plan"), {"upper": 5, "lower": 4})
    results.add(key("open", "random-100"), {"upper": 7})
    results.close()
    again = Results(path, any_code=True, again_open=True)
    assert [again.has(key(name, "plan")) for name in ("own", "closed", "open", "new")] == [
        True, True, False, False]  # fmt: skip
    assert again.has(key("open", "random-100"))


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
