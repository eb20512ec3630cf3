# SPDX-License-Identifier: Apache-2.0
"""Plans as counts of layers: what consumers read out of them, what they cost, what is refused.

The servers and trainers are too heavy to install for a test, so the rules by which they read their
settings are written again here, from what their documentation and tests state.
"""

from __future__ import annotations

import json
import random
import re
from itertools import combinations_with_replacement, pairwise
from pathlib import Path

import numpy as np
import pytest

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.exporting import Export
from stagewright.exporting.stack import counts_plan, free_of_rules, stack_of
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.plans import evaluate
from stagewright.readers.graph_writer import write_graph_file


def decoder(layers: int, seed: int = 0, nodes: int = 2) -> CostGraph:
    """An embedding, a mask that every layer reads, layers with a skip connection, a norm and a head."""
    draw = random.Random(seed)
    builder = GraphBuilder("decoder")

    def node(name: str) -> int:
        return builder.add_node(name, work=draw.randint(1, 50) * 10**6)

    hidden, mask = node("model.embed_tokens/embedding"), node("model/mask")
    readers = []
    for i in range(layers):
        inner = [node(f"model.layers.{i}.part{j}/linear") for j in range(nodes)]
        end = node(f"model.layers.{i}/add")
        builder.add_tensor(hidden, [inner[0], end], nbytes=draw.randint(1, 5000))
        for a, b in zip(inner, [*inner[1:], end], strict=True):
            builder.add_tensor(a, [b], nbytes=draw.randint(1, 5000))
        readers.append(inner[0])
        hidden = end
    builder.add_tensor(mask, readers, nbytes=100)
    norm, head = node("model.norm/rms_norm"), node("lm_head/linear")
    builder.add_tensor(hidden, [norm], nbytes=3000)
    builder.add_tensor(norm, [head], nbytes=3000)
    return builder.build()


def plan_of(graph: CostGraph, stages: int, granularity: str = "layer") -> sw.Result:
    return sw.plan(graph, stages, bandwidth="1GB/s", time_limit=5, granularity=granularity)


def counts(export: Export) -> list[int]:
    """What vLLM and SGLang make of their variable for a rank: as many layers as its number says."""
    (text,) = export.value.values()
    return [int(part) for part in text.split(",")]


def megatron_stages(layout: str) -> list[str]:
    """Read a layout: commas mean nothing, ``x*3`` and ``(x)*3`` repeat, ``|`` ends a stage."""
    layout = layout.replace(",", "")
    while "*" in layout:
        layout = re.sub(r"(\(([^()]*)\)|([Etm|L]))\*(\d+)",
                        lambda m: (m[2] or m[3]) * int(m[4]), layout, count=1)  # fmt: skip
    return layout.split("|")


def llama_cpp_devices(shares: list[int], layers: int) -> list[int]:
    """The device of each layer and of the output, in the single precision of llama.cpp."""
    splits = np.cumsum(np.array(shares, np.float32), dtype=np.float32)
    splits /= splits[-1]
    parts = [np.float32(i) / np.float32(layers + 1) for i in range(layers + 1)]
    return [int(np.searchsorted(splits, part, side="right")) for part in parts]


@pytest.mark.parametrize("layers", [1, 3, 7, 32, 61])
@pytest.mark.parametrize("stages", [1, 2, 5])
def test_every_consumer_reads_the_same_layers(layers: int, stages: int) -> None:
    graph = decoder(layers, seed=layers)
    result = plan_of(graph, stages)
    vllm = sw.export(result, "vllm")
    found = counts(vllm)
    assert len(found) == len(result.plan.stages)
    assert sum(found) == layers
    assert counts(sw.export(result, "sglang")) == found
    layout = sw.export(result, "megatron").value
    stages_read = megatron_stages(layout["pipeline_model_parallel_layout"])
    assert layout["pipeline_model_parallel_size"] == len(stages_read) == len(found)
    assert [text.count("t") for text in stages_read] == found
    whole = "".join(stages_read)
    assert whole == "E" + "t" * layers + "L"
    split = sw.export(result, "llama.cpp").value
    devices = llama_cpp_devices(split["tensor_split"], layers)
    assert split["n_gpu_layers"] == layers + 1
    assert [devices[:-1].count(d) for d in range(len(found))] == found
    assert devices[-1] == len(found) - 1
    parts = sw.export(result, "deepspeed").value
    bounds = parts["parts"]
    inside = [parts["layers"][a:b] for a, b in pairwise(bounds)]
    assert [sum(name.startswith("model.layers.") for name in row) for row in inside] == found
    assert [name for row in inside for name in row] == parts["layers"]


