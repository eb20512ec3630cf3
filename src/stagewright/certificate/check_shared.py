# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: plans whose devices run several stages (docs/certificate.md).

Standard library only, and nothing of this package: check_devices.py runs this file, which lies beside it,
by its path; the names of check.py are here as `tools`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

STAGE_TIMES = ("work", "io_in", "io_out", "overflow", "total")
EVIDENCE = ("recomputed", "flow", "exhaustive", "claimed")
MOST_COUNTED = 100
tools: Any = globals().get("tools")  # the names of check.py


def structure_problems(
    graph: Any, fleet: Any, devices: list[int], stages: list[list[int]]
) -> Iterator[str]:
    """Yield every way in which the stages break the rules of the problem."""
    names = graph.names
    place: dict[int, tuple[int, int]] = {}
    for s, nodes in enumerate(stages):
        if not nodes:
            yield f"stages[{s}]: empty"
        kind = fleet.kinds[fleet.seat(devices[s])[0]]
        for i, node in enumerate(nodes):
            if node in place:
                yield f"stages[{s}]: node {names[node]!r} is in stage {place[node][0]} already"
            if kind.work[node] is None:
                yield f"stages[{s}]: {kind.name!r} cannot run node {names[node]!r}"
            place[node] = s, i
    missing = [name for v, name in enumerate(names) if v not in place]
    if missing:
        yield f"stages: {len(missing)} nodes are in no stage, first {missing[0]!r}"
        return
    for producer, consumers, _, _ in graph.tensors:
        for consumer in consumers:
            if place[producer] >= place[consumer]:
                yield (
                    f"stages[{place[consumer][0]}]: {names[consumer]!r} needs a tensor of "
                    f"{names[producer]!r}, which runs later, in stage {place[producer][0]}"
                )
    home: dict[str, int] = {}
    for v, group in enumerate(graph.groups):
        device = devices[place[v][0]]
        if group is not None and home.setdefault(group, device) != device:
            yield f"group {group!r}: on two devices at node {names[v]!r}"
    rest = SimpleNamespace(
        names=names,
        groups=[None] * len(names),
        uncuttable=graph.uncuttable,
        pins=graph.pins,
    )
    parts = tools.beside("check_stages.py")
    yield from parts["constraint_problems"](rest, place, len(stages) - 1)


def stage_numbers(
    graph: Any, fleet: Any, devices: list[int], stages: list[list[int]]
) -> list[dict[str, int]]:
    """Return what the plan file has to say about each stage.

    Memory and work are those of the stage alone.  A tensor is received by the first stage of a device that needs
    it and sent by the one that makes it, if another device needs it; what does not fit is streamed by the stage
    that comes last to need room.
    """
    numbers: list[dict[str, int]] = tools.beside("check_devices.py")["stage_numbers"](
        graph, fleet, devices, stages
    )
    place = {v: s for s, nodes in enumerate(stages) for v in nodes}
    for number in numbers:
        number["io_in"] = number["io_out"] = 0
    for producer, consumers, size, time in graph.tensors:
        if graph.replicable[producer]:
            continue
        home = place[producer]
        first: dict[int, int] = {}
        for consumer in consumers:
            s = place[consumer]
            first[devices[s]] = min(s, first.get(devices[s], s))
        for device, s in first.items():
            if device != devices[home]:
                numbers[s]["io_in"] += fleet.seat(device)[1].price(size, time)
        if first.keys() - {devices[home]}:
            numbers[home]["io_out"] += fleet.seat(devices[home])[2].price(size, time)
    held = dict.fromkeys(devices, 0)
    for number, device in zip(numbers, devices, strict=True):
        kind = fleet.kinds[fleet.seat(device)[0]]
        before = kind.spilled(held[device])
        held[device] += number["param_bytes"] + number["peak_bytes"]
        number["overflow"] = kind.spilled(held[device]) - before
        number["total"] = fleet.total(number)
    return numbers


def number_problems(
    fleet: Any, devices: list[int], stated: list[dict[str, int]], numbers: list[dict[str, int]]
) -> Iterator[str]:
    """Yield the stated numbers that are wrong, and the devices above their limit."""
    held = dict.fromkeys(devices, 0)
    for s, (given, right) in enumerate(zip(stated, numbers, strict=True)):
        for key, value in right.items():
            if given[key] != value:
                yield f"stages[{s}].{key}: states {given[key]}, is {value} (ps or bytes)"
        held[devices[s]] += right["param_bytes"] + right["peak_bytes"]
    for device, size in held.items():
        kind = fleet.kinds[fleet.seat(device)[0]]
        if kind.limit is not None and size > kind.limit:
            yield f"device {device} holds {size} bytes, the limit of {kind.name!r} is {kind.limit}"


def period_of(fleet: Any, devices: list[int], numbers: list[dict[str, int]]) -> int:
    """Return the load of the busiest device."""
    loads: dict[int, dict[str, int]] = {}
    for device, number in zip(devices, numbers, strict=True):
        load = loads.setdefault(device, dict.fromkeys(STAGE_TIMES, 0))
        for key in STAGE_TIMES[:-1]:
            load[key] += number[key]
    return max(int(fleet.total(load)) for load in loads.values())


# --- the bounds ---------------------------------------------------------------------------------


