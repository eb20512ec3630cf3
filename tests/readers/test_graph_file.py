# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagewright.errors import GraphError, InputError
from stagewright.graph import FIRST, LAST, CostGraph, GraphBuilder
from stagewright.readers import text_file
from stagewright.readers.graph_file import read_graph_file, write_graph_file

INSTANCES = Path(__file__).parents[2].parent / "shared" / "instances"
CORPUS = sorted(INSTANCES.glob("*/*.graph.json"))


def full() -> CostGraph:
    """Return a graph that uses every key of the format."""
    b = GraphBuilder("full ü")
    a = b.add_node("a", op="Conv", work=2**60, flops=2**62, nbytes=7, group="g", stage=FIRST)
    c = b.add_node("c ☃", work=1, group="", replicable=True)
    d = b.add_node('d"\n', group="g", stage=LAST)
    b.add_tensor(a, [d, c], nbytes=2**60)
    b.add_tensor(a, [], nbytes=0)
    b.add_tensor(c, [d], time=3)
    b.add_param(5, [a, d])
    b.add_param(0, [])
    b.never_cut(a, d)
    return b.build()


def assert_equal(a: CostGraph, b: CostGraph) -> None:
    for key in ("name", "node_names", "node_ops", "group_names", "sha256"):
        assert getattr(a, key) == getattr(b, key)
    for key in ("work", "flops", "nbytes", "group", "stage", "replicable", "tensor_producer"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key))
    for key in ("tensor_bytes", "tensor_time", "param_bytes", "uncuttable"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key))
    assert a.tensor_consumers.rows() == b.tensor_consumers.rows()
    assert a.param_users.rows() == b.param_users.rows()


@pytest.mark.parametrize("name", ["g.json", "g.json.gz"])
def test_a_written_graph_reads_back_equal(tmp_path: Path, name: str) -> None:
    write_graph_file(full(), tmp_path / name)
    assert_equal(read_graph_file(tmp_path / name), full())
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(not CORPUS, reason="the instances of others (../shared/instances) are absent")
def test_the_corpus_reads_back_equal(tmp_path: Path) -> None:
    assert len(CORPUS) >= 20
    for path in CORPUS:
        graph = read_graph_file(path)
        write_graph_file(graph, tmp_path / "g.json.gz")
        assert_equal(read_graph_file(tmp_path / "g.json.gz"), graph)


@pytest.mark.parametrize("name", ["g.json", "g.json.gz"])
def test_the_same_graph_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    write_graph_file(full(), tmp_path / name)
    first = (tmp_path / name).read_bytes()
    (tmp_path / "other").mkdir()
    write_graph_file(full(), tmp_path / "other" / name)
    assert (tmp_path / "other" / name).read_bytes() == first


def test_the_text_of_a_file(tmp_path: Path) -> None:
    b = GraphBuilder("two")
    b.add_tensor(b.add_node("a", op="Conv", work=5), [b.add_node("b")], nbytes=8)
    write_graph_file(b.build(), tmp_path / "g.json")
    assert (tmp_path / "g.json").read_text() == (
        '{"format": "stagewright-graph/1",\n'
        '"name": "two",\n'
        '"time_unit": "ps",\n'
        '"nodes": [\n'
        '{"name":"a","work":5,"op":"Conv"},\n'
        '{"name":"b","work":0}\n'
        "],\n"
        '"tensors": [\n'
        '{"producer":0,"consumers":[1],"bytes":8}\n'
        "]}\n"
    )


def document(**changes: Any) -> dict[str, Any]:
    return {
        "format": "stagewright-graph/1",
        "name": "g",
        "time_unit": "s",
        "nodes": [{"name": "a", "work": 0}, {"name": "b", "work": 0}],
        "tensors": [{"producer": 0, "consumers": [1], "cost": 0}],
    } | changes


def read_text(folder: Path, text: str) -> CostGraph:
    (folder / "g.json").write_text(text)
    return read_graph_file(folder / "g.json")


@pytest.mark.parametrize(
    ("unit", "text", "ps"),
    [
        ("s", "0.1", 10**11),
        ("ms", "12.5", 12_500_000_000),
        ("ms", "0.1000000001", 100_000_001),  # 100,000,000.1 picoseconds are rounded up
        ("us", "1e-6", 1),
        ("us", "1e-30", 1),
        ("ns", "3", 3000),
        ("ps", "7", 7),
        ("ps", "6.000000000000000000000000000001", 7),
        ("s", "-0.0", 0),
        ("s", "106751", 106_751 * 10**12),
    ],
)
def test_times_are_exact(tmp_path: Path, unit: str, text: str, ps: int) -> None:
    nodes = [{"name": "a", "work": "@"}, {"name": "b", "work": 0}]
    tensors = [{"producer": 0, "consumers": [1], "cost": "@"}]
    made = json.dumps(document(time_unit=unit, nodes=nodes, tensors=[]))
    assert read_text(tmp_path, made.replace('"@"', text)).work.tolist() == [ps, 0]
    if ps < 10**15:
        made = json.dumps(document(time_unit=unit, tensors=tensors))
        assert read_text(tmp_path, made.replace('"@"', text)).tensor_time.tolist() == [ps]


def test_whole_numbers_may_be_written_as_decimals(tmp_path: Path) -> None:
    text = json.dumps(document()).replace('"cost": 0', '"bytes": 4.096e3')
    assert read_text(tmp_path, text).tensor_bytes.tolist() == [4096]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_bytes_are_finite(tmp_path: Path, text: str) -> None:
    made = json.dumps(document()).replace('"cost": 0', f'"bytes": {text}')
    with pytest.raises(GraphError, match=r"g\.json: tensors\[0\]\.bytes: expected a "):
        read_text(tmp_path, made)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert read_text(tmp_path, "\ufeff" + json.dumps(document())).num_nodes == 2


def test_expansion_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MAX_TEXT_BYTES", 3 * 2**20)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * 2**26))
    with pytest.raises(GraphError) as caught:
        read_graph_file(path)
    assert str(caught.value) == (
        f"{path}: expected at most 3145728 bytes of text, got more (after expansion)"
    )


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none/g\.json: expected a writable file, got No such file"
    ):
        write_graph_file(full(), tmp_path / "none" / "g.json")
    (tmp_path / "g.json").mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(InputError, match="expected a writable file, got"):
        write_graph_file(full(), tmp_path / "g.json")
    assert [p.name for p in tmp_path.iterdir()] == ["g.json"]


def test_names_that_are_no_unicode_are_not_written(tmp_path: Path) -> None:
    builder = GraphBuilder("g")
    builder.add_node("\ud800")
    with pytest.raises(GraphError, match="graph 'g': expected names of valid Unicode"):
        write_graph_file(builder.build(), tmp_path / "g.json")
