# SPDX-License-Identifier: Apache-2.0
"""Graphs in the formats of others: read back where there is a reader, parsed where there is none."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from stagewright.errors import GraphError, InputError
from stagewright.graph import FIRST, CostGraph, GraphBuilder
from stagewright.readers import load
from stagewright.writers import write_graph

NS = {"g": "http://graphml.graphdrawing.org/xmlns"}


def sample() -> CostGraph:
    b = GraphBuilder('a "graph" <&>')
    conv = b.add_node("conv\x01", op="Conv", work=5_000_000, flops=9, nbytes=8, stage=FIRST)
    relu = b.add_node('relu "\\"', work=1_500_000, group="g1")
    mask = b.add_node("mask", work=2_000_000, replicable=True)
    out = b.add_node("out\nput", work=0, group="g1")
    b.add_tensor(conv, [relu, out], nbytes=4096)
    b.add_tensor(conv, [out], nbytes=7)
    b.add_tensor(mask, [relu, out], nbytes=100)
    b.add_tensor(relu, [out], time=0)
    b.add_param(64, [relu, out])
    b.add_param(32, [conv])
    b.never_cut(conv, relu)
    return b.build()


def plain(costs: tuple[int, ...]) -> CostGraph:
    """Return a graph that a CostGraphDef holds without loss."""
    b = GraphBuilder("plain")
    nodes = [b.add_node(f"v{i}", work=c * 10**6) for i, c in enumerate(costs)]
    for a, c in pairwise(nodes):
        b.add_tensor(a, [c, nodes[-1]] if c != nodes[-1] else [c], nbytes=10 * (a + 1))
        b.add_tensor(a, [c], nbytes=3)
    b.add_tensor(nodes[0], [nodes[-1]], time=0)
    b.add_param(9, [nodes[1]])
    return b.build()


def test_a_cost_graph_def_reads_back(tmp_path: Path) -> None:
    graph = plain((3, 0, 58, 2**40, 1))
    assert write_graph(graph, tmp_path / "g.pbtxt") == []
    again = load(tmp_path / "g.pbtxt")
    assert again.node_names == graph.node_names
    assert again.work.tolist() == graph.work.tolist()
    assert sorted(rows(again)) == sorted(rows(graph))
    assert again.param_bytes.tolist() == [9]
    assert again.param_users.rows() == [[1]]


def rows(graph: CostGraph) -> list[tuple[int, list[int], int, int]]:
    columns = zip(
        graph.tensor_producer.tolist(),
        graph.tensor_consumers.rows(),
        graph.tensor_bytes.tolist(),
        graph.tensor_time.tolist(),
        strict=True,
    )
    return list(columns)


def test_a_cost_graph_def_says_what_it_cannot_hold(tmp_path: Path) -> None:
    left_out = write_graph(sample(), tmp_path / "g.pbtxt")
    assert left_out == [
        "work of 1 nodes rounded up to whole microseconds (5.88 % more in all)",
        "groups left out",
        "pins to the first or last stage left out",
        "uncuttable pairs left out",
        "operations and bytes moved left out",
        "shared parameters given to the first user",
    ]
    again = load(tmp_path / "g.pbtxt")
    assert again.work.tolist() == [5_000_000, 2_000_000, 2_000_000, 0]
    free = [(2, [1, 3], -1, 0), (1, [3], -1, 0)]
    assert sorted(rows(again)) == sorted([(0, [1, 3], 4096, -1), (0, [3], 7, -1), *free])
    assert dict(zip(again.param_bytes.tolist(), again.param_users.rows(), strict=True)) == {
        64: [1],
        32: [0],
    }


def test_a_cost_graph_def_has_no_prices(tmp_path: Path) -> None:
    b = GraphBuilder("priced")
    b.add_tensor(b.add_node("a"), [b.add_node("b")], time=5)
    with pytest.raises(GraphError, match="tensor 0 of node 'a': expected a size in bytes"):
        write_graph(b.build(), tmp_path / "g.pbtxt")
    assert list(tmp_path.iterdir()) == []


def test_graphml_holds_everything(tmp_path: Path) -> None:
    write_graph(sample(), tmp_path / "g.graphml", stage_of=[0, 0, 0, 1])
    root = ET.parse(tmp_path / "g.graphml").getroot()
    types = {k.get("id"): k.get("attr.type") for k in root.findall("g:key", NS)}
    (graph,) = root.findall("g:graph", NS)
    assert graph.get("edgedefault") == "directed"
    nodes = [data(node, types) for node in graph.findall("g:node", NS)]
    assert nodes[0] == {
        "n_name": "conv\\x01",
        "n_op": "Conv",
        "n_work_ps": 5_000_000,
        "n_flops": 9,
        "n_bytes": 8,
        "n_param_bytes": 32,
        "n_pinned": "first",
        "n_stage": 0,
    }
    assert nodes[1]["n_name"] == 'relu "\\"'
    assert (nodes[1]["n_group"], nodes[1]["n_param_bytes"]) == ("g1", 64)
    assert nodes[2]["n_replicable"] == "true"
    edges = [
        (e.get("source"), e.get("target"), data(e, types)) for e in graph.findall("g:edge", NS)
    ]
    assert edges == [
        ("n0", "n1", {"e_tensor": 0, "e_tensor_bytes": 4096}),
        ("n0", "n3", {"e_tensor": 0, "e_tensor_bytes": 4096}),
        ("n0", "n3", {"e_tensor": 1, "e_tensor_bytes": 7}),
        ("n2", "n1", {"e_tensor": 2, "e_tensor_bytes": 100}),
        ("n2", "n3", {"e_tensor": 2, "e_tensor_bytes": 100}),
        ("n1", "n3", {"e_tensor": 3, "e_cost_ps": 0}),
    ]


def data(element: ET.Element, types: dict[str | None, str | None]) -> dict[str, str | int]:
    made: dict[str, str | int] = {}
    for item in element.findall("g:data", NS):
        text = item.text or ""
        key = item.get("key") or ""
        made[key] = int(text) if types[key] in ("int", "long") else text
    return made


def test_dot_draws_nodes_edges_and_stages(tmp_path: Path) -> None:
    write_graph(sample(), tmp_path / "g.dot", stage_of=[0, 0, 0, 1])
    text = (tmp_path / "g.dot").read_text()
    assert text.startswith('digraph "a \\"graph\\" <&>" {')
    assert 'n1 [label="relu \\"\\\\\\"\\n1.5 us\\ngroup g1"];' in text
    assert 'n2 [label="mask\\n2 us", style="rounded,dashed"];' in text
    assert re.search(r'cluster_0 \{\nlabel="stage 0".*\nn0 .*\nn1 .*\nn2 .*\n\}', text)
    assert re.search(
        r'cluster_1 \{\nlabel="stage 1".*\nn3 \[label="out put\\ngroup g1"\];\n\}', text
    )
    assert 'n0 -> n1 [label="4 KiB"];\nn0 -> n3;\nn0 -> n3 [label="7 B"];' in text
    assert text.count(" -> ") == 6
    write_graph(sample(), tmp_path / "plain.gv")
    assert "cluster" not in (tmp_path / "plain.gv").read_text()


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected a name that ends in \.json or .* another ending"
    ):
        write_graph(sample(), tmp_path / "g.xml")
    with pytest.raises(InputError, match=r"plan: expected a \.graphml, \.dot or \.gv file"):
        write_graph(sample(), tmp_path / "g.json", stage_of=[0, 0, 0, 0])
    assert list(tmp_path.iterdir()) == []
