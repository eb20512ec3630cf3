# SPDX-License-Identifier: Apache-2.0
"""The hard limit of memory: plans that fit, proofs that none does, and honest ignorance."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from tests.solver import brute
from tests.solver.random_graphs import random_case

import stagewright as sw
from stagewright import _native
from stagewright.api import bound
from stagewright.bound.anchor import anchor_bound
from stagewright.bound.skeleton import SkeletonBound
from stagewright.cli import main
from stagewright.errors import InfeasibleError, InputError, LimitError
from stagewright.exact.fitting import why_nothing_fits
from stagewright.exact.must_link import contract_at
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.hard_limit import HardLimit
from stagewright.machine import Machine
from stagewright.plans import problems_of, stage_cost
from stagewright.problem import compile_problem
from stagewright.readers.graph_writer import write_graph_file
from stagewright.reduce import reduce_problem
from stagewright.search.orders import one_stage, search_orders
from stagewright.search.windows import search_windows
from stagewright.solve import Settings, solve


def limited_case(seed: int) -> tuple[CostGraph, Machine]:
    """Return a random graph and a machine whose hard limit mostly matters."""
    graph, machine = random_case(seed, max_nodes=8)
    rng = random.Random(seed)
    everything = int(np.maximum(graph.tensor_bytes, 0).sum() + graph.param_bytes.sum())
    return graph, replace(machine, memory_limit=rng.randint(0, max(1, everything)))


@pytest.mark.parametrize("block", range(4))
def test_against_brute_force(block: int) -> None:
    fits = fails = 0
    for seed in range(60 * block, 60 * block + 60):
        graph, machine = limited_case(seed)
        optimum = brute.graph_optimum(graph, machine, relaxed=False, best_orders=True)
        problem = compile_problem(graph, machine)
        reduced = reduce_problem(problem)
        context = f"seed {seed}"
        if why_nothing_fits(problem, graph):
            assert optimum == brute.NEVER, context
        if optimum == brute.NEVER:
            fails += 1
            with pytest.raises(InfeasibleError):
                solve(graph, machine)
            continue
        fits += 1
        solution = solve(graph, machine)
        assert problems_of(graph, machine, solution.plan) == [], context
        assert solution.bottleneck == optimum == solution.lower_bound, context
        # Bounds that leave the limit out of account hold all the same.
        assert anchor_bound(problem, graph)[0].value <= optimum, context
        assert SkeletonBound(reduced).bound(0, optimum).bound.value <= optimum, context
        # Reductions and contraction lose nothing that fits.
        if machine.memory is None:
            assert brute.problem_optimum(contract_at(reduced, optimum)) <= optimum, context
    assert fits > 10
    assert fails > 10


def test_reductions_keep_the_least_excess_too() -> None:
    for seed in range(120):
        graph, machine = limited_case(seed)
        problem = compile_problem(graph, machine)
        whole = brute.problem_optimum(problem)
        assert brute.problem_optimum(reduce_problem(problem)) == whole, f"seed {seed}"


def test_searches_price_the_limit_like_the_reference() -> None:
    for seed in range(120):
        graph, machine = limited_case(seed)
        reduced = reduce_problem(compile_problem(graph, machine))
        optimum = brute.problem_optimum(reduced)
        order = _native.random_order(reduced.instance, "random", seed)
        value, _, _ = _native.slice_order(reduced.instance, order, machine.stages, 0)
        assert value == brute.order_optimum(reduced, order.tolist()), f"seed {seed}"
        found = search_orders(reduced, 0, one_stage(reduced))
        found = search_windows(reduced, 0, found)
        nodes = [set(np.flatnonzero(found.block == b).tolist()) for b in range(machine.stages)]
        costs = [brute.problem_cost(reduced, block) for block in nodes if block]
        assert optimum <= found.bottleneck == max(costs), f"seed {seed}"


def chain(sizes: list[int], param: int = 0) -> CostGraph:
    """Return a chain whose tensors have the given sizes; every node has a parameter."""
    builder = GraphBuilder("chain")
    for v in range(len(sizes) + 1):
        builder.add_node(f"v{v}", work=10)
        if param:
            builder.add_param(param, [v])
    for v, size in enumerate(sizes):
        builder.add_tensor(v, [v + 1], nbytes=size)
    return builder.build()


def machine(stages: int, limit: int | None, memory: int | None = None) -> Machine:
    return Machine(stages, bandwidth=10**12, memory=memory, memory_limit=limit)


def uneven_graph() -> CostGraph:
    """Return a chain whose best two halves need 60 and 0 bytes of parameters."""
    builder = GraphBuilder("uneven")
    for v, param in enumerate([30, 30, 0, 0]):
        builder.add_node(f"v{v}", work=10)
        builder.add_param(param, [v])
    for v, size in enumerate([1, 9, 1]):
        builder.add_tensor(v, [v + 1], nbytes=size)
    return builder.build()


def test_the_limit_moves_the_boundary() -> None:
    graph = uneven_graph()
    free = solve(graph, machine(2, None))
    tight = solve(graph, machine(2, 50))
    assert (free.bottleneck, tight.bottleneck) == (29, 31)
    assert [len(nodes) for nodes in tight.plan.stages] == [1, 3]


def test_soft_and_hard_together() -> None:
    # Stages spill above the one and are refused above the other.
    graph = chain([2] * 5, param=10)
    soft = solve(graph, machine(2, None, memory=20)).bottleneck
    assert solve(graph, machine(2, 44, memory=20)).bottleneck >= soft
    with pytest.raises(InfeasibleError):
        solve(graph, machine(2, 30, memory=20))
    assert solve(graph, machine(3, 30, memory=20)).bottleneck > 20


def test_reasons() -> None:
    with pytest.raises(
        InfeasibleError, match=r"no plan of 2 stages within 9 B each: node 'v1' alone needs 12 B"
    ):
        solve(chain([6, 6]), machine(2, 9))
    with pytest.raises(InfeasibleError, match=r"the parameters take 60 B, and 2 stages have room"):
        solve(chain([1] * 5, param=10), machine(2, 25))
    # Each node fits and so does the sum, but not where the chain could be cut.
    with pytest.raises(InfeasibleError, match="the search over all plans shows that there is none"):
        solve(chain([6, 1, 6, 1, 6], param=10), machine(2, 36))


def test_what_stays_open_is_said() -> None:
    seed = 3
    while True:
        seed += 1
        graph, tight = limited_case(seed)
        problem = compile_problem(graph, tight)
        one = stage_cost(graph, tight, graph.topological_order.tolist())
        if not why_nothing_fits(problem, graph) and not tight.fits(one.held_bytes):
            break
    with pytest.raises(
        LimitError, match=r"was found in .* and none was shown not to exist"
    ) as error:
        solve(graph, tight, Settings(time_limit=0.0))
    assert error.value.exit_code == 3


def test_a_limit_that_everything_fits_changes_nothing() -> None:
    graph = chain([3, 1, 4], param=5)
    assert not compile_problem(graph, machine(2, 28)).memory_binds
    assert compile_problem(graph, machine(2, 27)).memory_binds
    result = sw.plan(graph, 2, bandwidth="1TB/s", memory_limit=28)
    assert result.to_json()["machine"]["memory_limit"] == 28
    assert "memory_limit" not in sw.plan(graph, 2, bandwidth="1TB/s").to_json()["machine"]
    assert sw.check(graph, result).exit_code == 0


def test_the_checker_refuses_a_plan_that_does_not_fit() -> None:
    graph = chain([6, 1, 6, 1, 6], param=10)
    document = sw.plan(graph, 3, bandwidth="1TB/s", memory_limit=40).to_json()
    assert sw.check(graph, document).exit_code == 0
    full = max(stage["param_bytes"] + stage["peak_bytes"] for stage in document["stages"])
    report = sw.check(
        graph, document | {"machine": document["machine"] | {"memory_limit": full - 1}}
    )
    assert report.exit_code == 1
    assert any(f"the hard limit is {full - 1}" in problem for problem in report.problems)


def test_the_checker_redoes_proofs_under_the_limit() -> None:
    graph = chain([1, 9, 1], param=10)
    document = sw.plan(graph, 2, bandwidth="1TB/s", memory_limit=31).to_json()
    assert document["status"] == "optimal"
    assert sw.check(graph, document).exit_code == 0
    # Without the limit the same plan is not the best one.
    uneven = uneven_graph()
    document = sw.plan(uneven, 2, bandwidth="1TB/s", memory_limit=50).to_json()
    assert (document["status"], sw.check(uneven, document).exit_code) == ("optimal", 0)
    free = {key: value for key, value in document["machine"].items() if key != "memory_limit"}
    report = sw.check(uneven, document | {"machine": free})
    assert report.exit_code == 1
    assert any("a plan below it exists" in problem for problem in report.problems)


def test_command(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{tmp_path}/chain.graph.json"
    write_graph_file(chain([6, 1, 6, 1, 6], param=10), path)
    options = ["plan", path, "-k", "3", "--bandwidth", "1TB/s", "--json"]
    assert main([*options, "--memory-limit", "40"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machine"]["memory_limit"] == 40
    assert main([*options, "--memory-limit", "20"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no plan of 3 stages within 20 B each: " in captured.err


def test_bounds_of_the_ladder_hold_under_the_limit() -> None:
    graph, tight = chain([6, 1, 6, 1, 6], param=10), machine(3, 40)
    optimum = solve(graph, tight).bottleneck
    for method in ("simple", "anchor", "average", "cover", "skeleton", "exact"):
        assert bound(graph, tight, method).value <= optimum
    with pytest.raises(InfeasibleError):
        bound(graph, machine(2, 36), "exact")


def test_numbers_too_large_for_the_step() -> None:
    with pytest.raises(InputError, match=r"memory limit: expected a graph whose times and sizes"):
        HardLimit.of(5, 2**57, 10)
