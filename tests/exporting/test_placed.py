# SPDX-License-Identifier: Apache-2.0
"""Exports of plans for devices of several kinds, and for devices that run several stages."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest

import stagewright as sw
from stagewright.errors import InputError
from stagewright.exporting import TEXTS, Job
from stagewright.exporting.passes import stack_of_passes
from stagewright.exporting.stack import counts_plan, free_of_rules, stack_of
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.placement.again import fleet_of, placed_plan_of, workload_of
from stagewright.placement.backward import with_backward
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.schedule import Schedule
from stagewright.placement.workload import PlacedPlan, Workload, evaluate, problems_of
from stagewright.placing import PlacedResult
from stagewright.plans import Plan


def row_of_layers(works: list[int], nbytes: int = 0) -> CostGraph:
    """Return layers of two nodes each, one after another."""
    builder = GraphBuilder("row")
    last = None
    for layer, work in enumerate(works):
        for part, share in (("mlp", work - work // 3), ("norm", work // 3)):
            node = builder.add_node(f"model.layers.{layer}.{part}/op", work=share)
            if last is not None:
                builder.add_tensor(last, [node], nbytes=nbytes)
            last = node
    return builder.build()


def best_by_hand(graph: CostGraph, fleet: Fleet, layers: int) -> int:
    """Return the least period of all counts of layers on all orders of devices."""
    stack, free = stack_of(graph), free_of_rules(graph)
    kinds = [q for q, kind in enumerate(fleet.kinds) for _ in range(kind.count)]
    found = []
    for stages in range(1, len(kinds) + 1):
        for devices in set(permutations(kinds, stages)):
            for cuts in range(stages**layers):
                counts = [0] * stages
                of = [cuts // stages**i % stages for i in range(layers)]
                if of != sorted(of) or len(set(of)) < stages:
                    continue
                for stage in of:
                    counts[stage] += 1
                plan = PlacedPlan(counts_plan(graph, stack, counts).stages, devices)
                if not problems_of(Workload(free), fleet, plan):
                    found.append(max(c.total for c in evaluate(Workload(free), fleet, plan)))
    return min(found)


@pytest.mark.parametrize("seed", range(4))
def test_counts_of_layers_are_the_best_for_the_devices(seed: int) -> None:
    pick = random.Random(seed)
    graph = row_of_layers([pick.randint(3, 40) * 10**6 for _ in range(5)], pick.choice([0, 10**4]))
    slow = tuple(pick.choice([2, 3]) * w for w in graph.work.tolist())
    fleet = Fleet((Kind("fast", 2, Link(10**9), host="a"), Kind("slow", 1, Link(10**9), slow)))
    result = sw.place(graph, fleet, time_limit=10)
    found = sw.export(result, "vllm", round=True)
    counts = [int(n) for n in next(iter(found.value.values())).split(",")]
    assert sum(counts) == 5
    assert found.loss.bottleneck == found.loss.lower_bound == best_by_hand(graph, fleet, 5)
    assert len(found.devices) == len(counts)
    assert {row["device"] for row in found.devices} <= {"fast", "slow"}
    assert all((row.get("host") == "a") == (row["device"] == "fast") for row in found.devices)
    assert found.to_json()["devices"] == [dict(row) for row in found.devices]


def whole_layers(works: list[int], nbytes: int = 0) -> CostGraph:
    """Return layers that are not cut apart."""
    graph = row_of_layers(works, nbytes)
    homes = np.arange(graph.num_nodes, dtype=np.int32) // 2
    return graph.replace(group=homes, group_names=tuple(f"layer {i}" for i in range(len(works))))


def shared(works: list[int]) -> PlacedResult:
    """Return a plan of layers for two devices that run several stages; layers share a device."""
    graph = whole_layers([w * 10**6 for w in works])
    fleet = Fleet((Kind("gpu", 2, Link(free=True)),), shared=True)
    result = sw.place(graph, fleet, time_limit=20)
    assert result.status == "optimal"
    return result


def test_megatron_runs_stages_in_turns() -> None:
    """Of layers of 15, 6, 3 and 12 the first and third are on one device, the others on the other."""
    result = shared([15, 6, 3, 12])
    assert result.bottleneck == 18e-6
    export = sw.export(result, "megatron")
    assert export.value == {
        "pipeline_model_parallel_size": 2,
        "pipeline_model_parallel_layout": "Et|t|t|t,L",
        "virtual_pipeline_model_parallel_size": 2,
        "num_layers_per_virtual_pipeline_stage": 1,
    }
    assert export.loss.bottleneck == export.loss.lower_bound == 18 * 10**6
    assert [row["number"] for row in export.devices] in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_consumers_without_virtual_stages_refuse_them() -> None:
    result = shared([15, 6, 3, 12])
    for target in ("vllm", "sglang", "llama.cpp", "deepspeed", "split-points"):
        with pytest.raises(InputError, match="one stage per device, got stages 0, 2 on device"):
            sw.export(result, target)
    devices = sw.export(result, "accelerate").value
    assert devices == {f"model.layers.{i}": i % 2 for i in range(4)}
    assert len(sw.export(result, "json").value["devices"]) == 4


def test_megatron_refuses_stages_that_do_not_take_turns() -> None:
    """The first and last of four layers on one device, the two between them on the other."""
    result = shared([6, 9, 9, 6])
    document = result.to_json()
    swapped = replace(
        result,
        solution=replace(
            result.solution,
            plan=PlacedPlan(
                Plan.from_assignment(result.workload.graph, [0, 0, 1, 1, 2, 2, 3, 3]).stages,
                (0, 1, 1, 0),
            ),
        ),
    )
    assert swapped.to_json()["bottleneck"] <= 2 * document["bottleneck"]
    with pytest.raises(InputError, match="stage 2 on device 0, got device 1"):
        sw.export(swapped, "megatron")


def test_every_text_says_something_of_kinds() -> None:
    graph = row_of_layers([12 * 10**6] * 4)
    work = tuple(2 * w for w in graph.work.tolist())
    fleet = Fleet((Kind("gpu", 2, Link(free=True)), Kind("cpu", 1, Link(free=True), work)))
    result = sw.place(graph, fleet, time_limit=10)
    used = [stage["device"] for stage in result.to_json()["stages"]]
    for target in TEXTS:
        found = sw.export(result, target, round=True)
        assert found.text
        assert len(found.devices) >= 2
    where = sw.export(result, "accelerate", round=True)
    assert ("cpu" in where.value.values()) == ("cpu" in used)


def test_default_places_number_gpus_and_leave_the_cpu_out() -> None:
    fleet = Fleet((Kind("gpu", 2), Kind("CPU", 1)))
    job = Job(row_of_layers([1, 1]), Machine(3), Plan(()), {}, "", fleet=fleet, devices=(0, 1, 0))
    assert job.gpu_places() == ["gpu:0", "cpu", "gpu:1"]
    many = replace(job, fleet=replace(fleet, shared=True), devices=(1, 0, 1, 2))
    assert many.gpu_places() == ["gpu:0", "gpu:1", "gpu:0", "cpu"]
    assert replace(job, places=("gpu:7", "cpu", "x")).gpu_places() == ["gpu:7", "cpu", "x"]
    assert replace(job, fleet=None).gpu_places() == []


def trained(name: str = "1f1b", works: tuple[int, ...] = (12, 9, 6, 12, 9)) -> PlacedResult:
    """Return a plan of training for layers of two nodes on three devices, a slow one among them."""
    graph = row_of_layers([w * 10**6 for w in works], 1000)
    slow = tuple(2 * w for w in with_backward(graph).graph.work.tolist())
    fleet = Fleet((Kind("fast", 2, Link(10**9)), Kind("slow", 1, Link(10**9), slow)))
    schedule = Schedule(name, 6, "4", "auto")  # type: ignore[arg-type]
    return sw.place(graph, fleet, mode="training", schedule=schedule, time_limit=10)


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_plans_of_training_for_who_trains(name: str) -> None:
    """Counts of layers are evaluated with both passes, on their devices."""
    result = trained(name)
    found = sw.export(result, "deepspeed", round=True)
    assert sum(b - a for a, b in pairwise(found.value["parts"])) == 5 + 2
    assert found.loss.lower_bound >= result.solution.lower_bound
    assert found.loss.bottleneck == found.loss.lower_bound  # the rounded one is the best, proven
    layout = sw.export(result, "megatron", round=True).value["pipeline_model_parallel_layout"]
    assert layout.startswith("E")
    assert layout.endswith("L")
    assert len(sw.export(result, "split-points", round=True).value) == len(found.devices) - 1
    table = sw.export(result, "json").value
    assert sum(map(len, table["stages"])) == 2 * 2 * 5
    assert len(table["backward"]) == 2 * 5
    for target in ("vllm", "sglang", "llama.cpp", "accelerate", "onnx", "triton", "torch"):
        with pytest.raises(InputError, match=f"plan for {target}: expected one for inference"):
            sw.export(result, target)


def test_training_costs_of_layers_are_those_of_the_same_plan() -> None:
    """A plan that cuts between layers costs as a framework's what the plan file says."""
    graph = row_of_layers([12 * 10**6] * 4, 1000)
    fleet = Fleet((Kind("only", 2, Link(10**9)),))
    result = sw.place(graph, fleet, mode="training", schedule={"microbatches": 4}, time_limit=10)
    found = sw.export(result, "megatron")
    assert found.value["pipeline_model_parallel_layout"] == "Et*2|t*2,L"
    assert found.loss.loss == 0.0
    assert found.loss.bottleneck == result.solution.bottleneck


