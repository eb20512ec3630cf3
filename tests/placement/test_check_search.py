# SPDX-License-Identifier: Apache-2.0
"""The checker's search for plans finds one exactly where there is one: just above optima, and not below bounds."""

from __future__ import annotations

import json
import random
from decimal import Decimal

import pytest
from tests.placement import schedules
from tests.placement.instances import MODES, random_fleet, random_workload

from stagewright.certificate import check
from stagewright.certificate.build import dumps
from stagewright.errors import InfeasibleError, LimitError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.document import placed_document
from stagewright.placement.method import PlacedSolution, solve_placed
from stagewright.placement.workload import Workload
from stagewright.readers.graph_writer import graph_text

COMPONENTS = check.beside("check_proofs.py")["components"]


def plan_exists(workload: Workload, fleet: Fleet, found: PlacedSolution, limit: int) -> bool:
    """Return whether the checker finds a plan whose stages all cost less than `limit`."""
    texts = graph_text(workload.graph), dumps(placed_document(workload, fleet, found, seed=0))
    documents = [json.loads(text, parse_float=Decimal) for text in texts]
    graph = check.load_graph(documents[0])
    machine = check.beside("check_devices.py")["load_fleet"](documents[1], graph)
    parts = check.beside("check_classes.py")
    problem = parts["relevant"](graph, machine, COMPONENTS)
    small = parts["smaller"](problem, machine, limit, COMPONENTS)
    search = check.beside("check_search.py")["Search"](small, graph, machine, limit, None)
    answer, _ = search.found()
    return bool(answer)


def compare(workload: Workload, fleet: Fleet, where: object) -> int:
    """Ask for plans around the optimum; return how often."""
    try:
        found = solve_placed(workload, fleet, time_limit=20)
    except (InfeasibleError, LimitError):
        return 0
    assert plan_exists(workload, fleet, found, found.bottleneck + 1), where
    if found.lower_bound > 0:
        assert not plan_exists(workload, fleet, found, found.lower_bound), where
    return 1


@pytest.mark.parametrize("mode", MODES)
def test_around_optima(mode: str) -> None:
    compared = 0
    for seed in range(40):
        rng = random.Random(f"search {mode} {seed}")
        workload = random_workload(rng, mode)
        compared += compare(workload, random_fleet(rng, workload.graph, mode), (mode, seed))
    assert compared > 20


def test_around_optima_of_schedules() -> None:
    compared = 0
    for seed in range(150):
        rng = random.Random(f"search schedule {seed}")
        workload = schedules.random_training(rng)
        compared += compare(workload, schedules.random_fleet(rng, workload.graph), seed)
    assert compared > 70


def test_memory_left_out_first() -> None:
    """With time to spend the checker proves the same without memory where that merges more."""
    kinds = (Kind("a", 2, Link(10**12), memory_limit=700), Kind("b", 1, Link(10**12)))
    builder = GraphBuilder("tail")
    for i in range(12):
        builder.add_node(f"n{i}", work=9 if i % 2 else 0)
        builder.add_param(100, [i])
        if i:
            builder.add_tensor(i - 1, [i], nbytes=4 if i % 2 else 1)
    workload, fleet = Workload(builder.build()), Fleet(kinds)
    found = solve_placed(workload, fleet, time_limit=20)
    texts = graph_text(workload.graph), dumps(placed_document(workload, fleet, found, seed=0))
    graph, plan = (json.loads(text, parse_float=Decimal) for text in texts)
    assert "without memory was redone" in str(check.check_texts(graph, plan, exhaustive_seconds=20))
    assert "without memory" not in str(check.check_texts(graph, plan))
    assert check.check_texts(graph, plan).exit_code == 0