def test_the_device_map_follows_the_layers() -> None:
    result = plan_of(decoder(6), 3)
    found = counts(sw.export(result, "vllm"))
    where = sw.export(result, "accelerate").value
    assert where["model.embed_tokens"] == 0
    assert where["lm_head"] == where["model.norm"] == len(found) - 1
    for i in range(6):
        # The name of a module stands for all that it holds, unless a longer one says otherwise.
        holder = max((n for n in where if f"model.layers.{i}.".startswith(f"{n}.")), key=len)
        assert where[holder] == sum(i >= sum(found[: s + 1]) for s in range(len(found)))
    named = sw.export(result, "accelerate", places=["cpu", "0", "disk"][: len(found)]).value
    assert {where[k]: named[k] for k in where} == dict(enumerate(["cpu", 0, "disk"][: len(found)]))
    points = sw.export(result, "split-points").value
    starts = [sum(found[:i]) for i in range(1, len(found))]
    assert points == [f"model.layers.{i}" for i in starts]


@pytest.mark.parametrize("seed", range(12))
def test_cost_and_bound_against_all_counts(seed: int) -> None:
    layers, stages = 2 + seed % 5, 2 + seed % 3
    graph = decoder(layers, seed)
    result = plan_of(graph, stages)
    export = sw.export(result, "vllm")
    stack, machine = stack_of(graph), result.machine

    def bottleneck(row: list[int]) -> int:
        free = free_of_rules(graph)
        return max(c.total for c in evaluate(free, machine, counts_plan(graph, stack, row)))

    every = []
    for k in range(1, stages + 1):
        for cuts in combinations_with_replacement(range(layers + 1), k - 1):
            bounds = [0, *cuts, layers]
            row = [b - a for a, b in pairwise(bounds)]
            every.append(bottleneck(row))
    assert export.loss.lower_bound == min(every)
    assert export.loss.bottleneck == bottleneck(counts(export))
    assert export.loss.planned == result.solution.bottleneck
    assert export.loss.gap == pytest.approx(export.loss.bottleneck / min(every) - 1)


def test_a_cut_layer_is_refused_or_rounded() -> None:
    graph = decoder(2, nodes=8)
    result = plan_of(graph, 5, "op")
    with pytest.raises(InputError, match=r"model\.layers\.\d' is in stages.*--granularity layer"):
        sw.export(result, "vllm")
    rounded = sw.export(result, "vllm", round=True)
    assert sum(counts(rounded)) == 2
    assert len(counts(rounded)) <= len(result.plan.stages)
    assert rounded.loss.gap == 0
    assert rounded.loss.loss is not None
    assert rounded.loss.loss > 0
    assert any("this is the best plan of layers" in note for note in rounded.notes)
    with pytest.raises(InputError, match="a layer at which it begins"):
        sw.export(result, "split-points", round=True)


@pytest.mark.parametrize("seed", range(8))
def test_rounded_plans_are_the_best_that_can_be_said(seed: int) -> None:
    graph = decoder(2 + seed % 4, seed, nodes=5)
    export = sw.export(plan_of(graph, 2 + seed % 4, "op"), "vllm", round=True)
    assert sum(counts(export)) == 2 + seed % 4
    assert export.loss.bottleneck >= export.loss.planned
    if any("instead" in note for note in export.notes):
        assert export.loss.gap == 0


