# SPDX-License-Identifier: Apache-2.0
"""Training graphs of PyTorch modules: what autograd keeps, who shares a stage, and plans that the checker takes."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from stagewright.errors import InputError, ModelError  # noqa: E402  # torch decides whether to go on
from stagewright.placement.devices import Fleet, Kind, Link  # noqa: E402
from stagewright.placement.joint import JointGraph, trace_training  # noqa: E402
from stagewright.placement.schedule import Schedule  # noqa: E402
from stagewright.placing import place  # noqa: E402


def block(width: int) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
    )


def model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(block(8), block(8), torch.nn.Tanh(), block(8))


def loss(output: Any, target: Any) -> Any:
    return torch.nn.functional.mse_loss(output, target)


INPUT, TARGET = torch.ones(4, 8), torch.zeros(4, 8)


@pytest.fixture(scope="module")
def joint() -> JointGraph:
    return trace_training(model(), (INPUT,), loss, (TARGET,))


def test_what_autograd_keeps(joint: JointGraph) -> None:
    """Bytes of forward tensors that backward nodes read are those that autograd packs."""
    module = model()
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    packed: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            packed[storage.data_ptr()] = storage  # kept, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(module(INPUT), TARGET).backward()
    graph, backward = joint.workload.graph, joint.workload.backward
    kept = sum(
        size
        for producer, size, users in zip(
            graph.tensor_producer.tolist(),
            graph.tensor_bytes.tolist(),
            graph.tensor_consumers.rows(),
            strict=True,
        )
        if not backward[producer] and any(backward[v] for v in users)
    )
    assert kept == sum(storage.nbytes() for storage in packed.values())
    assert graph.param_bytes.sum() == sum(4 * p.numel() for p in module.parameters())


def test_who_shares_a_stage(joint: JointGraph) -> None:
    graph = joint.workload.graph
    group = {
        name: graph.group_names[g] if g >= 0 else None
        for name, g in zip(graph.node_names, graph.group.tolist(), strict=True)
    }
    twins = {
        "threshold_backward (backward)": "3.2/relu_2",
        "tanh_backward (backward)": "2/tanh",
        "mse_loss_backward (backward)": "mse_loss",
        "native_layer_norm_backward_2 (backward)": "0.0/native_layer_norm",
    }
    for back, forward in twins.items():
        assert group[back] == group[forward] is not None, back
    assert all(group[name] for name in graph.node_names if name.endswith("(backward)"))


def test_plans(joint: JointGraph) -> None:
    workload = joint.measured(repetitions=1, warmup=1)
    assert workload.graph.total_work > 0
    kind = Kind("cpu", 3, Link(10**9), memory_limit=40_000)
    for name in ("gpipe", "1f1b"):
        result = place(workload, Fleet((kind,), schedule=Schedule(name, 4, recompute="auto")))
        assert result.check().valid
        assert result.solution.ideals is not None


def test_submodules_stay_whole() -> None:
    joint = trace_training(model(), (INPUT,), loss, (TARGET,), whole=["0", "1", "3"])
    groups = joint.workload.graph.group_names
    assert {"0", "1", "3"} <= set(groups)
    graph = joint.workload.graph
    inside = graph.group.tolist().count(groups.index("1"))
    assert inside == 12


def test_faults() -> None:
    with pytest.raises(InputError, match="whole: expected paths of submodules, got 'x'"):
        trace_training(model(), (INPUT,), loss, (TARGET,), whole=["x"])
    with pytest.raises(ModelError, match="a module and a loss whose gradients can be traced"):
        trace_training(model(), (torch.ones(4, 9),), loss, (TARGET,))
