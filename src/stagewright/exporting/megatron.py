# SPDX-License-Identifier: Apache-2.0
"""Megatron-Core: the layout of pipeline stages as a string.

Stages are separated by ``|``; ``E`` is the embedding, ``t`` a transformer layer, ``L`` the output layer
and loss; ``t*3`` repeats.  Empty stages are allowed.  With a multiple of p stages for p ranks, rank r runs the stages
r, r + p, ... as virtual stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from .layers import one_list
from .types import Export, Job

__all__ = ["megatron"]


def megatron(job: Job) -> Export:
    """Return ``pipeline_model_parallel_layout``: a rank per stage, or ranks that take stages in turns.

    Raises
    ------
    InputError
        If devices run several stages and not in turns: Megatron gives stage i of p ranks to rank i mod p.
    """
    layers = job.layers
    one_list(layers, "megatron")
    ranks = _ranks(job, layers.devices) or len(layers.counts)
    stages = [_repeated(count) for count in layers.counts]
    stages[0], stages[-1] = "E" + stages[0], (f"{stages[-1]},L" if stages[-1] else "L")
    if len(stages) == 1:
        stages = [f"E{_repeated(layers.counts[0])},L"]
    layout = "|".join(stages)
    value: dict[str, Any] = {
        "pipeline_model_parallel_size": ranks,
        "pipeline_model_parallel_layout": layout,
    }
    notes = [*layers.notes, "multi-token prediction layers"]
    again = _recomputing(job, layers.devices)
    if 0 < len(again) < len(layers.counts):
        which = ", ".join(map(str, again))
        notes.append(f"that only stages {which} recompute: --recompute-granularity is for all")
    text = f"--pipeline-model-parallel-size {ranks} --pipeline-model-parallel-layout '{layout}'\n"
    if len(stages) > ranks:
        # The layout says all of it; the other option is for layers that are shared out evenly, without a layout.
        value["virtual_pipeline_model_parallel_size"] = len(stages) // ranks
        if len(set(layers.counts)) == 1:
            value["num_layers_per_virtual_pipeline_stage"] = layers.counts[0]
    else:
        notes.append("virtual stages (several blocks of one device)")
    return Export("megatron", text, value, layers.loss, tuple(notes))


def _recomputing(job: Job, devices: Sequence[int]) -> list[int]:
    """Return the stages that run forward again instead of keeping what they made."""
    if job.fleet is None:
        return []
    return [s for s, device in enumerate(devices) if job.fleet.seat_at(device).recompute]


def _ranks(job: Job, devices: Sequence[int]) -> int:
    """Return how many ranks take the stages in turns; 0 where nothing is known of devices."""
    if job.fleet is None:
        return 0
    devices = job.owners(devices)
    order = list(dict.fromkeys(devices))
    for stage, device in enumerate(devices):
        if device != order[stage % len(order)]:
            raise InputError(
                "plan for megatron",
                f"{len(order)} devices that take stages in turns, stage {stage} on device "
                f"{order[stage % len(order)]}",
                f"device {device}",
                "Plan without shared devices, or export for accelerate, onnx or triton.",
            )
    if len(devices) % len(order):
        raise InputError(
            "plan for megatron",
            f"as many stages on each of {len(order)} devices",
            f"{len(devices)} stages",
            "Plan without shared devices, or export for accelerate, onnx or triton.",
        )
    return len(order)


def _repeated(count: int) -> str:
    return "t" * count if count < 2 else f"t*{count}"
