# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: are the stages valid, and what do they cost (docs/certificate.md).

Standard library only, and nothing of this package: check.py runs this file, which lies beside it,
by its path.  Everything given here has been read and checked for its shape there.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

STAGE_TIMES = ("work", "io_in", "io_out", "overflow", "total")
STAGE_SIZES = ("param_bytes", "peak_bytes")


class Graph(Protocol):
    """What is looked at of a graph; a tensor is (producer, consumers, bytes or None, time)."""

    names: list[str]
    work: list[int]
    groups: list[str | None]
    pins: list[str | None]
    replicable: list[bool]
    tensors: list[tuple[int, list[int], int | None, int | None]]
    params: list[tuple[int, list[int]]]
    uncuttable: list[list[int]]


class Machine(Protocol):
    """What is looked at of a machine."""

    stages: int
    latency: int
    memory: int | None
    limit: int | None

    reserved: tuple[int, ...]

    def transfer(self, nbytes: int) -> int:
        """Return the picoseconds that `nbytes` take on a link."""


def reserve_of(machine: Machine, stage: int) -> int:
    """Return the bytes of memory and limit that are not there for the model in a stage."""
    return machine.reserved[stage] if stage < len(machine.reserved) else 0


def places(
    names: list[str], stages: list[list[int]]
) -> tuple[dict[int, tuple[int, int]], list[str]]:
    """Return the stage of each node and its place there, and what keeps the stages from being a partition."""
    wrong: list[str] = []
    place: dict[int, tuple[int, int]] = {}
    for s, nodes in enumerate(stages):
        if not nodes:
            wrong.append(f"stages[{s}]: empty")
        for i, node in enumerate(nodes):
            if node in place:
                first = place[node][0]
                wrong.append(f"stages[{s}]: node {names[node]!r} is in stage {first} already")
            place[node] = s, i
    missing = [name for v, name in enumerate(names) if v not in place]
    if missing:
        wrong.append(f"stages: {len(missing)} nodes are in no stage, first {missing[0]!r}")
    return place, wrong


def structure_problems(graph: Graph, machine: Machine, stages: list[list[int]]) -> Iterator[str]:
    """Yield every way in which the stages break the rules of the problem."""
    names, last = graph.names, len(stages) - 1
    if len(stages) > machine.stages:
        yield f"stages: {len(stages)} stages, the machine has {machine.stages}"
    place, wrong = places(names, stages)
    yield from wrong
    if len(place) < len(names):
        return
    for producer, consumers, _, _ in graph.tensors:
        for consumer in consumers:
            if place[producer] >= place[consumer]:
                yield (
                    f"stages[{place[consumer][0]}]: {names[consumer]!r} needs a tensor of "
                    f"{names[producer]!r}, which runs later, in stage {place[producer][0]}"
                )
    yield from constraint_problems(graph, place, last)


def constraint_problems(graph: Any, place: dict[int, tuple[int, int]], last: int) -> Iterator[str]:
    """Yield every group, uncuttable pair and pin that stages 0 to `last` break; all nodes have a place."""
    names = graph.names
    home: dict[str, int] = {}
    for v, group in enumerate(graph.groups):
        if group is not None and place[home.setdefault(group, v)][0] != place[v][0]:
            yield f"group {group!r}: cut at node {names[v]!r}"
    for a, b in graph.uncuttable:
        if place[a][0] != place[b][0]:
            yield f"uncuttable pair {names[a]!r}, {names[b]!r}: cut"
    for v, pin in enumerate(graph.pins):
        if pin is not None and place[v][0] != (0 if pin == "first" else last):
            yield f"node {names[v]!r}: pinned to the {pin} stage, is in stage {place[v][0]}"


def tensor_costs(graph: Graph, machine: Machine) -> list[int]:
    """Return the picoseconds that each tensor costs every stage that sends or receives it."""
    return [
        0
        if graph.replicable[producer]
        else cost
        if size is None and cost is not None
        else machine.latency + machine.transfer(size or 0)
        for producer, _, size, cost in graph.tensors
    ]


