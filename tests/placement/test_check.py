# SPDX-License-Identifier: Apache-2.0
"""The independent checker on plans for devices of several kinds: agrees with the solver, refuses mutations."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.placement.instances import MODES, random_fleet, random_workload

from stagewright.certificate.build import dumps
from stagewright.certificate.check import check_texts
from stagewright.errors import InfeasibleError, LimitError
from stagewright.placement.devices import UNABLE, Fleet, Kind, Link
from stagewright.placement.document import placed_document
from stagewright.placement.makespan_method import solve_makespan
from stagewright.placement.method import solve_placed
from stagewright.placement.objective import Objective
from stagewright.placement.workload import Workload
from stagewright.readers.graph_writer import graph_text

Document = dict[str, Any]


def documents(
    workload: Workload, fleet: Fleet, objective: Objective | None = None
) -> tuple[Document, Document]:
    """Return the graph document and the plan document, as they are read from files."""
    solve = solve_placed
    if objective is not None and objective.minimise == "makespan":
        solve = solve_makespan
    solution = solve(workload, fleet, objective=objective, time_limit=20)
    plan = placed_document(workload, fleet, solution, seed=0)
    texts = graph_text(workload.graph), dumps(plan)
    return json.loads(texts[0], parse_float=Decimal), json.loads(texts[1], parse_float=Decimal)


@pytest.mark.parametrize("mode", MODES)
def test_checker_agrees(mode: str) -> None:
    checked = 0
    for seed in range(25):
        rng = random.Random(f"check {mode} {seed}")
        workload = random_workload(rng, mode)
        fleet = random_fleet(rng, workload.graph, mode)
        try:
            graph, plan = documents(workload, fleet)
        except (InfeasibleError, LimitError):
            continue
        report = check_texts(graph, plan)
        assert report.valid, (mode, seed, report.problems)
        if plan["status"] == "optimal" or mode not in ("spill", "limit"):
            assert not report.not_verified, (mode, seed, report.not_verified)
        checked += 1
    assert checked > 12


@pytest.mark.parametrize("mode", MODES)
def test_checker_agrees_on_other_objectives(mode: str) -> None:
    """And refuses the same file with a higher lower bound, or with a limit that the plan exceeds."""
    checked = refused = 0
    for seed in range(6):
        rng = random.Random(f"check {mode} {seed}")
        workload = random_workload(rng, mode)
        fleet = random_fleet(rng, workload.graph, mode)
        try:
            _, plain = documents(workload, fleet)
        except (InfeasibleError, LimitError):
            continue
        period = int(Decimal(plain["bottleneck"]) * 10**12) + rng.randint(0, 2)
        latency = int(sum(Decimal(stage["total"]) for stage in plain["stages"]) * 10**12)
        objectives = [
            Objective("latency"),
            Objective("latency", period),
            Objective("period", latency_limit=latency),
            *([Objective("cost", period)] if fleet.order is None else []),
        ]
        for objective in objectives:
            try:
                graph, plan = documents(workload, fleet, objective)
            except LimitError:
                continue
            report = check_texts(graph, plan)
            assert report.valid, (mode, seed, objective, report.problems)
            if mode not in ("spill", "limit"):
                assert not report.not_verified, (mode, seed, objective, report.not_verified)
            checked += 1
            for key in ("value", "lower_bound", "period_limit", "latency_limit"):
                if key not in plan["objective"] or (key == "value" and not plan["objective"][key]):
                    continue
                changed = json.loads(dumps(plan), parse_float=Decimal)
                step = (
                    1 if objective.minimise == "cost" and "limit" not in key else Decimal("1e-12")
                )
                if key == "lower_bound":
                    changed["objective"][key] += step
                elif key == "value":
                    changed["objective"][key] -= step
                else:
                    changed["objective"][key] = 0
                    if all(not stage["total"] for stage in plan["stages"]):
                        continue
                assert not check_texts(graph, changed).valid, (mode, seed, objective, key)
                refused += 1
    assert checked > 5
    assert refused > 10


@pytest.mark.parametrize("mode", MODES)
def test_wrong_proofs_are_refused(mode: str) -> None:
    """A lower bound one picosecond too high, with the bottleneck and all else as if it were reached."""
    refused = 0
    for seed in range(25):
        rng = random.Random(f"bound {mode} {seed}")
        workload = random_workload(rng, mode)
        fleet = random_fleet(rng, workload.graph, mode)
        try:
            graph, plan = documents(workload, fleet)
            worse = one_stage(workload, fleet)
        except (InfeasibleError, LimitError, ValueError):
            continue
        if worse is None or worse["bottleneck"] <= plan["bottleneck"]:
            continue
        value = worse["bottleneck"]
        bound = {"method": "exact", "value": value, "seconds": 0, "evidence": "exhaustive"}
        forged = worse | {"lower_bound": value, "gap": 0, "status": "optimal", "bounds": [bound]}
        report = check_texts(graph, json.loads(dumps(forged), parse_float=Decimal))
        assert report.exit_code == (1 if mode not in ("spill", "limit") else report.exit_code)
        assert report.exit_code in (1, 3), (mode, seed)
        refused += 1
    assert refused > 2


def one_stage(workload: Workload, fleet: Fleet) -> Document | None:
    """Return the plan file of everything in one stage, where some device takes it."""
    from dataclasses import replace

    from stagewright.placement.workload import PlacedPlan, problems_of, stage_cost

    solution = solve_placed(workload, fleet, time_limit=20)
    nodes = tuple(workload.graph.topological_order.tolist())
    for device in range(len(fleet.kinds) if fleet.order is None else len(fleet.order)):
        plan = PlacedPlan((nodes,), (device,))
        if not problems_of(workload, fleet, plan):
            cost = stage_cost(workload, fleet, device, nodes)
            lower = min(solution.lower_bound, cost.total)
            bounds = tuple(b for b in solution.bounds if b.value <= lower)
            changed = replace(solution, plan=plan, bottleneck=cost.total, bounds=bounds)
            return placed_document(workload, fleet, changed, seed=0)
    return None


def training_case() -> tuple[Workload, Fleet]:
    """Return four layers with their gradients on three devices of two kinds, one with its own work."""
    from stagewright.graph import GraphBuilder

    builder = GraphBuilder("training")
    for i in range(4):
        builder.add_node(f"f{i}", work=5 + i, group=f"layer{i}")
    for i in range(4):
        builder.add_node(f"b{i}", work=8, group=f"layer{i}")
    for i in range(3):
        builder.add_tensor(i, [i + 1], nbytes=3)
        builder.add_tensor(5 + i, [4 + i], nbytes=2)
    for i in range(4):
        builder.add_tensor(i, [4 + i], nbytes=1)
        builder.add_param(10, [i])
    backward = (False,) * 4 + (True,) * 4
    slow = tuple(w + 1 for w in builder.build().work.tolist())
    link = Link(10**12)
    kinds = (
        Kind("fast", 2, link, memory_limit=50),
        Kind("slow", 1, link, (*slow[:3], UNABLE, *slow[4:7], UNABLE), memory_limit=60),
    )
    return Workload(builder.build(), backward), Fleet(kinds)


def inference_case() -> tuple[Workload, Fleet]:
    """Return six nodes on places in a fixed order with links between them, overlapping."""
    from stagewright.graph import GraphBuilder

    builder = GraphBuilder("inference")
    for i in range(6):
        builder.add_node(f"n{i}", work=5 + i)
    for i in range(5):
        builder.add_tensor(i, [i + 1], nbytes=3)
    kinds = (Kind("a", 2, Link(10**12)), Kind("b", 1, Link(10**12), memory=10**6))
    links = (Link(10**12), Link(5 * 10**11))
    return Workload(builder.build()), Fleet(kinds, (0, 1, 0), links, overlap=True)


def _move_first(plan: Document) -> None:
    plan["stages"][1]["nodes"].insert(0, plan["stages"][0]["nodes"].pop(0))


def _swap(plan: Document) -> None:
    plan["stages"][0], plan["stages"][1] = plan["stages"][1], plan["stages"][0]


def _set(*path: str | int, value: Any) -> Callable[[Document], None]:
    def mutate(plan: Document) -> None:
        place: Any = plan
        for key in path[:-1]:
            place = place[key]
        assert place[path[-1]] != value
        place[path[-1]] = value

    return mutate


def _drop(*path: str | int) -> Callable[[Document], None]:
    def mutate(plan: Document) -> None:
        place: Any = plan
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return mutate


BOTH = [
    _move_first,
    _swap,
    _set("bottleneck", value=Decimal("0.000000000001")),
    _set("lower_bound", value=Decimal("0.000000000001")),
    _set("gap", value=1),
    _set("status", value="bounded"),
    _set("stages", 0, "device", value="none"),
    _set("stages", 0, "work", value=0),
    _set("stages", 0, "io_out", value=0),
    _set("stages", 1, "io_in", value=1),
    _set("stages", 0, "total", value=1),
    _set("stages", 0, "peak_bytes", value=10**9),
    _set("machine", "stages", value=7),
    _set("machine", "bandwidth", value=7),
    _set("machine", "devices", 0, "count", value=0),
    _set("machine", "devices", 0, "link", "bandwidth", value=1),
    _set("machine", "devices", 0, "link", "latency", value=1),
    _set("machine", "devices", 0, "name", value="other"),
    _set("machine", "devices", 0, "memory_limit", value=1),
    _set("bounds", 0, "value", value=1),
    _set("bounds", 0, "evidence", value="flow"),
    _drop("stages", 0, "device"),
    _drop("stages", 0),
    _drop("stages", 0, "nodes", 0),
    _drop("machine", "devices"),
    _drop("machine", "devices", 0, "count"),
]
TRAINING = [
    _drop("training"),
    _set("training", "along", value=True),
    _set("training", "backward", value=["b1", "b2", "b3"]),
    _set("training", "backward", value=["f0", "b0", "b1", "b2", "b3"]),
    _set("training", "backward", value=["what"]),
    _set("machine", "devices", 1, "work", value=[1]),
    _set("machine", "devices", 1, "memory_limit", value=1),
    _set("stages", 0, "param_bytes", value=1),
]
INFERENCE = [
    _set("machine", "overlap", value=False),
    _set("machine", "order", value=["b", "a", "a"]),
    _set("machine", "links", 0, "bandwidth", value=1),
    _set("machine", "links", 0, "latency", value=1),
    _set("stages", 0, "place", value=2),
    _set("stages", 1, "place", value=0),
    _drop("stages", 0, "place"),
    _drop("machine", "links", 0),
    _drop("machine", "order"),
    _drop("machine", "links"),
    _drop("machine", "overlap"),
]


@pytest.mark.parametrize("case", [training_case, inference_case])
def test_mutations_are_refused(case: Callable[[], tuple[Workload, Fleet]]) -> None:
    graph, plan = documents(*case())
    report = check_texts(graph, plan)
    assert report.exit_code == 0, report
    assert len(plan["stages"]) == 3
    own = TRAINING if case is training_case else INFERENCE
    for number, mutate in enumerate([*BOTH, *own]):
        changed = json.loads(dumps(plan), parse_float=Decimal)
        mutate(changed)
        assert not check_texts(graph, changed).valid, (case.__name__, number)


def chain_case() -> tuple[Workload, Fleet]:
    """Return six nodes in a row for three devices of two kinds."""
    from stagewright.graph import GraphBuilder

    builder = GraphBuilder("chain")
    for i in range(6):
        builder.add_node(f"n{i}", work=5 + i)
    for i in range(5):
        builder.add_tensor(i, [i + 1], nbytes=3)
    for i in range(6):
        builder.add_param(10, [i])
    link = Link(10**12)
    kinds = (Kind("a", 2, link, memory_limit=30), Kind("b", 1, link, memory_limit=60))
    return Workload(builder.build()), Fleet(kinds)


OBJECTIVES = [
    Objective("latency"),
    Objective("latency", 10**6),
    Objective("makespan"),
    Objective("makespan", 10**6),
    Objective("period", latency_limit=10**6),
    Objective("cost", 10**6),
]
GOALS = [
    _set("objective", "minimise", value="most"),
    _set("objective", "value", value=Decimal("0.000000000001")),
    _set("objective", "lower_bound", value=10**6),
    _set("bottleneck", value=Decimal("0.000000000001")),
    _set("gap", value=7),
    _set("stages", 0, "device", value="none"),
    _set("stages", 0, "work", value=0),
    _set("stages", 0, "total", value=1),
    _set("stages", 0, "peak_bytes", value=10**9),
    _set("machine", "devices", 0, "count", value=7),
    _set("machine", "devices", 0, "link", "bandwidth", value=1),
    _set("machine", "devices", 0, "memory_limit", value=1),
    _set("bounds", 0, "value", value=1),
    _set("bounds", 0, "evidence", value="flow"),
    _move_first,
    _swap,
    _drop("objective", "value"),
    _drop("objective", "lower_bound"),
    _drop("stages", 0),
    _drop("stages", 0, "nodes", 0),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{o.minimise} {o.to_json(0, 0)}")
def test_mutations_of_every_objective_are_refused(objective: Objective) -> None:
    graph, plan = documents(*chain_case(), objective)
    report = check_texts(graph, plan)
    assert report.exit_code == 0, report
    assert len(plan["stages"]) > 1
    for number, mutate in enumerate(GOALS):
        changed = json.loads(dumps(plan), parse_float=Decimal)
        mutate(changed)
        assert not check_texts(graph, changed).valid, number
    for key in ("period_limit", "latency_limit"):
        if key in plan["objective"]:
            changed = json.loads(dumps(plan), parse_float=Decimal)
            changed["objective"][key] = Decimal("0.000000000001")
            assert not check_texts(graph, changed).valid, key
