# SPDX-License-Identifier: Apache-2.0
"""What is compiled, where there is nothing to contract; and a time that began earlier."""

from __future__ import annotations

import time

from tests.solver.random_graphs import random_case
from tests.solver.test_rounds import wide_graph

from stagewright.graph import GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import problems_of, tensor_costs
from stagewright.problem import compile_problem
from stagewright.settings import Settings
from stagewright.solve import solve


def test_without_constraints_nodes_are_only_numbered_anew() -> None:
    merged = 0
    for seed in range(300):
        graph, machine = random_case(seed)
        graph = graph.without_constraints()
        problem = compile_problem(graph, machine)
        order = graph.topological_order.tolist()
        assert problem.members == tuple((v,) for v in order), f"seed {seed}"
        assert problem.work == tuple(graph.work[order].tolist()), f"seed {seed}"
        expected: dict[tuple[int, tuple[int, ...]], int] = {}
        for t, cost in enumerate(tensor_costs(graph, machine)):
            users = tuple(sorted(order.index(u) for u in graph.tensor_consumers[t]))
            if users:
                key = order.index(int(graph.tensor_producer[t])), users
                expected[key] = expected.get(key, 0) + cost
        found = zip(problem.producer, problem.consumers, problem.cost, strict=True)
        assert [((p, c), cost) for p, c, cost in found] == list(expected.items()), f"seed {seed}"
        merged += len(expected) < graph.num_tensors
        if problem.memory_binds:
            uses = [
                tuple(p for p, users in enumerate(graph.param_users.rows()) if v in users)
                for v in order
            ]
            assert problem.params_of == tuple(uses), f"seed {seed}"
    assert merged


def test_parallel_tensors_become_one_and_those_without_readers_vanish() -> None:
    builder = GraphBuilder("parallel")
    a, b, c = (builder.add_node(name, work=1) for name in "abc")
    for users, cost in (([b], 5), ([b, c], 7), ([], 11), ([b], 13)):
        builder.add_tensor(a, users, time=cost)
    problem = compile_problem(builder.build(), Machine(2))
    assert (problem.producer, problem.consumers, problem.cost) == ((0, 0), ((1,), (1, 2)), (18, 7))


def test_time_that_began_earlier_is_spent() -> None:
    graph, machine = wide_graph(80, 1), Machine(5)
    begun = time.perf_counter() - 1000
    found = solve(graph, machine, Settings(time_limit=900), begun=begun)
    assert problems_of(graph, machine, found.plan) == []
    assert found.stopped_because == "the time limit"
    assert found.seconds >= 1000
