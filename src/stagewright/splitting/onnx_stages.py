# SPDX-License-Identifier: Apache-2.0
"""Cut an ONNX model into one file per stage of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..certificate.build import dumps
from ..errors import InputError
from ..graph import CostGraph
from ..plans import Plan
from .contents import Contents, ModelFacts, stage_contents
from .manifest import (
    MANIFEST_NAME,
    MODEL_INPUT,
    MODEL_OUTPUT,
    PLAN_NAME,
    Crossing,
    Manifest,
    StageEntry,
)
from .stage_files import new_folder, param_bytes, tensor_type, write_stage
from .typed_model import file_sha256, load_proto, node_names, typed_ir

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["split_onnx"]


def split_onnx(
    model_path: str | Path,
    graph: CostGraph,
    plan: Plan,
    out_dir: str | Path,
    *,
    document: Mapping[str, Any] | None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write one ONNX file per stage and a manifest.

    Parameters
    ----------
    model_path
        The model that `graph` was read from.
    graph, plan
        The cost graph, and the stage of each of its nodes.
    out_dir
        The folder to make.  It appears complete or not at all.
    document
        The plan file's content (``stagewright-plan/1``), for the predictions; may be None.
    shapes, dims
        Input shapes and symbolic sizes to fix; the same as the cost graph was read with.
    overwrite
        Replace an earlier output.

    Raises
    ------
    InputError
        If the plan or the graph does not fit the model, or `out_dir` may not be written.
    ModelError
        If the model cannot be read, is not valid, or a crossing tensor has no known type.
    """
    path = Path(model_path)
    proto = load_proto(path)
    names = node_names(proto)
    home, replicable = _homes(names, graph, plan, path)
    for node, name in zip(proto.graph.node, names, strict=True):
        if node.name:
            node.name = name  # onnxruntime refuses a file with two nodes of one name
    predictions = _predictions(document, len(plan.stages))
    workers = [None] * len(plan.stages)
    if document is not None:
        workers = [stage.get("number") for stage in document["stages"]]
    model = typed_ir(proto, path.resolve().parent, shapes or {}, dims or {})
    facts = ModelFacts(model.graph, home, replicable, len(plan.stages))
    stages = stage_contents(facts)
    manifest = Manifest(
        model=graph.name,
        model_path=str(model_path),
        model_sha256=file_sha256(path),
        graph_sha256=graph.sha256,
        predicted_period=None if document is None else float(document["bottleneck"]),
        inputs=tuple(tensor_type(v, "model input") for v in facts.model_inputs),
        outputs=tuple(tensor_type(v, "model output") for v in model.graph.outputs),
        stages=tuple(
            replace(_entry(facts, number, stage, predictions[number]), worker=workers[number])
            for number, stage in enumerate(stages)
        ),
        tensors=tuple(_crossings(facts, stages)),
    )
    with new_folder(Path(out_dir), overwrite=overwrite) as folder:
        for entry, stage in zip(manifest.stages, stages, strict=True):
            write_stage(model, facts, stage, folder / entry.file)
        text = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
        if document is not None:
            (folder / PLAN_NAME).write_text(dumps(document), encoding="utf-8")
    return manifest


def _homes(
    names: Sequence[str], graph: CostGraph, plan: Plan, path: Path
) -> tuple[list[int], list[bool]]:
    """Return stage (-1: none) and replicability of each node of the model, in file order."""
    remedy = "Give the model file that the plan was made from."
    known = set(names)
    unknown = [name for name in graph.node_names if name not in known]
    if unknown:
        raise InputError(
            f"model '{path}'",
            f"the nodes of the cost graph '{graph.name}'",
            f"a model without {len(unknown)} of them, first '{unknown[0]}'",
            remedy,
        )
    if not plan.stages or not all(plan.stages):
        raise InputError("plan", "stages with nodes", "an empty one")
    flat = [v for stage in plan.stages for v in stage]
    if sorted(flat) != list(range(graph.num_nodes)):
        raise InputError(
            "plan",
            f"each of the graph's {graph.num_nodes} nodes once",
            f"{len(flat)} nodes, {len(set(flat))} different",
            "Give the plan that was made from this graph.",
        )
    block = plan.assignment(graph.num_nodes)
    index = graph.index_of
    home = [block[index[name]] if name in index else -1 for name in names]
    replicable = [name in index and bool(graph.replicable[index[name]]) for name in names]
    return home, replicable


def _predictions(
    document: Mapping[str, Any] | None, stages: int
) -> Sequence[dict[str, float] | None]:
    """Return the predicted seconds of each stage by part."""
    if document is None:
        return [None] * stages
    listed = document["stages"]
    if len(listed) != stages:
        raise InputError("plan document: stages", f"{stages} stages", str(len(listed)))
    parts = ("total", "work", "io_in", "io_out", "overflow")
    return [{part: float(stage[part]) for part in parts if part in stage} for stage in listed]


def _entry(
    facts: ModelFacts, number: int, stage: Contents, predicted: dict[str, float] | None
) -> StageEntry:
    where = f"stage {number}"
    return StageEntry(
        file=f"stage{number}.onnx",
        inputs=tuple(tensor_type(v, where) for v in stage.inputs),
        outputs=tuple(tensor_type(v, where) for v in stage.outputs),
        nodes=len(stage.planned),
        copied_nodes=len(stage.nodes) - len(stage.planned),
        param_bytes=param_bytes(facts, stage),
        predicted=predicted,
    )


def _crossings(facts: ModelFacts, stages: Sequence[Contents]) -> list[Crossing]:
    """Return every tensor's way, the model's inputs first, then by producing stage."""
    sources: dict[ir.Value, int | str] = dict.fromkeys(facts.model_inputs, MODEL_INPUT)
    for number, stage in enumerate(stages):
        sources.update((v, number) for v in stage.outputs)
    final = set(facts.graph.outputs)
    crossings = []
    for value, source in sources.items():
        targets: list[int | str] = [n for n, s in enumerate(stages) if value in set(s.inputs)]
        if value in final:
            targets.append(MODEL_OUTPUT)
        if targets:
            crossings.append(Crossing(value.name or "", source, tuple(targets)))
    return crossings
