# SPDX-License-Identifier: Apache-2.0
"""accelerate and PyTorch: a device per module, or the modules at which a pipeline is split.

A ``device_map`` names modules; it must name every module with parameters, itself or by one that holds it.
Layers are kept whole: the residual additions inside them want all their inputs on one device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..errors import InputError
from ..shaping.granularity import module_path
from .evaluating import one_stage_each
from .types import Export, Job, Layers

__all__ = ["device_map", "split_points"]

Path = tuple[str, ...]


def device_map(job: Job) -> Export:
    """Return the device of each module, as few names as say it."""
    layers = job.layers
    ends = [0, *(s for s, n in enumerate(layers.counts) for _ in range(n)), len(layers.counts) - 1]
    places = _places(job, layers)
    at = [ends[layer + 1] for layer in layers.stack.home]
    names: dict[str, int | str] = {
        ".".join(path): places[stage] for path, stage in _whole(job, at).items()
    }
    notes = (
        *layers.notes,
        "operators of a module that holds others run where their inputs are",
        "modules that run no operator are not named; accelerate asks for those with parameters",
    )
    if "cpu" in names.values():
        notes = (*notes, "computing on the CPU: it keeps the weights there and computes on a GPU")
    text = json.dumps(names, indent=1) + "\n"
    return Export("accelerate", text, names, layers.loss, notes)


def _places(job: Job, layers: Layers) -> Sequence[int | str]:
    stages = len(layers.counts)
    places = job.places or job.default_places(layers.devices)
    if not places:
        return range(stages)
    return [int(place) if place.isdigit() else place for place in places[:stages]]


def _whole(job: Job, stage_of: Sequence[int]) -> dict[Path, int]:
    """Return the outermost modules that lie in one stage, in the order in which they run."""
    stages: dict[Path, set[int]] = {}
    for v in job.graph.topological_order.tolist():
        path = module_path(job.graph.node_names[v])
        for depth in range(len(path) + 1):
            stages.setdefault(path[:depth], set()).add(stage_of[v])
    # Operators of the outermost module itself belong to no module that could be placed.
    if len(stages[()]) == 1:
        return {(): stages[()].pop()}
    return {
        path: next(iter(found))
        for path, found in stages.items()
        if path and len(found) == 1 and len(stages[path[:-1]]) > 1
    }


def split_points(job: Job) -> Export:
    """Return the layers at whose beginning PyTorch's pipelining and ``prepare_pippy`` split."""
    layers = job.layers
    one_stage_each(job, "split-points", layers.devices)
    _no_empty(layers)
    points = [layers.stack.names[start] for start in layers.starts[1:]]
    text = json.dumps(points) + "\n"
    return Export("split-points", text, points, layers.loss, layers.notes)


def _no_empty(layers: Layers) -> None:
    for stage, count in enumerate(layers.counts):
        if not count:
            raise InputError(
                f"stage {stage}",
                "a layer at which it begins, since splits are made there",
                "none",
                "Plan for fewer stages.",
            )