def test_interleaved_chunks_are_virtual_stages_of_megatron() -> None:
    """Four layers as two chunks on each of two devices; what else takes one stage per device refuses."""
    graph = whole_layers([12 * 10**6] * 4, 1000)
    fleet = Fleet((Kind("only", 2, Link(10**9)),))
    schedule = {"name": "interleaved", "chunks": 2, "microbatches": 4}
    result = sw.place(graph, fleet, mode="training", schedule=schedule, time_limit=10)
    document = result.to_json()
    joint = result.workload.graph
    assert fleet_of(document) == replace(
        fleet, schedule=Schedule(chunks=2, microbatches=4, name="interleaved", optimizer="4")
    )
    found = placed_plan_of(document, joint, fleet_of(document))
    assert (found.stages, found.devices) == (
        result.solution.plan.stages,
        result.solution.plan.devices,
    )
    export = sw.export(result, "megatron")
    assert export.value["pipeline_model_parallel_layout"] == "Et|t|t|t,L"
    assert export.value["virtual_pipeline_model_parallel_size"] == 2
    assert export.loss.bottleneck == result.solution.bottleneck == export.loss.lower_bound
    assert [row["number"] for row in export.devices] == [0, 1, 0, 1]
    with pytest.raises(InputError, match=r"stages 0, 2 on device 0\. Plan with another"):
        sw.export(result, "deepspeed")


