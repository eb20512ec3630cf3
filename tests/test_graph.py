# SPDX-License-Identifier: Apache-2.0
"""Cost graphs: what is refused and with which words, what is derived, what stays fixed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stagewright.errors import GraphError
from stagewright.graph import CostGraph, GraphBuilder, Ragged
from stagewright.units import INT64_MAX


def diamond() -> GraphBuilder:
    builder = GraphBuilder("diamond")
    for name in "abcd":
        builder.add_node(name, work=10)
    builder.add_tensor(0, [2, 1], nbytes=4)
    builder.add_tensor(1, [3], nbytes=8)
    builder.add_tensor(2, [3], time=7)
    builder.add_param(100, [1, 2])
    return builder


def tie(builder: GraphBuilder) -> GraphBuilder:
    builder.add_tensor(3, [0], nbytes=1)
    return builder


FAULTS: list[tuple[Callable[[GraphBuilder], object], str]] = [
    (
        lambda b: b.add_node("a"),
        "node 'a': expected a unique name, got a second node (the first is 0)",
    ),
    (lambda b: b.add_node(""), "node 4: name: expected a non-empty text, got ''"),
    (lambda b: b.add_node("e", work=-1), "node 'e': work: expected a whole number >= 0, got -1"),
    (lambda b: b.add_node("e", work=2**63), "node 'e': work: expected a value below 2**63, got"),
    (lambda b: b.add_node("e", flops=-5), "node 'e': flops: expected a whole number >= 0, got -5"),
    (lambda b: b.add_node("e", stage=7), "node 'e': stage: expected 'first' or 'last', got 7"),
    (
        lambda b: b.add_tensor(9, [1], nbytes=1),
        "producer: expected a node index from 0 to 3, got 9",
    ),
    (
        lambda b: b.add_tensor(0, [4], nbytes=1),
        "consumers: expected a node index from 0 to 3, got 4",
    ),
    (
        lambda b: b.add_tensor(0, [1, 1], nbytes=1),
        "consumers: expected each node once, got node 1 twice",
    ),
    (lambda b: b.add_tensor(0, [0], nbytes=1), "expected consumers other than its producer"),
    (lambda b: b.add_tensor(0, [1]), "expected either bytes or cost, got neither"),
    (lambda b: b.add_tensor(0, [1], nbytes=1, time=1), "expected either bytes or cost, got both"),
    (
        lambda b: b.add_tensor(0, [1], nbytes=-1),
        "tensor 3 of node 'a': bytes: expected a whole number",
    ),
    (lambda b: b.add_param(-1, [0]), "parameter 1: bytes: expected a whole number >= 0, got -1"),
    (lambda b: b.add_param(1, [8]), "parameter 1: users: expected a node index from 0 to 3, got 8"),
    (lambda b: b.never_cut(0, 8), "uncuttable pair 0: expected a node index from 0 to 3, got 8"),
    (lambda b: tie(b).build(), "graph: expected no cycle, got a cycle: '"),
    (lambda b: GraphBuilder("none").build(), "graph 'none': expected at least one node, got none"),
]


@pytest.mark.parametrize(("act", "message"), FAULTS, ids=[m[:40] for _, m in FAULTS])
def test_faults_are_named(act: Callable[[GraphBuilder], object], message: str) -> None:
    with pytest.raises(GraphError) as caught:
        act(diamond())
    assert message in str(caught.value)


def test_sums_that_overflow_are_refused() -> None:
    builder = GraphBuilder("heavy")
    for i in range(3):
        builder.add_node(f"n{i}", work=INT64_MAX // 4)
    with pytest.raises(GraphError, match=r"sum of work and costs: expected at most 2\*\*61"):
        builder.build()
    builder = GraphBuilder("large")
    builder.add_node("n")
    builder.add_param(INT64_MAX, [0])
    with pytest.raises(GraphError, match=r"sum of tensor and parameter bytes: expected at most"):
        builder.build()


def test_cycle_is_named_in_full() -> None:
    builder = GraphBuilder("ring")
    for name in "xyz":
        builder.add_node(name)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        builder.add_tensor(a, [b], nbytes=1)
    with pytest.raises(GraphError) as caught:
        builder.build()
    ring = str(caught.value).partition("a cycle: ")[2].split(" -> ")
    assert ring[0] == ring[-1]
    assert sorted(set(ring)) == ["'x'", "'y'", "'z'"]
    assert "".join(name.strip("'") for name in ring) in {"xyzx", "yzxy", "zxyz"}


def test_arrays_are_frozen_and_sorted() -> None:
    graph = diamond().build()
    assert graph.tensor_consumers[0] == [1, 2]
    assert graph.topological_order.tolist() == [0, 1, 2, 3]
    assert (graph.num_nodes, graph.num_tensors, graph.num_edges, graph.total_work) == (4, 3, 4, 40)
    with pytest.raises(ValueError, match="read-only"):
        graph.work[0] = 3
    with pytest.raises(AttributeError):
        graph.name = "other"  # type: ignore[misc]  # that it is refused is the point


def test_replace_validates() -> None:
    graph = diamond().build()
    assert graph.replace(work=[1, 2, 3, 4]).total_work == 10
    with pytest.raises(GraphError, match="node 'b': work: expected a value >= 0, got -2"):
        graph.replace(work=[1, -2, 3, 4])
    with pytest.raises(GraphError, match="expected 4 integers, got int64 of shape"):
        graph.replace(work=[1, 2])
    with pytest.raises(GraphError, match="expected 4 integers, got float64"):
        graph.replace(work=np.zeros(4))


def test_hash_covers_what_a_plan_depends_on() -> None:
    def changed(act: Callable[[GraphBuilder], object]) -> CostGraph:
        builder = diamond()
        act(builder)
        return builder.build()

    base = diamond().build()
    assert base.sha256 == diamond().build().sha256
    different = [
        base.replace(work=[1, 10, 10, 10]),
        changed(lambda b: b.never_cut(0, 1)),
        changed(lambda b: b.add_param(1, [0])),
        changed(lambda b: b.add_tensor(0, [3], nbytes=0)),
        changed(lambda b: b.add_node("e", group="g")),
        changed(lambda b: b.add_node("e")),
    ]
    assert len({g.sha256 for g in [base, *different]}) == 1 + len(different)
    assert base.replace(flops=[1, 1, 1, 1], name="other").sha256 == base.sha256


def test_ragged_round_trip() -> None:
    rows = [[1, 2], [], [0]]
    assert Ragged.of(rows).rows() == rows
    assert len(Ragged.of(rows)) == 3
    assert Ragged.of([]).rows() == []
