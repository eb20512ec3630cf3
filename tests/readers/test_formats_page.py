# SPDX-License-Identifier: Apache-2.0
"""The graph file section of docs/formats.md holds: its example reads, its hash is the hash."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from stagewright.readers.graph_file import read_graph_file, write_graph_file

from .test_graph_file import full

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Graph file") :]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    assert found
    return found[1]


def test_the_example_reads(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(block("json"))
    graph = read_graph_file(tmp_path / "g.json")
    assert graph.work.tolist() == [12_500_000_000, 250_000_000]
    assert set(json.loads(block("json"))) == {
        "format", "name", "time_unit", "nodes", "tensors", "params", "uncuttable",
    }  # fmt: skip


def test_the_hash_is_the_hash(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    write_graph_file(full(), tmp_path / "g.json")
    document = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))
    assert names["graph_sha256"](document) == full().sha256
