# SPDX-License-Identifier: Apache-2.0
"""Stage modules of PyTorch models give what the unsplit model gives, at any cut."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stagewright as sw
from stagewright.cli import main

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from stagewright.errors import CheckError, InputError, ModelError, StagewrightError  # noqa: E402
from stagewright.graph import CostGraph  # noqa: E402
from stagewright.placement.devices import Fleet, Kind, Link  # noqa: E402
from stagewright.readers.torch_module import read_torch  # noqa: E402
from stagewright.splitting.torch_stages import split_torch  # noqa: E402

Tensor = Any


def random_stages(graph: CostGraph, stages: int, rng: random.Random) -> list[list[str]]:
    """Cut a random topological order at random places; what must not be cut shares a stage."""
    group = list(range(graph.num_nodes))

    def find(v: int) -> int:
        while group[v] != v:
            v = group[v]
        return v

    for a, b in graph.uncuttable.tolist():
        group[find(a)] = find(b)
    rows = graph.tensor_consumers.rows()
    after: list[set[int]] = [set() for _ in range(graph.num_nodes)]
    for producer, row in zip(graph.tensor_producer.tolist(), rows, strict=True):
        for consumer in row:
            if not graph.replicable[producer]:
                after[producer].add(consumer)
    level = [rng.random() * stages for _ in range(graph.num_nodes)]
    order = graph.topological_order.tolist()
    place = {v: i for i, v in enumerate(order)}
    bias = rng.random()
    stage = [int(bias * level[v] + (1 - bias) * stages * place[v] / len(order)) for v in order]
    stage = [min(s, stages - 1) for s in [stage[place[v]] for v in range(graph.num_nodes)]]
    changed = True
    while changed:
        changed = False
        for v in order:
            for w in after[v]:
                if stage[w] < stage[v]:
                    stage[w], changed = stage[v], True
        for v in range(graph.num_nodes):
            top = max(stage[v], stage[find(v)])
            if (stage[v], stage[find(v)]) != (top, top):
                stage[v] = stage[find(v)] = top
                changed = True
    used = sorted(set(stage))
    return [[graph.node_names[v] for v in order if stage[v] == s] for s in used]


class UNet(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """Skips over the middle, an input that the last part reads, and a mask of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(3))
        self.up = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor, ids: Tensor) -> dict[str, Tensor]:
        skips, y = [], x
        for layer in self.down:
            y = functional.relu(self.norm(layer(y)), inplace=True)
            skips.append(y)
        for layer in self.up:
            y = layer(torch.cat([y, skips.pop()], 1))
        mask = (ids > 0).to(y.dtype)[:, None, None, :]
        return {"out": self.last(y) + x * mask, "middle": skips[0].mean(), "ids": ids}


