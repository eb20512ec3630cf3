# SPDX-License-Identifier: Apache-2.0
"""All work shared out in fractions: bounds against all plans, good prices, and the checker's reading of them."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.placement.instances import MODES, brute_force, outright, random_fleet, random_workload

from stagewright.certificate.build import dumps
from stagewright.certificate.check import check_texts
from stagewright.errors import InfeasibleError, LimitError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.document import placed_document
from stagewright.placement.method import solve_placed
from stagewright.placement.shares import Shop, share_bound
from stagewright.placement.task import compile_task
from stagewright.placement.workload import Workload
from stagewright.readers.graph_writer import graph_text


@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans(mode: str) -> None:
    raised = 0
    for seed in range(40):
        rng = random.Random(f"shares {mode} {seed}")
        workload = random_workload(rng, mode)
        fleet = random_fleet(rng, workload.graph, mode)
        best = brute_force(workload, fleet)
        if best is None:
            continue
        shop = Shop.of(compile_task(workload, fleet))
        bound = share_bound(compile_task(workload, fleet))
        assert bound.value <= best, (mode, seed)
        raised += bound.value > 0
        # No prices are better than the optimum, whatever they are.
        for _ in range(20):
            hours = [rng.randrange(5) for _ in fleet.kinds]
            sizes = [rng.choice([0, 0, 1, rng.randrange(9)]) for _ in fleet.kinds]
            assert shop.bound(hours, sizes) <= best, (mode, seed, hours, sizes)
    assert raised > 5


def two_kinds(limit: int | None = None, memory: int | None = None) -> tuple[Workload, Fleet]:
    """Return work that suits one of two kinds each, with a parameter per node."""
    builder = GraphBuilder("suited")
    rng = random.Random(5)
    for i in range(40):
        builder.add_node(f"n{i}", work=1000)
        builder.add_param(100, [i])
        if i:
            builder.add_tensor(i - 1, [i], nbytes=0)
    works = [tuple(rng.randrange(500, 3000) for _ in range(40)) for _ in range(2)]
    link = Link(10**12)
    kinds = [
        Kind("a", 2, link, works[0], memory, limit),
        Kind("b", 1, link, works[1]),
    ]
    return Workload(builder.build()), Fleet(tuple(kinds))


@pytest.mark.parametrize(("limit", "memory"), [(None, None), (700, None), (None, 700)])
def test_prices_are_the_best(limit: int | None, memory: int | None) -> None:
    """Within a thousandth of the best prices on a fine grid."""
    task = compile_task(*two_kinds(limit, memory))
    shop = Shop.of(task)
    found = share_bound(task)
    grid = range(0, 2001, 8)
    sizes = [0] if limit is memory is None else range(0, 12000, 100)
    best = max(
        shop.bound([part, 2000 - part], [size, 0]) for part, size in itertools.product(grid, sizes)
    )
    assert found.value >= best * 0.999
    assert found.witness is not None
    assert shop.bound(found.witness["hours"], found.witness["sizes"]) == found.value


def test_checker_reads_prices() -> None:
    checked = refused = 0
    for seed in range(30):
        mode = MODES[seed % len(MODES)]
        rng = random.Random(f"shares {mode} {seed}")
        workload = random_workload(rng, mode)
        fleet = random_fleet(rng, workload.graph, mode)
        try:
            with outright(False):
                found = solve_placed(workload, fleet, time_limit=10)
        except (InfeasibleError, LimitError):
            continue
        bound = share_bound(compile_task(workload, fleet))
        if not bound.value:
            continue
        for more, code in ((0, 0), (1, 1)):
            bounds = (*found.bounds[:1], replace(bound, value=bound.value + more))
            plan = placed_document(workload, fleet, replace(found, bounds=bounds), seed=0)
            texts = graph_text(workload.graph), dumps(plan)
            report = check_texts(*(json.loads(text, parse_float=Decimal) for text in texts))
            proven = max(found.bounds[0].value, bound.value) >= bound.value + more
            assert report.exit_code == (0 if proven else code), (mode, seed, report)
            checked += 1
            refused += report.exit_code == 1
    assert checked > 10
    assert refused > 3


@pytest.mark.parametrize(
    "prices",
    [{"hours": [1]}, {"hours": [1, -1], "sizes": [0, 0]}, {"hours": 1, "sizes": []}],
)
def test_malformed_prices(prices: object) -> None:
    workload, fleet = two_kinds()
    found = solve_placed(workload, fleet, time_limit=10)
    plan = json.loads(dumps(placed_document(workload, fleet, found, seed=0)), parse_float=Decimal)
    plan["bounds"][0]["witness"] = prices
    graph = json.loads(graph_text(workload.graph), parse_float=Decimal)
    assert check_texts(graph, plan).exit_code == 1


def test_memory_left_out_first() -> None:
    """Where memory does not matter after all, merges without it make the proof small."""
    workload, fleet = two_kinds(limit=3500)
    with outright(False):
        found = solve_placed(workload, fleet, time_limit=20)
    assert found.bottleneck == found.lower_bound
    assert "shares" in {bound.method for bound in found.bounds}


def test_out_of_time() -> None:
    """All devices of a kind cost as much as all of another one where the search starts."""
    task = compile_task(*two_kinds())
    bound = share_bound(task, deadline=0.0)
    assert bound.value == Shop.of(task).bound([1, 2], [0, 0])
    assert bound.value < share_bound(task).value
