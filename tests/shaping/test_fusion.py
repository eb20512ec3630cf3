# SPDX-License-Identifier: Apache-2.0
"""Fusion: which nodes form a kernel, and that kernels cost what their definition says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from stagewright.cost.catalogue import load_catalogue
from stagewright.cost.roofline import apply_roofline, roofline_work
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.shaping.fused_work import apply_fused_roofline, contracted, fused_traffic
from stagewright.shaping.fusion import MAX_KERNEL, find_kernels
from stagewright.shaping.groups import bind
from stagewright.shaping.kinds import Kind, kind_of
from stagewright.solve import Settings, solve

DEVICE = load_catalogue().device("cpu-core")
VIEWS = {"Reshape", "Flatten", "Identity"}


class Sketch:
    """A graph of operators by name; a node moves what it reads and writes, its own input too."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, str, list[str], int, int]] = []

    def add(
        self, name: str, op: str, *reads: str, size: int = 64, own: int = 0, params: int = 0
    ) -> str:
        self.nodes.append((name, op, list(reads), size, own + params))
        return name

    def build(self) -> CostGraph:
        builder = GraphBuilder("sketch")
        index = {name: i for i, (name, *_) in enumerate(self.nodes)}
        size_of = {name: size for name, _, _, size, _ in self.nodes}
        for name, op, reads, size, own in self.nodes:
            moved = 0 if op in VIEWS else own + size + sum(size_of[r] for r in set(reads))
            flops = 0 if op in VIEWS else (1000 if kind_of(op) is Kind.CONTRACTION else size)
            builder.add_node(name, op=op, flops=flops, nbytes=moved, dtype="float32")
        for name, _, _, size, _ in self.nodes:
            users = [index[n] for n, _, reads, _, _ in self.nodes if name in reads]
            builder.add_tensor(index[name], users, nbytes=size)
        return builder.build()

    def kernels(self) -> list[str]:
        graph = self.build()
        return [" ".join(graph.node_names[v] for v in nodes) for nodes in find_kernels(graph)]


def test_convolution_takes_normalisation_and_activation() -> None:
    s = Sketch()
    s.add("x", "MaxPool")
    s.add("conv", "Conv", "x", params=10)
    s.add("bn", "BatchNormalization", "conv", params=4)
    s.add("relu", "Relu", "bn")
    s.add("pool", "MaxPool", "relu")
    assert s.kernels() == ["conv bn relu"]


def test_residual_addition_joins_the_later_product() -> None:
    s = Sketch()
    s.add("x", "MaxPool")
    s.add("conv1", "Conv", "x")
    s.add("bn1", "BatchNormalization", "conv1")
    s.add("conv2", "Conv", "x")
    s.add("add", "Add", "bn1", "conv2")
    s.add("relu", "Relu", "add")
    assert s.kernels() == ["conv1 bn1", "conv2 add relu"]


def test_block_input_that_is_added_later_is_not_swallowed() -> None:
    s = Sketch()
    s.add("x", "MaxPool")
    s.add("relu", "Relu", "x")
    s.add("conv", "Conv", "relu")
    s.add("add", "Add", "conv", "relu")
    assert s.kernels() == ["conv add"]


def test_forked_activation_is_one_kernel() -> None:
    gelu = Sketch()
    gelu.add("x", "MatMul")
    gelu.add("bias", "Add", "x")
    gelu.add("div", "Div", "bias")
    gelu.add("erf", "Erf", "div")
    gelu.add("one", "Add", "erf")
    gelu.add("mul", "Mul", "bias", "one")
    gelu.add("half", "Mul", "mul")
    gelu.add("next", "MatMul", "half")
    assert gelu.kernels() == ["x bias div erf one mul half"]
    silu = Sketch()
    silu.add("x", "Conv")
    silu.add("sigmoid", "Sigmoid", "x")
    silu.add("mul", "Mul", "x", "sigmoid")
    assert silu.kernels() == ["x sigmoid mul"]


def test_parts_of_a_normalisation_are_one_kernel() -> None:
    s = Sketch()
    s.add("x", "MatMul")
    s.add("other", "MatMul", "x")
    s.add("mean", "ReduceMean", "x", size=4)
    s.add("sub", "Sub", "x", "mean")
    s.add("pow", "Pow", "sub")
    s.add("var", "ReduceMean", "pow", size=4)
    s.add("eps", "Add", "var", size=4)
    s.add("root", "Sqrt", "eps", size=4)
    s.add("norm", "Div", "sub", "root")
    s.add("scale", "Mul", "norm")
    s.add("shift", "Add", "scale")
    s.add("out", "Add", "shift", "other")
    s.add("end", "MatMul", "out")
    # The addition belongs to the product that it can follow.
    assert s.kernels() == ["other out", "mean sub pow var eps root norm scale shift"]


