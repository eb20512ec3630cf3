# SPDX-License-Identifier: Apache-2.0
"""The instances that several benchmarks share: sets of (graph, machine) for each number of stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from benchmarks.common import INSTANCES
from benchmarks.random_dags import random_dags

from stagewright.api import machine_for, read
from stagewright.benching.families import FAMILIES
from stagewright.graph import CostGraph
from stagewright.machine import Machine

__all__ = ["SETS", "Case", "cases"]

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True, eq=False)
class Case:
    """One graph on one machine."""

    set: str
    name: str
    graph: CostGraph
    machine: Machine


def light(stages: Sequence[int]) -> Iterator[Case]:
    """Yield the light ONNX models on two devices of the catalogue: one short of memory, one not."""
    for path in sorted(LIGHT.glob("light_*.onnx")):
        for device, short in (("h100-sxm", "h100"), ("coral-edge-tpu", "coral")):
            graph = read(path, device=device)
            name = f"{path.stem.removeprefix('light_')} {short}"
            for k in stages:
                yield Case("light", name, graph, machine_for(k, device=device))


def _folder(name: str, part: str, stages: Sequence[int]) -> Iterator[Case]:
    for path in sorted((INSTANCES / part).glob("*.graph.json")):
        graph = read(path)
        for k in stages:
            yield Case(name, path.name.removesuffix(".graph.json"), graph, Machine(k))


def published(stages: Sequence[int]) -> Iterator[Case]:
    """Yield published workloads with their groups, if they are at hand."""
    return _folder("published", "graphs", stages)


def wide(stages: Sequence[int]) -> Iterator[Case]:
    """Yield real and random graphs with very many ideals, if they are at hand."""
    return _folder("wide", "wide", stages)


def synthetic(stages: Sequence[int]) -> Iterator[Case]:
    """Yield graphs of 500 nodes shaped like deep networks, transformers, mixtures of experts, random."""
    for family, make in FAMILIES.items():
        graph = make(500, 1)
        for k in stages:
            yield Case("synthetic", family, graph, Machine(k))


def random(stages: Sequence[int]) -> Iterator[Case]:
    """Yield two random DAGs of each topology, 50 to 200 nodes."""
    for graph in random_dags(10):
        for k in stages:
            yield Case("random", graph.name, graph, Machine(k))


SETS: dict[str, Callable[[Sequence[int]], Iterator[Case]]] = {
    "light": light,
    "published": published,
    "wide": wide,
    "synthetic": synthetic,
    "random": random,
}


def cases(sets: Sequence[str], stages: Sequence[int]) -> Iterator[Case]:
    """Yield the cases of the named sets."""
    for name in sets:
        yield from SETS[name](stages)
