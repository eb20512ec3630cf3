# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks rest on: valid splits, graphs from seeds, results that are kept, honest sums."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import ladder, limits, peers, scale
from benchmarks.cases import Case
from benchmarks.common import Tally
from benchmarks.random_dags import TOPOLOGIES, random_dag
from benchmarks.records import Records
from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright.benching.families import FAMILIES
from stagewright.benching.methods import blocks_of
from stagewright.benching.splits import SPLITS, contiguous, repair
from stagewright.bound.formulations import exact_model_and_ideals
from stagewright.bound.solvers import SOLVERS, solve_models
from stagewright.exact.pricing import Pricing
from stagewright.graph import GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import problems_of
from stagewright.problem import compile_problem
from stagewright.reduce import reduce_problem
from stagewright.search.orders import model_order


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed")


@pytest.mark.parametrize(
    "split", [pytest.param(s, marks=needs("pymetis")) if s == "metis" else s for s in SPLITS]
)
def test_splits_are_valid_plans(split: str) -> None:
    found = 0
    for seed in range(150):
        graph, machine = random_case(seed)
        problem = compile_problem(graph, machine)
        blocks = SPLITS[split](problem, graph)
        if blocks is None:
            assert split == "equal-parameters", seed
            assert not graph.param_bytes.any(), seed
            continue
        plan = Pricing(graph, machine, problem).plan(np.array(blocks, np.int32))
        assert problems_of(graph, machine, plan) == [], seed
        found += 1
    assert found > 50


def test_runs_are_the_best_balanced_ones() -> None:
    rng = random.Random(1)
    for _ in range(300):
        n, stages = rng.randint(1, 7), rng.randint(1, 4)
        order, weight = rng.sample(range(n), n), [rng.choice([0, 1, 3, 9]) for _ in range(n)]
        blocks = contiguous(order, weight, stages)
        assert [blocks[v] for v in order] == sorted(blocks)
        assert max(blocks) < stages
        places = itertools.combinations_with_replacement(range(n + 1), stages - 1)
        ends = ([0, *cuts, n] for cuts in places)
        least = min(
            max(sum(weight[v] for v in order[a:b]) for a, b in itertools.pairwise(cuts))
            for cuts in ends
        )
        assert (
            max(
                sum(w for w, b in zip(weight, blocks, strict=True) if b == i) for i in range(stages)
            )
            == least
        )


def test_any_parts_are_made_acyclic() -> None:
    rng = random.Random(2)
    for seed in range(150):
        graph, machine = random_case(seed)
        problem = compile_problem(graph, machine)
        parts = [rng.randrange(machine.stages) for _ in range(problem.num_nodes)]
        blocks = repair(problem, model_order(problem, graph).tolist(), parts)
        plan = Pricing(graph, machine, problem).plan(np.array(blocks, np.int32))
        assert problems_of(graph, machine, plan) == [], seed


def test_parts_that_are_acyclic_stay() -> None:
    problem = compile_problem(random_dag("layered", 60, seed=3), Machine(4))
    order = model_order(problem, random_dag("layered", 60, seed=3)).tolist()
    blocks = contiguous(order, problem.work, 4)
    assert repair(problem, order, [3 - b for b in blocks]) == blocks


@pytest.mark.parametrize("solver", ["highs", "cpsat"])
def test_solvers_plans_are_the_optima(solver: str) -> None:
    if importlib.util.find_spec(SOLVERS[solver][0]) is None:
        pytest.skip(f"{solver} is not installed")
    problems, optima = [], []
    for seed in range(60):
        graph, machine = random_case(seed, max_nodes=7)
        # With memory a model's cost is the relaxed one.
        if machine.memory is None:
            problem = reduce_problem(compile_problem(graph, machine))
            problems.append((graph, machine, problem))
            optima.append(brute.problem_optimum(problem))
    built = [exact_model_and_ideals(problem) for _, _, problem in problems]
    outcomes = solve_models([model for model, _ in built], solver, 600, columns=True)
    assert len(problems) > 20
    for (graph, machine, problem), (_, ideals), outcome, optimum in zip(
        problems, built, outcomes, optima, strict=True
    ):
        assert outcome.columns is not None
        blocks = blocks_of(outcome.columns, ideals)
        pricing = Pricing(graph, machine, problem)
        plan = pricing.plan(np.array(blocks, np.int32))
        assert problems_of(graph, machine, plan) == []
        assert pricing.value(plan) == optimum


def test_columns_come_only_when_asked_for() -> None:
    pytest.importorskip("highspy")
    model, _ = exact_model_and_ideals(compile_problem(*random_case(4)))
    (outcome,) = solve_models([model], "highs", 60)
    assert outcome.status == "optimal"
    assert outcome.columns is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("nodes", [100, 501])
def test_families_have_their_size_and_follow_the_seed(family: str, nodes: int) -> None:
    graph = FAMILIES[family](nodes, 1)
    assert graph.num_nodes == nodes
    assert graph.sha256 == FAMILIES[family](nodes, 1).sha256
    assert graph.sha256 != FAMILIES[family](nodes, 2).sha256


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_random_dags_cost_as_much_to_send_as_to_run(topology: str) -> None:
    graph = random_dag(topology, 80, seed=5)
    assert graph.sha256 == random_dag(topology, 80, seed=5).sha256
    assert 80 <= graph.num_edges <= 400
    assert abs(int(graph.tensor_time.sum()) / graph.total_work - 1) < 1e-4


