# SPDX-License-Identifier: Apache-2.0
"""Peak memory by the rules of a runtime, on graphs small enough to count by hand."""

from __future__ import annotations

import pytest
from tests.shaping.test_fusion import Sketch, random_sketch

from stagewright.machine import Machine
from stagewright.plans import Plan, stage_cost
from stagewright.shaping.fusion import find_kernels
from stagewright.shaping.runtime_peak import runtime_peak


def test_views_take_no_memory() -> None:
    s = Sketch()
    s.add("a", "MaxPool", size=100)
    s.add("b", "Reshape", "a", size=100)
    s.add("c", "MaxPool", "b", size=10)
    graph = s.build()
    assert runtime_peak(graph) == 110
    assert stage_cost(graph, Machine(1, bandwidth=1), [0, 1, 2]).peak_bytes == 200


def test_a_view_keeps_its_storage_alive() -> None:
    s = Sketch()
    s.add("a", "MaxPool", size=100)
    s.add("view", "Identity", "a", size=100)
    s.add("b", "MaxPool", "a", size=50)
    s.add("c", "MaxPool", "b", size=40)
    s.add("d", "Concat", "view", "c", size=140)
    assert runtime_peak(s.build()) == 100 + 40 + 140


@pytest.mark.parametrize(
    ("op", "peak"), [("Relu", 100), ("Softmax", 100), ("Add", 200), ("Exp", 200)]
)
def test_who_runs_in_place(op: str, peak: int) -> None:
    s = Sketch()
    s.add("a", "MaxPool", size=100)
    s.add("b", op, "a", size=100)
    s.add("c", "GlobalAveragePool", "b", size=0)
    assert runtime_peak(s.build()) == peak


def test_what_is_read_again_is_not_overwritten() -> None:
    s = Sketch()
    s.add("a", "MaxPool", size=100)
    s.add("b", "Relu", "a", size=100)
    s.add("c", "Concat", "a", "b", size=200)
    assert runtime_peak(s.build()) == 400


def test_kernels_hold_nothing_inside_and_add_in_place() -> None:
    s = Sketch()
    s.add("x", "MaxPool", size=100)
    s.add("conv", "Conv", "x", size=300)
    s.add("side", "Conv", "x", size=300)
    s.add("add", "Add", "conv", "side", size=300)
    s.add("relu", "Relu", "add", size=300)
    s.add("end", "MaxPool", "relu", size=10)
    graph = s.build()
    kernels = find_kernels(graph)
    assert [[graph.node_names[v] for v in nodes] for nodes in kernels] == [["side", "add", "relu"]]
    # The second convolution adds into the result of the first.
    assert runtime_peak(graph, kernels=kernels) == 400
    assert runtime_peak(graph) == 900


def test_local_response_normalisation_needs_room() -> None:
    s = Sketch()
    s.add("a", "MaxPool", size=100)
    s.add("b", "LRN", "a", size=100)
    s.add("c", "MaxPool", "b", size=10)
    assert runtime_peak(s.build()) == 400


@pytest.mark.parametrize("seed", range(40))
def test_rules_only_save(seed: int) -> None:
    graph = random_sketch(seed).build()
    order = graph.topological_order.tolist()
    contract = stage_cost(graph, Machine(1, bandwidth=1), order).peak_bytes
    unfused = runtime_peak(graph)
    # The contract lets go of what nobody reads; a runtime holds it: it is an output.
    rows = graph.tensor_consumers.rows()
    outputs = sum(
        size for size, users in zip(graph.tensor_bytes.tolist(), rows, strict=True) if not users
    )
    assert unfused <= contract + outputs
    largest = max(graph.tensor_bytes.tolist())
    assert unfused >= largest
    # A kernel runs where its last node stands, which may hold its inputs longer.
    kernels = find_kernels(graph)
    inputs = sum(graph.tensor_bytes.tolist())
    assert 0 < runtime_peak(graph, kernels=kernels) <= inputs
    plan = Plan((tuple(order),))
    assert runtime_peak(graph, plan.stages[0]) == unfused
