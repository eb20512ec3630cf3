# SPDX-License-Identifier: Apache-2.0
"""Formats of others: small samples in full, and published files against their known conversions."""

from __future__ import annotations

import gzip
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stagewright.errors import InputError
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.plans import tensor_costs
from stagewright.readers import StagewrightWarning, load
from stagewright.solve import solve

SAMPLES = Path(__file__).parents[1] / "data" / "formats"
INSTANCES = Path(__file__).parents[2].parent / "shared" / "instances"
published = pytest.mark.skipif(
    not INSTANCES.is_dir(), reason="the instances of others (../shared/instances) are absent"
)


@contextmanager
def said(*patterns: str) -> Iterator[None]:
    """Demand that a reader says exactly these things."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    texts = [str(w.message) for w in caught if issubclass(w.category, StagewrightWarning)]
    assert len(texts) == len(patterns), texts
    for text, pattern in zip(texts, patterns, strict=True):
        assert re.search(pattern, text), text


def tensors(graph: CostGraph) -> list[tuple[str, list[str], int, int]]:
    names = graph.node_names
    columns = zip(
        graph.tensor_producer.tolist(),
        graph.tensor_consumers.rows(),
        graph.tensor_bytes.tolist(),
        graph.tensor_time.tolist(),
        strict=True,
    )
    return [(names[p], [names[u] for u in users], b, t) for p, users, b, t in columns]


def params(graph: CostGraph) -> dict[str, int]:
    rows = zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True)
    return {graph.node_names[user]: size for size, (user,) in rows}


def work(graph: CostGraph) -> dict[str, int]:
    return dict(zip(graph.node_names, graph.work.tolist(), strict=True))


def test_cost_graph_def() -> None:
    with said("outputs of unknown size counted as 0 bytes: 1"):
        graph = load(SAMPLES / "regal.pbtxt")
    us = 10**6
    assert work(graph) == {
        "_SOURCE": 0,
        "read": 3 * us,
        "left": 58 * us,
        "right": 30 * us,
        "join": 0,
    }
    assert tensors(graph) == [
        ("_SOURCE", ["read"], -1, 0),
        ("read", ["left", "right"], 100, -1),
        ("read", ["right"], 7, -1),
        ("read", ["join"], -1, 0),
        ("left", ["join"], 40, -1),
        ("right", ["join"], 0, -1),
    ]
    assert params(graph) == {"left": 1000}


def test_ids_of_cost_graph_defs_are_unique_per_device(tmp_path: Path) -> None:
    path = tmp_path / "two_devices.pbtxt"
    nodes = [f'name: "{d}{i}" device: "{d}" id: {i}' for d in "ab" for i in range(2)]
    texts = [f"node {{ {n} output_info {{ size: 4 }} {{}} }}".replace("{}", "") for n in nodes]
    texts[1] = texts[1].replace("output", "input_info { preceding_node: 0 } output", 1)
    texts[3] = texts[3].replace("output", "input_info { preceding_node: 0 } output", 1)
    path.write_text("\n".join(texts))
    found = [(p, users) for p, users, _, _ in tensors(load(path)) if users]
    assert found == [("a0", ["a1"]), ("b0", ["b1"])]


def test_pipedream_profile() -> None:
    with said("cost of node1 .data loading. taken as 0; backward times count in training only"):
        graph = load(SAMPLES / "pipedream.graph.txt")
    assert work(graph) == {
        "node1": 0,
        "node2": 1_250_000_000,
        "node3": 0,
        "node4": 0,
        "node5": 500_000,
    }
    assert graph.node_ops == ("Input0", "LSTM", "__getitem__", "__getitem__", "Sequential")
    assert tensors(graph) == [
        ("node1", ["node2"], -1, 0),
        ("node2", ["node3", "node5"], 64, -1),
        ("node2", ["node5"], 16, -1),
        ("node2", ["node4", "node5"], 17, -1),
        ("node3", ["node5"], 64, -1),
        ("node4", ["node5"], 17, -1),
    ]
    assert params(graph) == {"node2": 1000}


def test_pipedream_profile_with_its_input(tmp_path: Path) -> None:
    packed = tmp_path / "profile.txt.gz"
    packed.write_bytes(gzip.compress((SAMPLES / "pipedream.graph.txt").read_bytes()))
    for path in (SAMPLES / "pipedream.graph.txt", packed):
        with said(
            "graph.txt: backward times count in training only|txt.gz: backward times count in training only"
        ):
            graph = load(path, options={"input": "keep"})
        assert work(graph)["node1"] == 5_000_000_000
        assert tensors(graph)[0] == ("node1", ["node2"], 77, -1)


def test_workload_of_dnn_partitioning() -> None:
    with said("1 backward nodes are left out; nodes that only a CPU can run, with its latency: 1"):
        graph = load(SAMPLES / "workload.json")
    ms = 10**9
    assert work(graph) == {"a": ms // 2, "b": 4 * ms, "c": 9 * ms}
    assert tensors(graph) == [
        ("a", ["b", "c"], -1, ms // 8),
        ("a", ["c"], -1, ms // 4),
        ("b", ["c"], -1, 1),
    ]
    assert params(graph) == {"a": 11, "c": 4}
    groups = [graph.group_names[g] if g >= 0 else None for g in graph.group.tolist()]
    assert groups == ["3", "3", None]


def test_workload_of_dnn_partitioning_on_cpus_in_bytes() -> None:
    with said("1 backward nodes are left out"):
        graph = load(SAMPLES / "workload.json", options={"latency": "cpu", "edges": "bytes"})
    assert work(graph) == {"a": 5_500_000_000, "b": 50_000_000_000, "c": 9_000_000_000}
    assert [t[2] for t in tensors(graph)] == [1000, 2000, 1]


def test_workload_of_piper() -> None:
    with said("at tensor-parallel degree 1, variant 'vanilla'"):
        graph = load(SAMPLES / "piper.json")
    s = 10**12
    assert work(graph) == {"0:Embedding": s // 4, "5:Layer": 2 * s, "6:Layer": 2 * s}
    assert tensors(graph) == [
        ("0:Embedding", ["6:Layer"], 8, -1),
        ("0:Embedding", ["5:Layer"], 32, -1),
        ("5:Layer", ["6:Layer"], 32, -1),
    ]
    assert params(graph) == {"0:Embedding": 100, "6:Layer": 64}
    with said("variant 'activation recomp'"):
        graph = load(SAMPLES / "piper.json", options={"variant": "activation recomp"})
    assert work(graph)["5:Layer"] == 3 * s


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("regal.pbtxt", {"input": "keep"}, "option: expected none for a CostGraphDef, got input"),
        (
            "pipedream.graph.txt",
            {"inputs": "keep"},
            "option: expected one of input for a profile of PipeDream, got inputs",
        ),
        ("pipedream.graph.txt", {"input": "x"}, "option input: expected free or keep, got 'x'"),
        (
            "piper.json",
            {"variant": "recompute"},
            "nodes[0].TMPCs.1: expected the variant 'recompute', got vanilla, activation recomp",
        ),
    ],
)
def test_options_are_checked(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(SAMPLES / name, options=options)
    assert str(caught.value) == f"{SAMPLES / name}: {message}"


def test_shapes_are_refused_where_there_are_none() -> None:
    with pytest.raises(InputError, match="none, since a profile of PipeDream is read as it is"):
        load(SAMPLES / "pipedream.graph.txt", shapes={"x": [1]})


def content(graph: CostGraph, machine: Machine) -> dict[str, Any]:
    """Return all that a plan depends on, with nodes as numbers and tensors in no order."""
    groups = [-1 if g < 0 else g for g in graph.group.tolist()]
    sizes = Counter(groups)
    first: dict[int, int] = {}
    together = [
        first.setdefault(g, v) if sizes[g] > 1 and g >= 0 else -1 for v, g in enumerate(groups)
    ]
    rows = zip(
        graph.tensor_producer.tolist(),
        map(tuple, graph.tensor_consumers.rows()),
        tensor_costs(graph, machine),
        strict=True,
    )
    return {
        "work": graph.work.tolist(),
        "groups": together,
        "tensors": Counter(rows),
        "params": Counter(
            zip(graph.param_bytes.tolist(), map(tuple, graph.param_users.rows()), strict=True)
        ),
    }


@published
@pytest.mark.parametrize(
    ("raw", "converted"),
    [
        ("bert24_inference", "bert24_inference_layer"),
        ("gnmt_inference_layer", "gnmt_inference_layer"),
        ("bert_l-3_inference_operator", "bert_l-3_inference_op"),
        ("bert_l-3_training_operator", "bert_l-3_inference_op"),
    ],
)
def test_published_workloads_equal_their_conversions(raw: str, converted: str) -> None:
    notes = ["365 backward nodes are left out"] if "training" in raw else []
    with said(*notes):
        graph = load(INSTANCES / "raw" / f"{raw}.json")
    known = load(INSTANCES / "graphs" / f"{converted}.graph.json")
    assert content(graph, Machine(2)) == content(known, Machine(2))


@published
def test_a_published_workload_has_its_published_optimum() -> None:
    expected = json.loads((INSTANCES / "expected.json").read_text())
    for raw, name in (
        ("bert24_inference", "bert24_inference_layer"),
        ("bert_l-3_inference_operator", "bert_l-3_inference_op"),
    ):
        graph = load(INSTANCES / "raw" / f"{raw}.json")
        solution = solve(graph, Machine(expected[name]["k"]))
        assert solution.bottleneck == solution.lower_bound
        assert solution.bottleneck / 1e9 == pytest.approx(expected[name]["optimum_with_groups_ms"])


@published
@pytest.mark.parametrize(("speed", "bandwidth"), [("fast", 12.5e9), ("slow", 1e9)])
def test_a_pipedream_profile_equals_its_conversion(speed: str, bandwidth: float) -> None:
    with said("backward times count in training only"):
        graph = load(
            INSTANCES / "raw" / "pipedream_nasnetalarge.graph.txt", options={"input": "keep"}
        )
    known = load(INSTANCES / "wide" / f"nasnetalarge_{speed}.graph.json")
    ours, theirs = content(graph, Machine(2, int(bandwidth))), content(known, Machine(2))
    assert ours["work"] == theirs["work"]
    assert ours["tensors"].keys() == theirs["tensors"].keys()


@published
def test_all_published_files_can_be_read() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StagewrightWarning)
        graphs = {
            path.name: load(path)
            for path in (INSTANCES / "raw").iterdir()
            if not path.name.startswith("LICENSE")
        }
    assert len(graphs) == 9
    gnmt = graphs["pipedream_gnmt.graph.txt"]
    assert gnmt.num_nodes == 48
    assert gnmt.num_edges == 58  # an edge per line: the outputs of a list are told apart
    piper = graphs["piper_bert32a100.json"]
    assert (piper.num_nodes, piper.num_edges) == (37, 67)
