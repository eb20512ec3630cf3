# SPDX-License-Identifier: Apache-2.0
"""The reference cost on examples worked out by hand, and the rules of a plan."""

from __future__ import annotations

import pytest

from stagewright.errors import InputError
from stagewright.graph import FIRST, LAST, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, StageCost, evaluate, problems_of, stage_cost, tensor_costs

PS = 10**12  # at this bandwidth a byte takes one picosecond


def two_outputs() -> GraphBuilder:
    """a makes t0 (to b, c, d) and t1 (to d); b -> d; parameters shared by a and c."""
    builder = GraphBuilder("two outputs")
    for name, work in zip("abcd", (5, 6, 7, 8), strict=True):
        builder.add_node(name, work=work)
    builder.add_tensor(0, [1, 2, 3], nbytes=10)
    builder.add_tensor(0, [3], nbytes=20)
    builder.add_tensor(1, [3], nbytes=40)
    builder.add_param(100, [0, 2])
    builder.add_param(1, [3])
    return builder


def test_a_tensor_is_paid_once_per_stage() -> None:
    graph, machine = two_outputs().build(), Machine(4, PS)
    assert stage_cost(graph, machine, [0]) == StageCost(5, 0, 30, 0, 100, 30)
    assert stage_cost(graph, machine, [1, 2]) == StageCost(13, 10, 40, 0, 100, 50)
    assert stage_cost(graph, machine, [3]) == StageCost(8, 70, 0, 0, 1, 70)
    assert stage_cost(graph, machine, [0, 1, 2, 3]) == StageCost(26, 0, 0, 0, 101, 70)


def test_peak_follows_the_order() -> None:
    builder = GraphBuilder("orders")
    for name in ("source", "big", "small", "sink"):
        builder.add_node(name)
    builder.add_tensor(0, [1, 2], nbytes=1)
    builder.add_tensor(1, [3], nbytes=100)
    builder.add_tensor(2, [], nbytes=50)
    graph, machine = builder.build(), Machine(1, PS)
    assert stage_cost(graph, machine, [0, 1, 2, 3]).peak_bytes == 151
    assert stage_cost(graph, machine, [0, 2, 1, 3]).peak_bytes == 101
    assert stage_cost(graph, machine, [0, 1, 3, 2]).peak_bytes == 101


def test_overflow_is_streamed_through_the_link() -> None:
    graph = two_outputs().build()
    assert stage_cost(graph, Machine(4, PS, memory=129), [0]).overflow == 1
    assert stage_cost(graph, Machine(4, PS, memory=130), [0]).overflow == 0
    assert stage_cost(graph, Machine(4, 3 * PS, memory=128), [0]).overflow == 1  # 2/3 rounded up


def test_latency_times_and_replicable() -> None:
    builder = GraphBuilder("costs")
    builder.add_node("mask", replicable=True)
    builder.add_node("a")
    builder.add_node("b")
    builder.add_tensor(0, [1, 2], nbytes=1000)
    builder.add_tensor(1, [2], nbytes=10)
    builder.add_tensor(1, [2], time=5)
    assert tensor_costs(builder.build(), Machine(2, PS, latency=3)) == [0, 13, 5]


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        (((0, 1), (2,)), "1 nodes are in no stage, first 'd'"),
        (((0, 1), (1, 2, 3)), "node 'b' is in stages 0 and 1"),
        (((0,), (1,), (2,), (3,)), "4 stages, the machine has 3"),
        (((0, 1, 2, 3), ()), "stage 1 is empty"),
        (((1,), (0, 2, 3)), "node 'b' (stage 0) needs a tensor of 'a' (stage 1), which runs later"),
        (((1, 0, 2, 3),), "node 'b' (stage 0) needs a tensor of 'a' (stage 0), which runs later"),
    ],
)
def test_rules_of_a_plan(stages: tuple[tuple[int, ...], ...], problem: str) -> None:
    graph, machine = two_outputs().build(), Machine(3, PS)
    assert problem in problems_of(graph, machine, Plan(stages))
    with pytest.raises(InputError, match=r"^plan: expected a valid plan, got "):
        evaluate(graph, machine, Plan(stages))


def test_constraints_of_a_plan() -> None:
    builder = GraphBuilder("constraints")
    builder.add_node("a", stage=LAST)
    builder.add_node("b", stage=FIRST)
    builder.add_node("c", group="g")
    builder.add_node("d", group="g")
    builder.never_cut(0, 3)
    found = problems_of(builder.build(), Machine(2, PS), Plan(((0, 2), (1, 3))))
    assert found == [
        "group 'g' is cut at node 'd'",
        "uncuttable pair 'a', 'd' is cut",
        "node 'a' is pinned to the last stage",
        "node 'b' is pinned to the first stage",
    ]


def test_from_assignment_drops_empty_blocks() -> None:
    graph = two_outputs().build()
    assert Plan.from_assignment(graph, [2, 2, 7, 7]) == Plan(((0, 1), (2, 3)))
    assert Plan(((0, 1), (2,))).assignment(4) == [0, 0, 1, -1]
