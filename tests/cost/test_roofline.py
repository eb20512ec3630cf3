# SPDX-License-Identifier: Apache-2.0
"""Estimated work against numbers computed by hand."""

from __future__ import annotations

import time

import pytest

from stagewright.cost.catalogue import Device, load_catalogue
from stagewright.cost.roofline import apply_roofline, roofline_work
from stagewright.errors import GraphError
from stagewright.graph import GraphBuilder

# 2 TFLOP/s reached in float32, 8 in float16, 1 TB/s reached, 3 us to start an operator.
DEVICE = Device(
    name="made-up",
    kind="gpu",
    peak={"float32": 4 * 10**12, "float16": 16 * 10**12},
    memory_bandwidth=2 * 10**12,
    memory=10**9,
    overhead=3_000_000,
    compute_efficiency=0.5,
    bandwidth_efficiency=0.5,
    link="usb3",
    source="made up",
)


@pytest.mark.parametrize(
    ("flops", "nbytes", "dtype", "work"),
    [
        (2_000_000, 100, "float32", 3_000_000 + 1_000_000),  # bound by arithmetic: 1 us
        (8_000_000, 100, "float16", 3_000_000 + 1_000_000),
        (2_000_000, 100, "float64", 3_000_000 + 2_000_000),  # half of float32
        (2_000_000, 5_000_000, "float32", 3_000_000 + 5_000_000),  # bound by memory: 5 us
        (1, 0, "float32", 3_000_000 + 1),  # half a picosecond, rounded up
        (3, 0, "float32", 3_000_000 + 2),
        (0, 1, "", 3_000_000 + 1),
        (0, 0, "float32", 0),  # a view launches nothing
    ],
)
def test_by_hand(flops: int, nbytes: int, dtype: str, work: int) -> None:
    assert roofline_work(DEVICE, flops=flops, nbytes=nbytes, dtype=dtype) == work
    builder = GraphBuilder("one")
    builder.add_node("n", flops=flops, nbytes=nbytes, dtype=dtype)
    assert apply_roofline(builder.build(), DEVICE).work.tolist() == [work]


def test_nothing_else_changes() -> None:
    builder = GraphBuilder("two")
    a = builder.add_node("a", flops=4_000_000, work=7)
    b = builder.add_node("b", nbytes=10)
    builder.add_tensor(a, [b], nbytes=100)
    graph = builder.build()
    estimated = apply_roofline(graph, DEVICE)
    assert estimated.work.tolist() == [5_000_000, 3_000_010]
    assert graph.work.tolist() == [7, 0]
    assert estimated.replace(work=graph.work).sha256 == graph.sha256


def test_more_is_never_cheaper() -> None:
    device = load_catalogue().device("cpu-core")
    sizes = [0, 1, 7, 10**3, 10**6 + 1, 10**9]
    for nbytes in sizes:
        works = [roofline_work(device, flops=flops, nbytes=nbytes) for flops in sizes]
        assert works == sorted(works)
        works = [roofline_work(device, flops=nbytes, nbytes=size) for size in sizes]
        assert works == sorted(works)


def test_beyond_int64_is_named() -> None:
    builder = GraphBuilder("huge")
    builder.add_node("small", flops=1)
    builder.add_node("vast", flops=2**63 - 1)
    with pytest.raises(GraphError) as caught:
        apply_roofline(builder.build(), load_catalogue().device("cpu-core"))
    # 96 GFLOP/s at an efficiency of 0.7 reach 67.2 GFLOP/s.
    work = 2_000_000 + -(-(2**63 - 1) * 10**12 // 67_200_000_000)
    assert str(caught.value) == (
        "node 'vast' on device 'cpu-core': expected work of at most 2**63 - 1 picoseconds "
        f"(106 days), got {work} picoseconds"
    )


def test_large_graph_is_quick() -> None:
    builder = GraphBuilder("large")
    for i in range(100_000):
        builder.add_node(f"n{i}", flops=i * 977, nbytes=i * 31, dtype="float16")
    graph = builder.build()
    begin = time.perf_counter()
    apply_roofline(graph, DEVICE)
    assert time.perf_counter() - begin < 2  # about 0.15 s; the bound leaves room for a busy machine
