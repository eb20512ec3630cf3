# SPDX-License-Identifier: Apache-2.0
"""Small cost graphs of ONNX models, and stage files run one after the other."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

from stagewright.graph import CostGraph, GraphBuilder
from stagewright.plans import Plan
from stagewright.splitting import Manifest, split_onnx
from stagewright.splitting.typed_model import node_names

_SIZES = {"Shape", "Size"}


def _reads(node: onnx.NodeProto) -> set[str]:
    names = set(node.input)
    for attribute in node.attribute:
        for body in [attribute.g, *attribute.graphs]:
            made = {o for inner in body.node for o in inner.output}
            inner_reads = {name for inner in body.node for name in _reads(inner)}
            names |= (inner_reads | {o.name for o in body.output}) - made
    return names - {""}


def folded_nodes(model: onnx.ModelProto) -> set[int]:
    """Positions of nodes whose inputs are all constants (Shape: of static tensors)."""
    model = onnx.shape_inference.infer_shapes(model)
    known = {t.name for t in model.graph.initializer}
    static = {
        v.name
        for v in (*model.graph.value_info, *model.graph.input)
        if all(d.HasField("dim_value") for d in v.type.tensor_type.shape.dim)
        and v.type.tensor_type.HasField("shape")
    }
    folded = set()
    for i, node in enumerate(model.graph.node):
        if (node.op_type in _SIZES and node.input[0] in static) or _reads(node) <= known:
            folded.add(i)
            known |= set(node.output)
    return folded


def cost_graph(
    model: onnx.ModelProto, *, replicable: Iterable[str] = (), keep: Iterable[str] = ()
) -> CostGraph:
    """A cost graph as the reader makes it: folded nodes left out (but `keep`), unit work."""
    builder = GraphBuilder(model.graph.name or "model")
    names, kept = node_names(model), set(keep)
    folded = {i for i in folded_nodes(model) if names[i] not in kept}
    copies = set(replicable)
    index = {
        i: builder.add_node(names[i], op=node.op_type, work=1000, replicable=names[i] in copies)
        for i, node in enumerate(model.graph.node)
        if i not in folded
    }
    reads = [_reads(node) for node in model.graph.node]
    for i, node in enumerate(model.graph.node):
        for output in node.output:
            users = [index[j] for j in index if output in reads[j]]
            if i in index and users:
                builder.add_tensor(index[i], users, nbytes=16)
    return builder.build()


def random_plan(graph: CostGraph, stages: int, rng: random.Random) -> Plan:
    """Cut a random topological order at random places."""
    succ: list[set[int]] = [set() for _ in range(graph.num_nodes)]
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        succ[producer].update(graph.tensor_consumers[tensor])
    degree = [0] * graph.num_nodes
    for users in succ:
        for user in users:
            degree[user] += 1
    ready, order = [v for v in range(graph.num_nodes) if not degree[v]], []
    while ready:
        node = ready.pop(rng.randrange(len(ready)))
        order.append(node)
        for user in sorted(succ[node]):
            degree[user] -= 1
            if not degree[user]:
                ready.append(user)
    count = min(stages, graph.num_nodes)
    cuts = sorted(rng.sample(range(1, graph.num_nodes), count - 1))
    bounds = zip([0, *cuts], [*cuts, graph.num_nodes], strict=True)
    return Plan(tuple(tuple(order[a:b]) for a, b in bounds))


def by_names(graph: CostGraph, *stages: Sequence[str]) -> Plan:
    """A plan from node names."""
    return Plan(tuple(tuple(graph.index_of[name] for name in stage) for stage in stages))


def session(path: str | Path) -> ort.InferenceSession:
    """A session that computes every node as written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_whole(path: str | Path, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs of the unsplit model by name."""
    whole = session(path)
    names = [o.name for o in whole.get_outputs()]
    taken = {i.name for i in whole.get_inputs()}
    results = whole.run(names, {k: v for k, v in feeds.items() if k in taken})
    return dict(zip(names, results, strict=True))


def run_stages(folder: Path, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs of the stage files run in order, fed by what the manifest says and nothing else."""
    manifest = Manifest.load(folder)
    values: dict[tuple[str, int | str], Any] = {}
    sources = {(t.name, target): t.source for t in manifest.tensors for target in t.targets}
    for name, value in feeds.items():
        values[name, "model input"] = value
    for number, stage in enumerate(manifest.stages):
        path = folder / stage.file
        onnx.checker.check_model(str(path))
        part = session(path)
        assert [i.name for i in part.get_inputs()] == [t.name for t in stage.inputs]
        assert [i.type for i in part.get_inputs()] == [t.type for t in stage.inputs]
        assert [o.name for o in part.get_outputs()] == [t.name for t in stage.outputs]
        given = {t.name: values[t.name, sources[t.name, number]] for t in stage.inputs}
        results = part.run([t.name for t in stage.outputs], given)
        for tensor, result in zip(stage.outputs, results, strict=True):
            values[tensor.name, number] = result
    return {t.name: values[t.name, sources[t.name, "model output"]] for t in manifest.outputs}


def assert_same(got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Fail unless all outputs agree."""
    assert list(got) == list(expected)
    for name, value in expected.items():
        if isinstance(value, list):
            assert len(got[name]) == len(value)
            for a, b in zip(got[name], value, strict=True):
                np.testing.assert_array_equal(a, b)
        elif value.dtype == object:
            assert got[name].tolist() == value.tolist()
        else:
            np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6)


def split(
    model: onnx.ModelProto | str, folder: Path, *stages: Sequence[str], **options: Any
) -> tuple[Path, Path, Manifest]:
    """Save a model (or text of one), split it by node names; its path, the folder, the manifest."""
    proto = onnx.parser.parse_model(model) if isinstance(model, str) else model
    path = folder / "model.onnx"
    onnx.save(proto, path)
    constraints = {k: options.pop(k) for k in ("replicable", "keep") if k in options}
    graph = cost_graph(proto, **constraints)
    out = folder / "stages"
    plan = by_names(graph, *stages)
    return path, out, split_onnx(path, graph, plan, out, document=None, **options)


def check(
    model: onnx.ModelProto | str,
    folder: Path,
    feeds: Mapping[str, Any],
    *stages: Sequence[str],
    **options: Any,
) -> Manifest:
    """Split, run both, compare."""
    path, out, manifest = split(model, folder, *stages, **options)
    assert_same(run_stages(out, feeds), run_whole(path, feeds))
    return manifest
