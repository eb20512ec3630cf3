# SPDX-License-Identifier: Apache-2.0
"""Devices that run several stages: the search, its bounds and its program against all assignments."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.placement.instances import random_fleet, random_workload

from stagewright.bound.solvers import safe_bound, solve_models
from stagewright.bound.types import Bound
from stagewright.certificate.build import dumps
from stagewright.certificate.check import check_texts
from stagewright.errors import InfeasibleError, InputError, LimitError
from stagewright.graph import FIRST, LAST, GraphBuilder
from stagewright.placement.devices import UNABLE, Fleet, Kind, Link
from stagewright.placement.document import placed_document
from stagewright.placement.objective import Objective
from stagewright.placement.packing import packing_bound
from stagewright.placement.sharing import evaluate_shared, loads_of, problems_of_shared
from stagewright.placement.sharing_method import solve_shared
from stagewright.placement.sharing_model import assignment_of, shared_model
from stagewright.placement.units import compile_units, stages_of
from stagewright.placement.workload import PlacedPlan, Workload
from stagewright.readers.graph_writer import graph_text

MODES = ("any", "overlap", "spill", "limit")
Document = dict[str, Any]


def instance(mode: str, seed: int) -> tuple[Workload, Fleet]:
    """Return a small random workload and devices to share."""
    rng = random.Random(f"shared {mode} {seed}")
    workload = random_workload(rng, mode)
    fleet = replace(random_fleet(rng, workload.graph, mode), order=None, links=None, shared=True)
    return workload, fleet


def best_of_all(workload: Workload, fleet: Fleet) -> int | None:
    """Return the least period over all assignments of nodes to devices, by its definition; None without any.

    Without memory: an assignment is what counts, whatever its stages.
    """
    graph, n = workload.graph, workload.graph.num_nodes
    pairs = [(p, u) for p, row in enumerate(workload.precedence()) for u in row]
    together = [tuple(pair) for pair in graph.uncuttable.tolist()]
    best: int | None = None
    for at in itertools.product(range(fleet.stages), repeat=n):
        if any(
            at[a] != at[b] and graph.group[a] == graph.group[b] >= 0
            for a in range(n)
            for b in range(a)
        ):
            continue
        if not _stages_exist(at, pairs, together, graph.stage.tolist()):
            continue
        period = _period(workload, fleet, at)
        if period is not None and (best is None or period < best):
            best = period
    return best


def _stages_exist(
    at: tuple[int, ...],
    pairs: list[tuple[int, int]],
    together: list[tuple[int, ...]],
    pins: list[int],
) -> bool:
    """Whether an assignment can be cut into stages: nothing between the two of a pair is elsewhere."""
    n = len(at)
    arcs = [[v == w for w in range(n)] for v in range(n)]
    for a, b in [*pairs, *together, *[(b, a) for a, b in together]]:
        arcs[a][b] = True
    for kind, forward in ((FIRST, False), (LAST, True)):
        pinned = [v for v in range(n) if pins[v] == kind]
        for v in pinned:
            for w in range(n):
                a, b = (w, v) if forward else (v, w)
                arcs[a][b] = True
    for k, i, j in itertools.product(range(n), repeat=3):
        arcs[i][j] |= arcs[i][k] and arcs[k][j]
    return all(at[i] == at[j] for i in range(n) for j in range(n) if arcs[i][j] and arcs[j][i])


def _period(workload: Workload, fleet: Fleet, at: tuple[int, ...]) -> int | None:
    graph = workload.graph
    work = [[0, 0, 0] for _ in range(fleet.stages)]
    for v, d in enumerate(at):
        own = workload.work_on(fleet, fleet.kind_of[d])[v]
        if own == UNABLE:
            return None
        work[d][0] += own
    for t, producer in enumerate(graph.tensor_producer.tolist()):
        if graph.replicable[producer]:
            continue
        size = int(graph.tensor_bytes[t]), int(graph.tensor_time[t])
        others = {at[c] for c in graph.tensor_consumers[t]} - {at[producer]}
        for d in others:
            work[d][1] += fleet.kinds[fleet.kind_of[d]].link.price(*size)
        if others:
            work[at[producer]][2] += fleet.kinds[fleet.kind_of[at[producer]]].link.price(*size)
    return max(map(max if fleet.overlap else sum, work))


def best_with_memory(workload: Workload, fleet: Fleet) -> int | None:
    """Return the least period over all plans: nodes in every order, cut in every way, on all devices."""
    n = workload.graph.num_nodes
    best: int | None = None
    for order in itertools.permutations(range(n)):
        for cuts in itertools.product((False, True), repeat=n - 1):
            stages: list[list[int]] = [[order[0]]]
            for node, cut in zip(order[1:], cuts, strict=True):
                if cut:
                    stages.append([node])
                else:
                    stages[-1].append(node)
            for devices in itertools.product(range(fleet.stages), repeat=len(stages)):
                plan = PlacedPlan(tuple(map(tuple, stages)), devices)
                if problems_of_shared(workload, fleet, plan):
                    continue
                loads = loads_of(fleet, devices, evaluate_shared(workload, fleet, plan))
                period = max(load.total for load in loads.values())
                best = period if best is None else min(best, period)
    return best


def compare(mode: str, seeds: range, most: int) -> int:
    """Hold plan and bounds against all assignments, or all plans where memory counts; return how often."""
    compared = reached = 0
    bounded = mode in ("spill", "limit")
    for seed in seeds:
        workload, fleet = instance(mode, seed)
        n = workload.graph.num_nodes
        plans = math.factorial(n) * 2**n if bounded else 1
        if plans * fleet.stages**n > most:
            continue
        right = (best_with_memory if bounded else best_of_all)(workload, fleet)
        try:
            found = solve_shared(workload, fleet, time_limit=20, solver=None)
        except InfeasibleError:
            assert right is None, (mode, seed)
            continue
        except LimitError:
            assert mode == "limit", (mode, seed)
            continue
        assert right is not None, (mode, seed)
        costs = evaluate_shared(workload, fleet, found.plan)
        loads = loads_of(fleet, found.plan.devices, costs)
        assert max(load.total for load in loads.values()) == found.bottleneck, (mode, seed)
        assert found.lower_bound <= right <= found.bottleneck, (mode, seed, found.bounds)
        assert bounded or found.lower_bound == found.bottleneck, (mode, seed)
        reached += found.bottleneck == right
        compared += 1
    # Memory is rated by a lower bound.
    assert reached >= (0.9 if bounded else 1) * compared, (mode, reached, compared)
    return compared


@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans(mode: str) -> None:
    assert compare(mode, range(40), 1500) > 10


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", MODES)
def test_against_all_plans_at_length(mode: str, part: int) -> None:
    first = 1000 * (part + 1)
    assert compare(mode, range(first, first + 1000), 1000) > 100


@pytest.mark.parametrize("mode", ["any", "overlap"])
def test_program(mode: str) -> None:
    """The solver's optimum is that of all assignments, its bound not above it."""
    pytest.importorskip("highspy", reason="needs the extra 'solvers'")
    models, rights = [], []
    for seed in range(100, 118):
        workload, fleet = instance(mode, seed)
        right = (
            best_of_all(workload, fleet) if fleet.stages**workload.graph.num_nodes < 3000 else None
        )
        if right is None:
            continue
        units = compile_units(workload, fleet)
        model, columns = shared_model(units.task, 0, right + 10)
        models.append((model, columns, units, workload, fleet))
        rights.append(right)
    outcomes = solve_models([model for model, *_ in models], "highs", 60, columns=True)
    for (model, columns, units, workload, fleet), right, found in zip(
        models, rights, outcomes, strict=True
    ):
        assert found.status == "optimal"
        assert found.dual is not None
        assert found.columns is not None
        assert safe_bound(model, found.dual) <= right
        device = assignment_of(columns, found.columns)
        at = {v: d for nodes, d in zip(units.task.members, device, strict=True) for v in nodes}
        assert _period(workload, fleet, tuple(at[v] for v in range(len(at)))) == right
    assert len(models) > 8