def stage_numbers(
    graph: Graph, machine: Machine, costs: list[int], stages: list[list[int]]
) -> list[dict[str, int]]:
    """Return what the plan file has to say about each stage; time linear in the graph."""
    place = {v: (s, i) for s, nodes in enumerate(stages) for i, v in enumerate(nodes)}
    numbers = [dict.fromkeys((*STAGE_TIMES, *STAGE_SIZES), 0) for _ in stages]
    # Differences of the bytes held while the i-th node of a stage runs.
    held = [[0] * (len(nodes) + 1) for nodes in stages]
    for cost, (producer, consumers, size, _) in zip(costs, graph.tensors, strict=True):
        home, start = place[producer]
        last_use = {home: start}
        for consumer in consumers:
            s, i = place[consumer]
            last_use[s] = max(last_use.get(s, 0), i)
        if len(last_use) > 1:  # sent: held to the end of the producer's stage
            numbers[home]["io_out"] += cost
            last_use[home] = len(stages[home]) - 1
        for s, end in last_use.items():
            numbers[s]["io_in"] += cost if s != home else 0
            held[s][start if s == home else 0] += size or 0
            held[s][end + 1] -= size or 0
    for nbytes, users in graph.params:
        for s in {place[v][0] for v in users}:
            numbers[s]["param_bytes"] += nbytes
    for s, (number, nodes, changes) in enumerate(zip(numbers, stages, held, strict=True)):
        now = 0
        for change in changes:
            now += change
            number["peak_bytes"] = max(number["peak_bytes"], now)
        number["work"] = sum(graph.work[v] for v in nodes)
        if machine.memory is not None:
            needed = number["param_bytes"] + number["peak_bytes"] + reserve_of(machine, s)
            spilled = needed - machine.memory
            number["overflow"] = machine.transfer(max(0, spilled))
        number["total"] = sum(number[key] for key in STAGE_TIMES[:-1])
    return numbers


def number_problems(
    machine: Machine, stated: list[dict[str, int]], numbers: list[dict[str, int]]
) -> Iterator[str]:
    """Yield the stated numbers that are wrong, and the stages above the hard limit of memory."""
    for s, (given, right) in enumerate(zip(stated, numbers, strict=True)):
        for key, value in right.items():
            if given[key] != value:
                yield f"stages[{s}].{key}: states {given[key]}, is {value} (ps or bytes)"
        held = right["param_bytes"] + right["peak_bytes"]
        limit = None if machine.limit is None else machine.limit - reserve_of(machine, s)
        if limit is not None and held > limit:
            yield f"stages[{s}]: holds {held} bytes, the hard limit is {limit}"


def summary_problems(
    document: dict[str, Any], stated: tuple[int, int], bounds: list[int], bottleneck: int
) -> Iterator[str]:
    """Yield what is wrong with the `stated` bottleneck and lower bound, gap and status."""
    lower = max(bounds, default=0)
    if stated[0] != bottleneck:
        yield f"bottleneck: states {stated[0]} ps, is {bottleneck} ps"
    if stated[1] != lower:
        yield f"lower_bound: states {stated[1]} ps, the largest of the bounds is {lower} ps"
    for i, value in enumerate(bounds):
        if value > bottleneck:
            yield f"bounds[{i}]: {value} ps is above the bottleneck, {bottleneck} ps"
    status = "optimal" if lower == bottleneck else "bounded" if lower else "feasible"
    if document["status"] != status:
        yield f"status: states {document['status'][:20]!r}, is '{status}'"
    gap = document["gap"]
    if lower == 0 < bottleneck:
        if gap is not None:
            yield f"gap: states {gap}, is null, for the lower bound is 0"
        return
    true_gap = Fraction(bottleneck, lower) - 1 if lower else Fraction(0)
    # A gap is for people to read and may be a rounded number; status is exact.
    if gap is None or abs(Fraction(str(gap)) - true_gap) > true_gap / 10**9:
        yield f"gap: states {gap}, is {float(true_gap)!r}"
