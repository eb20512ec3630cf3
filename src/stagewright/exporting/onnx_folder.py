# SPDX-License-Identifier: Apache-2.0
"""ONNX stage files with their manifest, and a Triton model repository made of them.

In the repository each stage is a model of its own and an ensemble joins them by the names of the tensors
that cross.  Triton runs the steps of different requests at the same time, which is what makes the
ensemble a pipeline.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..splitting import Manifest, TensorType, split_onnx
from ..splitting.stage_files import new_folder
from .types import Export, Job

__all__ = ["onnx", "triton"]

_TYPES: Final = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}


def require_onnx(job: Job, target: str) -> None:
    """Demand that the model is an ONNX file.

    Raises
    ------
    InputError
        If it is not.
    """
    if not job.model.endswith(".onnx"):
        raise InputError(
            f"model for {target}", "an ONNX file (.onnx)", f"'{job.model}'", "Export the model to ONNX, plan that."
        )  # fmt: skip


def onnx(job: Job, folder: Path, *, overwrite: bool) -> Export:
    """Write what ``stagewright split`` writes."""
    require_onnx(job, "onnx")
    manifest = _split(job, folder, overwrite=overwrite)
    text = f"{len(manifest.stages)} stage files and manifest.json\n"
    return Export("onnx", text, manifest.to_json(), job.as_planned, folder=True)


def _split(job: Job, folder: Path, *, overwrite: bool) -> Manifest:
    return split_onnx(
        job.model,
        job.graph,
        job.plan,
        folder,
        document=job.document,
        shapes=job.shapes,
        dims=job.dims,
        overwrite=overwrite,
    )


def triton(job: Job, folder: Path, *, overwrite: bool) -> Export:
    """Write a model repository: one folder per stage, and one for the ensemble."""
    require_onnx(job, "triton")
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(job.model).stem)
    with new_folder(folder, overwrite=overwrite) as made:
        manifest, places = _split(job, made / ".stages", overwrite=False), job.gpu_places()
        configs = {name: _ensemble(name, manifest)}
        (made / name / "1").mkdir(parents=True)  # Triton wants a version, though nothing is in it
        for number, stage in enumerate(manifest.stages):
            model = f"{name}_stage{number}"
            version = made / model / "1"
            version.mkdir(parents=True)
            for file in (made / ".stages").glob(f"{stage.file}*"):
                file.rename(version / ("model.onnx" if file.name == stage.file else file.name))
            place = places[number] if places else ""
            configs[model] = _stage(model, stage.inputs, stage.outputs, place)
        for model, text in configs.items():
            (made / model / "config.pbtxt").write_text(text, encoding="utf-8")
        (made / ".stages" / "manifest.json").rename(made / "manifest.json")
        shutil.rmtree(made / ".stages")
    notes = (
        "devices in each other's memory: tensors that cross go through the server",
        "batches that the server forms (max_batch_size is 0): the stages keep the shapes of the plan",
    )
    text = f"model repository: ensemble '{name}', {len(manifest.stages)} stages\n"
    return Export(
        "triton", text, {"ensemble": name, "configs": configs}, job.as_planned, notes, folder=True
    )


def _stage(
    name: str, inputs: Sequence[TensorType], outputs: Sequence[TensorType], place: str
) -> str:
    return (
        f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: 0\n'
        + _tensors("input", inputs)
        + _tensors("output", outputs)
        + _instances(place)
    )


def _instances(place: str) -> str:
    kind, _, index = place.partition(":")
    if not place:
        return ""
    if kind not in ("cpu", "gpu") or (index and not index.isdigit()):
        raise InputError("place for triton", "cpu, gpu or gpu:0", repr(place))
    gpus = f" gpus: [ {index} ]" if index else ""
    return f"instance_group [ {{ count: 1 kind: KIND_{kind.upper()}{gpus} }} ]\n"


def _ensemble(name: str, manifest: Manifest) -> str:
    steps = []
    for number, stage in enumerate(manifest.stages):
        maps = [
            f"    {kind}_map {{ key: {_quoted(t.name)} value: {_quoted(t.name)} }}\n"
            for kind, tensors in (("input", stage.inputs), ("output", stage.outputs))
            for t in tensors
        ]
        steps.append(
            f'  step {{\n    model_name: "{name}_stage{number}"\n    model_version: -1\n{"".join(maps)}  }}\n'
        )
    return (
        f'name: "{name}"\nplatform: "ensemble"\nmax_batch_size: 0\n'
        + _tensors("input", manifest.inputs)
        + _tensors("output", manifest.outputs)
        + f"ensemble_scheduling {{\n{''.join(steps)}}}\n"
    )


def _tensors(kind: str, tensors: Iterable[TensorType]) -> str:
    entries = []
    for tensor in tensors:
        inner = tensor.type.removeprefix("tensor(").removesuffix(")")
        if inner not in _TYPES or tensor.type == inner:
            raise InputError(
                f"tensor '{tensor.name}'",
                f"a type that Triton has ({', '.join(_TYPES)})",
                tensor.type,
                "Keep its producer and consumers in one stage with --together.",
            )
        if tensor.shape is None:
            raise InputError(
                f"tensor '{tensor.name}'",
                "a known number of axes, which Triton asks for",
                "none",
                "Run shape inference on the model, or keep its producer and consumers together.",
            )
        sizes = [str(size) if isinstance(size, int) else "-1" for size in tensor.shape]
        # Triton has no tensors without axes: it is told one, and to take it away again.
        shape = f"dims: [ {', '.join(sizes)} ]" if sizes else "dims: [ 1 ] reshape: { shape: [ ] }"
        entries.append(
            f"{kind} {{ name: {_quoted(tensor.name)} data_type: {_TYPES[inner]} {shape} }}\n"
        )
    return "".join(entries)


def _quoted(text: str) -> str:
    """Return a text as a string of protobuf's text format."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{escaped}"'