def test_solver_closes_what_counting_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagewright.placement.sharing_method._STEPS", 0)
    monkeypatch.setattr("stagewright.placement.packing._STEPS", 0)
    pytest.importorskip("highspy", reason="needs the extra 'solvers'")
    workload, fleet = chain([4, 4, 4, 4, 4], 3), Fleet((Kind("a", 2, Link(10**12)),), shared=True)
    found = solve_shared(workload, fleet, time_limit=20)
    methods = {bound.method: bound.value for bound in found.bounds}
    assert methods["mip"] > max(methods["simple"], methods["packing"])
    assert found.lower_bound == found.bottleneck == 15


def chain(work: list[int], size: int) -> Workload:
    builder = GraphBuilder("chain")
    for i, time in enumerate(work):
        builder.add_node(f"n{i}", work=time)
        if i:
            builder.add_tensor(i - 1, [i], nbytes=size)
    return Workload(builder.build())


def test_counting_bound() -> None:
    """Seven units of 3 on three devices: one device has three of them."""
    workload = chain([3] * 7, 0)
    fleet = Fleet((Kind("a", 3, Link(10**12)),), shared=True)
    task = compile_units(workload, replace(fleet, overlap=True)).whole
    bound = packing_bound(task, 7, 100)
    assert bound.value == 9
    assert bound.evidence == "recomputed"