def test_replicas_have_no_place_in_exports() -> None:
    graph = row_of_layers([30 * 10**6, 30 * 10**6])
    fleet = Fleet((Kind("only", 4, Link(10**12)),))
    schedule = {"microbatches": 4, "replicas": 4}
    result = sw.place(graph, fleet, mode="training", schedule=schedule, time_limit=10)
    assert max(stage["replicas"] for stage in result.to_json()["stages"]) > 1
    with pytest.raises(InputError, match=r"expected one device per stage .* on [24] devices"):
        sw.export(result, "megatron", round=True)
    assert len(sw.export(result, "csv").value) == 2 * 4


def test_backward_nodes_without_a_partner_have_no_layer() -> None:
    graph = row_of_layers([3, 3])
    with pytest.raises(InputError, match=r"got 'model.layers.1.norm/op'\. Export for json or csv"):
        stack_of_passes(graph, [False, False, False, True])


FLEETS = [
    Fleet((Kind("a", 2, Link(10**9, 5)), Kind("b", 1, Link(None, 0, free=True), cost=3, host="h"))),
    Fleet((Kind("a", 2, Link(10**9)),), shared=True, overlap=True),
    Fleet((Kind("a", 2, Link(10**9), memory=10**6),), (0, 0), (Link(10**8, 7),)),
]


@pytest.mark.parametrize("fleet", FLEETS)
def test_a_plan_file_is_read_back(fleet: Fleet) -> None:
    graph = row_of_layers([30 * 10**6] * 3)
    row = tuple(w + 1 for w in graph.work.tolist())
    fleet = replace(fleet, kinds=(replace(fleet.kinds[0], work=row), *fleet.kinds[1:]))
    result = sw.place(graph, fleet, time_limit=5)
    document = result.to_json()
    assert fleet_of(document) == fleet
    plan = result.solution.plan
    found = placed_plan_of(document, graph, fleet)
    assert (found.stages, found.devices) == (plan.stages, plan.devices)


def test_a_plan_of_training_is_read_back() -> None:
    graph = row_of_layers([30 * 10**6] * 3)
    builder = replace(graph)
    fleet = Fleet((Kind("a", 4, Link(10**9)),))
    schedule = Schedule("gpipe", 4, "4", "auto", 2)
    result = sw.place(builder, fleet, mode="training", schedule=schedule, time_limit=5)
    document, joint = result.to_json(), result.workload.graph
    assert fleet_of(document) == replace(fleet, schedule=schedule)
    found = placed_plan_of(document, joint, fleet_of(document))
    assert found.devices == result.solution.plan.devices
    assert workload_of(document, joint).backward == result.workload.backward
