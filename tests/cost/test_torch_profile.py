# SPDX-License-Identifier: Apache-2.0
"""Measuring with PyTorch.  No test asserts a time, only how times fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import stagewright as sw
from stagewright.cli import main
from stagewright.cost import torch_values
from stagewright.cost.measured import apply_profile
from stagewright.cost.profile_file import Profile
from stagewright.errors import InputError, LimitError, ModelError
from stagewright.readers.settings import ReadSettings

pytest.importorskip("torch", reason="measures with PyTorch (extra: torch)")

import torch
from torch import nn

from stagewright.cost.torch_tape import Tape
from stagewright.readers.torch_export import export_module
from stagewright.readers.torch_graph import node_names
from stagewright.readers.torch_program import walk_program

Tensor = Any
ONCE: dict[str, Any] = {"warmup": 0, "repetitions": 2}


class Net(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """Views, a written buffer, a folded table, a dead node, a shared weight, a branch on sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 8)
        self.tail = nn.Linear(8, 8)
        self.tail.weight = self.head.weight
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)
        y = torch.relu_(self.norm(self.conv(x))).mean((2, 3))
        y.sin()  # nobody reads it
        table = torch.arange(y.shape[1], device=y.device).cos()
        a, b = self.head(y + table).chunk(2, -1)
        return self.tail(torch.cat([b, a], -1).view(-1, 8)) * self.count