class Attention(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """A fused projection whose parts are read apart, tied weights, and a table that is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.randn(1, 6, 16), persistent=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(ids) + self.table + torch.arange(6.0)[:, None]
        q, k, v = self.qkv(x).view(2, 6, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        causal = torch.ones(6, 6, dtype=torch.bool).tril()
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=causal)
        x = x + self.out(y.transpose(1, 2).reshape(2, 6, 16))
        return self.head(x), (ids == 0).sum(-1)


class InPlace(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """Views that are read after the storage was written, in turns, and a buffer that is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.register_buffer("steps", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        first = y[:, :3]
        z = self.b(first.repeat(1, 2))
        y[:, 3:] += z[:, 3:]
        first.mul_(2)
        shifted = torch.zeros(4, 6)
        shifted[:, 1:] = y[:, :-1]
        self.steps.add_(1)
        w = self.a(shifted) + self.steps
        y.relu_()
        return w.exp() + first.sum() + y.t()[0, 0]


class Branch(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """Control flow is one node, wrappers are walked through."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.a(x).sigmoid()
        y = torch.cond(y.sum() > 3, lambda t: t.sin() + self.b.bias, lambda t: t.cos(), (y,))
        values, places = self.b(y).topk(2)
        return values * places + y[:, :2]


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "unet": (UNet, lambda: (torch.randn(2, 3, 8, 8), torch.randint(0, 2, (2, 8)))),
    "attention": (Attention, lambda: (torch.randint(0, 11, (2, 6)),)),
    "in place": (InPlace, lambda: (torch.randn(4, 6),)),
    "branch": (Branch, lambda: (torch.randn(3, 4),)),
}


def made(name: str) -> tuple[nn.Module, tuple[Tensor, ...], CostGraph]:
    torch.manual_seed(0)
    module, inputs = MODELS[name][0]().eval(), MODELS[name][1]()
    return module, inputs, read_torch(module, inputs)


def flat(value: Any) -> list[Tensor]:
    leaves: list[Tensor] = torch.utils._pytree.tree_leaves(value)
    return leaves


def copies(values: Any) -> list[Tensor]:
    return [v.clone() for v in values]


@pytest.mark.parametrize("name", MODELS)
def test_stages_give_what_the_model_gives_at_random_cuts(name: str) -> None:
    module, inputs, graph = made(name)
    state = {k: v.clone() for k, v in module.state_dict().items()}
    with torch.no_grad():
        expected = [flat(module(*copies(inputs))) for _ in range(2)]
    for seed in range(6):
        rng = random.Random(seed)
        stages = random_stages(graph, rng.randint(2, 5), rng)
        module.load_state_dict(state)
        split = split_torch(module, inputs, stages)
        with torch.no_grad():
            for wanted in expected:  # twice, for what a buffer keeps
                got = flat(split(*copies(inputs)))
                assert len(got) == len(wanted)
                for a, b in zip(got, wanted, strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        for sent in split.sent:
            assert all(target > sent.source for target in sent.targets)
            assert sent.targets


@pytest.mark.parametrize("name", MODELS)
def test_parameters_keep_their_names_and_are_those_of_the_module(name: str) -> None:
    module, inputs, graph = made(name)
    split = split_torch(module, inputs, random_stages(graph, 3, random.Random(1)))
    own, held = module.state_dict(keep_vars=True), {}
    for stage in split.modules:
        for key, value in stage.state_dict(keep_vars=True).items():
            if not key.startswith(("constant_", "lifted_", "c_")):
                held[key] = value
                assert value is own[key]
    assert {id(v) for v in held.values()} >= {id(p) for p in module.parameters()}


def test_parts_that_are_read_apart_cross_apart() -> None:
    class Parts(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Linear(4, 24)

        def forward(self, x: Tensor) -> Tensor:
            a, b, c = self.wide(x).chunk(3, -1)
            return (a.sin() * 2 + b.expand(2, 8)).exp() + c

    module, inputs = Parts(), (torch.randn(2, 4),)
    split = split_torch(module, inputs, [["wide/linear", "sin"], ["mul", "add"], ["exp", "add_1"]])
    crossing = sorted((s.source, s.targets, s.nbytes) for s in split.sent)
    # b goes to stage 1 and c straight to stage 2; neither with the whole of which it is a part
    assert crossing == [(0, (1,), 64), (0, (1,), 64), (0, (2,), 64), (1, (2,), 64)]


def chain() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), torch.randn(2, 4)


def test_what_cannot_be_split_is_said() -> None:
    module, x = chain()
    stages = [["0/linear"], ["1/relu", "2/linear"]]
    assert len(split_torch(module, (x,), stages).modules) == 2
    with pytest.raises(CheckError, match=r"the node '2/linear'.*1 are missing"):
        split_torch(module, (x,), [["0/linear"], ["1/relu"]])
    with pytest.raises(CheckError, match="the node 'other'"):
        split_torch(module, (x,), [[*stages[0], "other"], stages[1]])
    with pytest.raises(ModelError, match="tensors that earlier stages make"):
        split_torch(module, (x,), stages[::-1])
    rows = torch.export.Dim("rows")
    program = torch.export.export(module, (x,), dynamic_shapes=({0: rows},))
    with pytest.raises(ModelError, match="fixed sizes"):
        split_torch(program, None, stages)

    class Nested(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
        def forward(self, x: list[Tensor]) -> Tensor:
            return (x[0] + x[1]).sin()

    with pytest.raises(ModelError, match="inputs: expected tensors, one by one"):
        split_torch(Nested(), ([x, x],), [["add"], ["sin"]])

    class Autocast(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return (x @ x.T).sin()

    with pytest.raises(ModelError, match="autocast"):
        split_torch(Autocast(), (x,), [["matmul"], ["sin"]])


def planned(folder: Path, name: str, stages: int) -> tuple[Path, Path]:
    """Save a program and plan it."""
    module, inputs, _ = made(name)
    program, plan = folder / "model.pt2", folder / "plan.json"
    torch.export.save(torch.export.export(module, inputs, strict=False), program)
    code = main(
        ["plan", str(program), "-k", str(stages), "--device", "h100-sxm", "--bandwidth", "1000TB/s",
         "--latency", "0", "--no-fuse", "-o", str(plan)]
    )  # fmt: skip
    assert code == 0
    return program, plan


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_script(folder: Path, processes: int) -> tuple[list[int], list[str]]:
    """Run the exported script as `torchrun` would, one process per stage; return statuses and outputs."""
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, str(folder / "pipeline.py"), "--check", "--microbatches", "3"]
    running = [
        subprocess.Popen(
            [*command, "--steps", "1"],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        said = [process.communicate(timeout=100)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], said


def test_the_exported_script_runs_on_two_processes(tmp_path: Path) -> None:
    program, plan = planned(tmp_path, "attention", 2)
    assert len(sw.to_torch(plan).modules) == 2
    found = sw.export(plan, "torch", tmp_path / "out")
    assert found.text.startswith("torchrun --nproc-per-node 2 ")
    statuses, said = run_script(tmp_path / "out", 2)
    assert statuses == [0, 0], said
    assert "largest difference from the unsplit program: 0 (equal)" in said[1]
    with pytest.raises(InputError, match=r"a .pt2 file"):
        sw.to_torch(plan, tmp_path / "model.onnx")
    assert program.exists()


@pytest.mark.slow
def test_skips_go_straight_on_four_processes(tmp_path: Path) -> None:
    module, inputs = Skips().eval(), (torch.randn(2, 3, 8, 8),)
    torch.export.save(torch.export.export(module, inputs, strict=False), tmp_path / "model.pt2")
    graph = sw.read(tmp_path / "model.pt2", device="h100-sxm", fuse=False)
    plan = sw.plan(graph, 4, bandwidth="1000TB/s", source=sw.api.Source(str(tmp_path / "model.pt2"),
                   device="h100-sxm", fuse=False))  # fmt: skip
    split = plan.to_torch(module, inputs)
    assert any(max(s.targets) > s.source + 1 for s in split.sent)
    sw.export(plan, "torch", tmp_path / "out")
    statuses, said = run_script(tmp_path / "out", len(split.modules))
    assert statuses == [0] * len(split.modules), said
    assert "(equal)" in said[-1]


class Skips(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """A row of convolutions; the last ones read what the first ones made."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        made: list[Tensor] = []
        y = x
        for i, row in enumerate(self.rows):
            y = row(y + made[7 - i]) if i > 4 else row(y)
            made.append(y.tanh())
        return y + x


def test_a_result_splits_the_module_it_was_planned_for() -> None:
    module, x = chain()
    graph = sw.read(module, example_inputs=(x,), device="h100-sxm", fuse=False)
    result = sw.plan(graph, 2, bandwidth="1000TB/s")
    split = result.to_torch(module, (x,))
    assert len(split.modules) == len(result.plan.stages) == 2
    assert torch.equal(split(x), module(x))
    assert torch.equal(split.pipe()(x), module(x))
    with pytest.raises(StagewrightError, match="example_inputs"):
        result.to_torch(module)


def test_a_plan_for_devices_of_several_kinds_and_shared_ones(tmp_path: Path) -> None:
    layers = [nn.Linear(8, 8) for _ in range(4)]
    module, inputs = nn.Sequential(*layers).eval(), (torch.randn(2, 8),)
    graph = sw.read(module, inputs, device="l4")
    slow = tuple(2 * w for w in graph.work.tolist())
    for shared in (False, True):
        kinds = (Kind("fast", 1, Link(free=True)), Kind("slow", 1, Link(free=True), slow))
        result = sw.place(graph, Fleet(kinds, shared=shared), time_limit=5)
        stages = sw.to_torch(result, module, inputs)
        assert len(stages.modules) == len(result.plan.stages) > 1
        assert torch.equal(stages(*inputs), module(*inputs))
    trained = sw.place(graph, Fleet(kinds[:1]), mode="training", time_limit=5)
    with pytest.raises(InputError, match="plan for inference to be cut into modules"):
        sw.to_torch(trained, module, inputs)
