# SPDX-License-Identifier: Apache-2.0
"""Packs hold graphs whole, once each, and notice what was changed."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from stagewright.benching.packs import (
    graph_of_line,
    line_of,
    lines_of_pack,
    name_of_line,
    write_pack,
)
from stagewright.errors import InputError
from stagewright.graph import CostGraph, GraphBuilder


def graph(size: int = 64) -> CostGraph:
    builder = GraphBuilder("net")
    builder.add_node("a", op="Conv", flops=10, nbytes=20, dtype="float16", kind="conv-depthwise")
    builder.add_node("b", op="Relu", flops=1, nbytes=2, dtype="float32")
    builder.add_tensor(0, [1], nbytes=size)
    builder.add_param(100, [0])
    return builder.build()


def test_round_trip_keeps_types_and_kinds() -> None:
    found = graph_of_line(line_of(graph(), "area/net/b1"), "pack")
    assert found.name == "area/net/b1"
    assert found.sha256 == graph().sha256
    assert found.node_dtypes == ("float16", "float32")
    assert found.node_kinds == ("conv-depthwise", "")
    assert found.flops.tolist() == [10, 1]
    assert found.nbytes.tolist() == [20, 2]


def test_pack_is_sorted_and_holds_each_content_once(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl.xz"
    lines = [line_of(graph(1), "c"), line_of(graph(2), "b"), line_of(graph(1), "a")]
    assert write_pack(path, lines) == 2
    assert list(lines_of_pack(path)) == ["a", "b"]
    first = path.read_bytes()
    write_pack(path, lines[::-1])
    assert path.read_bytes() == first


def test_digest_depends_on_content_not_on_name() -> None:
    digests = [name_of_line(line_of(graph(s), n))[1] for s, n in ((1, "a"), (1, "b"), (2, "a"))]
    assert digests[0] == digests[1] != digests[2]


def test_changed_content_is_refused() -> None:
    line = line_of(graph(), "net").replace('"bytes":64', '"bytes":65')
    with pytest.raises(InputError, match=r"^pack: net: expected content of digest .*, got "):
        graph_of_line(line, "pack")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "expected lines of JSON compressed with xz"),
        (lzma.compress(b"no json\n"), "expected lines of JSON compressed with xz"),
    ],
)
def test_what_is_no_pack_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jsonl.xz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        lines_of_pack(path)
    with pytest.raises(InputError, match="expected a readable pack, got No such file"):
        lines_of_pack(tmp_path / "none.jsonl.xz")


def test_line_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="expected a line of name, digest, graph, dtypes, kinds"):
        graph_of_line('{"name": "x"}', "pack")
