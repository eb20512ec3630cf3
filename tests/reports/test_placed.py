# SPDX-License-Identifier: Apache-2.0
"""Report pages about plans for devices of several kinds: devices, limits, links, what tensors cost at both ends."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stagewright as sw
from chromium import Browser, BrowserError, find_browser
from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.sharing import evaluate_shared, loads_of
from stagewright.placement.workload import Workload
from stagewright.placing import PlacedResult
from stagewright.plans import Plan
from stagewright.reports import words
from stagewright.reports.drawing import drawing
from stagewright.reports.outline import outline
from stagewright.reports.view import read_plan_view
from stagewright.units import format_time

READY = "document.documentElement.dataset.ready"


def placed(seed: int, *, fixed: bool, shared: bool = False) -> PlacedResult:
    """Return a plan of a random graph for three kinds of devices."""
    pick = random.Random(seed)
    builder = GraphBuilder("layers")
    nodes = [builder.add_node(f"n{i}", work=pick.randint(10**6, 10**7)) for i in range(9)]
    for i, node in enumerate(nodes[:-1]):
        users = sorted({nodes[i + 1], pick.choice(nodes[i + 1 :])})
        builder.add_tensor(node, users, nbytes=pick.randint(1, 10**5))
    graph = builder.build()
    slow = tuple(3 * w for w in graph.work.tolist())
    kinds = (
        Kind("fast", 2, Link(10**11, 10**5), memory_limit=1 << 30, host="a"),
        Kind("slow", 1, Link(10**10), slow, memory=1 << 26, host="b"),
        Kind("free", 1, Link(None, 0, free=True), slow),
    )
    between = tuple(Link(pick.randint(10**10, 10**11), 10**4) for _ in range(3))
    fleet = Fleet(kinds, (0, 1, 0, 2), between) if fixed else Fleet(kinds, shared=shared)
    return sw.place(Workload(graph), fleet, time_limit=5)


@pytest.mark.parametrize("fixed", [True, False])
def test_what_tensors_cost_is_what_stages_pay(fixed: bool) -> None:
    several = 0
    for seed in range(12):
        result = placed(seed, fixed=fixed)
        document, graph = result.to_json(), result.workload.graph
        view = read_plan_view(document)
        several += len(view.stages) > 1
        drawn = drawing(graph, view.machine, Plan(result.solution.plan.stages), view.ends)
        assert sum(cut.paid for cut in drawn.cuts) == sum(s.receive + s.send for s in view.stages)
        assert all(cut.time * (1 + len(cut.targets)) >= cut.paid >= cut.time for cut in drawn.cuts)
    assert several > 6


def test_the_page_names_devices_hosts_links_and_limits(tmp_path: Path) -> None:
    result = placed(1, fixed=True)
    page = tmp_path / "page.html"
    result.report(page)
    text = page.read_text()
    for expected in (
        "a plan for 4 devices",
        "Certificate: valid, everything was verified.",
        "Links between neighbouring places",
        "1\N{NO-BREAK SPACE}GiB at most",
        "streams beyond 64\N{NO-BREAK SPACE}MiB",
        '<th scope="col">Host</th>',
        'id="graph-view"',
    ):
        assert expected in text, expected
    assert "Speed-up" not in text
    used = [stage["device"] for stage in result.to_json()["stages"]]
    assert all(f"{number} {kind}</span>" in text for number, kind in enumerate(used))


def test_the_page_of_shared_devices(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    placed(2, fixed=False, shared=True).report(page, verify=False)
    assert "A device may run several stages" in page.read_text()


def test_memory_of_a_schedule_is_all_that_devices_hold() -> None:
    builder = GraphBuilder("chain")
    nodes = [builder.add_node(f"n{i}", work=10**6) for i in range(4)]
    for i, node in enumerate(nodes):
        builder.add_param(1000, [node])
        builder.add_tensor(node, nodes[i + 1 : i + 2], nbytes=100)
    schedule = {"name": "gpipe", "microbatches": 4, "optimizer": "adam", "recompute": "never"}
    fleet = Fleet((Kind("only", 2, Link(10**9)),))
    found = sw.place(builder.build(), fleet, mode="training", schedule=schedule, time_limit=5)
    document = found.to_json()
    for view, stage in zip(read_plan_view(document).stages, document["stages"], strict=True):
        assert view.param_bytes == 4 * stage["param_bytes"]
        assert view.peak_bytes == 3 * stage["kept_bytes"] + stage["peak_bytes"]


def trained(*, schedule: bool = True) -> PlacedResult:
    """Return a plan of training for modules of two nodes on two devices."""
    builder = GraphBuilder("net")
    nodes = [
        builder.add_node(f"layers.{i}/{what}", op=what, work=(3 + i) * 10**6)
        for i in range(4)
        for what in ("linear", "act")
    ]
    for i, node in enumerate(nodes):
        builder.add_tensor(node, nodes[i + 1 : i + 2], nbytes=1000)
        builder.add_param(10**4, [node])
    fleet = Fleet((Kind("fast", 2, Link(10**9)),))
    return sw.place(
        builder.build(),
        fleet,
        mode="training",
        schedule={"microbatches": 6} if schedule else None,
        time_limit=5,
    )


@pytest.mark.parametrize("schedule", [True, False])
def test_words_of_training(schedule: bool) -> None:
    result = trained(schedule=schedule)
    document = result.to_json()
    said = words.headline(read_plan_view(document))
    assert "inference" not in said
    assert "latency" not in said
    per = "microbatch" if schedule else "batch"
    assert f"period {format_time(result.solution.bottleneck)} per {per} (" in said
    assert f"{per}es/s with all stages busy" in said
    step = f"a step of 6 microbatches {format_time(7 * result.solution.bottleneck)}"
    assert (step in said) == schedule


def test_the_graph_of_training_has_both_passes_of_each_stage() -> None:
    result = trained()
    page = result.plot().html
    assert "not shown" not in page
    assert "two boxes of its colour" in page
    backward, plan = result.workload.backward, result.solution.plan
    names = list(result.workload.graph.node_names)
    tree = outline(names, plan.stages, backward)
    roots = [label for label, parent in zip(tree.labels, tree.parents, strict=True) if parent < 0]
    assert roots == [
        "Stage 0, forward",
        "Stage 1, forward",
        "Stage 1, backward",
        "Stage 0, backward",
    ]
    for v, part in enumerate(tree.node_parents):
        root = part
        while tree.parents[root] >= 0:
            root = tree.parents[root]
        stage = next(s for s, nodes in enumerate(plan.stages) if v in nodes)
        way = "backward" if backward[v] else "forward"
        assert tree.labels[root] == f"Stage {stage}, {way}"


def test_a_stage_that_only_runs_backward_is_one_part() -> None:
    tree = outline(["a", "b", "c"], [[0], [1, 2]], [False, True, True])
    assert tree.labels == ["Stage 0, forward", "Stage 1, backward"]


@pytest.mark.parametrize(
    ("objective", "verdict"),
    [
        ({"objective": "latency"}, "Least latency, proven"),
        ({"objective": "cost", "period_limit": "1s"}, "Least cost within the limits, proven"),
        ({"latency_limit": "1s"}, "Least period within the limits, proven"),
    ],
)
def test_words_of_other_objectives(objective: dict[str, Any], verdict: str) -> None:
    """The bounds of a plan file are those of the period; the verdict is about what was asked for."""
    found = placed(3, fixed=False)
    result = sw.place(found.workload, found.fleet, time_limit=5, **objective)
    view = read_plan_view(result.to_json())
    assert view.goal is not None
    assert words.verdict(view) == verdict
    assert words.explanation(view).startswith(f"What counts is the {view.goal.minimise}.")
    worse = replace(view, goal=replace(view.goal, value=view.goal.value + 1))
    assert "of the best possible (proven)" in words.verdict(worse)
    assert words.verdict(replace(view, goal=replace(view.goal, lower=0))).startswith("Valid")
    page = result.plot().html
    assert f">{verdict}</h1>" in page


def test_figures_of_a_placed_result() -> None:
    result = placed(2, fixed=False, shared=True)
    assert 'id="graph-view"' in result.plot("graph").html
    assert "bound" in result.plot("bounds").html
    with pytest.raises(InputError, match="what: expected one of page, stages, graph"):
        result.plot("nothing")
    assert "(bottleneck)" in result._repr_html_()
    assert "PlacedResult of 'layers'" in repr(result)


@pytest.mark.parametrize("seed", range(6))
def test_loads_of_shared_devices_are_those_of_the_plan(seed: int) -> None:
    result = placed(seed, fixed=False, shared=True)
    view = read_plan_view(result.to_json())
    plan, fleet = result.solution.plan, result.fleet
    costs = evaluate_shared(result.workload, fleet, plan)
    right = loads_of(fleet, plan.devices, costs)
    assert {load.stages[0].unit: load.total for load in view.loads} == {
        device: load.total for device, load in right.items()
    }
    assert view.devices_used == len(right)
    busiest = {d for d, load in right.items() if load.total == view.bottleneck}
    assert busiest
    assert {s.unit for s in view.worst} == busiest
    assert {s.number for s in view.worst} == {
        i for i, device in enumerate(plan.devices) if device in busiest
    }
    devices = plan.devices
    drawn = drawing(result.workload.graph, view.machine, Plan(plan.stages), view.ends, (), devices)
    paid = sum(s.receive + s.send for s in view.stages)
    assert sum(cut.paid for cut in drawn.cuts) == paid


def test_plan_and_report_by_commands(tmp_path: Path) -> None:
    result = placed(3, fixed=False)
    model, machine = tmp_path / "g.json", tmp_path / "m.toml"
    from stagewright.readers.graph_writer import graph_text

    model.write_text(graph_text(result.workload.graph))
    machine.write_text(
        '[[device]]\nkind = "fast"\nbandwidth = "1GB/s"\nhost = "left"\n'
        '[[device]]\nkind = "slow"\nscale = 2\nbandwidth = "1GB/s"\nhost = "right"\n'
    )
    plan, first, second = (str(tmp_path / name) for name in ("plan.json", "1.html", "2.html"))
    arguments = ["plan", str(model), "--machine", str(machine), "-o", plan, "--report", first]
    assert main(arguments) == 0
    assert main(["report", plan, "-o", second]) == 0
    for page in (first, second):
        assert "right" in Path(page).read_text()
        assert "Certificate: valid, everything was verified." in Path(page).read_text()


def test_a_browser_draws_both_passes_in_the_colour_of_their_stage(tmp_path: Path) -> None:
    if find_browser() is None:
        pytest.skip("needs chromium, which only root can install (apt install chromium)")
    page = tmp_path / "page.html"
    trained().report(page, verify=False)
    try:
        started = Browser()
    except BrowserError as error:
        pytest.skip(f"the browser does not start here: {error}")
    with started as browser:
        shown = browser.open(page)
        shown.wait(READY)
        for stage in (0, 1):
            drawn = f"document.querySelectorAll('svg.graph .box.stage-{stage}').length"
            assert shown.evaluate(drawn) >= 2, stage
        assert shown.complaints() == []


def test_a_browser_draws_it(tmp_path: Path) -> None:
    if find_browser() is None:
        pytest.skip("needs chromium, which only root can install (apt install chromium)")
    page = tmp_path / "page.html"
    placed(4, fixed=True).report(page, verify=False)
    try:
        started = Browser()
    except BrowserError as error:
        pytest.skip(f"the browser does not start here: {error}")
    with started as browser:
        shown = browser.open(page)
        shown.wait(READY)
        for selector in (
            "svg.graph .part, svg.graph .node",
            "svg.graph .edge.cut .tag",
            "#machine table",
        ):
            assert shown.evaluate(f"document.querySelectorAll('{selector}').length"), selector
        assert shown.complaints() == []