def test_softmax_takes_scale_and_mask() -> None:
    s = Sketch()
    s.add("scores", "MatMul")
    s.add("values", "MatMul")
    s.add("cast", "Cast", "values", size=32)
    s.add("soft", "Softmax", "scores")
    s.add("drop", "Identity", "soft")
    s.add("out", "MatMul", "drop", "cast")
    t = Sketch()
    t.add("x", "Gather")
    t.add("scale", "Div", "x")
    t.add("mask", "Add", "scale")
    t.add("soft", "Softmax", "mask")
    t.add("out", "MatMul", "soft")
    assert s.kernels() == ["values cast", "soft drop"]
    assert t.kernels() == ["scale mask soft"]


@pytest.mark.parametrize(
    ("op", "size", "why"),
    [
        ("Add", 128, "broadcast to a larger space"),
        ("Concat", 64, "moves data"),
        ("MaxPool", 64, "another space"),
        ("MatMul", 64, "a product of its own"),
        ("Softmax", 64, "needs whole rows"),
        ("Cast", 24, "no ratio of element sizes"),
    ],
)
def test_what_does_not_follow_a_product(op: str, size: int, why: str) -> None:
    s = Sketch()
    s.add("product", "Gemm")
    s.add("next", op, "product", size=size)
    assert s.kernels() == [], why


def test_a_second_reader_outside_prevents_fusion() -> None:
    s = Sketch()
    s.add("conv", "Conv")
    s.add("relu", "Relu", "conv")
    s.add("pool", "MaxPool", "conv")
    s.add("both", "Concat", "relu", "pool", size=128)
    assert s.kernels() == []


def test_kernels_stay_short() -> None:
    s = Sketch()
    s.add("n0", "Relu")
    for i in range(1, 3 * MAX_KERNEL):
        s.add(f"n{i}", "Relu", f"n{i - 1}")
    found = find_kernels(s.build())
    assert max(map(len, found)) <= MAX_KERNEL
    assert sum(map(len, found)) == 3 * MAX_KERNEL


def test_names_of_both_worlds_are_known() -> None:
    for op in ("Conv", "com.microsoft.FusedConv", "conv2d", "aten.convolution.default", "linear"):
        assert kind_of(op) is Kind.CONTRACTION, op
    for op in ("Add", "add", "aten.add_.Tensor", "relu_", "Sum", "com.microsoft.Gelu"):
        assert kind_of(op) is Kind.POINTWISE, op
    assert kind_of("sum") is kind_of("aten.mean.dim") is kind_of("ReduceMean") is Kind.REDUCTION
    assert kind_of("aten.layer_norm.default") is kind_of("LayerNormalization") is Kind.ROWS
    assert kind_of("Reshape", flops=0, nbytes=0) is Kind.VIEW
    assert kind_of("Dropout", flops=0, nbytes=0) is Kind.VIEW
    assert kind_of("Reshape", nbytes=8) is kind_of("Attention") is Kind.OTHER


# --- random graphs ------------------------------------------------------------------------------

OPS = (
    *("Conv", "MatMul", "Relu", "Relu", "Add", "Add", "Mul", "Sigmoid", "Sub", "Cast"),
    *("Reshape", "Identity", "ReduceMean", "Softmax", "LayerNormalization", "MaxPool", "Concat"),
)


