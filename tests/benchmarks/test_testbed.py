# SPDX-License-Identifier: Apache-2.0
"""The testbed: its list, its packs, its statistics."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from stagewright.benching.packs import (
    SUFFIX,
    graph_of_line,
    line_of,
    lines_of_pack,
    name_of_line,
)

PACKS = sorted((Path(__file__).parents[2] / "benchmarks" / "testbed" / "graphs").glob(f"*{SUFFIX}"))


def test_packs_hold_as_many_distinct_graphs_as_the_paper_had_models() -> None:
    lines = [line for path in PACKS for line in lines_of_pack(path).values()]
    digests = {name_of_line(line)[1] for line in lines}
    assert len(digests) == len(lines) >= 369
    areas = Counter(name_of_line(line)[0].partition("/")[0] for line in lines)
    assert set(areas) >= {"vision", "language", "speech", "multimodal", "recommendation", "graphs",
                          "diffusion", "experts"}  # fmt: skip
    assert sum(path.stat().st_size for path in PACKS) < 5_000_000


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.name.removesuffix(SUFFIX))
def test_graphs_are_what_their_digests_say(path: Path) -> None:
    lines = list(lines_of_pack(path).values())
    for line in random.Random(path.name).sample(lines, min(3, len(lines))):
        graph = graph_of_line(line, path.name)
        assert graph.num_nodes > 2
        assert graph.flops.any()
        assert not graph.work.any()
        assert name_of_line(line_of(graph, graph.name)) == name_of_line(line)


def test_list_has_no_name_twice_and_holds_every_packed_one() -> None:
    pytest.importorskip("torch")
    from benchmarks.testbed.catalogue import entries

    names = [entry.name for entry in entries()]
    assert len(set(names)) == len(names)
    packed = {name for path in PACKS for name in lines_of_pack(path)}
    assert packed <= set(names)


def test_a_network_is_made_as_it_was_packed() -> None:
    pytest.importorskip("torch")
    from benchmarks.testbed.catalogue import entries, make

    (entry,) = [e for e in entries() if e.name == "recommendation/dlrm-small/b1"]
    path = next(path for path in PACKS if path.name.startswith("recommendation"))
    assert line_of(make(entry), entry.name) == lines_of_pack(path)[entry.name]


def test_settings_say_how_to_read() -> None:
    from benchmarks.testbed.entries import layers_of, options_of

    assert options_of("b8-decode-c1024") == {"batch": 8, "phase": "decode", "cache": 1024}
    assert options_of("b1-s77") == {"batch": 1, "sequence": 77}
    with pytest.raises(ValueError, match=re.escape("setting 'b1-x': expected b8, s128")):
        options_of("b1-x")
    assert layers_of({"num_hidden_layers": 24}) == 24
    assert layers_of({"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_layers": 2}}) == 6  # fmt: skip
    assert layers_of({}) == 12


def test_width_is_that_of_brute_force() -> None:
    from benchmarks.testbed.statistics import width_of

    rng = random.Random(5)
    for _ in range(60):
        n = rng.randint(1, 8)
        names = rng.sample(range(n), n)  # so that indices are no topological order
        chance = rng.random()
        rows: list[list[int]] = [[] for _ in range(n)]
        for a, b in itertools.combinations(range(n), 2):
            if rng.random() < chance:
                rows[names[a]].append(names[b])
        reach = [set(row) for row in rows]
        for _ in range(n):
            for v in range(n):
                reach[v] |= {w for u in reach[v] for w in reach[u]}
        widest = max(
            size
            for size in range(1, n + 1)
            for nodes in itertools.combinations(range(n), size)
            if not any(b in reach[a] for a in nodes for b in nodes)
        )
        assert width_of(rows) == widest