def test_results_are_computed_once_per_code(tmp_path: Path) -> None:
    path, calls = tmp_path / "deep" / "r.jsonl", []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"value": len(calls)}

    first = Records(path, "a")
    assert [first.once({"k": k}, compute)["value"] for k in (2, 4, 2)] == [1, 2, 1]
    with path.open("a") as file:
        file.write('{"code": "a", "key": {"k": 8}, "resu')  # torn when the run was killed
    again = Records(path, "a")
    assert [again.once({"k": k}, compute)["value"] for k in (4, 8)] == [2, 3]
    assert again.reused == 1
    assert Records(path, "b").once({"k": 2}, compute) == {"value": 4}
    assert [Records(path, "a").once({"k": k}, compute)["value"] for k in (2, 8)] == [1, 3]


def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        records=tmp_path / "ladder.jsonl",
        plan_seconds=2.0,
        time_limit=2.0,
        seed=0,
        solver="highs",
        stages=[2, 4],
    )


def test_ladder_measures_shares_and_goes_on(tmp_path: Path) -> None:
    graph, methods = random_dag("layered", 50, seed=1), ("simple", "anchor", "solve")
    columns = ladder.collect(ladder.Ladder(options(tmp_path)), [graph], methods)
    assert all(0 < cell.share <= 1 for cells in columns.values() for cell in cells)
    assert columns["best", 2] == [
        ladder.Cell(
            max(columns[m, 2][0].share for m in methods),
            sum(columns[m, 2][0].seconds for m in methods),
        )
    ]
    resumed = ladder.Ladder(options(tmp_path))
    assert ladder.collect(resumed, [graph], methods) == columns
    assert resumed.records.reused == 2 * len(methods)


def test_ladder_tells_of_bounds_above_a_plan(tmp_path: Path) -> None:
    wrong = ladder.Ladder(options(tmp_path))
    graph = random_dag("layered", 50, seed=1)
    key = wrong._key(graph, 2, "anchor", 2.0)
    result = {"value": 10**18, "seconds": 0.0, "missing": False, "short": False}
    wrong.records.once(key, lambda: result)
    wrong.measure(graph, 2, ("simple", "anchor", "solve"))
    (fault,) = wrong.faults
    assert "anchor says 1000000000000000000 ps" in fault


def test_marks_say_what_limits_touched() -> None:
    cells = [ladder.Cell(0.25, 1.0, missing=True), ladder.Cell(1.0, 1.0, cut_short=True)]
    assert ladder._mean(cells) == "0.5000 *1 ~1"
    assert ladder._proven(cells) == "50"


def run_of(nodes: int, to_target: float | None) -> scale.Run:
    return scale.Run(nodes, nodes, None, 1, 1, 1.0, 1.0, to_target, 1.0)


def test_growth_exponent_is_the_slope() -> None:
    runs = [run_of(n, 3e-9 * n**1.5) for n in (10, 100, 10_000)]
    slope = scale.exponent([*runs, run_of(10**6, None)])
    assert slope == pytest.approx(1.5)
    assert scale.exponent(runs[:1]) is None


def test_peers_that_beat_or_contradict_us_are_named() -> None:
    graph = random_dag("layered", 50, seed=1)
    case = Case("random", "g", graph, Machine(4))
    ours: peers.Result = {"upper": 100, "lower": 90, "seconds": 1.0}

    def lines(upper: int | None, lower: int | None) -> list[str]:
        entry: dict[str, peers.Result] = {
            peers.OURS: ours,
            "HiGHS": {"upper": upper, "lower": lower, "seconds": 1.0},
        }
        return peers.defeats({"random": [(case, entry)]}, ["HiGHS"])

    assert lines(100, 90) == lines(None, None) == lines(120, None) == []
    assert "better plan: 0.9500 of ours" in lines(95, None)[0]
    assert "better bound: 1.0556 of ours" in lines(100, 95)[0]
    assert lines(80, 70)[0].startswith("FAULT")
    assert lines(None, 101)[0].startswith("FAULT")


def test_tally_says_what_a_table_holds() -> None:
    tally = Tally()
    assert str(tally) == "no cases"
    tally.add(400, 100, 2.0)
    tally.add(7, 7, 0.05)
    assert str(tally) == (
        "1 of 2 proven optimal, 1 of 2 in under 0.1 s; longest 2.00 s; "
        "geometric mean of lower/upper 0.5000, least 0.2500."
    )


def test_memory_is_counted_of_the_fullest_stage() -> None:
    builder = GraphBuilder("g")
    nodes = [builder.add_node(f"v{v}", work=1) for v in range(3)]
    builder.add_tensor(0, [1], nbytes=10)
    builder.add_tensor(1, [2], nbytes=4)
    builder.add_param(100, [2])
    graph = builder.build()
    machine = Machine(2, bandwidth=10**9)
    assert limits.held_by(graph, machine, [nodes]) == 114
    assert limits.held_by(graph, machine, [nodes[:2], nodes[2:]]) == 104


@pytest.mark.parametrize("task", [*limits.SAME[:2], limits.Task("random", "blocks-60", 4)])
def test_tasks_make_their_graphs(task: limits.Task) -> None:
    assert task.graph().num_nodes > 50


def test_summary_counts_what_is_missing() -> None:
    ours: peers.Result = {"upper": 100, "lower": 100, "seconds": 1.0}
    results: list[dict[str, peers.Result]] = [
        {peers.OURS: ours, "HiGHS": {"upper": upper, "lower": lower, "seconds": 2.0}}
        for upper, lower in ((400, 100), (100, 100), (None, 50))
    ]
    assert peers.summary("HiGHS", results) == [
        *("HiGHS", "2", "1", "2.0000", "4.0000", "1", "0", "0.5000", "33", "2.000")
    ]
