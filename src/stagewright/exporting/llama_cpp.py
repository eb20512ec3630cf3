# SPDX-License-Identifier: Apache-2.0
"""llama.cpp: ``--tensor-split``, shares of the layers per device.

With all layers offloaded, n layers and the output count as n + 1 equal parts; part i goes to the first
device whose cumulative share exceeds i / (n + 1).  Whole counts are therefore met exactly.
"""

from __future__ import annotations

from .evaluating import one_stage_each
from .layers import one_list
from .types import Export, Job

__all__ = ["llama_cpp"]


def llama_cpp(job: Job) -> Export:
    """Return ``--split-mode layer --tensor-split``; the output is one more part of the last device."""
    layers = job.layers
    one_list(layers, "llama.cpp")
    one_stage_each(job, "llama.cpp", layers.devices)
    shares = [*layers.counts[:-1], layers.counts[-1] + 1]
    total = sum(shares)
    text = ",".join(map(str, shares))
    value = {"n_gpu_layers": total, "split_mode": "layer", "tensor_split": shares}
    notes = (
        *layers.notes,
        "the embedding on a device (it stays in the host's memory, here it is counted in the first stage)",
        "another numbering than that of the devices: give --device in the order of the stages",
    )
    line = f"--n-gpu-layers {total} --split-mode layer --tensor-split {text}\n"
    return Export("llama.cpp", line, value, layers.loss, notes)
