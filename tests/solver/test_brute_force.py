# SPDX-License-Identifier: Apache-2.0
"""Optimum, reductions, bounds and lifted plans against brute force on random graphs."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from tests.solver import brute
from tests.solver.battery import run_battery
from tests.solver.random_graphs import random_case


@pytest.mark.parametrize("block", range(12))
def test_random_graphs(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        run_battery(seed)


def test_brute_force_agrees_with_all_assignments() -> None:
    """The oracle itself: chains of ideals against every assignment to numbered blocks."""
    for seed in range(120):
        graph, machine = random_case(seed, max_nodes=5)
        by_chains = brute.graph_optimum(graph, machine, relaxed=False)
        assert by_chains == brute.assignment_optimum(graph, machine), f"seed {seed}"


def test_twenty_thousand_random_graphs() -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for _ in pool.map(run_battery, range(10_000, 30_000), chunksize=250):
            pass
