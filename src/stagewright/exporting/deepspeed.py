# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed: ``PipelineModule.parts``, where each stage starts in the list of modules, and the end.

``PipelineModule`` computes them by itself from its `partition_method`; a subclass that sets them in
``_partition_layers`` has the last word (docs/exporting.md shows one).
"""

from __future__ import annotations

import json

from .evaluating import one_stage_each
from .types import Export, Job

__all__ = ["deepspeed"]


def deepspeed(job: Job) -> Export:
    """Return the parts over the list: what comes first, each layer, what comes last."""
    layers = job.layers
    one_stage_each(job, "deepspeed", layers.devices)
    modules = ["before the layers", *layers.stack.names, "after the layers"]
    # The first entry of the list goes with the first stage, the last one with the last.
    parts = [0, *(start + 1 for start in layers.starts[1:]), len(modules)]
    value = {"num_stages": len(layers.counts), "parts": parts, "layers": modules}
    note = "lists of modules in which embeddings or heads are several entries: shift the parts by those"
    return Export(
        "deepspeed", json.dumps(value, indent=1) + "\n", value, layers.loss, (*layers.notes, note)
    )
