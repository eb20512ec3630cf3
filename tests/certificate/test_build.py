# SPDX-License-Identifier: Apache-2.0
"""Plan files: written exactly, read back, matching their schema."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.certificate.helpers import CHECK_FILE, document_of, graph_data, random_case

import stagewright
from stagewright.bound.types import Bound
from stagewright.certificate.build import (
    dumps,
    history_entries,
    load_plan,
    plan_document,
    save,
)
from stagewright.errors import CheckError, InputError
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate_all, stage_cost
from stagewright.solve import Progress
from stagewright.units import seconds_from_ps


def made(graph: CostGraph, machine: Machine, plan: Plan, *bounds: Bound) -> dict[str, Any]:
    return plan_document(graph, machine, plan, bounds, stopped_because="done", seconds=1.5, seed=7)


@pytest.mark.parametrize("seed", range(40))
def test_stages_are_those_of_the_reference(seed: int) -> None:
    rng = Random(seed)
    graph, machine, plan = random_case(rng, rng.randint(1, 30), rng.randint(1, 6), memory=True)
    costs = [stage_cost(graph, machine, nodes) for nodes in plan.stages]
    assert evaluate_all(graph, machine, plan) == costs
    document = made(graph, machine, plan)
    for stage, nodes, cost in zip(document["stages"], plan.stages, costs, strict=True):
        assert stage["nodes"] == [graph.node_names[v] for v in nodes]
        for key, value in dataclasses.asdict(cost).items():
            assert stage[key] * (1 if key.endswith("bytes") else 10**12) == value
        assert stage["total"] * 10**12 == cost.total
    assert document["bottleneck"] * 10**12 == max(cost.total for cost in costs)


def test_document_says_what_it_is() -> None:
    graph, machine, plan = random_case(Random(1), 8, 2)
    upper = max(cost.total for cost in evaluate_all(graph, machine, plan))
    document = made(graph, machine, plan)
    assert (document["status"], document["gap"], document["lower_bound"]) == ("feasible", None, 0)
    document = made(
        graph, machine, plan, Bound("a", 3, 0.0, "claimed"), Bound("b", 2, 0.0, "claimed")
    )
    assert (document["status"], document["gap"]) == ("bounded", upper / 3 - 1)
    assert document["lower_bound"] == Decimal("3e-12")
    document = made(graph, machine, plan, Bound("exact", upper, 0.0, "exhaustive"))
    assert (document["status"], document["gap"]) == ("optimal", 0)
    assert document["version"] == stagewright.__version__


def test_wrong_plan_or_bound_is_refused() -> None:
    graph, machine, plan = random_case(Random(2), 8, 2)
    with pytest.raises(
        InputError, match=r"plan: expected a valid plan, got .* nodes are in no stage"
    ):
        made(graph, machine, Plan(plan.stages[:-1]))
    with pytest.raises(InputError, match="bounds: expected none above the bottleneck, "):
        made(graph, machine, plan, Bound("b", 10**9, 0.0, "claimed"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1E-12"), "0.000000000001"),
        (Decimal("0E-12"), "0"),
        (Decimal(10**18 + 1).scaleb(-12), "1000000.000000000001"),
        (Decimal("2.50"), "2.5"),
        (Decimal("100"), "100"),
        (1e-9, "0.000000001"),
        (0.0, "0"),
        (None, "null"),
        ("é\n", '"\\u00e9\\n"'),
        ([], "[]"),
        ({}, "{}"),
        ([1, [2, "x"]], '[1, [2, "x"]]'),
        ({"a": [1], "b": [{"c": [{}]}]}, '{\n "a": [1],\n "b": [\n  {\n   "c": [{}]\n  }\n ]\n}'),
    ],
)
def test_text_is_exact(value: Any, text: str) -> None:
    assert dumps(value) == text + "\n"
    assert json.loads(text, parse_float=Decimal) == (
        Decimal(repr(value)) if isinstance(value, float) else value
    )


@pytest.mark.parametrize("seed", range(10))
def test_saved_plan_is_read_back(seed: int, tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(seed), 15, 4)
    document = made(graph, machine, plan, Bound("simple", 1, 1e-9, "recomputed"))
    save(document, tmp_path / "plan.json")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    read, content = load_plan(tmp_path / "plan.json", graph)
    assert read == plan
    assert content == json.loads(dumps(document), parse_float=Decimal)
    assert Machine.from_json(content["machine"]) == machine


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"absent/plan\.json: expected a writable file, got No such"
    ):
        save({}, tmp_path / "absent" / "plan.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "plan.json: expected JSON, got a fault"),
        ("[]", "plan.json: format: expected 'stagewright-plan/1', got 'list'"),
        ({"graph_sha256": "0"}, "got '0'. The plan was made for another graph"),
        ({"stages": 3}, "plan.json: stages: expected a list, got int"),
        ({"stages": [{}]}, r"stages[0].nodes: expected a list of names, got none"),
        (
            {"stages": [{"nodes": ["?"]}]},
            "stages[0].nodes: expected nodes of graph 'random', got '?'",
        ),
    ],
)
def test_unreadable_plan_file_is_named(change: Any, message: str, tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(3), 5, 2)
    path = tmp_path / "plan.json"
    path.write_text(
        change if isinstance(change, str) else dumps(made(graph, machine, plan) | change)
    )
    with pytest.raises(CheckError) as caught:
        load_plan(path, graph)
    assert message in str(caught.value)
    with pytest.raises(CheckError, match="expected a readable file, got No such file"):
        load_plan(tmp_path / "absent.json", graph)


def schema(name: str) -> Any:
    validators = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    text = (CHECK_FILE.parent / "schema" / f"{name}.schema.json").read_text("utf-8")
    validators.Draft202012Validator.check_schema(json.loads(text))
    return validators.Draft202012Validator(json.loads(text))


@pytest.mark.parametrize("seed", range(10))
def test_files_match_their_schemas(seed: int, tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(seed), 12, 3, memory=seed % 2 == 0)
    witness = {"anchor": 0, "tensors": [[0, [[0, 5], [1, -5]]]]}
    bounds = [Bound("simple", 1, 0.0, "recomputed"), Bound("anchor", 1, 0.0, "flow", witness)]
    schema("plan").validate(document_of(graph, machine, plan, bounds))
    schema("graph").validate(json.loads(json.dumps(graph_data(graph, tmp_path), default=float)))


def test_schemas_refuse_what_the_formats_refuse(tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(1), 6, 2)
    document, data = document_of(graph, machine, plan), graph_data(graph, tmp_path)
    flow = document["bounds"][0] | {"evidence": "flow"}
    change: dict[str, Any]
    for change in ({"status": "good"}, {"x": 1}, {"stages": []}, {"gap": "1"}, {"bounds": [flow]}):
        assert not schema("plan").is_valid(document | change)
    tensor = {"producer": 0, "consumers": []}
    for tensors in ([tensor], [tensor | {"bytes": 1, "cost": 1}], [tensor | {"bytes": -1}]):
        assert not schema("graph").is_valid(data | {"tensors": tensors})


def test_history_is_short_and_keeps_its_end() -> None:
    points = [Progress(i / 10, "search", 10_000 - i // 2, i // 3) for i in range(2000)]
    entries = history_entries(points)
    assert 100 < len(entries) <= 200
    assert entries[-1]["upper"] == seconds_from_ps(10_000 - 1999 // 2)
    assert entries[-1]["lower"] == seconds_from_ps(1999 // 3)
    assert [e["seconds"] for e in entries] == sorted(e["seconds"] for e in entries)
    assert history_entries([]) == []
    # Points at which nothing got better are left out.
    assert len(history_entries([points[0], points[0], points[2]])) == 2
