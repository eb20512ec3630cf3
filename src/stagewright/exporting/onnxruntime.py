# SPDX-License-Identifier: Apache-2.0
"""onnxruntime: the stage of each node as a layer annotation, and the session option that places them.

Nodes carry the metadata ``layer_ann``; the option ``session.layer_assignment_settings`` maps annotations to
devices, ``gpu(=stage0);cpu(=stage1)``.  ``=`` asks for the whole annotation, for ``stage1`` begins ``stage10``.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import InputError
from ..splitting.stage_files import new_folder
from .onnx_folder import require_onnx
from .types import Export, Job

__all__ = ["onnxruntime"]

_OPTION = "session.layer_assignment_settings"


def onnxruntime(job: Job, folder: Path, *, overwrite: bool) -> Export:
    """Write an annotated copy of the model, and the session option beside it."""
    require_onnx(job, "onnxruntime")
    import onnx

    from ..readers.onnx_model import onnx_node_names

    model = onnx.load(job.model)
    names = onnx_node_names(model)
    stage_of = job.plan.assignment(job.graph.num_nodes)
    places = job.gpu_places() or [f"gpu:{stage}" for stage in range(len(job.plan.stages))]
    left = 0
    for node, name in zip(model.graph.node, names, strict=True):
        kept = [entry for entry in node.metadata_props if entry.key != "layer_ann"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        if name in job.graph.index_of:
            stage = stage_of[job.graph.index_of[name]]
            node.metadata_props.add(key="layer_ann", value=f"stage{stage}")
        else:
            left += 1
    rows: dict[str, list[str]] = {}
    for stage, place in enumerate(places):
        rows.setdefault(place, []).append(f"=stage{stage}")
    settings = ";".join(f"{place}({','.join(rules)})" for place, rules in rows.items())
    model.ir_version = max(model.ir_version, 10)  # nodes have metadata from this version on
    with new_folder(folder, overwrite=overwrite) as made:
        try:
            onnx.save(
                model,
                str(made / "model.onnx"),
                save_as_external_data=model.ByteSize() > 2**30,
                location="model.onnx.data",
            )
        except ValueError as fault:
            raise InputError(job.model, "a model that can be written", str(fault)) from None
        manifest = {
            "format": "stagewright-layer-annotations/1",
            "session_options": {_OPTION: settings},
        }
        (made / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    notes = [
        "that a session overlaps inferences: one session runs the stages in turns; for a pipeline export onnx",
        "two devices of one provider: onnxruntime takes one instance of a provider per session",
        "a guarantee: a node without a kernel on its device runs on another",
    ]
    if left:
        notes.append(f"{left} nodes that only compute constants, and are folded, have no stage")
    value = {"session_options": {_OPTION: settings}}
    return Export(
        "onnxruntime", f"{_OPTION}={settings}\n", value, job.as_planned, tuple(notes), folder=True
    )