def test_more_stages_than_devices() -> None:
    """A heavy end makes one device per stage unfair; the middle goes to whoever has room."""
    workload = chain([6, 1, 6, 1, 6, 4], 0)
    fleet = Fleet((Kind("a", 2, Link(10**12)),), shared=True)
    found = solve_shared(workload, fleet, time_limit=20, solver=None)
    assert found.bottleneck == found.lower_bound == 12
    assert len(found.plan.stages) > 2
    again = solve_shared(workload, fleet, time_limit=20, solver=None)
    assert again.plan == found.plan


def test_stages_keep_precedence() -> None:
    for seed in range(60):
        rng = random.Random(f"stages {seed}")
        workload, fleet = instance("any", seed)
        units = compile_units(workload, fleet)
        device = [rng.randrange(fleet.stages) for _ in range(units.atoms.size)]
        stages, devices = stages_of(units.atoms, device)
        place = {v: i for i, nodes in enumerate(stages) for v in nodes}
        assert len(place) == workload.graph.num_nodes == sum(map(len, stages))
        for v, row in enumerate(workload.precedence()):
            assert all(place[v] <= place[w] for w in row)
        assert all(a != b for a, b in itertools.pairwise(devices))


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"objective": Objective("latency")}, "shared devices: expected the period"),
        ({"training": True}, "shared devices: expected inference, got training"),
    ],
)
def test_refused(ask: dict[str, Any], words: str) -> None:
    workload, fleet = chain([1, 2], 1), Fleet((Kind("a", 2, Link(10**12)),), shared=True)
    if ask.pop("training", False):
        workload = Workload(workload.graph, (False, True))
    with pytest.raises(InputError, match=words):
        solve_shared(workload, fleet, **ask)


def test_fixed_order_is_refused() -> None:
    with pytest.raises(InputError, match="shared devices: expected devices in any order"):
        Fleet((Kind("a", 2, Link(10**12)),), (0, 0), shared=True)


def documents(workload: Workload, fleet: Fleet) -> tuple[Document, Document]:
    """Return the graph document and the plan document, as they are read from files."""
    solution = solve_shared(workload, fleet, time_limit=20, solver=None)
    plan = placed_document(workload, fleet, solution, seed=0)
    texts = graph_text(workload.graph), dumps(plan)
    return json.loads(texts[0], parse_float=Decimal), json.loads(texts[1], parse_float=Decimal)


@pytest.mark.parametrize("mode", MODES)
def test_checker_agrees(mode: str) -> None:
    checked = refused = 0
    for seed in range(20):
        try:
            graph, plan = documents(*instance(mode, seed))
        except (InfeasibleError, LimitError):
            continue
        report = check_texts(graph, plan)
        assert report.exit_code == 0, (mode, seed, report)
        checked += 1
        forged = _everything_on_one_device(*instance(mode, seed))
        if forged is not None and forged["bottleneck"] > plan["bottleneck"]:
            # Claimed to be the best of all, which the search over all assignments finds out.
            code = check_texts(graph, forged).exit_code
            assert code == 1 if mode in ("any", "overlap") else code in (1, 3), (mode, seed)
            refused += 1
    assert checked > 12
    assert refused > 2


def _everything_on_one_device(workload: Workload, fleet: Fleet) -> Document | None:
    nodes = tuple(workload.graph.topological_order.tolist())
    solution = solve_shared(workload, fleet, time_limit=20, solver=None)
    for device in range(fleet.stages):
        plan = PlacedPlan((nodes,), (device,))
        if problems_of_shared(workload, fleet, plan):
            continue
        value = evaluate_shared(workload, fleet, plan)[0].total
        bound = Bound("exact", value, 0, "exhaustive")
        changed = replace(
            solution, plan=plan, bottleneck=value, value=value, bounds=(bound,), value_bound=value
        )
        document = placed_document(workload, fleet, changed, seed=0)
        return json.loads(dumps(document), parse_float=Decimal)  # type: ignore[no-any-return]
    return None


