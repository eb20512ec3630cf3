# SPDX-License-Identifier: Apache-2.0
"""Published workloads with proven optima, where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stagewright.machine import Machine
from stagewright.plans import problems_of
from stagewright.readers import load
from stagewright.solve import Settings, solve

INSTANCES = Path(__file__).resolve().parents[3] / "shared" / "instances"

pytestmark = pytest.mark.skipif(
    not INSTANCES.exists(), reason="the published instances are not beside the project"
)


def expected() -> list[tuple[str, int, bool, float]]:
    path = INSTANCES / "expected.json"
    if not path.exists():
        return []
    cases = []
    content: dict[str, dict[str, Any]] = json.loads(path.read_text())
    for name, entry in content.items():
        cases.append((name, entry["k"], True, entry["optimum_with_groups_ms"]))
        for k, value in entry.get("optimum_without_groups_ms", {}).items():
            cases.append((name, int(k), False, value))
    return cases


@pytest.mark.parametrize(("name", "k", "groups", "optimum_ms"), expected())
def test_proven_optimum(name: str, k: int, groups: bool, optimum_ms: float) -> None:
    graph = load(INSTANCES / "graphs" / f"{name}.graph.json")
    graph = graph if groups else graph.without_constraints()
    solution = solve(graph, Machine(k), Settings(time_limit=60))
    assert solution.lower_bound == solution.bottleneck
    assert problems_of(graph, Machine(k), solution.plan) == []
    # With groups the published values are exact up to the rounding of each cost to picoseconds;
    # without, they are given to a relative 1e-6.
    assert solution.bottleneck / 1e9 == pytest.approx(optimum_ms, rel=1e-9 if groups else 1.1e-6)
