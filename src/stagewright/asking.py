# SPDX-License-Identifier: Apache-2.0
"""What plan, sweep and robust are asked for: the machine's numbers, and the graph as it is to be planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from .ladder import require_work
from .reading import read
from .source import Source
from .units import parse_bandwidth, parse_bytes, parse_time

if TYPE_CHECKING:
    from .cost.catalogue import Catalogue
    from .graph import CostGraph
    from .machine import Machine
    from .shaping.constraints import Constraints, Reserve

    ConstraintsLike = Constraints | Mapping[str, Any] | str | Path | None

__all__ = ["Asked", "MachineOptions", "Quantity", "asked_for", "machine_for"]

Quantity = int | float | str


class MachineOptions(TypedDict, total=False):
    """The numbers of a machine as users give them; texts carry units: ``25GB/s``, ``5us``, ``16GiB``.

    Attributes
    ----------
    bandwidth, latency, memory
        Bytes per second of a link, seconds per tensor sent, bytes of fast memory per device.  A
        bandwidth (or a device or link that implies it) is needed when some tensor is given in bytes.
    memory_limit
        Bytes that no stage may exceed with its parameters and its peak.  `memory` alone lets stages spill
        for a price, `memory_limit` alone lets nothing spill; with both, stages spill above the one
        and are refused above the other.
    device, link
        Names in the catalogue that supply what is not given.
    catalogue
        Where these names are looked up; the built-in one by default.
    """

    bandwidth: Quantity | None
    latency: Quantity | None
    memory: Quantity | None
    memory_limit: Quantity | None
    device: str | None
    link: str | None
    catalogue: Catalogue | None


def machine_for(
    stages: int,
    *,
    bandwidth: Quantity | None = None,
    latency: Quantity | None = None,
    memory: Quantity | None = None,
    memory_limit: Quantity | None = None,
    device: str | None = None,
    link: str | None = None,
    reserve: Reserve | None = None,
    catalogue: Catalogue | None = None,
) -> Machine:
    """Return the machine of the given numbers, completed from the catalogue.

    A device brings its memory (unless `memory_limit` is given) and its usual link, a link its bandwidth and
    latency; what is given explicitly wins.  What is reserved is not there for the model.
    """
    from .cost.catalogue import load_catalogue
    from .machine import Machine

    rate = None if bandwidth is None else parse_bandwidth(bandwidth)
    delay = None if latency is None else parse_time(latency, item="latency")
    size = None if memory is None else parse_bytes(memory, item="memory")
    hard = None if memory_limit is None else parse_bytes(memory_limit, item="memory limit")
    if device is not None or link is not None:
        known = catalogue or load_catalogue()
        if device is not None:
            found = known.device(device)
            link = link or found.link
            # Whoever refuses plans that do not fit does not ask what spilling costs.
            size = found.memory if memory is None and hard is None else size
        if link is not None and rate is None:
            rate = known.link(link).bandwidth
            delay = known.link(link).latency if delay is None else delay
    machine = Machine(stages, rate, delay or 0, size, hard)
    return machine.reserving(reserve.every, reserve.stages) if reserve else machine


@dataclass(frozen=True, eq=False)
class Asked:
    """A graph as read, what may be cut in it, and where it came from."""

    graph: CostGraph
    constraints: Constraints
    granularity: str
    source: Source | None

    def charged(self, machine: Machine) -> Asked:
        """Return the same with a graph that pays for its own inputs and outputs on this machine."""
        from .graph_io import count_graph_io

        source = replace(self.source or Source(self.graph.name), count_graph_io=True)
        return replace(self, graph=count_graph_io(self.graph, machine), source=source)

    def shaped(self, granularity: str | None = None) -> CostGraph:
        """Return the graph with its groups and pins, at another granularity if one is given."""
        from .shaping.shape import shape

        return shape(self.graph, granularity or self.granularity, self.constraints)


def asked_for(
    model: CostGraph | str | Path,
    *,
    device: str | None = None,
    catalogue: Catalogue | None = None,
    source: Source | None = None,
    fuse: bool | None = None,
    granularity: str = "op",
    constraints: ConstraintsLike = None,
) -> Asked:
    """Read the model if it is a path, and note what it takes to read the same graph again.

    Raises
    ------
    InputError
        If it cannot be read, or no node of the graph has work.
    """
    from .shaping.constraints import Constraints

    wanted = Constraints.of(constraints)
    if isinstance(model, (str, Path)):
        source = source or Source(str(model), device=device, fuse=fuse)
        model = read(model, device=device, catalogue=catalogue, fuse=fuse)
    if wanted or granularity != "op":
        source = source or Source(model.name)
        source = replace(source, granularity=granularity, constraints=wanted.to_json())
    require_work(model)
    return Asked(model, wanted, granularity, source)
