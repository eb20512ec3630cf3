# SPDX-License-Identifier: Apache-2.0
"""The independent checker on plans whose devices hold several chunks: agrees with the solver, refuses mutations."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from tests.placement.interleaved import MODES, instance
from tests.placement.test_check import Document, _drop, _move_first, _set, _swap
from tests.placement.test_interleaved import fleet, layers

from stagewright.certificate.build import dumps
from stagewright.certificate.check import check_texts
from stagewright.errors import InfeasibleError, LimitError
from stagewright.placement.devices import Fleet
from stagewright.placement.document import placed_document
from stagewright.placement.interleaved_method import solve_interleaved
from stagewright.placement.workload import Workload
from stagewright.readers.graph_writer import graph_text


def documents(workload: Workload, machine: Fleet) -> tuple[Document, Document]:
    """Return the graph document and the plan document, as they are read from files."""
    solution = solve_interleaved(workload, machine, time_limit=20)
    plan = placed_document(workload, machine, solution, seed=0)
    texts = graph_text(workload.graph), dumps(plan)
    return json.loads(texts[0], parse_float=Decimal), json.loads(texts[1], parse_float=Decimal)


@pytest.mark.parametrize("mode", MODES)
def test_checker_agrees_and_refuses_higher_bounds(mode: str) -> None:
    checked = refused = 0
    for seed in range(15):
        try:
            graph, plan = documents(*instance(mode, seed))
        except (InfeasibleError, LimitError):
            continue
        report = check_texts(graph, plan)
        assert report.valid, (mode, seed, report.problems)
        checked += 1
        if plan["status"] != "optimal":
            continue
        assert report.exit_code == 0, (mode, seed, report.not_verified)
        # The plan costs more than it has to, and says that it is optimal.
        dearer = json.loads(dumps(plan), parse_float=Decimal)
        dearer["lower_bound"] += Decimal("1e-12")
        dearer["bounds"][-1] |= {"value": dearer["lower_bound"], "evidence": "exhaustive"}
        assert check_texts(graph, dearer).exit_code in (1, 3), (mode, seed)
        refused += 1
    assert checked > 5, mode
    assert refused > 3, mode


def test_wrong_proofs_are_refused() -> None:
    """The best plan without recomputation is not the best one with it."""
    graph, plan = documents(layers(8), fleet(limit=200, microbatches=8, recompute="auto"))
    _, worse = documents(layers(8), fleet(limit=200, microbatches=8, recompute="always"))
    assert worse["bottleneck"] > plan["bottleneck"]
    value = worse["bottleneck"]
    bound = {"method": "exact", "value": value, "seconds": 0, "evidence": "exhaustive"}
    claim = {"lower_bound": value, "gap": 0, "status": "optimal", "bounds": [bound]}
    worse["training"]["schedule"]["recompute"] = "auto"
    report = check_texts(graph, json.loads(dumps(worse | claim), parse_float=Decimal))
    assert report.exit_code in (1, 3), report
    graph, plan = documents(layers(8), fleet(microbatches=8, recompute="auto"))
    _, worse = documents(layers(8), fleet(microbatches=8, recompute="always"))
    worse["training"]["schedule"]["recompute"] = "auto"
    bound["value"] = claim["lower_bound"] = worse["bottleneck"]
    report = check_texts(graph, json.loads(dumps(worse | claim), parse_float=Decimal))
    assert any("a plan below it exists" in line for line in report.problems), report


ONE = Decimal("0.000000000001")
MUTATIONS: list[Callable[[Document], None]] = [
    _move_first,
    _swap,
    _set("bottleneck", value=ONE),
    _set("lower_bound", value=ONE),
    _set("status", value="bounded"),
    _set("stages", 0, "work", value=0),
    _set("stages", 0, "io_out", value=0),
    _set("stages", 0, "sync", value=ONE),
    _set("stages", 0, "total", value=1),
    _set("stages", 0, "peak_bytes", value=10**9),
    _set("stages", 0, "replicas", value=2),
    _set("stages", 0, "replicas", value="1"),
    _set("stages", 0, "recompute", value="no"),
    _set("stages", 0, "in_flight", value=1),
    _set("stages", 0, "number", value=1),
    _set("stages", 0, "number", value="0"),
    _set("stages", 0, "device", value="cpu"),
    _set("stages", 1, "kept_bytes", value=0),
    _set("stages", 1, "param_bytes", value=1),
    _drop("stages", 0, "number"),
    _drop("stages", 0, "sync"),
    _drop("stages", 0, "replicas"),
    _drop("stages", 0, "in_flight"),
    _drop("stages", 0),
    _drop("stages", 3),
    _drop("training"),
    _drop("training", "schedule"),
    _drop("training", "step"),
    _set("training", "step", value=1),
    _set("training", "backward", value=[]),
    _set("training", "schedule", "name", value="1f1b"),
    _set("training", "schedule", "name", value="gpipe"),
    _set("training", "schedule", "name", value="zb"),
    _set("training", "schedule", "chunks", value=1),
    _set("training", "schedule", "chunks", value=4),
    _set("training", "schedule", "chunks", value=True),
    _drop("training", "schedule", "chunks"),
    _set("training", "schedule", "microbatches", value=9),
    _set("training", "schedule", "microbatches", value=10),
    _set("training", "schedule", "microbatches", value=0),
    _set("training", "schedule", "state_factor", value=8),
    _set("training", "schedule", "replicas", value=2),
    _set("training", "schedule", "recompute", value="some"),
    _set("machine", "shared", value=False),
    _drop("machine", "shared"),
    _set("machine", "devices", 0, "count", value=3),
    _set("machine", "devices", 0, "memory_limit", value=100),
    _set("machine", "devices", 0, "memory", value=100),
    _set("machine", "devices", 0, "link", "bandwidth", value=1),
    lambda plan: plan.update(objective={"minimise": "period", "value": 1, "lower_bound": 1}),
]


def test_mutations_are_refused() -> None:
    graph, plan = documents(layers(8), fleet(limit=320, microbatches=8))
    report = check_texts(graph, plan)
    assert report.exit_code == 0, report
    for number, mutate in enumerate(MUTATIONS):
        changed = json.loads(dumps(plan), parse_float=Decimal)
        mutate(changed)
        assert not check_texts(graph, changed).valid, number
