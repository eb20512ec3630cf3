# SPDX-License-Identifier: Apache-2.0
"""Plan files read back: the devices and the stages of a plan for devices of several kinds.

What :mod:`.document` writes; the checker has a reader of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ..certificate.build import plan_of
from ..errors import CheckError, StagewrightError
from ..graph import CostGraph
from ..units import to_ps
from .devices import UNABLE, Fleet, Kind, Link
from .schedule import Schedule
from .workload import PlacedPlan, Workload

__all__ = ["fleet_of", "placed_plan_of", "workload_of"]


def workload_of(document: Mapping[str, Any], graph: CostGraph) -> Workload:
    """Return the workload of a plan document: `graph`, and which of its nodes run backward.

    Raises
    ------
    CheckError
        If the document names other nodes.
    """
    training = document.get("training")
    if training is None:
        return Workload(graph)
    names = set(training.get("backward", ()))
    if unknown := sorted(names - set(graph.node_names)):
        raise CheckError("plan: training.backward", "nodes of the graph", repr(unknown[0]))
    backward = tuple(name in names for name in graph.node_names)
    return Workload(graph, backward, bool(training.get("along")))


def fleet_of(document: Mapping[str, Any], item: str = "plan") -> Fleet:
    """Return the devices that a plan document was made for.

    Raises
    ------
    CheckError
        If the document does not describe them; `item` names it in messages.
    """
    try:
        machine = document["machine"]
        kinds = tuple(
            _kind(row, f"{item}: machine.devices[{i}]") for i, row in enumerate(machine["devices"])
        )
        number = {kind.name: q for q, kind in enumerate(kinds)}
        order = None
        if "order" in machine:
            order = tuple(number[name] for name in machine["order"])
        links = None
        if "links" in machine:
            links = tuple(
                _link(row, f"{item}: machine.links[{i}]") for i, row in enumerate(machine["links"])
            )
        schedule = _schedule(document)
        # With a schedule it is the schedule that says which stages share a device.
        shared = bool(machine.get("shared")) and schedule is None
        return Fleet(kinds, order, links, bool(machine.get("overlap")), schedule, shared)
    except (KeyError, TypeError, AttributeError, StagewrightError) as fault:
        expected = "the devices of a plan file"
        raise CheckError(f"{item}: machine", expected, f"a fault ({fault})") from None


def placed_plan_of(
    document: Mapping[str, Any], graph: CostGraph, fleet: Fleet, item: str = "plan"
) -> PlacedPlan:
    """Return the stages of a plan document and the devices that they take.

    Raises
    ------
    CheckError
        If a stage names no node of the graph or no device of the fleet.
    """
    stages = plan_of(document, graph, item).stages
    number = {kind.name: q for q, kind in enumerate(fleet.kinds)}
    devices = []
    for i, row in enumerate(document["stages"]):
        name = row.get("device")
        if name not in number:
            raise CheckError(
                f"{item}: stages[{i}].device", f"one of {', '.join(number)}", repr(name)
            )
        key = "number" if fleet.shared else "place"
        device = number[name] if fleet.order is None and not fleet.shared else row.get(key)
        if fleet.schedule is not None:
            seats = [
                s
                for s, seat in enumerate(fleet.seats)
                if (seat.kind, seat.replicas, seat.recompute)
                == (number[name], row.get("replicas"), row.get("recompute"))
            ]
            device = seats[0] if seats else None
        if not isinstance(device, int) or isinstance(device, bool):
            raise CheckError(f"{item}: stages[{i}]", "a device of the machine", repr(device))
        devices.append(device)
    return PlacedPlan(stages, tuple(devices))


def _kind(row: Mapping[str, Any], item: str) -> Kind:
    work = row.get("work")
    return Kind(
        row["name"],
        row["count"],
        _link(row["link"], f"{item}.link"),
        None
        if work is None
        else tuple(UNABLE if w is None else to_ps(w, item=f"{item}.work") for w in work),
        row.get("memory"),
        row.get("memory_limit"),
        row.get("cost", 1),
        row.get("host", ""),
    )


def _link(row: Mapping[str, Any], item: str) -> Link:
    rate = row["bandwidth"]
    latency = to_ps(row["latency"], item=f"{item}.latency")
    return Link(None if rate is None else int(rate), latency, bool(row.get("free")))


def _schedule(document: Mapping[str, Any]) -> Schedule | None:
    stated = document.get("training", {}).get("schedule")
    if stated is None:
        return None
    known = {entry.name for entry in fields(Schedule)}
    given = {key: value for key, value in stated.items() if key in known}
    return replace(Schedule(), **given, optimizer=str(stated["state_factor"]))
