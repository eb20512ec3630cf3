# SPDX-License-Identifier: Apache-2.0
"""Proofs of lower bounds: true ones are followed, false ones are refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.certificate.helpers import (
    all_orders,
    all_plans,
    anchor_witness,
    brute_classes,
    document_of,
    graph_data,
    random_case,
)

from stagewright.bound.types import Bound
from stagewright.certificate.check import check_texts
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate, tensor_costs


def upper_of(graph: CostGraph, machine: Machine, plan: Plan) -> int:
    return max(cost.total for cost in evaluate(graph, machine, plan))


def verdict(graph: CostGraph, machine: Machine, plan: Plan, bound: Bound, folder: Path) -> Any:
    return check_texts(graph_data(graph, folder), document_of(graph, machine, plan, [bound]))


def small_case(seed: int, **options: Any) -> tuple[CostGraph, Machine, Plan]:
    rng = Random(seed)
    return random_case(rng, rng.randint(1, 6), rng.randint(1, 3), **options)


@pytest.mark.parametrize("seed", range(40))
def test_simple_bound_is_exactly_what_the_classes_give(seed: int, tmp_path: Path) -> None:
    graph, machine, plan = small_case(seed)
    classes = brute_classes(graph)
    heaviest = max(
        sum(int(graph.work[v]) for v in range(graph.num_nodes) if classes[v] == c)
        for c in set(classes)
    )
    value = max(heaviest, -(-graph.total_work // machine.stages))
    bound = Bound("simple", value, 0.0, "recomputed")
    assert verdict(graph, machine, plan, bound, tmp_path).exit_code == 0
    if value < upper_of(graph, machine, plan):
        raised = Bound("simple", value + 1, 0.0, "recomputed")
        report = verdict(graph, machine, plan, raised, tmp_path)
        assert report.exit_code == 1
        assert f"recomputed, {value} ps" in report.problems[0]


def least_cut(graph: CostGraph, machine: Machine, classes: list[int], anchor: int) -> int:
    """Return min work(S) + cut(S) over all S that hold the anchor's class, by brute force."""
    costs = tensor_costs(graph, machine)
    others = sorted(set(classes) - {anchor})
    best = 10**18
    for size in range(len(others) + 1):
        for chosen in itertools.combinations(others, size):
            inside = {v for v, c in enumerate(classes) if c == anchor or c in chosen}
            total = sum(int(graph.work[v]) for v in inside)
            for t, producer in enumerate(graph.tensor_producer.tolist()):
                pins = {producer, *graph.tensor_consumers[t]}
                total += costs[t] if pins & inside and pins - inside else 0
            best = min(best, total)
    return best


@pytest.mark.parametrize("seed", range(40))
def test_flow_proves_the_least_cut_and_no_more(seed: int, tmp_path: Path) -> None:
    graph, machine, plan = small_case(seed)
    upper = upper_of(graph, machine, plan)
    classes = brute_classes(graph)
    for anchor in sorted(set(classes)):
        value, witness = anchor_witness(graph, machine, classes, anchor)
        assert value == least_cut(graph, machine, classes, anchor) <= upper
        bound = Bound("anchor", value, 0.0, "flow", witness)
        assert verdict(graph, machine, plan, bound, tmp_path).exit_code == 0
        if value < upper:
            raised = Bound("anchor", value + 1, 0.0, "flow", witness)
            assert verdict(graph, machine, plan, raised, tmp_path).exit_code == 1


def holds(graph: CostGraph, machine: Machine, classes: list[int], value: int, witness: Any) -> bool:
    """Return whether a witness obeys the rules; written apart from the checker."""
    costs = tensor_costs(graph, machine)
    net = dict.fromkeys(classes, 0)
    for t, amounts in witness["tensors"]:
        pins = {classes[v] for v in (int(graph.tensor_producer[t]), *graph.tensor_consumers[t])}
        sent = sum(a for _, a in amounts if a > 0)
        received = -sum(a for _, a in amounts if a < 0)
        if sent != received or sent > costs[t] or not {classes[v] for v, _ in amounts} <= pins:
            return False
        for v, amount in amounts:
            net[classes[v]] += amount
    anchor = classes[witness["anchor"]]
    works = dict.fromkeys(classes, 0)
    for v, c in enumerate(classes):
        works[c] += int(graph.work[v])
    tensors = [t for t, _ in witness["tensors"]]
    rest = all(-works[c] <= net[c] <= 0 for c in net if c != anchor)
    return len(set(tensors)) == len(tensors) and rest and value <= works[anchor] + net[anchor]


