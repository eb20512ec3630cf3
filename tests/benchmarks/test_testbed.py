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
from stagewright.benching.random_dags import random_dag

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


def test_fused_variants_are_what_was_counted() -> None:
    """They are not stored but made when a graph is read; the statistics keep a digest of each."""
    from benchmarks.testbed.statistics import FORMS, load, packed, statistics_of

    lines, kept = packed(), load()
    known = {(one.name, one.form): one for one in kept}
    assert set(known) == {(name, form) for name in lines for form in FORMS}
    assert all(known[name, "operators"].digest == name_of_line(line)[1] for name, line in lines.items())  # fmt: skip
    small = sorted(one.name for one in kept if one.form == "fused" and one.nodes < 60)
    for name in random.Random(3).sample(small, 4):
        for form in FORMS:
            found, expected = statistics_of(lines[name], form), known[name, form]
            for key in ("digest", "nodes", "edges"):
                assert getattr(found, key) == getattr(expected, key), (
                    f"{name}, {form}: run `python -m benchmarks.testbed table --anew`"
                )
            assert form == "fused" or found.nodes == graph_of_line(lines[name], "packs").num_nodes


def test_statistics_are_kept_and_summed_up(tmp_path: Path) -> None:
    from dataclasses import replace

    from benchmarks.testbed.statistics import (
        COLUMNS,
        Statistics,
        load,
        renewed,
        save,
        summary,
    )

    graph = random_dag("layered", 60, 1)
    lines = {name: line_of(graph, name) for name in ("a/x/b1", "b/y/b1")}
    found = list(renewed(lines, []))
    save(found, tmp_path / "kept.csv")
    assert load(tmp_path / "kept.csv") == found
    assert load(tmp_path / "none.csv") == []
    # What is kept is not counted again; what changed is.
    marked = [replace(one, width=10**6) for one in found]
    assert list(renewed(lines, marked)) == marked
    lines["b/y/b1"] = line_of(random_dag("layered", 60, 2), "b/y/b1")
    assert [one.width == 10**6 for one in renewed(lines, marked)] == [True, True, False, False]
    own = [
        Statistics(f"a/{i}/b1", "fused", str(i), n, 10 * n, n, width, None, 0.5, ratio, 1.0)
        for i, (n, width, ratio) in enumerate([(1000, None, 0.25), (10, 3, 4.0), (20, 4, 0.0)])
    ]
    (area, every) = summary(own)
    assert dict(zip(COLUMNS, area, strict=True)) == {
        "area": "a",
        "graphs": "3",
        "n, median (most)": "20 (1,000)",
        "m, median (most)": "200 (10,000)",
        "reduced, median (most)": "20 (1,000)",
        "width, median (most)": "4 (many)",
        "ideals, median (most)": "many",
        "over 100,000 ideals": "3",
        "communication/work, fast": "0.50",
        "communication/work, slow": "1.00",
        "communication/work, edge": "1.00",
    }
    assert every[1:] == area[1:]


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
