# SPDX-License-Identifier: Apache-2.0
"""The checker agrees with the reference and refuses whatever says something false."""

from __future__ import annotations

import ast
import contextlib
import copy
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.certificate.helpers import CHECK_FILE, document_of, graph_data, random_case

from stagewright.bound.types import Bound
from stagewright.certificate.build import dumps, plan_document, save
from stagewright.certificate.check import UnreadableError, check_files, check_texts
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.plans import Plan, problems_of
from stagewright.readers.graph_file import write_graph_file

PS = Decimal("1e-12")
STAGE_TIMES = ("work", "io_in", "io_out", "overflow", "total")
STAGE_SIZES = ("param_bytes", "peak_bytes")


@pytest.mark.parametrize("seed", range(60))
def test_true_document_is_verified(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    graph, machine, plan = random_case(
        rng, rng.randint(1, 25), rng.randint(1, 5), memory=seed % 2 == 0
    )
    report = check_texts(graph_data(graph, tmp_path), document_of(graph, machine, plan))
    assert (report.problems, report.not_verified, report.exit_code) == ([], [], 0)


def changed(document: dict[str, Any], *path: Any, by: Any) -> dict[str, Any]:
    """Return a copy with `by` at `path`: a value, or a function of the old one."""
    made = copy.deepcopy(document)
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = by(place[path[-1]]) if callable(by) else by
    return made


def number_mutations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield copies with one number or text made false."""
    for step in (PS, -PS):

        def moved(value: Any, step: Decimal = step) -> Decimal:
            return Decimal(value) + step

        for s in range(len(document["stages"])):
            for key in STAGE_TIMES:
                yield f"{key} {step}", changed(document, "stages", s, key, by=moved)
        yield f"bottleneck {step}", changed(document, "bottleneck", by=moved)
        yield f"lower_bound {step}", changed(document, "lower_bound", by=moved)
        for i in range(len(document["bounds"])):
            yield f"bound {step}", changed(document, "bounds", i, "value", by=moved)
    for size_step in (1, -1):
        for s in range(len(document["stages"])):
            for key in STAGE_SIZES:
                by = document["stages"][s][key] + size_step
                yield f"{key} {size_step}", changed(document, "stages", s, key, by=by)
    yield "hash", changed(document, "graph_sha256", by=lambda text: text[::-1])
    for status in {"optimal", "bounded", "feasible", ""} - {document["status"]}:
        yield f"status {status}", changed(document, "status", by=status)
    for gap in (None, Decimal(document["gap"]) + Decimal("1e-6"), -1, "0", True):
        if gap != document["gap"] or isinstance(gap, bool):
            yield f"gap {gap}", changed(document, "gap", by=gap)


@pytest.mark.parametrize("seed", range(25))
def test_false_number_is_refused(seed: int, tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(seed), 9, 3, memory=seed % 2 == 0)
    data, document = graph_data(graph, tmp_path), document_of(graph, machine, plan)
    for what, mutant in number_mutations(document):
        report = check_texts(data, mutant)
        assert report.exit_code == 1, what
        assert report.problems, what


def raised_everywhere(document: dict[str, Any], value: Decimal) -> dict[str, Any]:
    """Return a copy whose largest bound is `value`, with everything that follows made to fit."""
    made = changed(document, "bounds", 0, "value", by=value)
    upper = made["bottleneck"]
    made |= {
        "lower_bound": value,
        "gap": float(upper / value - 1) if value < upper else 0,
        "status": "optimal" if value == upper else "bounded",
    }
    return made


@pytest.mark.parametrize("seed", range(20))
def test_raised_simple_bound_is_refused(seed: int, tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(seed), 9, 3, constraints=False)
    data, document = graph_data(graph, tmp_path), document_of(graph, machine, plan)
    simple, upper = document["bounds"][0]["value"], document["bottleneck"]
    assert check_texts(data, raised_everywhere(document, simple - PS)).exit_code == 0
    for value in {simple + PS, upper, upper + PS} - {simple}:
        report = check_texts(data, raised_everywhere(document, value))
        assert report.exit_code == 1
        assert "bound" in report.problems[0]


def structure_mutations(rng: Random, plan: Plan) -> Iterator[list[list[int]]]:
    """Yield stage lists with nodes moved, dropped, doubled or swapped."""
    stages = [list(nodes) for nodes in plan.stages]
    for s, nodes in enumerate(stages):
        for v in nodes:
            without = [[u for u in row if u != v] for row in stages]
            yield without
            for t in range(len(stages)):
                place = rng.randint(0, len(without[t]))
                yield [
                    [*row[:place], v, *row[place:]] if i == t else row
                    for i, row in enumerate(without)
                ]
                yield [[*row, v] if i == t else row for i, row in enumerate(stages)]
        yield [row[::-1] if i == s else row for i, row in enumerate(stages)]
        yield [*stages[:s], *stages[s + 1 :]]
        yield [*stages[:s], [], *stages[s:]]
    yield stages[::-1]


@pytest.mark.parametrize("seed", range(20))
def test_mutated_stages_are_valid_only_if_the_reference_says_so(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    graph, machine, plan = random_case(rng, 8, 3, memory=seed % 2 == 0)
    data, document = graph_data(graph, tmp_path), document_of(graph, machine, plan)
    for stages in structure_mutations(rng, plan):
        mutant = copy.deepcopy(document)
        empty = dict.fromkeys((*STAGE_TIMES, *STAGE_SIZES), 0)
        mutant["stages"] += [empty] * (len(stages) - len(plan.stages))
        mutant["stages"] = [
            {**row, "nodes": [graph.node_names[v] for v in nodes]}
            for row, nodes in zip(mutant["stages"], stages, strict=False)
        ]
        report = check_texts(data, mutant)
        assert report.valid == (expected(graph, machine, stages) == mutant["stages"])


def expected(graph: CostGraph, machine: Machine, stages: list[list[int]]) -> Any:
    """Return the stages as the reference has them, None where they are not valid."""
    plan = Plan(tuple(map(tuple, stages)))
    if problems_of(graph, machine, plan):
        return None
    made = plan_document(graph, machine, plan, [], stopped_because="", seconds=0, seed=0)
    return json.loads(dumps(made), parse_float=Decimal)["stages"]


@pytest.fixture
def small(tmp_path: Path) -> tuple[Any, dict[str, Any]]:
    graph, machine, plan = random_case(Random(4), 6, 2)
    return graph_data(graph, tmp_path), document_of(graph, machine, plan)


HOSTILE: list[Any] = [
    None, True, -1, 1.5, 10**39, 10**5000, Decimal("1e999999999"), Decimal("0e999999999"),
    Decimal("1e-999999999"), Decimal("NaN"), float("inf"), "", "x" * 10**6, "\ud800", [], {}, [[]],
    [None], [{}], {"x": 1}, [1, 2, 3],
]  # fmt: skip


def every_place(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, (dict, list)) else ():
        if isinstance(item, (dict, list)):
            yield from every_place(item, (*path, key))
        else:
            yield (*path, key)


def test_hostile_plan_is_a_problem_and_never_a_crash(small: tuple[Any, dict[str, Any]]) -> None:
    data, document = small
    document["bounds"].append(document["bounds"][0] | {"evidence": "flow", "witness": FLOW})
    harmless = {"stopped_because", "seconds", "seed", "version", "method", "latency"}
    for path in every_place(document):
        for value in HOSTILE:
            mutant = changed(document, *path, by=value)
            report = check_texts(data, mutant)
            json.dumps(report.problems)
            if mutant != document and path[-1] not in harmless and "machine" not in path:
                assert not report.valid, (path, value)
    for value in HOSTILE:
        assert not check_texts(data, value).valid


FLOW: dict[str, Any] = {"anchor": 0, "tensors": [[0, [[0, 0]]]]}


def test_missing_and_unknown_keys_are_problems(small: tuple[Any, dict[str, Any]]) -> None:
    data, document = small
    for path in ((), ("machine",), ("stages", 0), ("bounds", 0)):
        place: Any = document
        for key in path:
            place = place[key]
        for key in list(place):
            mutant = copy.deepcopy(document)
            inside: Any = mutant
            for step in path:
                inside = inside[step]
            del inside[key]
            (problem,) = check_texts(data, mutant).problems
            assert f"expected the key '{key}'" in problem
        place["novelty"] = 1
        (problem,) = check_texts(data, document).problems
        assert "expected no other keys, got 'novelty'" in problem
        del place["novelty"]


def test_hostile_graph_is_unreadable(small: tuple[Any, dict[str, Any]]) -> None:
    data, document = small
    with pytest.raises(UnreadableError, match=r"graph file: format: expected .* got 'x'"):
        check_texts(data | {"format": "x"}, document)
    for path in every_place(data):
        for value in HOSTILE:
            with contextlib.suppress(UnreadableError):
                check_texts(changed(data, *path, by=value), document)


def test_claim_is_named_and_not_verified(tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(5), 8, 3, constraints=False)
    document = document_of(graph, machine, plan, [Bound("simple", 1, 0.0, "recomputed")])
    upper = int(document["bottleneck"] / PS)
    document = document_of(graph, machine, plan, [Bound("mip (HiGHS)", upper, 2.5, "claimed")])
    report = check_texts(graph_data(graph, tmp_path), document)
    assert report.exit_code == 3
    assert "mip (HiGHS)" in report.not_verified[0]
    assert "a claim without evidence" in report.not_verified[0]


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
def test_runs_as_a_plain_file(suffix: str, tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(6), 12, 3)
    document = document_of(graph, machine, plan)
    write_graph_file(graph, tmp_path / f"g.{suffix}")
    save(document, tmp_path / "p.json")
    bad = changed(document, "stages", 0, "work", by=lambda value: value + PS)
    save(bad, tmp_path / "bad.json")
    (tmp_path / "none.json").write_text('{"a": 1, "a": 2}')

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(CHECK_FILE), f"g.{suffix}", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run("p.json")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.endswith("the plan is valid\n")
    found = run("bad.json", "--json")
    assert found.returncode == 1
    assert json.loads(found.stdout)["problems"][0].startswith("stages[0].work: states ")
    for name in ("none.json", "absent.json"):
        unreadable = run(name)
        assert (unreadable.returncode, unreadable.stdout) == (2, "")
        assert unreadable.stderr.startswith(f"{name}: expected a JSON file, got ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b123",
        b"[" * 10**6,
        b'{"a": NaN',
        b"\xff",
        b"1" * 5000,
        b"1e99999999999999999999",
    ],
)
def test_damaged_file_is_unreadable(content: bytes, tmp_path: Path) -> None:
    for name, data in (("a.json", content), ("b.json", gzip.compress(content)[:-4])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableError, match=name):
            check_files(tmp_path / name, tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "check.py",
        "check_stages.py",
        "check_proofs.py",
        "check_devices.py",
        "check_search.py",
        "check_schedule.py",
        "check_classes.py",
    ],
)
def test_checker_uses_the_standard_library_only(name: str) -> None:
    tree = ast.parse((CHECK_FILE.parent / name).read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert str(node.module).partition(".")[0] in sys.stdlib_module_names
        elif isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)


def test_incomplete_checker_says_so(tmp_path: Path) -> None:
    graph, machine, plan = random_case(Random(6), 5, 2)
    write_graph_file(graph, tmp_path / "g.json")
    save(document_of(graph, machine, plan), tmp_path / "p.json")
    (tmp_path / "check.py").write_bytes(CHECK_FILE.read_bytes())
    command = [sys.executable, "-I", "-S", "check.py", "g.json", "p.json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("check_stages.py: expected beside ")
