# SPDX-License-Identifier: Apache-2.0
"""Plans for devices of several kinds, and the plain reference of what they cost.

This module is the specification, as :mod:`..plans` is for identical stages: short, slow, exact.

**Training.**  A graph may hold the backward pass as well; `backward` says which nodes belong to it.  Forward
nodes run along the pipeline, backward ones against it, so a stage takes part in both: a tensor between
forward nodes goes to the same or a later stage, one between backward nodes to the same or an earlier
one, and what the forward pass leaves for the backward pass may go anywhere.  A stage is convex in each
of the two passes, and its cost counts both.  Nodes that must share a device (a layer's forward and
backward part) are a group (Tarnawski, Phanishayee, Devanur, Mahajan and Nina Paravecino, Efficient
Algorithms for Device Placement of DNN Graph Operators, NeurIPS 2020, with PipeDream's schedule).

**With a schedule** (:mod:`.schedule`) a stage holds, on each of its devices,

    state_factor * parameters + (in flight - 1) * kept + peak

bytes: `peak` is that of one microbatch through both passes, `kept` what stays of every other one in flight:
the forward tensors that backward nodes of the stage need, or, where it recomputes, those that it received.
It runs its forward nodes first.  It takes per microbatch what it takes on one device, each node and each
price divided by the replicas and rounded up, and the m-th part of the sum of gradients.  Where
devices hold several chunks, :mod:`.interleaving` says what they take and hold together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..errors import GraphError, InputError
from ..graph import CostGraph
from ..plans import StageCost, constraint_problems, positions
from .devices import UNABLE, Fleet, Seat
from .interleaving import chunk_problems, held_of

__all__ = [
    "PlacedPlan",
    "PlacedStage",
    "Workload",
    "costs_of",
    "evaluate",
    "problems_of",
    "stage_cost",
]


@dataclass(frozen=True, eq=False)
class Workload:
    """A cost graph, which of its nodes run backward, and work of its nodes by name.

    Attributes
    ----------
    graph
        Its own work is that of kinds that name no other.
    backward
        Per node; empty for inference.
    along
        Whether the backward pass runs along the pipeline too, as some published files have it.
    rows
        Work in picoseconds per node, `UNABLE` where it cannot run, by names that machine files use.

    Raises
    ------
    GraphError
        If a forward node needs a tensor of a backward one.
    """

    graph: CostGraph
    backward: tuple[bool, ...] = ()
    along: bool = False
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = self.graph.num_nodes
        for name, row in {"backward": self.backward or (False,) * n, **self.rows}.items():
            if len(row) != n:
                raise GraphError(f"workload: {name}", f"{n} values, one per node", str(len(row)))
        if not self.backward:
            return
        for producer, users in self._tensors():
            for user in users:
                if self.backward[producer] and not self.backward[user]:
                    names = self.graph.node_names
                    raise GraphError(
                        f"node '{names[user]}'",
                        "tensors of forward nodes, since it runs forward",
                        f"one of '{names[producer]}', which runs backward",
                    )

    def _tensors(self) -> list[tuple[int, list[int]]]:
        rows = self.graph.tensor_consumers.rows()
        return list(zip(self.graph.tensor_producer.tolist(), rows, strict=True))

    def precedence(self) -> list[list[int]]:
        """Return per node those whose stage is the same or a later one."""
        after: list[list[int]] = [[] for _ in range(self.graph.num_nodes)]
        for producer, users in self._tensors():
            for user in users:
                if not self.backward or not self.backward[user]:
                    after[producer].append(user)
                elif self.backward[producer]:
                    first, then = (producer, user) if self.along else (user, producer)
                    after[first].append(then)
        return after

    def work_on(self, fleet: Fleet, kind: int) -> tuple[int, ...]:
        """Return the picoseconds of each node on a kind, `UNABLE` where it cannot run.

        Raises
        ------
        InputError
            If the kind's work is that of another graph.
        """
        work = fleet.kinds[kind].work
        if work is None:
            return tuple(self.graph.work.tolist())
        if len(work) != self.graph.num_nodes:
            item = f"device '{fleet.kinds[kind].name}': work"
            raise InputError(item, f"{self.graph.num_nodes} numbers", str(len(work)))
        return work

    def work_at(self, fleet: Fleet, seat: Seat) -> tuple[int, ...]:
        """Return the picoseconds of each node at a seat: recomputed and divided where it says so."""
        work = self.work_on(fleet, seat.kind)
        if not seat.recompute and seat.replicas == 1:
            return work
        backward = self.backward or (False,) * len(work)
        times = (
            2 * w if seat.recompute and not back else w
            for w, back in zip(work, backward, strict=True)
        )
        return tuple(
            UNABLE if w == UNABLE else seat.shared(time)
            for w, time in zip(work, times, strict=True)
        )


@dataclass(frozen=True)
class PlacedPlan:
    """Stages in pipeline order: nodes in the order they run, and the device of each.

    A device is a place of the fleet's order, or a kind where stages take devices in any order; with a schedule
    it is a seat.
    """

    stages: tuple[tuple[int, ...], ...]
    devices: tuple[int, ...]


@dataclass(frozen=True)
class PlacedStage(StageCost):
    """The parts of a stage's cost; picoseconds and bytes.

    With a schedule `sync` is the stage's sum of gradients per microbatch, `kept_bytes` what it keeps of a
    microbatch, and `resting_bytes` what is alive between the two passes of one at least: what its backward nodes
    need of the forward pass, and the gradients that it receives.
    """

    overlap: bool = False
    sync: int = 0
    resting_bytes: int = 0
    kept_bytes: int = 0
    in_flight: int = 1
    state_factor: int = 1

    @property
    def total(self) -> int:
        """Return the sum of all, or the longest of computing, receiving, sending, adding up."""
        compute = self.work + self.overflow
        if self.overlap:
            return max(compute, self.io_in, self.io_out, self.sync)
        return compute + self.io_in + self.io_out + self.sync

    @property
    def held_bytes(self) -> int:
        """What a device of the stage holds, and a hard limit is held against."""
        kept = (self.in_flight - 1) * self.kept_bytes
        return self.state_factor * self.param_bytes + kept + self.peak_bytes


def stage_cost(
    workload: Workload, fleet: Fleet, device: int, nodes: Sequence[int], behind: int = 0
) -> PlacedStage:
    """Return the cost of one stage that runs `nodes` in the given order on a device.

    Tensors and memory are counted as in :func:`..plans.stage_cost`; the stage pays a tensor once when
    it receives it and once when it sends it, at the prices of its links.  `behind` is the number of devices
    of all later stages; what a stage holds depends on it with a schedule.

    Raises
    ------
    InputError
        If the device cannot run a node.
    """
    graph, seat = workload.graph, fleet.seat_at(device)
    kind = fleet.kinds[seat.kind]
    work = workload.work_at(fleet, seat)
    for node in nodes:
        if work[node] == UNABLE:
            raise InputError(
                f"node '{graph.node_names[node]}'", "a device that can run it", f"'{kind.name}'"
            )
    replicable, inside = graph.replicable.tolist(), set(nodes)
    position = {node: i for i, node in enumerate(nodes)}
    backward = workload.backward or (False,) * graph.num_nodes
    io_in = io_out = saved = received = gradients = 0
    alive = [0] * (len(nodes) + 1)  # differences of the bytes alive while the i-th node runs
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        consumers = graph.tensor_consumers[tensor]
        within = [position[c] for c in consumers if c in inside]
        size, time = int(graph.tensor_bytes[tensor]), int(graph.tensor_time[tensor])
        free, leaves = replicable[producer], len(within) < len(consumers)
        if producer in inside:
            io_out += seat.shared(seat.send.price(size, time)) if leaves and not free else 0
            start = position[producer]
            end = len(nodes) - 1 if leaves else max(within, default=start)
        elif within:
            io_in += 0 if free else seat.shared(seat.receive.price(size, time))
            start, end = 0, max(within)
            received += 0 if backward[producer] else max(0, size)
            gradients += max(0, size) if backward[producer] else 0
        else:
            continue
        if not backward[producer] and any(backward[nodes[i]] for i in within):
            saved += max(0, size)
        alive[start] += max(0, size)
        alive[end + 1] -= max(0, size)
    params = sum(
        int(graph.param_bytes[p])
        for p in range(len(graph.param_bytes))
        if not inside.isdisjoint(graph.param_users[p])
    )
    peak = now = 0
    for change in alive:
        now += change
        peak = max(peak, now)
    cost = PlacedStage(sum(work[v] for v in nodes), io_in, io_out, 0, params, peak, fleet.overlap)
    if fleet.schedule is not None:
        cost = replace(
            cost,
            sync=fleet.sync_time(seat, params),
            resting_bytes=saved + gradients,
            kept_bytes=received if seat.recompute else saved,
            in_flight=fleet.in_flight(seat, behind),
            state_factor=fleet.schedule.state_factor,
        )
    return replace(cost, overflow=seat.shared(kind.spill_time(cost.held_bytes)))


def costs_of(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> list[PlacedStage]:
    """Return the cost of every stage of a plan, valid or not.

    Raises
    ------
    InputError
        If a device cannot run a node.
    """
    costs, behind = [], 0
    for device, nodes in reversed(list(zip(plan.devices, plan.stages, strict=True))):
        costs.append(stage_cost(workload, fleet, device, nodes, behind))
        behind += fleet.seat_at(device).replicas
    return costs[::-1]


def evaluate(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> list[PlacedStage]:
    """Return the cost of every stage.

    Raises
    ------
    InputError
        If the plan is not valid (see :func:`problems_of`).
    """
    problems = problems_of(workload, fleet, plan)
    if problems:
        raise InputError("plan", "a valid plan", problems[0])
    return costs_of(workload, fleet, plan)


def problems_of(
    workload: Workload,
    fleet: Fleet,
    plan: PlacedPlan,
    costs: Sequence[PlacedStage] | None = None,
) -> list[str]:
    """Return every way in which `plan` breaks the rules, in words; empty when it is valid.

    `costs` are those of its stages, where they are known.
    """
    problems = _device_problems(fleet, plan)
    graph = workload.graph
    position, wrong = positions(graph.node_names, plan.stages)
    problems += wrong
    if problems:
        return problems
    problems += _order_problems(workload, position)
    problems += constraint_problems(graph, position, len(plan.stages) - 1)
    problems = problems or _stage_problems(workload, fleet, plan, costs)
    return problems or (_shared_memory(workload, fleet, plan, costs) if fleet.interleaved else [])


def _shared_memory(
    workload: Workload, fleet: Fleet, plan: PlacedPlan, costs: Sequence[PlacedStage] | None
) -> list[str]:
    """Return the devices that cannot hold all of their chunks."""
    held = held_of(fleet, costs or costs_of(workload, fleet, plan))
    return [
        f"device {d} holds {size} bytes, the limit of '{kind.name}' is {kind.memory_limit}"
        for d, size in enumerate(held)
        if not (kind := fleet.kinds[fleet.kind_of[d]]).fits(size)
    ]


def _device_problems(fleet: Fleet, plan: PlacedPlan) -> list[str]:
    """Return what is wrong with the devices that the stages take."""
    if len(plan.devices) != len(plan.stages):
        return [f"{len(plan.stages)} stages on {len(plan.devices)} devices"]
    if fleet.order is not None:
        ends = [-1, *plan.devices, len(fleet.order)]
        if any(a >= b for a, b in pairwise(ends)):
            return [f"places {list(plan.devices)} do not grow within 0..{len(fleet.order) - 1}"]
        return []
    if fleet.interleaved:
        return chunk_problems(fleet, plan.devices)
    choices = len(fleet.kinds) if fleet.schedule is None else len(fleet.seats)
    unknown = [device for device in plan.devices if not 0 <= device < choices]
    if unknown:
        return [f"kind {unknown[0]} of device does not exist"]
    seats = [fleet.seat_at(device) for device in plan.devices]
    taken = [sum(s.replicas for s in seats if s.kind == q) for q in range(len(fleet.kinds))]
    what = "stages" if fleet.schedule is None else "devices used"
    return [
        f"{used} {what} on {kind.count} devices '{kind.name}'"
        for used, kind in zip(taken, fleet.kinds, strict=True)
        if used > kind.count
    ]


def _order_problems(workload: Workload, position: Mapping[int, tuple[int, int]]) -> list[str]:
    """Return the tensors that go the wrong way along the pipeline, or against the order of a stage."""
    graph, problems = workload.graph, []
    names, backward = graph.node_names, workload.backward or (False,) * graph.num_nodes
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        for consumer in graph.tensor_consumers[tensor]:
            (a, i), (b, j) = position[producer], position[consumer]
            if a == b:
                wrong = i >= j
            elif backward[consumer] and not workload.along:
                wrong = backward[producer] and a < b
            else:
                wrong = a > b and backward[producer] == backward[consumer]
            if wrong:
                problems.append(
                    f"node '{names[consumer]}' (stage {b}) needs a tensor of '{names[producer]}' "
                    f"(stage {a}), which runs later"
                )
    return problems


def _stage_problems(
    workload: Workload, fleet: Fleet, plan: PlacedPlan, costs: Sequence[PlacedStage] | None
) -> list[str]:
    """Return the stages that their devices cannot run, or cannot hold."""
    problems, behind = [], 0
    rows = list(enumerate(zip(plan.devices, plan.stages, strict=True)))
    for number, (device, nodes) in reversed(rows):
        later, behind = behind, behind + fleet.seat_at(device).replicas
        kind = fleet.kinds[fleet.seat_at(device).kind]
        work = workload.work_on(fleet, fleet.seat_at(device).kind)
        unable = [v for v in nodes if work[v] == UNABLE]
        if unable:
            name = workload.graph.node_names[unable[0]]
            problems.append(f"stage {number}: device '{kind.name}' cannot run node '{name}'")
            continue
        turns = (
            [workload.backward[v] for v in nodes] if fleet.schedule and workload.backward else []
        )
        if turns != sorted(turns):
            problems.append(f"stage {number} runs a backward node before a forward one")
        cost = costs[number] if costs else stage_cost(workload, fleet, device, nodes, later)
        held = cost.held_bytes
        if not kind.fits(held):
            problems.append(
                f"stage {number} holds {held} bytes, the limit of '{kind.name}' is {kind.memory_limit}"
            )
    return problems[::-1]
