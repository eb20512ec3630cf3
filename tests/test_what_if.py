# SPDX-License-Identifier: Apache-2.0
"""Plans for other machines: each as good as planning for that machine alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stagewright.api import plan
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.what_if import stages_around, what_if


def chain(nodes: int = 12, *, nbytes: int | None = 1000) -> CostGraph:
    builder = GraphBuilder("chain")
    for i in range(nodes):
        builder.add_node(f"n{i}", work=10**6 * (1 + i % 3))
    for i in range(nodes - 1):
        builder.add_tensor(i, [i + 1], nbytes=nbytes, time=None if nbytes is not None else 1000)
    return builder.build()


def test_stages_around() -> None:
    assert stages_around(1) == [1, 2, 3]
    assert stages_around(4) == [2, 3, 4, 5, 6, 8]
    assert stages_around(8) == [4, 6, 7, 8, 9, 10, 16]


def test_points_are_the_optima() -> None:
    graph = chain()
    result = plan(graph, 3, bandwidth=10**9)
    found = what_if(graph, result.machine, result.plan, time_limit=30)
    assert found["bandwidths"] == [10**9 // 4, 10**9 // 2, 10**9, 2 * 10**9, 4 * 10**9]
    assert found["note"].startswith("All 30 ")
    for i, rate in enumerate(found["bandwidths"]):
        for j, k in enumerate(found["stages"]):
            point = found["points"][i][j]
            alone = plan(graph, k, bandwidth=rate).solution
            assert point["upper"] == point["lower"] == alone.bottleneck
            assert max(map(sum, point["stages"])) == point["upper"]
            assert len(point["stages"]) <= k


def test_without_bandwidth_only_stages_vary() -> None:
    graph = chain(nbytes=None)
    result = plan(graph, 2)
    found = what_if(graph, result.machine, result.plan, time_limit=20)
    assert found["bandwidths"] is None
    assert len(found["points"]) == 1
    assert all(point["upper"] for point in found["points"][0])


def test_time_is_kept_and_limits_are_told() -> None:
    graph = chain()
    result = plan(graph, 3, bandwidth=10**9)
    assert not any(map(any, what_if(graph, result.machine, result.plan, time_limit=0)["points"]))
    tight = replace(result.machine, memory_limit=1)
    found = what_if(graph, tight, result.plan, time_limit=5)
    assert "No plan fits" in found["points"][0][0]
    reserved = Machine(3, 10**9, memory=10**6, reserved=(0, 5, 0))
    assert what_if(graph, reserved, result.plan, time_limit=5)["stages"] == [3]


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_seeds_give_equal_plans(threads: int) -> None:
    graph = chain(20)
    result = plan(graph, 3, bandwidth=10**8)
    first = what_if(graph, result.machine, result.plan, time_limit=30)
    second = what_if(graph, result.machine, result.plan, time_limit=30, threads=threads)
    assert first["points"] == second["points"]