def random_sketch(seed: int) -> Sketch:
    rng = random.Random(seed)
    s = Sketch()
    names: list[str] = []
    sizes: dict[str, int] = {}
    for i in range(rng.randint(2, 14)):
        op = rng.choice(OPS)
        near = names[-rng.choice([1, 2, 3, 14]) :]
        reads = rng.sample(near, min(len(near), rng.choice([0, 1, 1, 2]) if i else 0))
        if op in VIEWS:
            reads = reads[:1]
        widest = max((sizes[r] for r in reads), default=64)
        if op in VIEWS and reads:
            size = widest
        else:
            size = {"ReduceMean": 8, "Cast": widest // 2}.get(op, rng.choice([widest, widest, 64]))
        names.append(s.add(f"n{i}", op, *reads, size=size, own=rng.choice([0, 0, 5])))
        sizes[names[-1]] = size
    return s


def bytes_of_kernel(s: Sketch, graph: CostGraph, nodes: Sequence[int]) -> int:
    """Return what a kernel moves by its definition: distinct storage in, what leaves it, its own."""
    inside = {graph.node_names[v] for v in nodes}
    rows = {name: (op, reads, size, own) for name, op, reads, size, own in s.nodes}

    def storage(name: str) -> str:
        op, reads, _, _ = rows[name]
        return storage(reads[0]) if name in inside and op in VIEWS and reads else name

    total, read, written = 0, set(), set()
    for name in inside:
        op, reads, _, own = rows[name]
        if op in VIEWS:
            pass
        else:
            total += own
            read |= {storage(r) for r in reads if storage(r) not in inside}
        readers = [n for n, (_, r, _, _) in rows.items() if name in r]
        leaves = not readers or any(r not in inside for r in readers)
        if leaves and storage(name) in inside and rows[storage(name)][0] not in VIEWS:
            written.add(storage(name))
    return total + sum(rows[name][2] for name in read | written)


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_kernels_of_random_graphs(start: int) -> None:
    fused_nodes = 0
    for seed in range(start, start + 50):
        s = random_sketch(seed)
        graph = s.build()
        kernels = find_kernels(graph)
        consumers = graph.tensor_consumers.rows()
        seen: set[int] = set()
        for nodes in kernels:
            assert len(nodes) > 1
            assert seen.isdisjoint(nodes)
            seen.update(nodes)
            kinds = [kind_of(graph.node_ops[v]) for v in nodes]
            assert kinds.count(Kind.CONTRACTION) <= 1
            for v in nodes[:-1]:  # a single exit
                readers = [
                    u for t, p in enumerate(graph.tensor_producer) if p == v for u in consumers[t]
                ]
                assert readers
                assert set(readers) <= set(nodes), seed
        contracted(graph, kernels, [nodes[0] for nodes in kernels])  # raises on a cycle
        left = fused_traffic(graph, kernels)
        for nodes in kernels:
            assert sum(left[v] for v in nodes) == bytes_of_kernel(s, graph, nodes), seed
        fused_nodes += len(seen)
    assert fused_nodes > 50


@pytest.mark.parametrize("seed", range(60))
def test_fused_work_is_the_roofline_of_the_kernel(seed: int) -> None:
    s = random_sketch(seed)
    graph = s.build()
    device = replace(DEVICE, overhead=[0, 7, 10**6][seed % 3])
    fused = apply_fused_roofline(graph, device)
    plain = apply_roofline(graph, device)
    assert fused.unfused_work == plain.total_work
    inside = {v for nodes in fused.kernels for v in nodes}
    for nodes in fused.kernels:
        expected = roofline_work(
            device,
            flops=sum(int(graph.flops[v]) for v in nodes),
            nbytes=bytes_of_kernel(s, graph, nodes),
            dtype="float32",
        )
        assert sum(int(fused.graph.work[v]) for v in nodes) == expected
        assert len({int(fused.graph.group[v]) for v in nodes}) == 1
        assert fused.graph.group[nodes[0]] >= 0
    for v in set(range(graph.num_nodes)) - inside:
        assert fused.graph.work[v] == plain.work[v]
        assert fused.graph.group[v] == -1
    assert fused.graph.total_work <= plain.total_work
    assert fused.graph.node_names == graph.node_names


@pytest.mark.parametrize("seed", range(25))
def test_plan_of_kernels_is_the_plan_of_the_contracted_graph(seed: int) -> None:
    graph = random_sketch(seed).build()
    fused = apply_fused_roofline(graph, DEVICE)
    mains = [nodes[0] for nodes in fused.kernels]
    small = contracted(fused.graph, fused.kernels, mains)
    home = {v: main for nodes, main in zip(fused.kernels, mains, strict=True) for v in nodes}
    work = dict.fromkeys(small.node_names, 0)
    for v, name in enumerate(graph.node_names):
        work[graph.node_names[home.get(v, v)] if v in home else name] += int(fused.graph.work[v])
    small = small.replace(work=[work[name] for name in small.node_names])
    machine = Machine(3, bandwidth=10**9)
    settings = Settings(time_limit=20)
    assert (
        solve(fused.graph, machine, settings).bottleneck
        == solve(small, machine, settings).bottleneck
    )


def test_overlapping_sets_become_one_group_with_their_names() -> None:
    builder = GraphBuilder("chain")
    for v in range(6):
        builder.add_node(f"v{v}", work=1, group="mine" if v in (2, 3) else None)
    for v in range(5):
        builder.add_tensor(v, [v + 1], nbytes=1)
    graph = builder.build()
    bound = bind(graph, [("a", [0, 1]), ("b", [1, 2]), ("single", [4]), ("mine", [4, 5])])
    assert bound.group_names == ("a & b & mine", "mine (2)")
    assert bound.group.tolist() == [0, 0, 0, 0, 1, 1]
    assert bind(graph, []) is graph