def unit_work(graph: Any, fleet: Any, components: Any) -> list[list[int | None]]:
    """Return per kind the work of what shares a device; None where the kind cannot run it.

    What shares a stage (never cut apart, pinned, and all that lies between) does, and groups do.
    """
    n = len(graph.names)
    arcs: list[list[int]] = [[] for _ in range(n + 2)]  # n, n + 1: the first and the last stage
    for producer, consumers, _, _ in graph.tensors:
        arcs[producer] += consumers
    for a, b in graph.uncuttable:
        arcs[a].append(b)
        arcs[b].append(a)
    for v, pin in enumerate(graph.pins):
        if pin is not None:
            end = n if pin == "first" else n + 1
            arcs[v].append(end)
            arcs[end].append(v)
    used = set(graph.pins)
    for v in range(n):
        if "first" in used:
            arcs[n].append(v)
        if "last" in used:
            arcs[v].append(n + 1)
    label = components(arcs)
    count = max(label) + 1
    rows: list[list[int]] = [[] for _ in range(count)]
    home: dict[str, int] = {}
    for v, group in enumerate(graph.groups):
        if group is not None:
            first = home.setdefault(group, v)
            rows[label[first]].append(label[v])
            rows[label[v]].append(label[first])
    unit = components(rows)
    work: list[list[int | None]] = []
    for kind in fleet.kinds:
        row: list[int | None] = [0] * (max(unit) + 1)
        for v in range(n):
            u = unit[label[v]]
            so_far, more = row[u], kind.work[v]
            row[u] = None if so_far is None or more is None else so_far + more
        work.append(row)
    return work


def packed(work: list[list[int | None]], fleet: Any, limit: int, k: int) -> bool:
    """Return whether counting by the k-th function leaves open that all loads are within `limit`.

    Work w counts floor((k + 1) w / limit) times k + 1, or times k where that is whole, of k (k + 1) in all.
    """
    counts: list[list[int | None]] = []
    for row in work:
        counts.append([])
        for w in row:
            if w is None or w > limit:
                counts[-1].append(None)
            else:
                whole, rest = divmod((k + 1) * w, limit)
                counts[-1].append(whole * (k + 1 if rest else k))
    needed, room = 0, Fraction(0)
    least = []
    for column in zip(*counts, strict=True):
        able = [c for c in column if c is not None]
        if not able:
            return False
        least.append(min(able))
        needed += least[-1]
    for kind, own in zip(fleet.kinds, counts, strict=True):
        share = max((Fraction(a, c) for a, c in zip(least, own, strict=True) if c), default=0)
        room += kind.count * k * (k + 1) * share
    return needed <= room


def judge(
    graph: Any, fleet: Any, bounds: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], bool | None, str]]:
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why."""
    parts = tools.beside("check_classes.py")
    work = unit_work(graph, fleet, tools.beside("check_proofs.py")["components"])
    count = len(work[0])
    least = [min((w for w in row if w is not None), default=0) for row in zip(*work, strict=True)]
    problem = SimpleNamespace(work=work, least=lambda: least)
    proven = parts["simple_bound"](problem, fleet)
    for bound in sorted(bounds, key=lambda b: (EVIDENCE.index(b["evidence"]), -b["value"])):
        value = bound["value"]
        answer: bool | None = True
        why = "no more than a formula says"
        if value > proven and bound["evidence"] == "recomputed":
            ks = range(1, min(MOST_COUNTED, count) + 1)
            k = next((k for k in ks if value > 1 and not packed(work, fleet, value - 1, k)), None)
            answer = k is not None
            why = f"recomputed: {'refuted' if k is None else f'counted with k = {k}'}"
        elif bound["evidence"] == "flow":
            answer, why = False, "flows prove nothing about shared devices"
        elif value > proven:
            answer, why = None, "a claim without evidence"
        if answer:
            proven = max(proven, value)
        yield bound, answer, why


def check_shared(graph: Any, plan: Any, devices: list[int], report: Any) -> None:
    """Check the stages, their devices and numbers, and what the plan says about bounds."""
    fleet = plan.machine
    parts = tools.beside("check_stages.py")
    for key in ("objective", "training"):
        if key in plan.document:
            raise tools.FaultError(f"{key}: expected none where devices are shared")
    if report.refuse(structure_problems(graph, fleet, devices, plan.stages)):
        return
    report.verified.append(
        f"{len(plan.stages)} stages on {len(set(devices))} devices hold every node once, in an order "
        "that works, within all constraints, on devices that can run them"
    )
    numbers = stage_numbers(graph, fleet, devices, plan.stages)
    if not report.refuse(number_problems(fleet, devices, plan.stated, numbers)):
        kinds = ", ".join(f"{kind.count} {kind.name}" for kind in fleet.kinds)
        report.verified.append(f"the costs of all stages on the devices stated ({kinds}, shared)")
    bounds = [bound["value"] for bound in plan.bounds]
    period = period_of(fleet, devices, numbers)
    stated = plan.bottleneck, plan.lower_bound
    if not report.refuse(parts["summary_problems"](plan.document, stated, bounds, period)):
        report.verified.append(
            f"the busiest device takes {tools.seconds(period)}; gap and status follow"
        )
    if report.valid:
        tools.record(report, judge(graph, fleet, plan.bounds))
