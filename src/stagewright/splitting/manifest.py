# SPDX-License-Identifier: Apache-2.0
"""The manifest of a folder of stage files: format ``stagewright-stages/1``, docs/running.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import InputError

__all__ = [
    "FORMAT",
    "MANIFEST_NAME",
    "MODEL_INPUT",
    "MODEL_OUTPUT",
    "PLAN_NAME",
    "Crossing",
    "Manifest",
    "StageEntry",
    "TensorType",
]

FORMAT: Final = "stagewright-stages/1"
MANIFEST_NAME: Final = "manifest.json"
PLAN_NAME: Final = "plan.json"
"""The plan file that the folder was made from; what runs the stages does not need it."""
MODEL_INPUT: Final = "model input"
MODEL_OUTPUT: Final = "model output"


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


@dataclass(frozen=True)
class TensorType:
    """A named tensor at the edge of a stage.

    Parameters
    ----------
    name
        Its name in the model.
    type
        As ONNX writes it: ``tensor(float)``, ``seq(tensor(int64))``.
    shape
        One entry per axis: a number, the name of a symbolic size, or None; None if even the rank
        is unknown.
    nbytes
        Size in bytes, None where the shape or the element size is not fixed.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...] | None
    nbytes: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands for it in the manifest."""
        shape = None if self.shape is None else list(self.shape)
        return {"name": self.name, "type": self.type, "shape": shape, "bytes": self.nbytes}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorType:
        """Read it back; a TypeError says what is of the wrong kind."""
        shape = None if data["shape"] is None else tuple(data["shape"])
        name, text, nbytes = data["name"], data["type"], data["bytes"]
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"name {name!r} of type {text!r}")
        for size in (*(shape or ()), nbytes):
            if size is not None and not isinstance(size, str) and not _is_size(size):
                raise TypeError(f"tensor '{name}' of sizes {shape} and {nbytes!r} bytes")
        return cls(name, text, shape, nbytes)


@dataclass(frozen=True)
class StageEntry:
    """One stage file: where it is, what it takes and gives, and what it was predicted to cost.

    `predicted` holds seconds by part (``total``, ``work``, ``io_in``, ``io_out``, ``overflow``);
    None without a plan document.  `param_bytes` counts each parameter once in each stage.
    `worker` is the number of the device, where devices run several stages; else None.
    """

    file: str
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    nodes: int
    copied_nodes: int
    param_bytes: int
    predicted: dict[str, float] | None
    worker: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands for it in the manifest."""
        return {
            "file": self.file,
            "inputs": [t.to_json() for t in self.inputs],
            "outputs": [t.to_json() for t in self.outputs],
            "nodes": self.nodes,
            "copied_nodes": self.copied_nodes,
            "param_bytes": self.param_bytes,
            "predicted": self.predicted,
            **({} if self.worker is None else {"worker": self.worker}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageEntry:
        """Read it back; a TypeError says what is of the wrong kind."""
        worker = data.get("worker")
        if worker is not None and not _is_size(worker):
            raise TypeError(f"worker {worker!r}")
        return cls(
            file=data["file"],
            inputs=tuple(map(TensorType.from_json, data["inputs"])),
            outputs=tuple(map(TensorType.from_json, data["outputs"])),
            nodes=data["nodes"],
            copied_nodes=data["copied_nodes"],
            param_bytes=data["param_bytes"],
            predicted=data["predicted"],
            worker=worker,
        )


@dataclass(frozen=True)
class Crossing:
    """One tensor on its way: from a stage or the model's inputs, to stages or the outputs.

    `source` is a stage number or ``"model input"``; `targets` are stage numbers in rising order,
    last ``"model output"`` if the tensor is one.
    """

    name: str
    source: int | str
    targets: tuple[int | str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands for it in the manifest."""
        return {"name": self.name, "from": self.source, "to": list(self.targets)}


@dataclass(frozen=True)
class Manifest:
    """All that is needed to run a folder of stage files, and to compare with the whole model.

    `shapes` are the input shapes that were fixed for the split; `predicted_period` is in seconds.
    `model_path` is the path as it was given: the folder may have moved since, so a reader checks
    `model_sha256` (of the model file itself, not of its external data).
    """

    model: str
    model_path: str
    model_sha256: str
    graph_sha256: str
    predicted_period: float | None
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    stages: tuple[StageEntry, ...]
    tensors: tuple[Crossing, ...]

    @property
    def workers(self) -> int:
        """How many devices run the stages: one each, or fewer that run several."""
        return len({i if s.worker is None else -1 - s.worker for i, s in enumerate(self.stages)})

    def to_json(self) -> dict[str, Any]:
        """Return the content of the manifest file."""
        return {
            "format": FORMAT,
            "model": self.model,
            "model_path": self.model_path,
            "model_sha256": self.model_sha256,
            "graph_sha256": self.graph_sha256,
            "predicted_period": self.predicted_period,
            "inputs": [t.to_json() for t in self.inputs],
            "outputs": [t.to_json() for t in self.outputs],
            "stages": [s.to_json() for s in self.stages],
            "tensors": [t.to_json() for t in self.tensors],
        }

    @classmethod
    def from_json(cls, data: Any, item: str) -> Manifest:
        """Read the content of a manifest file; `item` names it in messages.

        Raises
        ------
        InputError
            If it is not of this format, a key is missing, or a stage file is not a plain name.
        """
        remedy = "Make the folder again with: stagewright split."
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise InputError(f"{item}: format", repr(FORMAT), repr(got), remedy)
        try:
            manifest = cls(
                model=data["model"],
                model_path=data["model_path"],
                model_sha256=data["model_sha256"],
                graph_sha256=data["graph_sha256"],
                predicted_period=data["predicted_period"],
                inputs=tuple(map(TensorType.from_json, data["inputs"])),
                outputs=tuple(map(TensorType.from_json, data["outputs"])),
                stages=tuple(map(StageEntry.from_json, data["stages"])),
                tensors=tuple(
                    Crossing(t["name"], t["from"], tuple(t["to"])) for t in data["tensors"]
                ),
            )
        except KeyError as missing:
            raise InputError(item, f"the key {missing}", "none", remedy) from None
        except (TypeError, AttributeError) as fault:
            raise InputError(item, "objects as docs/running.md says", str(fault), remedy) from None
        _check(manifest, item)
        return manifest

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Read the manifest of a folder of stage files.

        Raises
        ------
        InputError
            If there is none, or it cannot be read.
        """
        path = Path(folder) / MANIFEST_NAME
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as fault:
            raise InputError(
                str(folder),
                f"a folder of stage files with a {MANIFEST_NAME}",
                fault.strerror or str(fault),
                "Make one with: stagewright split MODEL plan.json -o DIR.",
            ) from None
        except ValueError as fault:
            raise InputError(str(path), "JSON text", str(fault)) from None
        return cls.from_json(data, str(path))


def _check(manifest: Manifest, item: str) -> None:
    """Refuse file names that leave the folder and crossings that name what does not exist."""
    for stage in manifest.stages:
        if not isinstance(stage.file, str) or Path(stage.file).name != stage.file:
            raise InputError(f"{item}: stages", "file names without folders", repr(stage.file))
    stages = range(len(manifest.stages))
    given = {t.name for t in manifest.inputs}
    made = [{t.name for t in s.outputs} for s in manifest.stages]
    taken = [{t.name for t in s.inputs} for s in manifest.stages]
    arrived: set[tuple[str, int | str]] = set()
    for tensor in manifest.tensors:
        where = f"{item}: tensor '{tensor.name}'"
        if tensor.source == MODEL_INPUT:
            known = tensor.name in given
        else:
            known = tensor.source in stages and tensor.name in made[int(tensor.source)]
        if not known:
            raise InputError(where, "a source that gives it", repr(tensor.source))
        for target in tensor.targets:
            if target == MODEL_OUTPUT:
                continue
            later = target in stages and (
                tensor.source == MODEL_INPUT or int(tensor.source) < int(target)
            )
            if not later or tensor.name not in taken[int(target)]:
                raise InputError(where, "later stages that take it as targets", repr(target))
        arrived.update((tensor.name, target) for target in tensor.targets)
    for number, names in enumerate(taken):
        for name in sorted(names):
            if (name, number) not in arrived:
                raise InputError(f"{item}: stage {number}: input '{name}'", "a source", "none")
    for output in manifest.outputs:
        if (output.name, MODEL_OUTPUT) not in arrived:
            raise InputError(f"{item}: model output '{output.name}'", "a source", "none")