def test_what_is_moved_is_said() -> None:
    builder = GraphBuilder("head")
    names = ["embed/gather", "layers.0/linear", "layers.1/linear", "norm/rms_norm", "head/linear"]
    for v, name in enumerate(names):
        builder.add_node(name, work=10**9 * (1 + 3 * (v in (0, 4))))
    for v in range(4):
        builder.add_tensor(v, [v + 1], nbytes=10)
    result = plan_of(builder.build(), 3, "op")
    assert [len(nodes) for nodes in result.plan.stages] == [1, 3, 1]
    export = sw.export(result, "vllm")
    assert counts(export) == [0, 2, 0]
    assert any("1 nodes outside of layers run elsewhere, first 'norm/rms_norm'" in n for n in export.notes)  # fmt: skip
    assert any("a rank without layers" in note for note in export.notes)
    assert export.loss.bottleneck > export.loss.planned


def test_several_lists_and_no_lists() -> None:
    builder = GraphBuilder("two parts")
    names = [f"{part}.block.{i}/linear" for part in ("encoder", "decoder") for i in range(3)]
    for name in names:
        builder.add_node(name, work=10**9)
    for v in range(5):
        builder.add_tensor(v, [v + 1], nbytes=10)
    result = plan_of(builder.build(), 2)
    for target in ("vllm", "sglang", "megatron", "llama.cpp"):
        with pytest.raises(InputError, match=r"2 lists: encoder\.block, decoder\.block"):
            sw.export(result, target)
    assert sw.export(result, "deepspeed").value["parts"] == [0, 4, 8]
    builder = GraphBuilder("plain")
    builder.add_node("Conv_0", work=5)
    with pytest.raises(InputError, match=r"numbered layers.*Conv_0.*onnx, triton, json"):
        sw.export(sw.plan(builder.build(), 1, bandwidth=1), "vllm")


def test_a_broken_constraint_is_said() -> None:
    graph = decoder(4)
    result = sw.plan(
        graph, 3, bandwidth="1GB/s", constraints={"together": ["model.norm/.*|model.layers.3.*"]},
        granularity="layer",
    )  # fmt: skip
    assert not any("not kept" in note for note in sw.export(result, "vllm").notes)
    first = {"first": [r"model\.layers\.3\.part0/.*"]}
    result = sw.plan(decoder(4, nodes=8), 3, bandwidth="1GB/s", constraints=first)
    notes = sw.export(result, "vllm", round=True).notes
    assert any("not kept" in note and "layers.3.part0" in note for note in notes)


def test_planning_layers_prints_their_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plan = tmp_path / "decoder.graph.json", tmp_path / "plan.json"
    write_graph_file(decoder(7), path)
    command = ["plan", str(path), "-k", "3", "--bandwidth", "1GB/s", "-o", str(plan)]
    assert main([*command, "--granularity", "layer"]) == 0
    shown = capsys.readouterr().out
    assert main(["export", str(plan), "--to", "vllm"]) == 0
    setting = capsys.readouterr().out.strip().partition("=")[2]
    assert f"Layers per stage: {setting} (model.layers)\n" in shown
    assert main(command) == 0
    assert "Layers per stage" not in capsys.readouterr().out
    assert main(["export", str(plan), "--to", "vllm", "--round", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["cost"]["lower_bound"] == content["cost"]["bottleneck"] or content["cost"]["gap"]


def test_tables_are_the_plan() -> None:
    graph = decoder(3)
    result = plan_of(graph, 2, "op")
    stages = sw.export(result, "json").value["stages"]
    assert stages == [[graph.node_names[v] for v in nodes] for nodes in result.plan.stages]
    table = sw.export(result, "csv")
    rows = [line.split(",") for line in table.text.splitlines()]
    assert rows[0] == ["stage", "position", "node", "op", "work_seconds"]
    assert [(int(r[0]), r[2]) for r in rows[1:]] == [
        (s, n) for s, row in enumerate(stages) for n in row
    ]
    assert table.loss.loss == 0
    assert json.loads(sw.export(result, "json").text) == {"stages": stages}
