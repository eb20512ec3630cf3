# SPDX-License-Identifier: Apache-2.0
"""The least peak of a stage: native search against all orders."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from tests.solver import brute
from tests.solver.random_graphs import random_case

from stagewright import _native
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import stage_cost
from stagewright.problem import Flow


def convex_stages(graph: CostGraph) -> list[list[int]]:
    """Return every difference of two ideals, none empty, in topological order."""
    n = graph.num_nodes
    before = [0] * n
    for p, users in zip(graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True):
        for u in users:
            before[u] |= 1 << p
    ideals = [
        mask
        for mask in range(1 << n)
        if all(not mask >> v & 1 or not before[v] & ~mask for v in range(n))
    ]
    blocks = {b & ~a for a, b in itertools.combinations(ideals, 2) if a & b == a}
    order = graph.topological_order.tolist()
    return [[v for v in order if block >> v & 1] for block in sorted(blocks)]


@pytest.mark.parametrize("seed", range(60))
def test_least_peak(seed: int) -> None:
    graph, _ = random_case(seed, max_nodes=6)
    flow, machine = Flow.of(graph).native, Machine(1, bandwidth=1)
    rng = random.Random(seed)
    stages = convex_stages(graph)
    for nodes in rng.sample(stages, min(len(stages), 25)):
        least = brute.least_peak(graph, nodes)
        assert least == brute.least_peak_of_all_orders(graph, nodes)
        stage = np.array(nodes, np.int32)
        lower, order, _ = _native.order_stage(flow, stage)
        assert lower == least == stage_cost(graph, machine, order.tolist()).peak_bytes
        # A limit is met or shown to be out of reach; what is below `enough` is all the same.
        for most in (least - 1, least, least + 1):
            lower, order, _ = _native.order_stage(flow, stage, most=most)
            assert lower == least
            assert (len(order) > 0) == (most >= least)
        lower, order, _ = _native.order_stage(flow, stage, enough=least + 2)
        assert stage_cost(graph, machine, order.tolist()).peak_bytes <= lower == least + 2
        # Giving up early leaves a valid bound, and an order within the limit or none.
        for most in (least, least + 2):
            lower, order, _ = _native.order_stage(flow, stage, most=most, max_states=1)
            assert lower <= least
            if len(order):
                assert sorted(order.tolist()) == sorted(nodes)
                assert least <= stage_cost(graph, machine, order.tolist()).peak_bytes <= most


def test_branches_run_one_after_the_other_where_states_are_too_many() -> None:
    """Each branch makes a large tensor that a copy takes at once; to run all branches first holds them all."""
    builder = GraphBuilder("branches")
    before = None
    count = 24
    root = builder.add_node("root", work=1)
    heads = [builder.add_node(f"head{i}", work=1) for i in range(count)]
    joins = [builder.add_node(f"join{i}", work=1) for i in range(count)]
    for head, join in zip(heads, joins, strict=True):
        builder.add_tensor(head, [join], nbytes=10)
        if before is not None:
            builder.add_tensor(before, [join], nbytes=100)
        before = join
    builder.add_tensor(root, heads, nbytes=1)
    graph = builder.build()
    stage = np.array([*heads, *joins], np.int32)
    machine = Machine(1, bandwidth=1)
    assert stage_cost(graph, machine, stage.tolist()).peak_bytes > 300
    lower, order, _ = _native.order_stage(Flow.of(graph).native, stage, max_states=2)
    assert (lower, stage_cost(graph, machine, order.tolist()).peak_bytes) == (210, 211)
