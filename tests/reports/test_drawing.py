# SPDX-License-Identifier: Apache-2.0
"""What the page draws: an outline of all nodes, memory as the specification counts it, cut tensors."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate_all
from stagewright.reports.drawing import activations, drawing
from stagewright.reports.outline import MOST_CHILDREN, Outline, outline


def layers(count: int) -> list[str]:
    return [f"/model/layers.{i}/mlp/{op}" for i in range(count) for op in ("MatMul", "Relu")]


def path_of(tree: Outline, part: int) -> list[str]:
    path = []
    while part >= 0:
        path.append(tree.labels[part])
        part = tree.parents[part]
    return path[::-1]


def test_outline_follows_the_names() -> None:
    names = [*layers(3), "/model/norm/Mul", "/model/norm/Add", "/head/MatMul"]
    tree = outline(names, [range(4), range(4, len(names))])
    assert [path_of(tree, p) for p in tree.node_parents] == [
        ["Stage 0", "layers.0.mlp"],
        ["Stage 0", "layers.0.mlp"],
        ["Stage 0", "layers.1.mlp"],
        ["Stage 0", "layers.1.mlp"],
        ["Stage 1", "model", "layers.2.mlp"],
        ["Stage 1", "model", "layers.2.mlp"],
        ["Stage 1", "model", "norm"],
        ["Stage 1", "model", "norm"],
        ["Stage 1"],
    ]
    assert tree.node_labels[0] == "MatMul"


def test_numbers_belong_to_their_lists() -> None:
    tree = outline([f"a.{i}.b.{j}.conv.Op{j}" for i in range(2) for j in range(2)], [range(4)])
    assert path_of(tree, tree.node_parents[0]) == ["Stage 0", "a.0"]


@pytest.mark.parametrize("seed", range(20))
def test_outline_holds_every_node_once_and_no_part_holds_too_many(seed: int) -> None:
    rng = random.Random(seed)
    words = ["a", "b.1", "layers.0", "x", "conv"]
    names = [
        sep.join([*rng.choices(words, k=rng.randrange(4)), f"op{i}"])
        for i, sep in enumerate(rng.choices("/.", k=rng.choice([1, 5, 200, 3000])))
    ]
    cut = rng.randrange(len(names) + 1)
    stages = [s for s in (range(cut), range(cut, len(names))) if s]
    tree = outline(names, stages)
    assert min(tree.node_parents) >= 0
    held = Counter(tree.node_parents) + Counter(p for p in tree.parents if p >= 0)
    assert set(held) == set(range(len(tree.labels)))  # nothing is empty
    assert max(held.values()) <= MOST_CHILDREN
    for number, nodes in enumerate(stages):
        for node in nodes:
            assert path_of(tree, tree.node_parents[node])[0] == f"Stage {number}"
    assert all(parent < part for part, parent in enumerate(tree.parents))


def test_names_of_any_depth() -> None:
    tree = outline(["/".join("a" * 5000), "b/" * 3000 + "c"], [[0], [1]])
    assert min(tree.node_parents) >= 0


def random_graph(rng: random.Random, nodes: int) -> CostGraph:
    builder = GraphBuilder("g")
    for i in range(nodes):
        builder.add_node(f"n{i}", work=rng.randrange(5), op=rng.choice(["", "Conv"]))
    for v in range(nodes - 1):
        users = rng.sample(range(v + 1, nodes), k=min(nodes - v - 1, rng.randrange(3)))
        builder.add_tensor(v, users, nbytes=rng.randrange(1000))
    builder.add_param(100, rng.sample(range(nodes), k=2))
    return builder.build()


@pytest.mark.parametrize("seed", range(30))
def test_curves_reach_the_peaks_of_the_specification(seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(rng, rng.randrange(2, 30))
    block = sorted(rng.choices(range(3), k=graph.num_nodes))
    plan = Plan.from_assignment(graph, block)
    machine = Machine(3, 10**9)
    costs = evaluate_all(graph, machine, plan)
    for (nodes, alive), cost in zip(activations(graph, plan), costs, strict=True):
        assert len(alive) == len(nodes)
        assert max(alive) == cost.peak_bytes
    found = drawing(graph, machine, plan)
    paid = [0] * len(plan.stages)
    for cut in found.cuts:
        for stage in (cut.source, *cut.targets):
            paid[stage] += cut.time
    assert paid == [cost.io_in + cost.io_out for cost in costs]
    for (starts, alive, peak), nodes, cost in zip(
        found.data["memory"], plan.stages, costs, strict=True
    ):
        assert max(alive) == cost.peak_bytes
        assert starts[-1] == cost.work
        assert peak in nodes


def test_curves_of_long_stages_keep_their_peak() -> None:
    builder = GraphBuilder("long")
    for i in range(3000):
        builder.add_node(f"n{i}", work=1)
    for i in range(2999):
        builder.add_tensor(i, [i + 1], nbytes=10**6 if i == 1234 else 1)
    graph = builder.build()
    plan = Plan((tuple(range(3000)),))
    (starts, alive, peak) = drawing(graph, Machine(1, 10**9), plan).data["memory"][0]
    assert len(alive) <= 400
    assert len(starts) == len(alive) + 1
    assert max(alive) == 10**6 + 1
    assert peak in (1234, 1235)