def case() -> tuple[Workload, Fleet]:
    """Return a plan with several stages per device, a group, pins, and memory that is streamed and refused."""
    builder = GraphBuilder("shared")
    for i in range(8):
        builder.add_node(
            f"n{i}",
            work=5 + 3 * (i % 3),
            group="g" if i in (1, 5) else None,
            stage=FIRST if i == 0 else LAST if i == 7 else 0,
        )
    for i in range(7):
        builder.add_tensor(i, [i + 1], nbytes=2)
    for i in range(8):
        builder.add_param(10, [i])
    link = Link(10**12)
    slow = tuple(w + 1 for w in builder.build().work.tolist())
    kinds = (
        Kind("fast", 2, link, memory=30, memory_limit=80),
        Kind("slow", 1, link, (*slow[:3], UNABLE, *slow[4:]), memory_limit=70),
    )
    return Workload(builder.build()), Fleet(kinds, shared=True)


def _set(*path: str | int, value: Any) -> Callable[[Document], None]:
    def mutate(plan: Document) -> None:
        place: Any = plan
        for key in path[:-1]:
            place = place[key]
        assert place[path[-1]] != value, path
        place[path[-1]] = value

    return mutate


def _drop(*path: str | int) -> Callable[[Document], None]:
    def mutate(plan: Document) -> None:
        place: Any = plan
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return mutate


def _add(*path: str | int, value: Any) -> Callable[[Document], None]:
    def mutate(plan: Document) -> None:
        place: Any = plan
        for key in path[:-1]:
            place = place[key]
        assert path[-1] not in place
        place[path[-1]] = value

    return mutate


def _swap(plan: Document) -> None:
    plan["stages"][0], plan["stages"][1] = plan["stages"][1], plan["stages"][0]


def _move_first(plan: Document) -> None:
    plan["stages"][1]["nodes"].insert(0, plan["stages"][0]["nodes"].pop(0))


def _move_group(plan: Document) -> None:
    """Put one node of the group where another device is."""
    home = next(s for s in plan["stages"] if "n5" in s["nodes"])
    other = next(s for s in plan["stages"] if s["number"] != home["number"])
    home["number"], home["device"] = other["number"], other["device"]


ONE = Decimal("0.000000000001")
MUTATIONS = [
    _swap,
    _move_first,
    _move_group,
    _set("bottleneck", value=ONE),
    _set("lower_bound", value=ONE),
    _set("gap", value=7),
    _set("status", value="feasible"),
    _set("stages", 0, "device", value="none"),
    _set("stages", 0, "number", value=7),
    _set("stages", 0, "number", value="1"),
    _set("stages", 0, "work", value=0),
    _set("stages", 0, "io_out", value=1),
    _set("stages", 1, "io_in", value=1),
    _set("stages", 1, "total", value=0),
    _set("stages", 1, "overflow", value=1),
    _set("stages", 1, "param_bytes", value=1),
    _set("stages", 0, "peak_bytes", value=10**9),
    _set("machine", "stages", value=7),
    _set("machine", "shared", value=False),
    _set("machine", "devices", 0, "count", value=1),
    _set("machine", "devices", 0, "link", "bandwidth", value=1),
    _set("machine", "devices", 0, "memory", value=1),
    _set("machine", "devices", 0, "memory_limit", value=1),
    _set("machine", "devices", 0, "name", value="other"),
    _set("bounds", 0, "value", value=1),
    _set("bounds", 0, "evidence", value="flow"),
    _add("stages", 0, "place", value=0),
    _add("machine", "order", value=["fast", "fast", "slow"]),
    _add("training", value={"backward": [], "along": False}),
    _add("objective", value={"minimise": "latency", "value": 1, "lower_bound": 0}),
    _drop("stages", 0),
    _drop("stages", 0, "nodes", 0),
    _drop("stages", 0, "device"),
    _drop("stages", 0, "number"),
    _drop("machine", "shared"),
    _drop("machine", "devices"),
]


def test_mutations_are_refused() -> None:
    graph, plan = documents(*case())
    report = check_texts(graph, plan)
    assert report.exit_code == 0, report
    assert len(plan["stages"]) > 3
    for number, mutate in enumerate(MUTATIONS):
        changed = json.loads(dumps(plan), parse_float=Decimal)
        mutate(changed)
        assert not check_texts(graph, changed).valid, number
