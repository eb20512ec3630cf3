# SPDX-License-Identifier: Apache-2.0
"""The study against brute force: regrets, counts, choice and factors on small graphs."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.solver import brute
from tests.solver.random_graphs import random_case

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate, problems_of
from stagewright.readers.graph_writer import write_graph_file
from stagewright.robustness import Robustness, Spread, study
from stagewright.robustness.document import robustness_document
from stagewright.solve import Settings, solve

SAMPLES = 6


def cost(graph: CostGraph, machine: Machine, plan: Plan) -> int:
    return max(stage.total for stage in evaluate(graph, machine, plan))


def cheap_links(seed: int) -> tuple[CostGraph, Machine]:
    """Return a graph whose best plans hang on the work of nodes."""
    rng = random.Random(seed)
    b = GraphBuilder(f"cheap {seed}")
    n = rng.randint(5, 7)
    for v in range(n):
        b.add_node(f"v{v}", op="ab"[v % 2], work=rng.randint(5, 40))
    for v in range(n - 1):
        users = sorted(rng.sample(range(v + 1, n), min(n - v - 1, rng.randint(1, 2))))
        b.add_tensor(v, users, time=rng.randint(0, 3))
    return b.build(), Machine(rng.randint(2, 3))


def check(seed: int) -> Robustness:
    graph, machine = random_case(seed) if seed % 2 else cheap_links(seed)
    machine = replace(machine, memory=None) if seed % 5 else machine
    spread = Spread(
        work=0.4,
        bytes=0.2,
        bandwidth=0.1,
        per=("node", "op")[seed % 3 // 2],
    )
    found = study(
        graph,
        machine,
        spread,
        samples=SAMPLES,
        tolerance=0.1,
        factors=2,
        choose=("worst", "mean")[seed // 2 % 2],
        settings=Settings(seed=seed),
    )
    assert found.samples == found.proven == SAMPLES
    batches = [
        [spread.draw(graph, machine, (seed, stream, i)) for i in range(SAMPLES)]
        for stream in (1, 2)
    ]
    optima = [
        [brute.graph_optimum(i.graph, i.machine, relaxed=False, best_orders=True) for i in batch]
        for batch in batches
    ]
    ranks = []
    for candidate in found.candidates:
        assert problems_of(graph, machine, candidate.plan) == []
        assert candidate.bottleneck == cost(graph, machine, candidate.plan)
        ranking, judged = (
            [
                Fraction(cost(i.graph, i.machine, candidate.plan), best) - 1
                if best
                else Fraction(0)
                for i, best in zip(batch, row, strict=True)
            ]
            for batch, row in zip(batches, optima, strict=True)
        )
        assert min(judged) >= 0
        mean, worst = float(sum(judged) / SAMPLES), float(max(judged))
        assert candidate.mean_regret.low == candidate.mean_regret.high
        assert candidate.mean_regret.low == pytest.approx(mean)
        assert (candidate.worst_regret.low, candidate.worst_regret.high) == (worst, worst)
        within = sum(regret <= Fraction("0.1") for regret in judged)
        assert (candidate.within.low, candidate.within.high) == (within, within)
        measures = [max(ranking), sum(ranking) / SAMPLES]
        ranks.append(measures if found.choose == "worst" else measures[::-1])
    assert [r[0] for r in ranks] == sorted(r[0] for r in ranks)
    # Every drawn optimum of the first half is a candidate's cost.
    for instance, best in zip(batches[0], optima[0], strict=True):
        costs = [cost(instance.graph, instance.machine, c.plan) for c in found.candidates]
        assert min(costs) == best
    return found


def test_studies_of_random_graphs() -> None:
    found = [check(seed) for seed in range(30)]
    assert any(len(f.candidates) > 2 for f in found)
    assert any(f.chosen.name != "nominal" for f in found)
    assert any(f.reduced_nodes is None for f in found)
    assert any(f.reduced_nodes is not None for f in found)


@pytest.mark.slow
def test_studies_of_random_graphs_at_length() -> None:
    for seed in range(30, 400):
        check(seed)


def chain(works: list[int], cost: int = 1) -> CostGraph:
    b = GraphBuilder("chain")
    for v, w in enumerate(works):
        b.add_node(f"v{v}", op="Big" if w > 50 else "Small", work=w)
    for v in range(len(works) - 1):
        b.add_tensor(v, [v + 1], time=cost)
    return b.build()


def test_factors_are_what_they_say() -> None:
    # Two stages: v0 (100 + 1) and v1 v2 (30 + 90 + 1).
    graph = chain([100, 30, 90])
    found = study(graph, Machine(2), Spread(work=0.5), samples=8, factors=3)
    assert found.nominal.bottleneck == 121
    late, early, middle = found.factors
    assert (late.name, late.nodes, late.work, late.spread) == ("v2", 1, 90, 0.5)
    assert late.effect == pytest.approx(45 / 121)
    assert early.effect == pytest.approx((150 + 1) / 121 - 1)
    assert middle.effect == pytest.approx(15 / 121)
    # v2 larger: 166 in its stage; with v1 in the first stage it would be 135 + 1.
    assert late.regret is not None
    assert late.regret.low == late.regret.high == pytest.approx(166 / 136 - 1)
    assert early.regret is not None
    # v0 smaller: 67 + 30 + 1 in one stage beats 121.
    assert early.regret.low == pytest.approx(121 / 98 - 1)
    assert early.critical + late.critical == 1
    assert middle.critical == late.critical
    assert 0 < late.critical < 1
    assert late.share <= late.critical
    together = study(graph, Machine(2), Spread(work=0.5, per="op"), samples=4)
    assert [(f.name, f.nodes, f.work) for f in together.factors] == [
        ("Big", 2, 190),
        ("Small", 1, 30),
    ]


def test_what_is_certain_adds_no_regret() -> None:
    graph = chain([3, 5, 2, 7, 1])
    found = study(graph, Machine(3), Spread(work=0.0), samples=3)
    assert found.chosen.name == "nominal"
    assert (found.chosen.worst_regret.high, found.chosen.within.low) == (0, 3)
    assert found.factors == ()
    everything = study(graph, Machine(3), Spread(work=0.5, per="all"), samples=3)
    assert everything.factors[0].name == "all nodes"


def test_equal_seeds_give_equal_studies() -> None:
    graph, machine = random_case(3)
    documents = []
    for seed, threads in ((1, 1), (1, 2), (2, 1)):
        settings = Settings(seed=seed, threads=threads)
        found = study(graph, machine, Spread(work=0.4), samples=4, settings=settings)
        documents.append(robustness_document(found) | {"seconds": 0})
    assert documents[0] == documents[1] != documents[2]


def test_unproven_optima_give_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    true = solve

    def poor(*arguments: Any) -> Any:
        solution = true(*arguments)
        bounds = tuple(replace(b, value=b.value * 3 // 4) for b in solution.bounds)
        return replace(solution, bounds=bounds)

    monkeypatch.setattr("stagewright.robustness.studies.solve", poor)
    graph, machine = random_case(5)
    found = study(graph, replace(machine, memory=None), Spread(work=0.3), samples=5)
    assert found.proven == 0
    for candidate in found.candidates:
        assert 0 <= candidate.mean_regret.low < candidate.mean_regret.high
        assert candidate.within.low <= candidate.within.high
    assert found.chosen.within.low < found.chosen.within.high


def test_memory_that_holds_everything_is_no_hindrance() -> None:
    b = GraphBuilder("small")
    for v in range(4):
        b.add_node(f"v{v}", work=10 + v)
    for v in range(3):
        b.add_tensor(v, [v + 1], nbytes=100)
    roomy = study(b.build(), Machine(2, 10**12, 0, 10**6), Spread(bytes=0.5), samples=3)
    tight = study(b.build(), Machine(2, 10**12, 0, 200), Spread(bytes=0.5), samples=3)
    assert roomy.reduced_nodes is not None
    assert tight.reduced_nodes is None


def test_plans_respect_a_hard_limit_of_memory() -> None:
    b = GraphBuilder("heavy")
    for v, w in enumerate([5, 9, 3, 8]):
        b.add_node(f"v{v}", work=w)
        b.add_param((100, 10, 10, 100)[v], [v])
    for v in range(3):
        b.add_tensor(v, [v + 1], time=1)
    graph, machine = b.build(), Machine(2, memory_limit=150)
    found = study(graph, machine, Spread(work=0.9), samples=6)
    assert found.reduced_nodes is None
    for candidate in found.candidates:
        assert problems_of(graph, machine, candidate.plan) == []
    with pytest.raises(InputError, match="spread: bytes: expected 0 with a hard limit of memory"):
        study(graph, machine, Spread(bytes=0.1), samples=1)
    assert study(graph, Machine(2, memory_limit=220), Spread(bytes=0), samples=2).reduced_nodes


def test_interrupts_keep_what_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    true, calls = solve, iter(range(100))

    def some(*arguments: Any) -> Any:
        if next(calls) == 1 + 4 + 2:  # the nominal plan, the first half, two of the second
            raise KeyboardInterrupt
        return true(*arguments)

    monkeypatch.setattr("stagewright.robustness.studies.solve", some)
    found = study(chain([3, 5, 2, 7, 1]), Machine(2), Spread(work=0.3), samples=4)
    assert found.interrupted
    assert found.samples == 2
    assert all(f.regret is None for f in found.factors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples: expected a whole number from 1 to 100000, got 0"),
        ({"factors": -1}, "factors: expected a whole number from 0 to 100000, got -1"),
        ({"tolerance": -0.1}, "tolerance: expected a part >= 0 such as 0.05, got -0.1"),
        (
            {"given": Plan(((0, 1),))},
            "plan: expected a valid plan for this graph and machine, got 1 nodes are in no stage, first 'v2'",
        ),
    ],
)
def test_wrong_use_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        study(chain([1, 2, 3]), Machine(2), Spread(), **options)
    assert str(caught.value) == message


def test_robust_from_python(tmp_path: Path) -> None:
    graph = chain([100, 1, 90, 30, 8, 77])
    plan = sw.plan(graph, 3)
    found = sw.robust(graph, 3, spread=0.3, samples=4, plan=plan)
    # The plan given is the nominal one, which is listed once.
    assert [c.name for c in found.candidates].count("given") == 0
    plan.save(tmp_path / "plan.json")
    again = sw.robust(graph, 3, spread=Spread(work=0.3), samples=4, plan=tmp_path / "plan.json")
    assert again.chosen.mean_regret == found.chosen.mean_regret
    with pytest.raises(InputError, match=r"candidate: expected .*nominal.*, got 'other'"):
        found.candidate("other")


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_robust_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, chosen = tmp_path / "g.json", tmp_path / "chosen.json"
    write_graph_file(chain([100, 1, 90, 30, 8, 77]), path)
    options = ("-k", 3, "--spread-work", "40%", "--samples", 5, "--spread-op", "Small=0.1")
    assert run("robust", path, *options, "-o", chosen) == 0
    shown = capsys.readouterr()
    assert "The nominal plan is within 5 % of the optimum in " in shown.out
    assert "worst regret" in shown.out
    assert "What matters to the nominal plan" in shown.out
    assert shown.err == f"written: {chosen}\n"
    assert max(map(len, shown.out.splitlines())) <= 80
    assert run("check", path, chosen) in (0, 3)
    capsys.readouterr()
    given = ("--plan", chosen, "--per", "op", "--distribution", "uniform")
    assert run("robust", path, *options, *given, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == "stagewright-robustness/1"
    assert document["spread"] == {
        "work": 0.4,
        "bytes": 0.0,
        "bandwidth": 0.0,
        "ops": {"Small": 0.1},
        "kind": "uniform",
        "per": "op",
    }
    assert document["samples"] == document["proven"] == 5
    assert document["plans"][0]["name"] == document["chosen"]
    assert {len(plan["stages"]) for plan in document["plans"]} <= {1, 2, 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--spread-work", "many"),
            "--spread-work: expected a part such as 20% or 0.2, got 'many'",
        ),
        (("--spread-op", "Conv"), "--spread-op: expected OP=PART such as Conv=40%, got 'Conv'"),
        (("--within", "-1%"), "--within: expected a part such as 20% or 0.2, got '-1%'"),
        (("--spread-bytes", "500%"), "spread: bytes: expected a number from 0, up to 4, got 5.0"),
    ],
)
def test_robust_command_refuses(
    options: tuple[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_graph_file(chain([1, 2]), tmp_path / "g.json")
    assert run("robust", tmp_path / "g.json", "-k", 2, f"{options[0]}={options[1]}") == 2
    assert message in capsys.readouterr().err