@pytest.mark.parametrize("seed", range(40))
def test_tampered_flow_is_refused(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    graph, machine, plan = small_case(seed)
    classes = brute_classes(graph)
    value, witness = max(
        (anchor_witness(graph, machine, classes, a) for a in set(classes)), key=lambda pair: pair[0]
    )
    mutants: list[Any] = [witness | {"anchor": v} for v in range(graph.num_nodes)]
    for i, (t, amounts) in enumerate(witness["tensors"]):
        rows = witness["tensors"]
        others: list[Any] = [[], [[t, amounts], [t, amounts]]]
        others += [[[u, amounts]] for u in range(graph.num_tensors)]
        for j, (v, amount) in enumerate(amounts):
            for new in (v, amount + 1), (v, amount - 1), (rng.randrange(graph.num_nodes), amount):
                others.append([[t, [*amounts[:j], list(new), *amounts[j + 1 :]]]])
        doubled = [[v, 2 * amount] for v, amount in amounts]
        mutants += [
            witness | {"tensors": [*rows[:i], *other, *rows[i + 1 :]]}
            for other in [*others, [[t, doubled]]]
        ]
    for mutant in mutants:
        bound = Bound("anchor", value, 0.0, "flow", mutant)
        report = verdict(graph, machine, plan, bound, tmp_path)
        assert report.valid == holds(graph, machine, classes, value, mutant), mutant


def test_flow_without_witness_is_refused(tmp_path: Path) -> None:
    graph, machine, plan = small_case(1)
    report = verdict(graph, machine, plan, Bound("anchor", 1, 0.0, "flow"), tmp_path)
    assert "has no witness" in report.problems[0]


@pytest.mark.parametrize("seed", range(60))
def test_exhaustive_bound_is_proven_up_to_the_optimum_and_refused_above(
    seed: int, tmp_path: Path
) -> None:
    graph, machine, plan = small_case(seed)
    best = min(upper_of(graph, machine, other) for other in all_plans(graph, machine))
    bound = Bound("exact", best, 0.0, "exhaustive")
    report = verdict(graph, machine, plan, bound, tmp_path)
    assert (report.problems, report.exit_code) == ([], 0)
    if best < upper_of(graph, machine, plan):
        raised = Bound("exact", best + 1, 0.0, "exhaustive")
        report = verdict(graph, machine, plan, raised, tmp_path)
        assert report.exit_code == 1
        assert "a plan below it exists" in report.problems[0]


@pytest.mark.parametrize("seed", range(25))
def test_exhaustive_bound_with_memory_is_never_proven_above_the_optimum(
    seed: int, tmp_path: Path
) -> None:
    rng = Random(seed)
    graph, machine, plan = random_case(rng, rng.randint(2, 5), 2, memory=True)
    best = min(
        upper_of(graph, machine, ordered)
        for other in all_plans(graph, machine)
        for ordered in all_orders(graph, other)
    )
    for value in range(max(0, best - 3), upper_of(graph, machine, plan) + 1):
        bound = Bound("exact", value, 0.0, "exhaustive")
        report = verdict(graph, machine, plan, bound, tmp_path)
        assert report.valid
        assert value <= best or report.exit_code == 3


def antichain(width: int) -> CostGraph:
    b = GraphBuilder("wide")
    for v in range(width):
        b.add_node(f"n{v}", work=3 + v % 2)
    return b.build()


def test_too_wide_a_graph_is_not_verified(tmp_path: Path) -> None:
    graph, machine = antichain(40), Machine(3)
    plan = Plan.from_assignment(graph, [v % 3 for v in range(40)])
    bound = Bound("exact", upper_of(graph, machine, plan), 0.0, "exhaustive")
    report = verdict(graph, machine, plan, bound, tmp_path)
    assert report.exit_code == 3
    assert "the search was not redone (more than 50000 ideals)" in report.not_verified[0]


def test_time_given_by_the_user_is_kept_and_reaches_claims(tmp_path: Path) -> None:
    graph, machine = antichain(14), Machine(3)
    plan = Plan.from_assignment(graph, [v % 3 for v in range(14)])
    bounds = [Bound("mip", upper_of(graph, machine, plan), 0.0, "claimed")]
    data, document = graph_data(graph, tmp_path), document_of(graph, machine, plan, bounds)
    assert check_texts(data, document).exit_code == 3
    assert check_texts(data, document, exhaustive_seconds=0.0).exit_code == 3
    assert check_texts(data, document, exhaustive_seconds=60.0).exit_code in (0, 1)


def test_bound_below_a_proven_one_needs_no_proof(tmp_path: Path) -> None:
    graph, machine, plan = small_case(3)
    bounds = [Bound("simple", 5, 0.0, "recomputed"), Bound("mip", 5, 0.0, "claimed")]
    document = document_of(graph, machine, plan, bounds)
    report = check_texts(graph_data(graph, tmp_path), document)
    assert report.exit_code == 0
    assert "no more than what is proven already" in report.verified[-1]
