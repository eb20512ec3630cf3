# SPDX-License-Identifier: Apache-2.0
"""vLLM and SGLang: a list of layers per pipeline rank in an environment variable.

Both split the value at commas, and want one number per rank that add up to the layers of the model.
The first rank also runs the embeddings, the last one the final norm and the head.
"""

from __future__ import annotations

from .evaluating import one_stage_each
from .layers import one_list
from .types import Export, Job

__all__ = ["sglang", "vllm"]


def vllm(job: Job) -> Export:
    """Return the setting ``VLLM_PP_LAYER_PARTITION`` (``vllm serve --pipeline-parallel-size K``)."""
    return _partition(job, "vllm", "VLLM_PP_LAYER_PARTITION")


def sglang(job: Job) -> Export:
    """Return the setting ``SGLANG_PP_LAYER_PARTITION`` (``sglang.launch_server --pp-size K``)."""
    return _partition(job, "sglang", "SGLANG_PP_LAYER_PARTITION")


def _partition(job: Job, target: str, variable: str) -> Export:
    layers = job.layers
    one_list(layers, target)
    one_stage_each(job, target, layers.devices)
    text = ",".join(map(str, layers.counts))
    notes = list(layers.notes)
    if 0 in layers.counts:
        notes.append("a rank without layers: not every model of this server starts with one")
    return Export(target, f"{variable}={text}\n", {variable: text}, layers.loss, tuple(notes))
