# SPDX-License-Identifier: Apache-2.0
"""Exports read by the consumers' own code, where it is installed.

Megatron-Core comes with the extra `consumers`.  The others bring more than a test should install: with
`pip install deepspeed`, or `pip install --no-deps sglang vllm`, they are tried as well.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import types
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.exporting.test_layers import counts, decoder, megatron_stages, plan_of

import stagewright as sw

DOCS = Path(__file__).resolve().parents[2] / "docs" / "exporting.md"


def megatron_layout() -> Any:
    """Return Megatron-Core's class for layouts."""
    pytest.importorskip("megatron.core", reason="needs megatron-core: the extra consumers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the accelerators that it would like to have
        from megatron.core.transformer import pipeline_parallel_layer_layout as module
    return module.PipelineParallelLayerLayout


def test_megatron_core_accepts_the_layouts() -> None:
    layout_class = megatron_layout()
    for layers, stages in ((1, 1), (1, 3), (7, 2), (32, 5), (61, 4)):
        result = plan_of(decoder(layers, seed=layers), stages)
        value = sw.export(result, "megatron").value
        size = value["pipeline_model_parallel_size"]
        layout = layout_class(value["pipeline_model_parallel_layout"], size)
        layout.validate_layer_layout(num_layers=layers, mtp_num_layers=0)
        found = [layout.layout[rank][0] for rank in range(size)]
        per_rank = [sum(kind.name == "decoder" for kind in row) for row in found]
        assert per_rank == counts(sw.export(result, "vllm"))


def test_the_rule_of_the_other_tests_is_megatrons() -> None:
    layout_class = megatron_layout()
    rng = random.Random(0)
    for _ in range(50):
        pieces = [rng.choice(["t", "tt", "t*3", "t*12", "(tt)*2", ""]) for _ in range(4)]
        text = "E" + "|".join(pieces) + ",L"
        read = layout_class(text, 4).layout
        letters = {"embedding": "E", "decoder": "t", "loss": "L"}
        mine = megatron_stages(text)
        assert ["".join(letters[kind.name] for kind in row[0]) for row in read] == mine, text


DEEPSPEED = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import torch, deepspeed
from deepspeed.pipe import PipelineModule
value = json.loads(os.environ["VALUE"])
{planned}
class Layer(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.called = name
    def forward(self, x):
        return x
import deepspeed.comm
sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # else it compiles kernels that nothing here uses
deepspeed.init_distributed(dist_backend="gloo", verbose=False)
net = Planned(layers=[Layer(name) for name in value["layers"]], num_stages=value["num_stages"])
names = [f.called for f in net.forward_funcs]
print("RESULT", json.dumps(names))
"""


def documented_subclass() -> str:
    """Return the class of docs/exporting.md, with its example's parts taken from the export."""
    text = DOCS.read_text(encoding="utf-8")
    found = re.search(r"^( +)class Planned\(PipelineModule\):\n(?:\1.*\n|\n)+", text, re.MULTILINE)
    assert found is not None
    lines = [line.removeprefix(found[1]) for line in found[0].rstrip().splitlines()]
    code, replaced = re.subn(
        r"self\.parts = \[.*\]", 'self.parts = value["parts"]', "\n".join(lines)
    )
    assert replaced == 1
    return code


def test_deepspeed_gives_each_rank_its_parts() -> None:
    pytest.importorskip("deepspeed", reason="needs DeepSpeed: pip install deepspeed")
    value = sw.export(plan_of(decoder(5), 2), "deepspeed").value
    assert value["num_stages"] == 2
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "2", "VALUE": json.dumps(value),
        "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        shared["MASTER_PORT"] = str(probe.getsockname()[1])
    code = DEEPSPEED.replace("{planned}", documented_subclass())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=60) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    got = []
    for out, err in said:
        lines = [line for line in out.splitlines() if line.startswith("RESULT ")]
        assert lines, err[-2000:]
        got.append(json.loads(lines[0].removeprefix("RESULT ")))
    assert got == [value["layers"][a:b] for a, b in pairwise(value["parts"])]


def ranges_of(
    monkeypatch: pytest.MonkeyPatch, package: str, stubs: dict[str, tuple[str, ...]]
) -> Any:
    """Return a server's own `get_pp_indices`, from its own file and without the server around it.

    `stubs` names the modules that this file imports for other purposes, with what it takes from them.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"needs the files of {package}: pip install --no-deps {package}")
    for name, taken in stubs.items():
        stub = types.ModuleType(name)
        for attribute in taken:
            setattr(stub, attribute, None)
        monkeypatch.setitem(sys.modules, name, stub)
    inside = "srt/distributed/utils.py" if package == "sglang" else "distributed/utils.py"
    called = f"{package}_distributed_utils"
    loaded = importlib.util.spec_from_file_location(called, Path(spec.origin).parent / inside)
    assert loaded is not None
    assert loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    monkeypatch.setitem(sys.modules, called, module)  # its dataclasses look themselves up
    loaded.loader.exec_module(module)
    return module.get_pp_indices


SERVERS: dict[str, dict[str, tuple[str, ...]]] = {
    "sglang": {
        "sglang": (),
        "sglang.srt": (),
        "sglang.srt.runtime_context": ("get_resources",),
    },
    # The settings are read by vLLM's own vllm.envs.
    "vllm": {
        "vllm.utils.network_utils": ("get_tcp_uri",),
        "vllm.utils.system_utils": ("suppress_stdout",),
    },
}


@pytest.mark.parametrize("server", SERVERS)
def test_servers_read_the_partition(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = ranges_of(monkeypatch, server, SERVERS[server])
    for layers, stages in ((7, 2), (32, 5), (61, 4)):
        result = plan_of(decoder(layers, seed=layers), stages)
        export = sw.export(result, server)
        ((variable, text),) = export.value.items()
        monkeypatch.setenv(variable, text)
        found = counts(export)
        ranges = [rule(layers, rank, len(found)) for rank in range(len(found))]
        assert [b - a for a, b in ranges] == found
        assert [a for a, _ in ranges] == [sum(found[:i]) for i in range(len(found))]
        with pytest.raises(ValueError, match=r"does not match|sum"):
            rule(layers + 1, 0, len(found))  # the setting is what decides, not a default
