# SPDX-License-Identifier: Apache-2.0
"""Plans in the terms of the programs that run them: one file per consumer, one table of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..files import write_whole
from .accelerate import device_map, split_points
from .deepspeed import deepspeed
from .llama_cpp import llama_cpp
from .megatron import megatron
from .onnx_folder import onnx, triton
from .onnxruntime import onnxruntime
from .tables import csv_table, json_table
from .torch_folder import torch_folder
from .types import Export, Job, Loss
from .vllm import sglang, vllm

__all__ = ["FOLDERS", "TARGETS", "TEXTS", "Export", "Job", "Loss", "export"]

TEXTS: Final[dict[str, Callable[[Job], Export]]] = {
    "accelerate": device_map,
    "csv": csv_table,
    "deepspeed": deepspeed,
    "json": json_table,
    "llama.cpp": llama_cpp,
    "megatron": megatron,
    "sglang": sglang,
    "split-points": split_points,
    "vllm": vllm,
}
"""Consumers that take a setting or a file."""

FOLDERS: Final = {"onnx": onnx, "onnxruntime": onnxruntime, "torch": torch_folder, "triton": triton}
"""Consumers that take a folder."""

TARGETS: Final = (*TEXTS, *FOLDERS)


TRAIN: Final = ("csv", "deepspeed", "json", "megatron", "split-points")
"""Consumers that train."""


def export(
    job: Job, target: str, output: str | Path | None = None, *, overwrite: bool = False
) -> Export:
    """Write a plan in the terms of a consumer.

    Parameters
    ----------
    target
        One of :data:`TARGETS`.
    output
        The file or folder to write; None writes nothing, which folders do not allow.
    overwrite
        Replace a folder that an earlier export wrote.

    Raises
    ------
    InputError
        If the consumer cannot express the plan, or the output cannot be written.
    """
    _require_places(job)
    if target in TARGETS and target not in TRAIN and any(job.backward):
        raise InputError(
            f"plan for {target}",
            "one for inference, which is what it runs",
            "one for training",
            f"Export for {', '.join(TRAIN)}, or plan without --mode training.",
        )
    if target in TEXTS:
        found = TEXTS[target](job)
        tables = target in ("csv", "json")
        devices = job.devices if tables else job.layers.devices
        if not tables:
            _require_one_device_each(job, target, devices)
        if output is not None:
            write_whole(output, found.text)
        return replace(found, devices=job.device_rows(devices))
    if target not in FOLDERS:
        raise InputError("export target", f"one of {', '.join(TARGETS)}", repr(target))
    if output is None:
        raise InputError(f"export to {target}", "a folder to write", "none", "Give --output.")
    found = FOLDERS[target](job, Path(output), overwrite=overwrite)
    return replace(found, devices=job.device_rows(job.devices))


def _require_one_device_each(job: Job, target: str, devices: Sequence[int]) -> None:
    """Refuse stages on several devices, which no consumer has."""
    for stage, device in enumerate(devices if job.fleet is not None else ()):
        replicas = job.fleet.seat_at(device).replicas if job.fleet else 1
        if replicas > 1:
            raise InputError(
                f"plan for {target}",
                "one device per stage (its data parallelism has as many replicas of each)",
                f"stage {stage} on {replicas} devices",
                "Plan with --replicas 1, or export for json or csv.",
            )


def _require_places(job: Job) -> None:
    stages = len(job.plan.stages)
    if job.places and len(job.places) != stages:
        raise InputError("places", f"one per stage, {stages}", str(len(job.places)))
