# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: plans whose devices run several stages (docs/certificate.md).

Standard library only, and nothing of this package: check_devices.py runs this file, which lies beside it,
by its path; the names of check.py are here as `tools`.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any

STAGE_TIMES = ("work", "io_in", "io_out", "overflow", "total")
tools: Any = globals().get("tools")  # the names of check.py


def structure_problems(
    graph: Any, fleet: Any, devices: list[int], stages: list[list[int]]
) -> Iterator[str]:
    """Yield every way in which the stages break the rules of the problem."""
    names = graph.names
    parts = tools.beside("check_stages.py")
    place, wrong = parts["places"](names, stages)
    yield from wrong
    yield from tools.beside("check_devices.py")["unable"](names, fleet, devices, stages)
    if len(place) < len(names):
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


def units_of(graph: Any, components: Any) -> list[int]:
    """Return for each node the number of the unit that shares its device in every plan.

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
    found = [unit[label[v]] for v in range(n)]
    number = {u: i for i, u in enumerate(dict.fromkeys(found))}
    return [number[u] for u in found]


def unit_work(graph: Any, fleet: Any, unit: list[int]) -> list[list[int | None]]:
    """Return per kind the work of each unit; None where the kind cannot run it."""
    work: list[list[int | None]] = []
    for kind in fleet.kinds:
        row: list[int | None] = [0] * (max(unit) + 1)
        for v, u in enumerate(unit):
            so_far, more = row[u], kind.work[v]
            row[u] = None if so_far is None or more is None else so_far + more
        work.append(row)
    return work


def unit_tensors(graph: Any, fleet: Any, unit: list[int]) -> list[Any]:
    """Return the unit that makes each tensor, the others that read it, and per kind the prices of its ends."""
    first = [sum(kind.count for kind in fleet.kinds[:q]) for q in range(len(fleet.kinds))]
    ends = [fleet.seat(d)[1:] for d in first]
    found = []
    for producer, consumers, size, time in graph.tensors:
        readers = {unit[c] for c in consumers} - {unit[producer]}
        if readers and not graph.replicable[producer]:
            prices = [[pair[end].price(size, time) for pair in ends] for end in (0, 1)]
            found.append((unit[producer], readers, *prices))
    return found


class Assignments:
    """The question whether some assignment of units keeps all loads below a limit.

    Units are placed one after another, the heaviest first; what a device does only grows.  Memory counts the parameters
    of a device and its largest working set, which can only make more assignments pass.
    """

    def __init__(
        self, graph: Any, fleet: Any, unit: list[int], work: list[list[int | None]], limit: int
    ) -> None:
        self.work, self.fleet, self.limit = work, fleet, limit
        self.kinds = [q for q, kind in enumerate(fleet.kinds) for _ in range(kind.count)]
        self.links = [fleet.seat(d)[1:] for d in range(len(self.kinds))]
        count = len(work[0])
        self.tensors: list[tuple[int, set[int], Any, Any]] = []
        for producer, consumers, size, time in graph.tensors:
            readers = {unit[c] for c in consumers} - {unit[producer]}
            if readers and not graph.replicable[producer]:
                self.tensors.append((unit[producer], readers, size, time))
        columns = [[w for w in column if w is not None] for column in zip(*work, strict=True)]
        least = [min(column, default=0) for column in columns]
        self.order = sorted(range(count), key=lambda u: -least[u])
        self.left = [0] * (count + 1)
        for i in range(count - 1, -1, -1):
            self.left[i] = self.left[i + 1] + least[self.order[i]]
        self.at: dict[int, int] = {}
        self.sizes = [size for size, _ in graph.params]
        self.params: list[set[int]] = [set() for _ in range(count)]
        for p, (_, users) in enumerate(graph.params):
            for v in users:
                self.params[unit[v]].add(p)
        held = [0] * len(unit)
        for producer, consumers, size, _ in graph.tensors:
            for v in {producer, *consumers}:
                held[v] += size or 0
        self.held = [0] * count
        for v, u in enumerate(unit):
            self.held[u] = max(self.held[u], held[v])

    def found(self, steps: int, deadline: float) -> bool | None:
        """Return whether there is one; None after so many steps, or too late."""
        stack: list[tuple[int, int]] = [(0, 0)]  # units placed, and the device to try next
        while stack:
            steps -= 1
            if steps < 0 or (not steps & 255 and monotonic() > deadline):
                return None
            placed, device = stack.pop()
            for u in self.order[placed:]:
                self.at.pop(u, None)
            if placed == len(self.order):
                return True
            u, used = self.order[placed], set(self.at.values())
            empty = {self.kinds[d] for d in range(device) if d not in used}
            for d in range(device, len(self.kinds)):
                if self.work[self.kinds[d]][u] is None:
                    continue
                if d not in used and self.kinds[d] in empty:
                    continue
                if d not in used:
                    empty.add(self.kinds[d])
                stack.append((placed, d + 1))
                self.at[u] = d
                if self.fits(placed + 1):
                    stack.append((placed + 1, 0))
                    break
                stack.pop()
                del self.at[u]
        return False

    def fits(self, placed: int) -> bool:
        """Return whether the units placed so far leave all loads below the limit, and room for the others."""
        loads = [[0, 0, 0] for _ in self.kinds]
        for u, d in self.at.items():
            loads[d][0] += self.work[self.kinds[d]][u] or 0
        for producer, readers, size, time in self.tensors:
            if producer not in self.at:
                continue
            home = self.at[producer]
            others = {self.at[u] for u in readers if u in self.at} - {home}
            for d in others:
                loads[d][1] += self.links[d][0].price(size, time)
            if others:
                loads[home][2] += self.links[home][1].price(size, time)
        for d, q in enumerate(self.kinds):
            here = [u for u, e in self.at.items() if e == d]
            if not here:
                continue
            params = set().union(*(self.params[u] for u in here))
            held = sum(self.sizes[p] for p in params) + max(self.held[u] for u in here)
            kind = self.fleet.kinds[q]
            if kind.limit is not None and held > kind.limit:
                return False
            loads[d][0] += kind.spilled(held)
        busy = [max(load) if self.fleet.overlap else sum(load) for load in loads]
        if max(busy) >= self.limit:
            return False
        taken = sum(load[0] if self.fleet.overlap else sum(load) for load in loads)
        return self.left[placed] <= len(loads) * (self.limit - 1) - taken


def redone(
    graph: Any,
    fleet: Any,
    unit: list[int],
    work: list[list[int | None]],
    value: int,
    allowed: float | None,
) -> tuple[bool | None, str]:
    """Return whether no assignment has a load below `value`, None if that stays open, and why."""
    search = Assignments(graph, fleet, unit, work, value)
    steps = 20_000 if allowed is None else 10**12
    answer = search.found(steps, monotonic() + (1e9 if allowed is None else allowed))
    if answer is None:
        return None, "the search was not redone (too long); --exhaustive SECONDS allows more"
    if not answer:
        return True, "the search over all assignments was redone"
    limited = any(m is not None for kind in fleet.kinds for m in (kind.memory, kind.limit))
    if limited:
        return None, "redone with a lower bound of what devices hold: too low"
    return False, "an assignment below it exists"


def judge(
    graph: Any, fleet: Any, bounds: list[dict[str, Any]], allowed: float | None
) -> Iterator[tuple[dict[str, Any], bool | None, str]]:
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why."""
    parts = tools.beside("check_classes.py")
    unit = units_of(graph, tools.beside("check_proofs.py")["components"])
    work = unit_work(graph, fleet, unit)
    least = [min((w for w in row if w is not None), default=0) for row in zip(*work, strict=True)]
    problem = SimpleNamespace(work=work, least=lambda: least)

    def formula(bound: dict[str, Any], proven: int) -> tuple[bool | None, str]:
        if bound["value"] <= proven:
            return True, "no more than a formula says"
        answer: tuple[bool | None, str] = tools.beside("check_filling.py")["judge_counting"](
            work, unit_tensors(graph, fleet, unit), fleet, bound["value"], allowed
        )
        return answer

    yield from tools.beside("check_bounds.py")["weigh"](
        bounds,
        parts["simple_bound"](problem, fleet),
        allowed,
        formula=formula,
        flow=lambda _: (False, "flows prove nothing about shared devices"),
        search=lambda value: redone(graph, fleet, unit, work, value, allowed),
    )


def check_shared(
    graph: Any, plan: Any, devices: list[int], report: Any, allowed: float | None
) -> None:
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
        tools.record(report, judge(graph, fleet, plan.bounds, allowed))
