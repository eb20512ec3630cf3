# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: plans for devices of several kinds, and for training (docs/certificate.md).

Standard library only, and nothing of this package: check.py runs this file, which lies beside it, by its
path; its names are here as `tools`.  What is redone of the proofs stands in check_search.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SECOND = 10**12
PLACE = ("device", "place", "number")
STAGE_TIMES = ("work", "io_in", "io_out", "overflow", "total")
STAGE_SIZES = ("param_bytes", "peak_bytes")
MOST_STATES = 2**20
tools: Any = globals().get("tools")  # the names of check.py


@dataclass
class Link:
    """What a tensor costs the stage at one end."""

    bandwidth: int | None
    latency: int
    free: bool

    def price(self, size: int | None, time: int | None) -> int:
        """Return the picoseconds of a tensor of `size` bytes, or of a time."""
        if self.free:
            return 0
        if size is None:
            return time or 0
        return self.latency - (-size * SECOND // (self.bandwidth or 1))


@dataclass
class Kind:
    """Devices that are alike; work None where they cannot run a node."""

    name: str
    count: int
    link: Link
    memory: int | None
    limit: int | None
    work: list[int | None]
    cost: int = 1

    def spilled(self, held: int) -> int:
        """Return the picoseconds that what does not fit takes."""
        if self.memory is None or held <= self.memory:
            return 0
        return -(-(held - self.memory) * SECOND // (self.link.bandwidth or 1))


@dataclass
class Fleet:
    """The devices, and which nodes run backward."""

    kinds: list[Kind]
    order: list[int] | None
    links: list[Link] | None
    overlap: bool
    backward: list[bool]
    along: bool
    sharing: bool = False
    limit: int | None = None  # as other machines have it, for the words about them
    seats: list[tuple[int, Link, Link]] = field(default_factory=list)
    schedule: Any = None  # of training, as check_schedule.py has it; a device is a seat then

    @property
    def stages(self) -> int:
        """The number of devices."""
        return sum(kind.count for kind in self.kinds)

    def seat(self, device: int) -> tuple[int, Link, Link]:
        """Return kind and links (in, out) of a place, of a shared device by its number, or of a kind."""
        if self.schedule is not None:
            return self.seats[device]
        if self.sharing:
            number, device = device, 0
            while number >= self.kinds[device].count:
                number, device = number - self.kinds[device].count, device + 1
        kind = device if self.order is None else self.order[device]
        own = self.kinds[kind].link
        if self.links is None:
            return kind, own, own
        before = self.links[device - 1] if device else None
        behind = self.links[device] if device < len(self.links) else None
        return kind, before or behind or own, behind or before or own

    def total(self, number: dict[str, int]) -> int:
        """Return what a stage takes in all."""
        compute, sync = number["work"] + number["overflow"], number.get("sync", 0)
        if self.overlap:
            return max(compute, number["io_in"], number["io_out"], sync)
        return compute + number["io_in"] + number["io_out"] + sync

    def shared(self, seat: int, time: int) -> int:
        """Return the part of a time that one replica of a stage takes, rounded up."""
        return time if self.schedule is None else -(-time // self.schedule.modes[seat][0])

    def work_at(self, seat: int) -> list[int | None]:
        """Return the work of nodes at a seat, forward nodes twice where it recomputes."""
        work = self.kinds[self.seats[seat][0]].work
        if self.schedule is None:
            return work
        twice = self.schedule.modes[seat][1]
        rows = zip(work, self.backward, strict=True)
        return [
            None if w is None else self.shared(seat, 2 * w if twice and not back else w)
            for w, back in rows
        ]


# --- reading ------------------------------------------------------------------------------------


def load_link(data: Any, item: str) -> Link:
    """Read one link."""
    tools.keys(data, item, ("bandwidth", "latency"), ("free",))
    bandwidth = None
    if data["bandwidth"] is not None:
        bandwidth = tools.scaled(data["bandwidth"], 1, f"{item}.bandwidth", whole=True)
        if not bandwidth:
            raise tools.FaultError(f"{item}.bandwidth: expected a number above 0, got 0")
    latency = tools.scaled(data["latency"], SECOND, f"{item}.latency", whole=True)
    return Link(bandwidth, latency, tools.typed(data.get("free", False), bool, f"{item}.free"))


def load_kind(data: Any, graph: Any, item: str) -> Kind:
    """Read one kind of device."""
    required = ("name", "count", "link", "memory", "memory_limit")
    tools.keys(data, item, required, ("work", "cost", "host"))
    count = data["count"]
    if type(count) is not int or not 1 <= count <= MOST_STATES:
        raise tools.FaultError(
            f"{item}.count: expected 1 to {MOST_STATES}, got {tools.show(count)}"
        )
    memory, limit = (
        None if data[key] is None else tools.scaled(data[key], 1, f"{item}.{key}", whole=True)
        for key in ("memory", "memory_limit")
    )
    link = load_link(data["link"], f"{item}.link")
    if memory is not None and link.bandwidth is None:
        raise tools.FaultError(f"{item}.link.bandwidth: expected a number beside memory, got none")
    work: list[int | None] = list(graph.work)
    if "work" in data:
        place = f"{item}.work"
        if len(tools.typed(data["work"], list, place)) != len(graph.names):
            raise tools.FaultError(f"{place}: expected {len(graph.names)} entries, one per node")
        work = [
            None if w is None else tools.scaled(w, SECOND, place, whole=True) for w in data["work"]
        ]
    name = tools.typed(data["name"], str, f"{item}.name")
    cost = tools.scaled(data.get("cost", 1), 1, f"{item}.cost", whole=True)
    return Kind(name, count, link, memory, limit, work, cost)


def load_fleet(document: Any, graph: Any) -> Fleet:
    """Read the machine of a plan for several kinds of devices, and what the plan says of training."""
    data = document["machine"]
    plain = ("stages", "bandwidth", "latency", "memory")
    tools.keys(data, "machine", (*plain, "devices"), ("order", "links", "overlap", "shared"))
    rows = tools.typed(data["devices"], list, "machine.devices")
    kinds = [load_kind(row, graph, f"machine.devices[{q}]") for q, row in enumerate(rows)]
    number = {kind.name: q for q, kind in enumerate(kinds)}
    if not kinds or len(number) < len(kinds):
        raise tools.FaultError("machine.devices: expected kinds of different names")
    fleet = Fleet(kinds, None, None, False, [False] * len(graph.names), False)
    fleet.overlap = tools.typed(data.get("overlap", False), bool, "machine.overlap")
    if tools.typed(data.get("shared", False), bool, "machine.shared") and "order" in data:
        raise tools.FaultError("machine.shared: expected devices in any order, got a fixed order")
    if "order" in data:
        names = tools.typed(data["order"], list, "machine.order")
        for name in names:
            if type(name) is not str or name not in number:
                raise tools.FaultError(f"machine.order: expected kinds, got {tools.show(name)}")
        fleet.order = [number[name] for name in names]
        if any(fleet.order.count(q) != kind.count for q, kind in enumerate(kinds)):
            raise tools.FaultError("machine.order: expected a place for every device")
    if "links" in data:
        rows = tools.typed(data["links"], list, "machine.links")
        fleet.links = [load_link(row, f"machine.links[{i}]") for i, row in enumerate(rows)]
        if fleet.order is None or len(rows) != len(fleet.order) - 1:
            raise tools.FaultError("machine.links: expected one between neighbours of an order")
    stated = {key: data[key] for key in plain}
    first = kinds[0]
    right = {
        "stages": fleet.stages,
        "bandwidth": first.link.bandwidth,
        "latency": first.link.latency,
        "memory": first.memory,
    }
    stated["latency"] = tools.scaled(data["latency"], SECOND, "machine.latency", whole=True)
    for key, value in right.items():
        if stated[key] != value:
            raise tools.FaultError(f"machine.{key}: expected {value}, got {tools.show(data[key])}")
    places = range(len(kinds) if fleet.order is None else len(fleet.order))
    fleet.seats = [fleet.seat(place) for place in places]
    fleet.sharing = data.get("shared", False)  # from here on a device is a number, not a kind
    sized = any(not graph.replicable[t[0]] and t[2] is not None for t in graph.tensors)
    for _, *links in fleet.seats:
        if sized and any(link.bandwidth is None and not link.free for link in links):
            raise tools.FaultError("machine: expected a bandwidth of every link, got none")
    load_training(document, graph, fleet)
    return fleet


def load_training(document: Any, graph: Any, fleet: Fleet) -> None:
    """Read which nodes run backward; forward ones must not need what they make."""
    if "training" not in document:
        return
    data = document["training"]
    more = ("schedule", "step") if "schedule" in data else ()
    tools.keys(data, "training", ("backward", "along", *more))
    fleet.along = tools.typed(data["along"], bool, "training.along")
    node_of = {name: v for v, name in enumerate(graph.names)}
    for name in tools.typed(data["backward"], list, "training.backward"):
        if type(name) is not str or name not in node_of:
            raise tools.FaultError(f"training.backward: expected nodes, got {tools.show(name)}")
        fleet.backward[node_of[name]] = True
    for producer, consumers, _, _ in graph.tensors:
        for consumer in consumers:
            if fleet.backward[producer] and not fleet.backward[consumer]:
                raise tools.FaultError(
                    f"training.backward: {graph.names[consumer]!r} runs forward and needs a tensor of "
                    f"{graph.names[producer]!r}"
                )
    if fleet.links is not None and any(fleet.backward):
        raise tools.FaultError("machine.links: expected none for training")
    if more:
        load = tools.beside("check_schedule.py")["load_schedule"]
        fleet.schedule = load(data["schedule"], fleet)


def load_devices(document: Any, fleet: Fleet) -> list[int]:
    """Return the place, or the kind, that each stage says it is on."""
    devices = []
    number = {kind.name: q for q, kind in enumerate(fleet.kinds)}
    for i, stage in enumerate(document["stages"]):
        item = f"stages[{i}]"
        expected = ("device",) if fleet.order is None else ("device", "place")
        if fleet.sharing:
            expected = ("device", "number")
        for key in PLACE:
            if (key in stage) != (key in expected):
                raise tools.FaultError(f"{item}: expected {' and '.join(expected)}")
        name = stage["device"]
        if type(name) is not str or name not in number:
            raise tools.FaultError(f"{item}.device: expected a kind, got {tools.show(name)}")
        if fleet.sharing and fleet.schedule is None:
            device = tools.index(stage["number"], fleet.stages, f"{item}.number")
            if fleet.seat(device)[0] != number[name]:
                raise tools.FaultError(f"{item}.device: expected that of number {device}")
            devices.append(device)
            continue
        if fleet.order is None:
            devices.append(number[name])
            continue
        place = tools.index(stage["place"], len(fleet.order), f"{item}.place")
        if fleet.order[place] != number[name]:
            raise tools.FaultError(f"{item}.device: expected that of place {place}, got {name!r}")
        devices.append(place)
    if fleet.sharing and fleet.schedule is not None:
        rounds: list[int] = tools.beside("check_interleaved.py")["load_seats"](document, fleet)
        return rounds
    if fleet.schedule is not None:
        seats: list[int] = tools.beside("check_schedule.py")["load_seats"](document, fleet, devices)
        return seats
    if any("replicas" in stage for stage in document["stages"]):
        raise tools.FaultError("stages: expected replicas only with a schedule")
    return devices


# --- the comparison -----------------------------------------------------------------------------


def structure_problems(
    graph: Any, fleet: Fleet, devices: list[int], stages: list[list[int]]
) -> Iterator[str]:
    """Yield every way in which the stages break the rules of the problem."""
    names, last = graph.names, len(stages) - 1
    if fleet.schedule is not None:
        yield from tools.beside("check_schedule.py")["order_problems"](fleet, stages)
    elif fleet.order is None:
        for q, kind in enumerate(fleet.kinds):
            if (used := devices.count(q)) > kind.count:
                yield f"stages: {used} of them on {kind.count} devices {kind.name!r}"
    elif devices != sorted(set(devices)):
        yield f"stages: their places {devices} do not grow"
    parts = tools.beside("check_stages.py")
    place, wrong = parts["places"](names, stages)
    yield from wrong
    yield from unable(names, fleet, devices, stages)
    if len(place) < len(names):
        return
    for producer, consumers, _, _ in graph.tensors:
        for consumer in consumers:
            a, b = place[producer], place[consumer]
            both = fleet.backward[producer], fleet.backward[consumer]
            against = both == (True, True) and not fleet.along
            if a[0] == b[0]:
                wrong = a[1] > b[1] or producer == consumer
            elif both == (False, True):
                wrong = False
            else:
                wrong = (a[0] < b[0]) if against else (a[0] > b[0])
            if wrong:
                yield (
                    f"stages[{b[0]}]: {names[consumer]!r} needs a tensor of {names[producer]!r}, "
                    f"which runs later, in stage {a[0]}"
                )
    yield from parts["constraint_problems"](graph, place, last)


def unable(
    names: list[str], fleet: Any, devices: list[int], stages: list[list[int]]
) -> Iterator[str]:
    """Yield every node that is on a kind of device which cannot run it."""
    for s, nodes in enumerate(stages):
        kind = fleet.kinds[fleet.seat(devices[s])[0]]
        for node in nodes:
            if kind.work[node] is None:
                yield f"stages[{s}]: {kind.name!r} cannot run node {names[node]!r}"


def stage_numbers(
    graph: Any, fleet: Fleet, devices: list[int], stages: list[list[int]]
) -> list[dict[str, int]]:
    """Return what the plan file has to say about each stage; time linear in the graph."""
    place = {v: (s, i) for s, nodes in enumerate(stages) for i, v in enumerate(nodes)}
    numbers = [dict.fromkeys((*STAGE_TIMES, *STAGE_SIZES), 0) for _ in stages]
    held = [[0] * (len(nodes) + 1) for nodes in stages]
    seats = [fleet.seat(device) for device in devices]
    for producer, consumers, size, time in graph.tensors:
        free = graph.replicable[producer]
        home, start = place[producer]
        last_use = {home: start}
        for consumer in consumers:
            s, i = place[consumer]
            last_use[s] = max(last_use.get(s, 0), i)
        if len(last_use) > 1:
            price = 0 if free else seats[home][2].price(size, time)
            numbers[home]["io_out"] += fleet.shared(devices[home], price)
            last_use[home] = len(stages[home]) - 1
        for s, end in last_use.items():
            if s != home and not free:
                numbers[s]["io_in"] += fleet.shared(devices[s], seats[s][1].price(size, time))
            held[s][start if s == home else 0] += size or 0
            held[s][end + 1] -= size or 0
    for nbytes, users in graph.params:
        for s in {place[v][0] for v in users}:
            numbers[s]["param_bytes"] += nbytes
    rows = zip(numbers, stages, held, seats, devices, strict=True)
    for number, nodes, changes, seat, device in rows:
        now = 0
        for change in changes:
            now += change
            number["peak_bytes"] = max(number["peak_bytes"], now)
        kind = fleet.kinds[seat[0]]
        total = number["param_bytes"] + number["peak_bytes"]
        work = kind.work if fleet.schedule is None else fleet.work_at(device)
        number["work"] = sum(work[v] or 0 for v in nodes)
        if fleet.schedule is not None:
            complete = tools.beside("check_schedule.py")["complete"]
            total = number["held"] = complete(graph, fleet, device, nodes, number)
        number["overflow"] = fleet.shared(device, kind.spilled(total))
        number["total"] = fleet.total(number)
    return numbers


def number_problems(
    fleet: Fleet, devices: list[int], stated: list[dict[str, int]], numbers: list[dict[str, int]]
) -> Iterator[str]:
    """Yield the stated numbers that are wrong, and the stages above their device's limit."""
    for s, (given, right) in enumerate(zip(stated, numbers, strict=True)):
        for key, value in right.items():
            if key != "held" and given[key] != value:
                yield f"stages[{s}].{key}: states {given[key]}, is {value} (ps or bytes)"
        kind = fleet.kinds[fleet.seat(devices[s])[0]]
        held = right.get("held", right["param_bytes"] + right["peak_bytes"])
        if kind.limit is not None and held > kind.limit:
            yield f"stages[{s}]: holds {held} bytes, the limit of {kind.name!r} is {kind.limit}"


def check_placed(graph: Any, plan: Any, report: Any, allowed: float | None) -> None:
    """Check the stages, their devices and numbers, and what the plan says about bounds."""
    fleet: Fleet = plan.machine
    parts = tools.beside("check_stages.py")
    devices = load_devices(plan.document, fleet)
    if fleet.sharing:
        part = "check_shared" if fleet.schedule is None else "check_interleaved"
        tools.beside(f"{part}.py")[part](graph, plan, devices, report, allowed)
        return
    if report.refuse(structure_problems(graph, fleet, devices, plan.stages)):
        return
    report.verified.append(
        f"{len(plan.stages)} stages hold every node once, in an order that works, within all "
        "constraints, on devices that there are and that can run them"
    )
    numbers = stage_numbers(graph, fleet, devices, plan.stages)
    given, schedule = plan.stated, {}
    if fleet.schedule is not None:
        schedule = tools.beside("check_schedule.py")
        rows = zip(given, schedule["stated"](plan.document), strict=True)
        given = [row | more for row, more in rows]
    if not report.refuse(number_problems(fleet, devices, given, numbers)):
        kinds = ", ".join(f"{kind.count} {kind.name}" for kind in fleet.kinds)
        report.verified.append(f"the costs of all stages on the devices stated ({kinds})")
    bounds = [bound["value"] for bound in plan.bounds]
    bottleneck = max(number["total"] for number in numbers)
    stated = plan.bottleneck, plan.lower_bound
    if not report.refuse(parts["summary_problems"](plan.document, stated, bounds, bottleneck)):
        text = f"the bottleneck is {tools.seconds(bottleneck)}; gap and status follow"
        report.verified.append(text)
    if schedule:
        report.refuse(schedule["step_problems"](plan.document, bottleneck))
    goals = tools.beside("check_objective.py")
    objective = goals["load_objective"](plan.document, fleet)
    if objective is not None:
        totals = [number["total"] for number in numbers]
        done = goals["makespan_of"](graph, plan.stages, totals)
        report.refuse(goals["objective_problems"](objective, fleet, devices, totals, done))
    if not report.valid:
        return
    parts, components = (
        tools.beside("check_search.py"),
        tools.beside("check_proofs.py")["components"],
    )
    tools.record(report, parts["judge"](graph, fleet, plan.bounds, components, allowed))
    if objective is not None:
        judge = (goals if objective.minimise == "makespan" else parts)["judge_objective"]
        answer, why = judge(graph, fleet, objective, components, allowed)
        unit = "" if objective.minimise == "cost" else " ps"
        text = f"no plan within the limits has a {objective.minimise} below {objective.lower}{unit}: {why}"
        if answer is None:
            report.not_verified.append(text)
        elif not report.refuse([] if answer else [text]):
            report.verified.append(text)
