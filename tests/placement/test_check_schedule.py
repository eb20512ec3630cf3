# SPDX-License-Identifier: Apache-2.0
"""The independent checker on plans that train by a schedule: agrees with the solver, refuses mutations."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal

import pytest
from tests.placement.schedules import random_fleet, random_training
from tests.placement.test_check import Document, _drop, _move_first, _set, _swap, documents
from tests.placement.test_schedule import fleet, layers

from stagewright.certificate.build import dumps
from stagewright.certificate.check import check_texts
from stagewright.errors import InfeasibleError, LimitError


def test_checker_agrees_and_refuses_higher_bounds() -> None:
    checked = refused = 0
    for seed in range(80):
        rng = random.Random(f"schedule {seed}")
        workload = random_training(rng)
        machine = random_fleet(rng, workload.graph)
        try:
            graph, plan = documents(workload, machine)
        except (InfeasibleError, LimitError):
            continue
        report = check_texts(graph, plan)
        assert report.valid, (seed, report.problems)
        checked += 1
        if plan["status"] != "optimal":
            continue
        assert not report.not_verified, (seed, report.not_verified)
        # A plan that is a picosecond slower than it has to be, and says that it is optimal.
        slower = json.loads(dumps(plan), parse_float=Decimal)
        slower["lower_bound"] += Decimal("1e-12")
        slower["bounds"][-1]["value"] = slower["lower_bound"]
        assert check_texts(graph, slower).exit_code in (1, 3), seed
        refused += 1
    assert checked > 50
    assert refused > 40


def forged(plan: Document, worse: Document) -> Document:
    """Return the worse plan with the claim that nothing is better."""
    value = worse["bottleneck"]
    bound = {"method": "exact", "value": value, "seconds": 0, "evidence": "exhaustive"}
    claim = {"lower_bound": value, "gap": 0, "status": "optimal", "bounds": [bound]}
    return worse | claim | {"graph_sha256": plan["graph_sha256"]}


@pytest.mark.parametrize("better", [{"replicas": 3}, {"recompute": "auto"}, {"name": "1f1b"}])
def test_wrong_proofs_are_refused(better: Document) -> None:
    """The best plan without replicas, recomputation or 1F1B is not the best one with them."""
    limit = None if "replicas" in better else 150
    given = {"name": "gpipe", "microbatches": 6, "recompute": "never", "replicas": 1}
    kept = 3 if "replicas" in better else 2
    graph, plan = documents(layers(4), fleet(kept, limit, **given | better))
    try:
        _, worse = documents(layers(4), fleet(kept, limit, **given))
    except InfeasibleError:
        _, worse = documents(layers(4), fleet(1, None, **given))
    assert worse["bottleneck"] > plan["bottleneck"]
    worse["machine"] = plan["machine"]
    worse["training"] |= {"schedule": plan["training"]["schedule"]}
    if better.get("name") == "1f1b":
        for number, stage in enumerate(reversed(worse["stages"])):
            stage["in_flight"] = number + 1
    report = check_texts(graph, json.loads(dumps(forged(plan, worse)), parse_float=Decimal))
    assert not report.valid, report
    assert any("a plan below it exists" in line or "holds" in line for line in report.problems)


MUTATIONS: list[Callable[[Document], None]] = [
    _move_first,
    _swap,
    _set("bottleneck", value=Decimal("0.000000000001")),
    _set("lower_bound", value=Decimal("0.000000000001")),
    _set("status", value="bounded"),
    _set("stages", 0, "work", value=0),
    _set("stages", 0, "io_out", value=0),
    _set("stages", 0, "sync", value=0),
    _set("stages", 0, "total", value=1),
    _set("stages", 0, "peak_bytes", value=10**9),
    _set("stages", 0, "replicas", value=1),
    _set("stages", 0, "replicas", value=0),
    _set("stages", 0, "replicas", value=True),
    _set("stages", 0, "recompute", value=True),
    _set("stages", 0, "recompute", value="no"),
    _set("stages", 0, "in_flight", value=1),
    _set("stages", 1, "kept_bytes", value=0),
    _set("stages", 1, "param_bytes", value=1),
    _drop("stages", 0, "sync"),
    _drop("stages", 0, "replicas"),
    _drop("stages", 0, "in_flight"),
    _drop("stages", 0),
    _drop("training"),
    _drop("training", "schedule"),
    _drop("training", "step"),
    _set("training", "step", value=1),
    _set("training", "backward", value=[]),
    _set("training", "schedule", "name", value="gpipe"),
    _set("training", "schedule", "name", value="zb"),
    _set("training", "schedule", "microbatches", value=9),
    _set("training", "schedule", "microbatches", value=0),
    _set("training", "schedule", "state_factor", value=8),
    _set("training", "schedule", "replicas", value=1),
    _set("training", "schedule", "recompute", value="always"),
    _set("machine", "devices", 0, "count", value=3),
    _set("machine", "devices", 0, "memory_limit", value=40),
    _set("machine", "devices", 0, "link", "bandwidth", value=1),
]


def test_mutations_are_refused() -> None:
    machine = fleet(4, 130, name="1f1b", microbatches=8, replicas=2, recompute="auto")
    graph, plan = documents(layers(4), machine)
    report = check_texts(graph, plan)
    assert report.exit_code == 0, report
    assert [stage["replicas"] for stage in plan["stages"]] == [2, 2]
    for number, mutate in enumerate(MUTATIONS):
        changed = json.loads(dumps(plan), parse_float=Decimal)
        mutate(changed)
        assert not check_texts(graph, changed).valid, number
