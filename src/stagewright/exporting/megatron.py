# SPDX-License-Identifier: Apache-2.0
"""Megatron-Core: the layout of pipeline stages as a string.

Stages are separated by ``|``; ``E`` is the embedding, ``t`` a transformer layer, ``L`` the output layer
and loss; ``t*3`` repeats.  Empty stages are allowed.
"""

from __future__ import annotations

from .layers import one_list
from .types import Export, Job

__all__ = ["megatron"]


def megatron(job: Job) -> Export:
    """Return ``pipeline_model_parallel_layout`` for as many pipeline ranks as the plan has stages."""
    layers = job.layers
    one_list(layers, "megatron")
    stages = [_repeated(count) for count in layers.counts]
    stages[0], stages[-1] = "E" + stages[0], (f"{stages[-1]},L" if stages[-1] else "L")
    if len(stages) == 1:
        stages = [f"E{_repeated(layers.counts[0])},L"]
    layout = "|".join(stages)
    value = {
        "pipeline_model_parallel_size": len(stages),
        "pipeline_model_parallel_layout": layout,
    }
    text = f"--pipeline-model-parallel-size {len(stages)} --pipeline-model-parallel-layout '{layout}'\n"
    note = "virtual stages (several blocks of one device), multi-token prediction layers"
    return Export("megatron", text, value, layers.loss, (*layers.notes, note))


def _repeated(count: int) -> str:
    return "t" * count if count < 2 else f"t*{count}"