class Nested(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """A wrapped region and control flow."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            y = x.exp() + 1
        return torch.cond(y.sum() > 0, lambda v: v.sin() * 2, lambda v: v.cos(), (y,)).tanh()


def image(device: str = "cpu") -> Tensor:
    return torch.ones(2, 3, 8, 8, device=device)


def parts(profile: Profile) -> int:
    return sum(time.median for time in profile.nodes.values())


MODELS = [
    (Net().eval(), (image(),)),
    (Net().eval().to("meta"), (image("meta"),)),
    (Nested().eval(), (torch.rand(4),)),
    (nn.TransformerEncoderLayer(16, 2, batch_first=True).eval(), (torch.rand(1, 4, 16),)),
    (nn.LSTM(4, 4).eval(), (torch.rand(3, 1, 4),)),
]


@pytest.mark.parametrize(("module", "inputs"), MODELS, ids=lambda v: type(v).__name__)
def test_every_node_of_the_reader_has_a_time(module: Any, inputs: Any, tmp_path: Path) -> None:
    graph = sw.read(module, inputs)
    found = sw.profile(module, inputs, **ONCE)
    assert list(found.nodes) == list(graph.node_names)
    assert all(0 < t.p10 <= t.median <= t.p90 for t in found.nodes.values())
    # The medians add up to a run without clocks, but for rounding up to picoseconds.
    whole = min(found.cpu_time, found.session.median)
    assert whole <= parts(found) <= whole + graph.num_nodes
    assert found.traced_session > 0
    assert 0 < found.attributed <= 1
    found.save(tmp_path / "p.json")
    assert Profile.load(tmp_path / "p.json") == found
    measured = sw.read(module, inputs, profile=tmp_path / "p.json")
    assert measured.work.tolist() == [t.median for t in found.nodes.values()]
    assert set(measured.node_sources) == {"measured"}
    assert sw.plan(measured, 2, bandwidth="1GB/s", time_limit=5).plan.stages


def tape_of(module: Any, inputs: Any) -> Tape:
    found = walk_program(export_module(module, inputs), "it")
    given = torch_values.real_values(found, "it", 0)
    names = node_names(found.walk.steps, found.outputs)
    graph_module = found.program.graph_module
    return Tape("it", graph_module, given.values, given.constant, found.walk.calls, names)


@pytest.mark.parametrize(
    ("module", "inputs"), [m for m in MODELS if m[1][0].device.type == "cpu"],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_what_runs_is_the_model(module: Any, inputs: Any) -> None:
    with torch.no_grad():
        tape = tape_of(module, inputs)
        before = [t.clone() for t in module.state_dict().values()]
        first, again = (tape_run(tape) for _ in range(2))
        for a, b in zip(before, module.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b)  # measuring leaves the user's module alone
        for a, b in zip(first, again, strict=True):
            torch.testing.assert_close(a, b)  # also where a run overwrites a buffer
        if hasattr(module, "count"):
            module.count.fill_(2)  # loading and finding out what is written were two runs
        expected = module(*inputs)
        torch.testing.assert_close(list(first), flat(expected), rtol=1e-4, atol=1e-5)


def tape_run(tape: Tape) -> list[Tensor]:
    tape.restore()
    return [t.clone() for t in flat(tape.run())]


def flat(value: Any) -> list[Tensor]:
    from torch.utils._pytree import tree_leaves

    return list(tree_leaves(value))


def test_views_folded_and_dead_nodes_are_not_timed() -> None:
    names = [kernel[0] for kernel in tape_of(Net().eval(), (image(),)).kernels]
    assert names == list(sw.read(Net().eval(), (image(),)).node_names)
    assert not [n for n in names if "sin" in n or "cos" in n or "arange" in n or "view" in n]


def test_surroundings_and_options_are_recorded() -> None:
    found = sw.profile(Net().eval(), (image(),), threads=2, warmup=1, repetitions=3, seed=4)
    assert (found.threads, found.warmup, found.repetitions, found.seed) == (2, 1, 3, 4)
    assert found.runtime == f"torch {torch.__version__}"
    assert found.shapes == {"x": (2, 3, 8, 8)}
    assert found.provider == "cpu"
    assert found.pinned
    assert found.others >= 0
    narrow = sw.profile(Net().eval(), (image(),), repetitions=2, precision=1e-9)
    assert 2 <= narrow.repetitions <= 20


def test_a_file_is_profiled_and_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, profile = str(tmp_path / "net.pt2"), str(tmp_path / "p.json")
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(Net().eval(), (image(),), dynamic_shapes=({0: batch},))
    torch.export.save(program, model)
    few = ["--warmup", "0", "--repetitions", "2"]
    assert main(["profile", model, *few, "--shape", "x=4x3x8x8", "-o", profile, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["nodes"] == len(Profile.load(profile).nodes)
    planning = ["plan", model, "-k", "2", "--link", "shared-memory", "--profile", profile]
    assert main([*planning, "--shape", "x=4x3x8x8"]) == 0
    assert "All work is measured." in capsys.readouterr().out
    # Another batch has the same names but other costs.
    shapes = {"x": [2, 3, 8, 8]}
    with pytest.raises(InputError, match="expected one of the nodes with SHA-256"):
        sw.read(program, shapes=shapes, profile=profile)


def test_a_decode_step_of_a_configuration_is_profiled(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="reads configurations (extra: hf)")
    from stagewright.readers.hf_model import read_config

    config = {
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 16, "vocab_size": 10,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    profile = str(tmp_path / "p.json")
    options = ["--warmup", "0", "--repetitions", "2", "--phase", "decode", "--cache", "4"]
    assert main(["profile", str(tmp_path), *options, "-o", profile]) == 0
    graph = read_config(tmp_path, phase="decode", cache=4)
    assert apply_profile(graph, Profile.load(profile), model=tmp_path).work.all()
    longer = read_config(tmp_path, phase="decode", cache=5)
    with pytest.raises(InputError, match="expected one of the nodes with SHA-256"):
        apply_profile(longer, Profile.load(profile), model=tmp_path)


def test_weights_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_values, "available_memory", lambda: 1 << 30)
    huge = nn.Linear(1 << 15, 1 << 15, device="meta")
    with pytest.raises(LimitError, match=r"needs 4\.00 GiB for weights .* only 1\.00 GiB"):
        sw.profile(huge, (torch.empty(1, 1 << 15, device="meta"),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetitions": 0}, "repetitions: expected a whole number from 1"),
        ({"warmup": -1}, "warmup: expected a whole number from 0"),
        ({"threads": 0}, "threads: expected a whole number from 1"),
        ({"precision": 2.0}, "precision: expected a fraction between 0 and 1"),
        ({"provider": "cuda"}, "provider: expected 'cpu' for what PyTorch runs"),
        ({"level": "basic"}, "level: expected 'all' for what PyTorch runs"),
        ({"dims": {"n": 1}}, "dims: expected none for what PyTorch runs"),
        ({"settings": ReadSettings(batch=2)}, "batch: expected none"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sw.profile(nn.Linear(2, 2), (torch.ones(1, 2),), **options)


def test_wrong_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model: expected a path, a module"):
        sw.profile(3)
    with pytest.raises(InputError, match="example_inputs: expected a tuple"):
        sw.profile(nn.Linear(2, 2))
    graph = tmp_path / "graph.json"
    graph.write_text('{"format": "stagewright-graph/1", "nodes": []}')
    with pytest.raises(InputError, match=r"expected a model to run: ONNX.* got a graph file"):
        sw.profile(graph)
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ModelError, match=r"broken\.pt2: expected a program that torch"):
        sw.profile(broken)


def test_an_operator_that_fails_is_named() -> None:
    class Lookup(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
        def forward(self, x: Tensor, i: Tensor) -> Tensor:
            return x[i] + 1

    with pytest.raises(
        ModelError, match=r"operator 'index' of node 'index': .*out of (bounds|range)"
    ):
        sw.profile(Lookup(), (torch.ones(2), torch.tensor([5])))
