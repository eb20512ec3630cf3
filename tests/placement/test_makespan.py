# SPDX-License-Identifier: Apache-2.0
"""The makespan, with stages side by side: the exact program and the solver's against all plans."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.placement.instances import random_fleet, random_workload

from stagewright.bound.solvers import safe_bound, solve_models
from stagewright.certificate.build import dumps
from stagewright.certificate.check import check_texts
from stagewright.effort import Effort
from stagewright.errors import InfeasibleError, InputError, LimitError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.document import placed_document
from stagewright.placement.makespan import finishes, makespan_of
from stagewright.placement.makespan_method import solve_makespan
from stagewright.placement.makespan_model import makespan_model
from stagewright.placement.makespan_program import best_makespan
from stagewright.placement.merges import reduce_task
from stagewright.placement.method import solve_placed
from stagewright.placement.objective import Objective
from stagewright.placement.task import compile_task
from stagewright.placement.workload import PlacedPlan, Workload, evaluate, problems_of
from stagewright.readers.graph_writer import graph_text

MODES = ("any", "fixed", "links", "overlap", "spill", "limit")
Document = dict[str, Any]


def instance(mode: str, seed: int) -> tuple[Workload, Fleet]:
    """Return a small random workload and its devices."""
    rng = random.Random(f"makespan {mode} {seed}")
    workload = random_workload(rng, mode)
    return workload, random_fleet(rng, workload.graph, mode)


def values_of_all(workload: Workload, fleet: Fleet) -> set[tuple[int, int]]:
    """Return makespan and period of all valid plans, each stage in every order of its nodes where memory counts."""
    n = workload.graph.num_nodes
    devices = range(len(fleet.kinds) if fleet.order is None else len(fleet.order))
    bounded = any(kind.memory is not None or kind.memory_limit is not None for kind in fleet.kinds)
    order = workload.graph.topological_order.tolist()
    values = set()
    for k in range(1, min(n, fleet.stages) + 1):
        for block in itertools.product(range(k), repeat=n):
            if len(set(block)) < k:
                continue
            stages = [[v for v in order if block[v] == i] for i in range(k)]
            ways = [itertools.permutations(row) if bounded else [tuple(row)] for row in stages]
            for rows in itertools.product(*map(list, ways)):
                for chosen in itertools.product(devices, repeat=k):
                    plan = PlacedPlan(tuple(rows), chosen)
                    if not problems_of(workload, fleet, plan):
                        costs = evaluate(workload, fleet, plan)
                        period = max(cost.total for cost in costs)
                        values.add((makespan_of(workload, plan, costs), period))
    return values


def compare(mode: str, seeds: range, most: int) -> int:
    """Hold the method against all plans; return how many questions had an answer."""
    answered = 0
    for seed in seeds:
        workload, fleet = instance(mode, seed)
        n = workload.graph.num_nodes
        bounded = mode in ("spill", "limit")
        if fleet.stages**n * len(fleet.kinds) ** fleet.stages * (4**n if bounded else 1) > most:
            continue
        values = values_of_all(workload, fleet)
        period = random.Random(seed).choice(sorted({p for _, p in values}) or [3])
        for limit in (None, period):
            right = min((m for m, p in values if limit is None or p <= limit), default=None)
            objective = Objective("makespan", limit)
            try:
                found = solve_makespan(
                    workload, fleet, objective=objective, time_limit=20, solver=None
                )
            except InfeasibleError:
                assert right is None, (mode, seed, limit)
                continue
            except LimitError:
                assert bounded, (mode, seed, limit)
                continue
            answered += 1
            assert right is not None, (mode, seed, limit)
            assert not problems_of(workload, fleet, found.plan)
            costs = evaluate(workload, fleet, found.plan)
            assert objective.keeps_limits(costs), (mode, seed)
            assert makespan_of(workload, found.plan, costs) == found.value, (mode, seed)
            assert found.value_bound <= right <= found.value, (mode, seed, limit)
            if not bounded:
                assert found.value_bound == found.value, (mode, seed, limit)
    return answered


@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans(mode: str) -> None:
    assert compare(mode, range(60), 1500) > 15


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans_at_length(mode: str, part: int) -> None:
    first = 1000 * (part + 1)
    assert compare(mode, range(first, first + 1000), 2000) > 200


@pytest.mark.parametrize("mode", ["any", "overlap"])
def test_solver_agrees(mode: str) -> None:
    """The mixed-integer program has the optimum of the exact program, and a bound not above it."""
    pytest.importorskip("highspy", reason="needs the extra 'solvers'")
    models, rights = [], []
    for seed in range(100, 125):
        workload, fleet = instance(mode, seed)
        if fleet.order is not None or workload.graph.num_nodes > 5:
            continue
        task = reduce_task(compile_task(workload, fleet))
        exact = best_makespan(task, 10**6, Effort.within(20))
        if exact.answer == "yes":
            models.append(makespan_model(task, 0, exact.value + 7)[0])
            rights.append(exact.value)
    outcomes = solve_models(models, "highs", 60)
    for model, right, found in zip(models, rights, outcomes, strict=True):
        assert found.status == "optimal"
        assert found.dual is not None
        assert found.primal is not None
        assert safe_bound(model, found.dual) <= right
        assert found.primal * model.unit == pytest.approx(right, abs=0.01)
    assert len(models) > 5


def towers() -> tuple[Workload, Fleet]:
    """Return two towers between a source and a sink on four devices: they run side by side."""
    builder = GraphBuilder("towers")
    source = builder.add_node("source", work=2)
    ends = []
    for i in range(2):
        last = source
        for j in range(3):
            node = builder.add_node(f"{i}.{j}", work=10)
            builder.add_tensor(last, [node], nbytes=1)
            last = node
        ends.append(last)
    sink = builder.add_node("sink", work=2)
    for last in ends:
        builder.add_tensor(last, [sink], nbytes=1)
    return Workload(builder.build()), Fleet((Kind("a", 4, Link(10**12)),))


def test_towers_run_side_by_side() -> None:
    workload, fleet = towers()
    one = solve_placed(workload, fleet, objective=Objective("latency"))
    assert one.value == 64
    found = solve_makespan(workload, fleet, solver=None)
    # The source sends two tensors, each tower receives one and sends one, the sink receives two.
    assert found.value == found.value_bound == 4 + 32 + 4
    costs = evaluate(workload, fleet, found.plan)
    done = finishes(workload, found.plan, costs)
    assert max(done) == found.value
    assert sum(cost.total for cost in costs) > found.value


def test_a_solver_takes_what_the_program_does_not() -> None:
    pytest.importorskip("highspy", reason="needs the extra 'solvers'")
    workload, fleet = towers()
    right = solve_makespan(workload, fleet, solver=None).value
    found = solve_makespan(workload, fleet, program=False, time_limit=20)
    assert found.value == right
    assert 0 < found.value_bound <= right


def test_training_is_refused() -> None:
    workload, fleet = towers()
    backward = (False,) * 7 + (True,)
    with pytest.raises(InputError, match="objective makespan: expected inference, got training"):
        solve_makespan(Workload(workload.graph, backward), fleet)


def documents(workload: Workload, fleet: Fleet, objective: Objective) -> tuple[Document, Document]:
    """Return the graph document and the plan document, as they are read from files."""
    solution = solve_makespan(workload, fleet, objective=objective, time_limit=20, solver=None)
    plan = placed_document(workload, fleet, solution, seed=0)
    texts = graph_text(workload.graph), dumps(plan)
    return json.loads(texts[0], parse_float=Decimal), json.loads(texts[1], parse_float=Decimal)


@pytest.mark.parametrize("mode", MODES)
def test_checker_agrees(mode: str) -> None:
    """And refuses a higher lower bound, a lower value, and a limit that the plan exceeds."""
    checked = raised = 0
    for seed in range(200, 225):
        workload, fleet = instance(mode, seed)
        try:
            graph, plan = documents(workload, fleet, Objective("makespan"))
            period = int(plan["bottleneck"] * 10**12)
            graph, plan = documents(
                workload, fleet, Objective("makespan", period if seed % 2 else None)
            )
        except (InfeasibleError, LimitError):
            continue
        report = check_texts(graph, plan)
        assert report.valid, (mode, seed, report.problems)
        proven = plan["objective"]["value"] == plan["objective"]["lower_bound"]
        assert proven or mode in ("spill", "limit"), (mode, seed)
        if proven:
            assert not [t for t in report.not_verified if "makespan" in t], (mode, seed)
        checked += 1
        for key, step in (("lower_bound", 1), ("value", -1), ("period_limit", -period)):
            if key not in plan["objective"] or (
                key != "lower_bound" and not plan["objective"][key]
            ):
                continue
            changed = json.loads(dumps(plan), parse_float=Decimal)
            changed["objective"][key] += Decimal(step).scaleb(-12)
            assert not check_texts(graph, changed).valid, (mode, seed, key)
        raised += _forged_bound_is_refused(workload, fleet, graph, plan, mode)
    assert checked > 10
    assert raised or mode in ("spill", "limit")


def _forged_bound_is_refused(
    workload: Workload, fleet: Fleet, graph: Document, plan: Document, mode: str
) -> bool:
    """Whether there was a worse plan to claim proven; a bound above the best plan is found out."""
    if "period_limit" in plan["objective"] or mode in ("spill", "limit"):
        return False
    nodes = tuple(workload.graph.topological_order.tolist())
    for device in range(len(fleet.kinds) if fleet.order is None else len(fleet.order)):
        one = PlacedPlan((nodes,), (device,))
        if problems_of(workload, fleet, one):
            continue
        value = evaluate(workload, fleet, one)[0].total
        if value <= plan["objective"]["value"] * 10**12:
            continue
        solution = solve_makespan(workload, fleet, solver=None)
        forged = replace(solution, plan=one, bottleneck=value, value=value, value_bound=value)
        document = json.loads(
            dumps(placed_document(workload, fleet, forged, seed=0)), parse_float=Decimal
        )
        assert check_texts(graph, document).exit_code == 1
        return True
    return False
