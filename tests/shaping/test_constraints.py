# SPDX-License-Identifier: Apache-2.0
"""Constraints in the user's terms: against brute force, and what is said of bad ones."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path
from typing import Any

import pytest

import stagewright as sw
from stagewright.errors import InputError
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, problems_of, stage_cost
from stagewright.shaping.constraints import Constraints, Reserve, apply_constraints, cut_of


def random_graph(seed: int, n: int) -> CostGraph:
    rng = random.Random(seed)
    builder = GraphBuilder(f"random {seed}")
    for v in range(n):
        builder.add_node(f"{'abc'[v % 3]}{v}", work=rng.randint(0, 9))
    for v in range(n - 1):
        users = sorted(rng.sample(range(v + 1, n), min(n - v - 1, rng.choice([0, 1, 1, 2]))))
        builder.add_tensor(v, users, nbytes=rng.randint(0, 6))
        builder.add_param(rng.randint(0, 9), [v])
    return builder.build()


def random_constraints(rng: random.Random, graph: CostGraph) -> dict[str, Any]:
    names = graph.node_names
    wanted: dict[str, Any] = {}
    if rng.random() < 0.5:
        wanted["together"] = [rng.choice(["^a", "^b", "[12]$", "a0|b4"])]
    if rng.random() < 0.5:
        wanted["never_cut"] = [[rng.choice(names[:3]), rng.choice(names[2:])]]
    if rng.random() < 0.4:
        wanted["first"] = [rng.choice(names)]
    if rng.random() < 0.4:
        wanted["last"] = [rng.choice(names)]
    return wanted


def paths(graph: CostGraph, a: int, b: int) -> set[int]:
    """Return the nodes on paths from a to b by walking every path."""
    after: list[set[int]] = [set() for _ in range(graph.num_nodes)]
    for p, users in zip(graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True):
        after[p].update(users)

    def walk(path: list[int]) -> set[int]:
        if path[-1] == b:
            return set(path)
        return set().union(*(walk([*path, u]) for u in after[path[-1]]))

    return walk([a])


def obeys(graph: CostGraph, wanted: dict[str, Any], plan: Plan) -> bool:
    """Check the constraints by what they say, on names and paths."""
    stage = plan.assignment(graph.num_nodes)
    matched = {
        key: [
            [v for v, n in enumerate(graph.node_names) if re.search(p, n)]
            for p in wanted.get(key, [])
        ]
        for key in ("together", "first", "last")
    }
    sets = [set(nodes) for nodes in matched["together"]]
    sets += [
        paths(graph, graph.index_of[a], graph.index_of[b]) for a, b in wanted.get("never_cut", [])
    ]
    return (
        all(len({stage[v] for v in nodes}) == 1 for nodes in sets)
        and all(stage[v] == 0 for nodes in matched["first"] for v in nodes)
        and all(stage[v] == len(plan.stages) - 1 for nodes in matched["last"] for v in nodes)
    )


@pytest.mark.parametrize("seed", range(60))
def test_optimum_with_constraints_is_that_of_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(seed, rng.randint(3, 7))
    wanted = random_constraints(rng, graph)
    stages = rng.choice([2, 3])
    machine = Machine(stages, bandwidth=10**12)
    costs = []
    for block in itertools.product(range(stages), repeat=graph.num_nodes):
        plan = Plan.from_assignment(graph, block)
        if not problems_of(graph, machine, plan) and obeys(graph, wanted, plan):
            costs.append(max(stage_cost(graph, machine, nodes).total for nodes in plan.stages))
    names = graph.index_of
    if any(not paths(graph, names[a], names[b]) for a, b in wanted.get("never_cut", [])):
        with pytest.raises(InputError, match="expected a path"):
            sw.plan(graph, stages, bandwidth=10**12, constraints=wanted)
        return
    best = min(costs, default=graph.total_work)
    try:
        found = sw.plan(graph, stages, bandwidth=10**12, constraints=wanted, time_limit=20)
    except InputError as error:
        # Pins that leave one stage for everything, or a node in both.
        if not error.item.startswith(("--first", "--last")) or best != graph.total_work:
            raise
        return
    assert obeys(graph, wanted, found.plan)
    assert found.solution.bottleneck == best == found.solution.lower_bound
    assert sw.check(graph, found).valid
    assert sw.check(found.graph, found).valid


CHAIN = ["stem/conv", "layers.0/a", "layers.0/b", "layers.1/a", "layers.1/b", "head/gemm"]


def chain() -> CostGraph:
    builder = GraphBuilder("chain")
    for name in CHAIN:
        builder.add_node(name, work=10**9)
    for v in range(len(CHAIN) - 1):
        builder.add_tensor(v, [v + 1], nbytes=10)
        builder.add_param(1000, [v])
    return builder.build()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"together": ["layer[.0"]},
            (
                "--together layer[.0: expected a regular expression, got a fault "
                "(unterminated character set at position 5)"
            ),
        ),
        (
            {"together": ["layer.0/a$x"]},
            (
                "--together layer.0/a$x: expected an expression that some node's name matches, got none of "
                "6. Near: 'layers.0/a', 'layers.1/a', 'layers.0/b'."
            ),
        ),
        (
            {"first": ["qqqq"]},
            (
                "--first qqqq: expected an expression that some node's name matches, got none of 6. Names "
                "look like 'stem/conv', 'layers.0/a', 'layers.0/b'."
            ),
        ),
        (
            {"never_cut": ["layers.1/a..layers.0/a"]},
            (
                "--never-cut layers.1/a..layers.0/a: expected a path from the first to the second, got "
                "paths from the second to the first only. Write layers.0/a..layers.1/a."
            ),
        ),
        (
            {"never_cut": ["a"]},
            (
                "constraints: never_cut[0]: expected A..B with two names or expressions, got 'a'. Where one "
                "of them has two points in a row, use a file: never_cut = [['A', 'B']]."
            ),
        ),
        (
            {"never_cut": ["stem/conv..tail"]},
            (
                "--never-cut stem/conv..tail: 'tail': expected an expression that some node's name matches, "
                "got none of 6. Names look like 'stem/conv', 'layers.0/a', 'layers.0/b'."
            ),
        ),
        (
            {"first": ["a$"], "last": ["layers.1"]},
            "--last layers.1: expected free nodes, got 'layers.1/a', pinned to the first stage",
        ),
        (
            {"first": ["layers.1/b"], "last": ["layers.0/b"]},
            (
                "--first and --last: expected first nodes that need nothing of last nodes and share no stage "
                "with them, got 'layers.1/b' (first), which needs or shares a stage with 'layers.0/b' "
                "(last). Everything would be one stage; loosen one of them."
            ),
        ),
        (
            {"first": ["stem"], "last": ["head"], "together": ["/[cg]"]},
            (
                "--first and --last: expected first nodes that need nothing of last nodes and share no stage "
                "with them, got 'stem/conv' (first), which needs or shares a stage with 'head/gemm' "
                "(last). Everything would be one stage; loosen one of them."
            ),
        ),
        (
            {"apart": ["x"]},
            (
                "constraints: apart: expected one of together, never_cut, first, last, reserve, got an unknown "
                "key"
            ),
        ),
        ({"first": "x"}, "constraints: first: expected a list, got 'x'"),
        ({"last": [3]}, "constraints: last: expected texts, got 3"),
        (
            {"reserve": {"one": "1GiB"}},
            "constraints: reserve: expected 'all' or the number of a stage, each once, got 'one'",
        ),
        (
            {"reserve": {"all": "1 elephant"}},
            "constraints: reserve: all: expected a size such as 16GiB, 8MB or a number of bytes, got '1 elephant'",
        ),
        (
            {"reserve": {"all": "1GiB"}},
            "reserve: expected a memory to take it from, got none. Give --memory or a device that has one.",
        ),
    ],
)
def test_bad_constraints(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        sw.plan(chain(), 2, bandwidth="1GB/s", constraints=wanted)
    assert str(caught.value) == message


def test_unconnected_pair() -> None:
    builder = GraphBuilder("two")
    builder.add_node("a", work=1)
    builder.add_node("b", work=1)
    with pytest.raises(InputError, match=r"got none in either direction\. Use --together"):
        apply_constraints(builder.build(), Constraints(never_cut=(("a", "b"),)))


def test_file_and_forms_agree(tmp_path: Path) -> None:
    path = tmp_path / "cuts.toml"
    path.write_text(
        'together = ["^x"]\nnever_cut = ["a..b", ["c..", "d"]]\nfirst = ["e"]\nlast = ["h"]\n'
        '[reserve]\nall = "2GiB"\n1 = "1MB"\n'
    )
    found = Constraints.of(path)
    assert found == Constraints(
        ("^x",), (("a", "b"), ("c..", "d")), ("e",), ("h",), Reserve(2**31, {1: 10**6})
    )
    assert Constraints.of(found.to_json()) == found
    assert Constraints.of(found) is found
    assert not Constraints.of(None)
    more = Constraints(together=("^x", "^y"), reserve=Reserve(0, {0: 5}))
    both = found | more
    assert both.together == ("^x", "^y")
    assert both.reserve == Reserve(2**31, {1: 10**6, 0: 5})


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a readable file, got No such file"):
        Constraints.of(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_text("together = [")
    with pytest.raises(InputError, match="expected TOML, got a fault"):
        Constraints.of(path)
    path.write_text('[reserve]\nall = 1\nstage = "x"\n')
    with pytest.raises(InputError, match=r"bad.toml: reserve: stage: expected a size"):
        Constraints.of(path)
    path.write_text("reserve = 3\n")
    with pytest.raises(InputError, match="expected a table of sizes by stage, got 3"):
        Constraints.of(path)


def test_options_for_pairs_and_reserves() -> None:
    assert cut_of("a..b") == ("a", "b")
    for text in ("a..", "..b", "a..b..c", "a.b"):
        with pytest.raises(InputError, match=r"expected A\.\.B"):
            cut_of(text)
    assert Reserve.parse(["all=1KiB", "2=5"]) == Reserve(1024, {2: 5})
    with pytest.raises(InputError, match="expected STAGE=BYTES, such as 0=2GiB"):
        Reserve.parse(["1GiB"])
    with pytest.raises(InputError, match="each once, got 'all'"):
        Reserve.parse(["all=1", "all=2"])


def test_what_is_reserved_is_missing() -> None:
    plain = sw.plan(chain(), 2, bandwidth="1GB/s", memory=6000)
    tight = sw.plan(
        chain(), 2, bandwidth="1GB/s", memory=6000, constraints={"reserve": {"all": 4500}}
    )
    same = sw.plan(chain(), 2, bandwidth="1GB/s", memory=1500)
    assert plain.bottleneck < tight.bottleneck == same.bottleneck
    assert tight.machine.memory == 1500
    assert tight.graph.notes == ("reserved on every device: 4.395 KiB",)
    assert sw.check(chain(), tight).valid
    with pytest.raises(
        InputError, match="reserve: expected at most the memory, 6000 bytes, got 7000"
    ):
        sw.plan(chain(), 2, bandwidth="1GB/s", memory=6000, constraints={"reserve": {"all": 7000}})
