# SPDX-License-Identifier: Apache-2.0
"""Granularity: what names say of modules and layers, and what coarser cuts cost."""

from __future__ import annotations

import random

import pytest

from stagewright.errors import InputError
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.shaping.constraints import Constraints
from stagewright.shaping.granularity import LEVELS, module_path, units_of
from stagewright.shaping.shape import shape
from stagewright.solve import Settings, solve


def graph_of(*names: str, edges: list[tuple[int, int]] | None = None) -> CostGraph:
    builder = GraphBuilder("names")
    for v, name in enumerate(names):
        builder.add_node(name, work=1 + v % 3)
    for a, b in edges if edges is not None else [(v, v + 1) for v in range(len(names) - 1)]:
        builder.add_tensor(a, [b], nbytes=1)
    return builder.build()


def units(level: str, *names: str) -> dict[str, list[str]]:
    graph = graph_of(*names)
    found = units_of(graph, "layer" if level == "layer" else "module")
    return {name: [graph.node_names[v] for v in nodes] for name, nodes in found}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/model/layers.0/self_attn/MatMul", "model layers 0 self_attn"),
        ("model.layers.0.self_attn.q_proj/linear", "model layers 0 self_attn q_proj"),
        ("features.3.conv.Conv", "features 3 conv"),
        ("bert/encoder/layer_0/attention/MatMul_1", "bert encoder layer_0 attention"),
        ("Conv_12", ""),
        ("/Add", ""),
        ("p2o.Conv.7", ""),
        ("17", ""),
    ],
)
def test_module_path(name: str, path: str) -> None:
    assert " ".join(module_path(name)) == path


@pytest.mark.parametrize(
    ("scope", "block"),
    [
        ("model.layers.0.self_attn.q_proj", "model.layers.0"),
        ("model.layers.11.mlp.experts.3.w1", "model.layers.11"),
        ("transformer.h.3.mlp", "transformer.h.3"),
        ("bert.encoder.layer.0.attention.self", "bert.encoder.layer.0"),
        ("bert.encoder.layer_0.attention", "bert.encoder.layer_0"),
        ("encoder.block.0.layer.1.DenseReluDense", "encoder.block.0"),
        ("layer1.0.conv1", "layer1.0"),
        ("stages.2.blocks.1.mlp", "stages.2.blocks.1"),
        ("layers.0.blocks.1.attn", "layers.0.blocks.1"),
        ("resnet.encoder.stages.0.layers.1.layer.0", "resnet.encoder.stages.0.layers.1"),
        ("features.denseblock1.denselayer4.conv1", "features.denseblock1.denselayer4"),
        ("features.3.block.0.1", "features.3"),
        ("0", "0"),
        ("0.conv", "0"),
    ],
)
def test_repeated_blocks(scope: str, block: str) -> None:
    # Beside another node of the same block and one outside of any.
    found = units("layer", f"{scope}/a", f"{scope}/b", "head.x/c")
    assert found == {f"layer {block}": [f"{scope}/a", f"{scope}/b"]}


def test_levels_of_a_transformer() -> None:
    names = [
        "embed/gather",
        "layers.0.norm/layer_norm",
        "layers.0.attn.q/linear",
        "layers.0.attn.q/add",
        "layers.0.attn/matmul",
        "layers.0/add",
        "layers.1.norm/layer_norm",
        "layers.1/add",
        "head/linear",
        "head/softmax",
    ]
    assert units("module", *names) == {
        "module layers.0.attn.q": names[2:4],
        "module head": names[8:],
    }
    assert units("layer", *names) == {
        "layer layers.0": names[1:6],
        "layer layers.1": names[6:8],
        "layer head": names[8:],
    }


def test_names_without_modules_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        units_of(graph_of("Conv_0", "Conv_1"), "layer")
    assert str(caught.value) == (
        "granularity 'layer': expected names with modules in them, such as model.layers.0.mlp/linear, "
        "got names like 'Conv_0'. Use --granularity op, or say with --together what must not be cut."
    )
    with pytest.raises(InputError, match="got names like 'm/a'"):
        units_of(graph_of("m/a", "m/b"), "module")  # everything would be one unit
    with pytest.raises(
        InputError, match="granularity: expected one of op, module, layer, got 'row'"
    ):
        shape(graph_of("a"), "row", None)


def test_what_joined_is_said() -> None:
    # x lies between two nodes of one module.
    edges = [(0, 1), (1, 2), (2, 3), (3, 4)]
    graph = graph_of("a.l/p", "a.l/q", "x", "a.l/r", "b.m/s", edges=edges)
    shaped = shape(graph, "module", None)
    assert shaped.notes == (
        "granularity module: 3 nodes in 1 unit, 2 on their own; 1 node between them joined",
    )
    tangled = graph_of("a/p", "b/q", "a/r", "b/s", "c/t")
    assert shape(tangled, "module", None).notes[0].endswith("; 2 of them entangled with others")


@pytest.mark.parametrize("seed", range(12))
def test_coarser_units_never_gain(seed: int) -> None:
    rng = random.Random(seed)
    builder = GraphBuilder("blocks")
    for v in range(12):
        module = rng.choice(["norm", "attn.q", "attn", "mlp", ""])
        scope = ".".join(filter(None, [f"layers.{v // 4}", module]))
        builder.add_node(
            f"{scope}/op{v}" if rng.random() < 0.9 else f"op{v}", work=rng.randint(0, 9)
        )
    for v in range(11):
        users = sorted(rng.sample(range(v + 1, 12), min(11 - v, rng.choice([1, 1, 2]))))
        builder.add_tensor(v, users, nbytes=rng.randint(0, 5))
    graph = builder.build()
    machine = Machine(3, bandwidth=10**12)
    results = []
    for level in LEVELS:
        found = solve(shape(graph, level, Constraints()), machine, Settings(time_limit=20))
        assert found.bottleneck == found.lower_bound
        results.append(found.bottleneck)
    assert results == sorted(results)
