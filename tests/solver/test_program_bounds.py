# SPDX-License-Identifier: Apache-2.0
"""The solvers' lower bounds against brute force, their order, their limits, their messages."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.random_dags import random_dag
from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright import api
from stagewright.bound import solvers
from stagewright.bound.formulations import FORMULATIONS
from stagewright.bound.model import Model
from stagewright.bound.programs import integrality_gap, program_bound
from stagewright.bound.solvers import Outcome, safe_bound, solve_models
from stagewright.cli import main
from stagewright.errors import InputError, LimitError, MissingDependencyError
from stagewright.machine import Machine
from stagewright.problem import Problem, compile_problem
from stagewright.readers.graph_writer import write_graph_file
from stagewright.reduce import reduce_problem


def needs(solver: str) -> pytest.MarkDecorator:
    module = solvers.SOLVERS[solver][0]
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{module} is not installed"
    )


def reduced_case(seed: int) -> Problem:
    graph, machine = random_case(seed)
    return reduce_problem(compile_problem(graph, machine))


def hard_case() -> Problem:
    """Return a problem whose exact model no solver finishes in a minute."""
    return reduce_problem(compile_problem(random_dag("erdos", 60, seed=1), Machine(stages=8)))


def least_bound(models: Sequence[Model], outcomes: Sequence[Outcome]) -> int:
    bounds = []
    for model, outcome in zip(models, outcomes, strict=True):
        assert outcome.status == "optimal"
        assert outcome.dual is not None
        bounds.append(safe_bound(model, outcome.dual))
    return min(bounds)


def all_bounds(
    problems: Sequence[Problem], solver: str, *, relaxed: bool = False
) -> list[dict[str, int]]:
    """Return every bound of every problem, all models solved in one child process."""
    groups = [{name: make(p) for name, make in FORMULATIONS.items()} for p in problems]
    flat = [model for group in groups for models in group.values() for model in models]
    if relaxed:
        flat = [model.relaxed() for model in flat]
    outcomes = iter(zip(flat, solve_models(flat, solver, 3000), strict=True))
    return [
        {
            name: least_bound(*zip(*(next(outcomes) for _ in models), strict=True))
            for name, models in group.items()
        }
        for group in groups
    ]


def cheapest_average_block(problem: Problem) -> int:
    """Return min f(S) over convex S with work(S) >= W / k, by trying all sets."""
    n, k = problem.num_nodes, min(problem.machine.stages, problem.num_nodes)
    below = [0] * n  # everything behind a node
    for v in reversed(range(n)):
        for u in problem.successors()[v]:
            below[v] |= 1 << u | below[u]
    least = brute.NEVER
    for mask in range(1, 1 << n):
        nodes = {v for v in range(n) if mask >> v & 1}
        behind = 0
        for v in nodes:
            behind |= below[v]
        convex = not any(behind >> v & 1 and below[v] & mask for v in range(n) if not mask >> v & 1)
        if convex and k * sum(problem.work[v] for v in nodes) >= problem.total_work:
            least = min(least, brute.problem_cost(problem, nodes))
    return least


def assert_ladder(problem: Problem, bounds: dict[str, int], context: str) -> None:
    """Hold all bounds of a problem against its optimum and each other."""
    optimum = brute.problem_optimum(problem)
    assert bounds["bottleneck"] <= bounds["superblock"] <= bounds["guess"], context
    assert bounds["guess"] <= bounds["mip"] <= optimum, context
    # Spilled bytes are not rounded up in the models, so a picosecond may be missing.
    assert bounds["mip"] >= optimum - int(problem.memory_binds), context


@needs("highs")
def test_bounds_are_below_the_optimum_and_in_order() -> None:
    problems = [reduced_case(seed) for seed in range(300)]
    for seed, bounds in enumerate(all_bounds(problems, "highs")):
        assert_ladder(problems[seed], bounds, f"seed {seed}")


@needs("highs")
def test_guess_by_minimum_is_the_least_of_all_places() -> None:
    """Asking for the smallest optimum only, with the best so far as a ceiling, changes nothing."""
    problems = [p for seed in range(3000, 3030) if (p := reduced_case(seed)).num_nodes > 3][:8]
    for i, bounds in enumerate(all_bounds(problems, "highs")):
        assert program_bound(problems[i], "guess").value == bounds["guess"], f"problem {i}"


@needs("highs")
def test_bottleneck_is_the_cheapest_convex_block_with_average_work() -> None:
    problems = [p for seed in range(1000, 1120) if not (p := reduced_case(seed)).memory_binds]
    models = [model for p in problems for model in FORMULATIONS["bottleneck"](p)]
    for i, outcome in enumerate(solve_models(models, "highs", 3000)):
        expected = cheapest_average_block(problems[i])
        assert least_bound([models[i]], [outcome]) == expected, f"problem {i}"


@needs("highs")
def test_relaxations_are_below_their_programs() -> None:
    problems = [reduced_case(seed) for seed in range(2000, 2100)]
    programs = all_bounds(problems, "highs")
    for i, relaxed in enumerate(all_bounds(problems, "highs", relaxed=True)):
        for name, value in relaxed.items():
            assert value <= programs[i][name], f"seed {2000 + i}, {name}"
        if not problems[i].memory_binds:
            stages = min(problems[i].machine.stages, problems[i].num_nodes)
            assert relaxed["bottleneck"] == -(-problems[i].total_work // stages), f"seed {2000 + i}"


@pytest.mark.parametrize("solver", [pytest.param(s, marks=needs(s)) for s in ("cpsat", "scip")])
def test_other_solvers_agree(solver: str) -> None:
    problems = [reduced_case(seed) for seed in range(40)]
    for seed, bounds in enumerate(all_bounds(problems, solver)):
        assert_ladder(problems[seed], bounds, f"seed {seed}")


@needs("highs")
def test_large_costs_lose_little() -> None:
    """Costs of 2^50 ps are rounded to 2^-33 of the whole, and the bound stays below."""
    for seed in (3, 14, 15):
        small = reduced_case(seed)
        factor = 2**50 + 12345
        large = replace(
            small,
            work=tuple(w * factor for w in small.work),
            cost=tuple(c * factor for c in small.cost),
            flow=None,
        )
        optimum = brute.problem_optimum(large)
        value = program_bound(large, "mip").value
        assert (1 - 1e-5) * optimum <= value <= optimum


@needs("highs")
def test_public_bounds() -> None:
    graph, machine = random_case(5)
    exact = api.bound(graph, machine, "exact").value
    for method in ("bottleneck", "superblock", "guess", "lp", "mip"):
        found = api.bound(graph, machine, method, time_limit=20)
        assert found.method == method
        assert found.evidence == "claimed"
        assert found.solver is not None
        assert found.solver.startswith("HiGHS")
        assert found.value <= exact
    pair = api.integrality_gap(graph, machine, "mip", time_limit=20)
    assert pair.lp.value < pair.mip.value
    assert pair.solved
    assert pair.mip.value == exact
    assert pair.lp.value == api.bound(graph, machine, "lp").value
    assert pair.gap == pair.mip.value / pair.lp.value - 1


@needs("highs")
def test_time_limit_is_kept_and_the_best_bound_returned() -> None:
    problem = hard_case()
    start = time.monotonic()
    found = program_bound(problem, "mip", seconds=4)
    assert time.monotonic() - start < 4 + solvers.GRACE + 2
    assert -(-problem.total_work // 8) * 0.99 < found.value < problem.total_work
    assert not integrality_gap(problem, "mip", seconds=4).solved


@needs("highs")
def test_solver_that_overruns_is_killed() -> None:
    """The solver believes it has ten minutes; its process is killed after a second."""
    models = FORMULATIONS["mip"](hard_case())
    start = time.monotonic()
    (outcome,) = solve_models(models, "highs", 600, grace=-599)
    assert time.monotonic() - start < 5
    assert outcome.status == "killed"
    assert outcome.primal is None


@needs("highs")
def test_what_was_solved_before_the_kill_counts() -> None:
    easy = FORMULATIONS["mip"](reduced_case(7))
    outcomes = solve_models([*easy, *FORMULATIONS["mip"](hard_case())], "highs", 600, grace=-597)
    assert [outcome.status for outcome in outcomes] == ["optimal", "killed"]


@needs("highs")
def test_no_time_gives_no_bound() -> None:
    expected = "the solver gave no bound for 'mip' within 0 s .*; give it more time, or take"
    with pytest.raises(LimitError, match=expected) as caught:
        program_bound(hard_case(), "mip", seconds=0)
    assert caught.value.exit_code == 3


def test_unknown_names_are_refused() -> None:
    problem = reduced_case(7)
    with pytest.raises(InputError, match=r"^solver: expected highs \| cpsat \| scip \| gurobi, "):
        program_bound(problem, "mip", solver="cplex")
    with pytest.raises(InputError, match=r"^method: expected bottleneck \| superblock \| guess"):
        program_bound(problem, "mop")
    with pytest.raises(InputError, match=r"^integrality gap: expected bottleneck \| superblock"):
        integrality_gap(problem, "lp")


@needs("cpsat")
def test_integer_solver_is_refused_for_a_linear_program() -> None:
    with pytest.raises(InputError, match=r"^solver of a linear program: expected highs \| scip"):
        program_bound(reduced_case(7), "lp", solver="cpsat")


def test_missing_solver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = (
        "the solver 'highs' needs the package 'highspy', which is not installed. "
        "Install it with: pip install 'stagewright[solvers]'"
    )
    with pytest.raises(MissingDependencyError) as caught:
        program_bound(reduced_case(7), "mip")
    assert str(caught.value) == expected


def test_command_knows_the_same_names() -> None:
    assert tuple(solvers.SOLVERS) == api.SOLVERS
    assert set(FORMULATIONS) < set(api.BOUND_METHODS)


@needs("highs")
def test_command_prints_bound_and_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.graph.json"
    write_graph_file(random_dag("layered", 50, seed=1), path)
    command = ["bound", str(path), "--stages", "2", "--method", "bottleneck"]
    assert main(command) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(
        r"bottleneck: no plan has a bottleneck below .+ \(claimed by HiGHS [\d.]+, .+ s\)\n", line
    )
    assert main([*command, "--integrality-gap"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("its LP relaxation: ")
    assert re.fullmatch(r"integrality gap: [\d.]+ %", lines[2])
    assert main([*command, "--integrality-gap", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["evidence"] == "claimed"
    assert entry["solved"] is True
    assert entry["integrality_gap"] == pytest.approx(
        entry["value"] / entry["relaxation"] - 1, abs=1e-8
    )
    assert main([*command, "--time-limit", "0"]) == 3
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(command) == 2
    assert "pip install 'stagewright[solvers]'" in capsys.readouterr().err
