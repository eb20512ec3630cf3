# SPDX-License-Identifier: Apache-2.0
"""Plans, and the plain reference of what a plan costs.

This module is the specification: short, slow, exact.  The native code and the independent checker
are tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .graph import FIRST, LAST, CostGraph
from .machine import Machine

__all__ = [
    "Plan",
    "StageCost",
    "constraint_problems",
    "evaluate",
    "evaluate_all",
    "problems_of",
    "stage_cost",
    "tensor_costs",
]


@dataclass(frozen=True)
class Plan:
    """Stages in pipeline order; each lists its nodes (indices) in the order they run."""

    stages: tuple[tuple[int, ...], ...]

    @classmethod
    def from_assignment(cls, graph: CostGraph, block: Sequence[int]) -> Plan:
        """Make a plan from the block number of each node; empty blocks vanish.

        Within a stage the nodes run in the graph's topological order.
        """
        stages: dict[int, list[int]] = {b: [] for b in sorted(set(block))}
        for node in graph.topological_order.tolist():
            stages[block[node]].append(node)
        return cls(tuple(tuple(nodes) for nodes in stages.values()))

    def _repr_html_(self) -> str:
        from .display import stages_html

        return stages_html(self.stages)

    def assignment(self, num_nodes: int) -> list[int]:
        """Return the stage number of each node, -1 where the plan does not mention it."""
        block = [-1] * num_nodes
        for number, nodes in enumerate(self.stages):
            for node in nodes:
                block[node] = number
        return block


@dataclass(frozen=True)
class StageCost:
    """The parts of f(S): times in picoseconds, sizes in bytes."""

    work: int
    io_in: int
    io_out: int
    overflow: int
    param_bytes: int
    peak_bytes: int

    @property
    def total(self) -> int:
        """f(S) = work + io + overflow, picoseconds."""
        return self.work + self.io_in + self.io_out + self.overflow

    @property
    def held_bytes(self) -> int:
        """param(S) + peak(S): what a hard limit is held against."""
        return self.param_bytes + self.peak_bytes


def tensor_costs(graph: CostGraph, machine: Machine) -> list[int]:
    """Return c(t) of every tensor in picoseconds.

    ``c = latency + ceil(bytes / bandwidth)``, or the time that the graph gives.  Tensors of
    replicable nodes cost nothing.
    """
    replicable = graph.replicable.tolist()
    return [
        0
        if replicable[producer]
        else time
        if time >= 0
        else machine.latency + machine.transfer_time(nbytes)
        for producer, nbytes, time in zip(
            graph.tensor_producer.tolist(),
            graph.tensor_bytes.tolist(),
            graph.tensor_time.tolist(),
            strict=True,
        )
    ]


def stage_cost(graph: CostGraph, machine: Machine, nodes: Sequence[int]) -> StageCost:
    """Return the cost of one stage that runs `nodes` in the given order.

    A tensor is paid once by each stage that sends or receives it, however many consumers it has.
    Memory: received tensors are held from the start of the stage until their last consumer in it
    has run; produced ones from the run of their producer until their last consumer in the stage
    has run, or to the end if some consumer is elsewhere.  While a node runs, its inputs and outputs
    are all held.  Tensors priced as times have no size.
    """
    inside = set(nodes)
    costs = tensor_costs(graph, machine)
    io_in = io_out = 0
    alive = [0] * (len(nodes) + 1)  # differences of the bytes alive while the i-th node runs
    position = {node: i for i, node in enumerate(nodes)}
    for tensor, producer in enumerate(graph.tensor_producer.tolist()):
        consumers = graph.tensor_consumers[tensor]
        within = [position[c] for c in consumers if c in inside]
        leaves = len(within) < len(consumers)
        nbytes = max(0, int(graph.tensor_bytes[tensor]))
        if producer in inside:
            io_out += costs[tensor] if leaves else 0
            start = position[producer]
            end = len(nodes) - 1 if leaves else max(within, default=start)
        elif within:
            io_in += costs[tensor]
            start, end = 0, max(within)
        else:
            continue
        alive[start] += nbytes
        alive[end + 1] -= nbytes
    param_bytes = sum(
        int(graph.param_bytes[p])
        for p in range(len(graph.param_bytes))
        if not inside.isdisjoint(graph.param_users[p])
    )
    peak = now = 0
    for change in alive:
        now += change
        peak = max(peak, now)
    overflow = machine.spill_time(param_bytes + peak)
    work = sum(int(graph.work[v]) for v in nodes)
    return StageCost(work, io_in, io_out, overflow, param_bytes, peak)


def evaluate_all(
    graph: CostGraph, machine: Machine, plan: Plan, prices: Sequence[int] | None = None
) -> list[StageCost]:
    """Return the cost of every stage of a valid plan in one pass over the tensors.

    The same numbers as :func:`stage_cost` per stage, in time linear in the size of the graph but for a sort.
    `prices` are the :func:`tensor_costs`, for who prices many plans.
    """
    count = len(plan.stages)
    sizes = np.array([len(nodes) for nodes in plan.stages], np.int64)
    stage_of, position = _places(graph, plan)
    # One entry per tensor and stage that holds it: its producer's first, then those of its consumers.
    producer = graph.tensor_producer
    tensor = np.concatenate([np.arange(graph.num_tensors), graph.tensor_consumers.row_of()])
    node = np.concatenate([producer, graph.tensor_consumers.values])
    stage, end = stage_of[node], position[node]
    by_place = np.lexsort((end, stage, tensor))
    tensor, stage, end = tensor[by_place], stage[by_place], end[by_place]
    last = np.ones(len(tensor), np.bool_)  # the last position of a tensor in a stage
    last[:-1] = (tensor[1:] != tensor[:-1]) | (stage[1:] != stage[:-1])
    tensor, stage, end = tensor[last], stage[last], end[last]
    home = stage_of[producer]
    at_home = stage == home[tensor]
    leaves = np.bincount(tensor, minlength=graph.num_tensors) > 1
    end = np.where(at_home & leaves[tensor], sizes[stage] - 1, end)
    costs = np.array(tensor_costs(graph, machine) if prices is None else prices, np.int64)
    io_out = _sums(count, home[leaves], costs[leaves])
    io_in = _sums(count, stage[~at_home], costs[tensor[~at_home]])
    # Differences of the bytes alive; the stages lie one behind the other, each with a place for its end.
    offset = np.concatenate([[0], np.cumsum(sizes + 1)])
    held = np.maximum(graph.tensor_bytes, 0)[tensor]
    start = np.where(at_home, position[producer][tensor], 0)
    alive = _sums(int(offset[-1]), offset[stage] + start, held)
    alive -= _sums(int(offset[-1]), offset[stage] + end + 1, held)
    # A parameter counts once in every stage with a user.
    users = graph.param_users
    held_by = np.unique(users.row_of().astype(np.int64) * count + stage_of[users.values])
    params = _sums(count, held_by % count, graph.param_bytes[held_by // count]).tolist()
    work = _sums(count, stage_of, graph.work)
    result = []
    for number in range(count):
        peak = int(np.cumsum(alive[offset[number] : offset[number + 1]]).max(initial=0))
        overflow = machine.at(number).spill_time(params[number] + peak)
        times = int(work[number]), int(io_in[number]), int(io_out[number]), overflow
        result.append(StageCost(*times, params[number], peak))
    return result


def _runs_backward(graph: CostGraph, plan: Plan) -> bool:
    """Whether some node of a plan that lists all of them runs before what it reads."""
    order = [v for nodes in plan.stages for v in nodes]
    rank = np.empty(graph.num_nodes, np.int64)
    rank[order] = np.arange(len(order))
    consumers = graph.tensor_consumers
    return bool((rank[graph.tensor_producer][consumers.row_of()] >= rank[consumers.values]).any())


def _places(graph: CostGraph, plan: Plan) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the stage of every node and its position in it."""
    stage_of = np.zeros(graph.num_nodes, np.int64)
    position = np.zeros(graph.num_nodes, np.int64)
    for number, nodes in enumerate(plan.stages):
        where = list(nodes)
        stage_of[where], position[where] = number, np.arange(len(nodes))
    return stage_of, position


def _sums(
    count: int, place: npt.NDArray[np.int64], value: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, place, value)
    return sums


def evaluate(graph: CostGraph, machine: Machine, plan: Plan) -> list[StageCost]:
    """Return the cost of every stage.

    Raises
    ------
    InputError
        If the plan is not valid for the graph and the machine (see :func:`problems_of`).
    """
    problems = problems_of(graph, machine, plan)
    if problems:
        raise InputError("plan", "a valid plan", problems[0])
    return [stage_cost(graph, machine.at(i), nodes) for i, nodes in enumerate(plan.stages)]


def positions(
    names: Sequence[str], stages: Sequence[Sequence[int]]
) -> tuple[dict[int, tuple[int, int]], list[str]]:
    """Return the stage of each node and its place there, and what keeps the stages from being a partition."""
    problems: list[str] = []
    position: dict[int, tuple[int, int]] = {}
    for number, nodes in enumerate(stages):
        if not nodes:
            problems.append(f"stage {number} is empty")
        for i, node in enumerate(nodes):
            if node in position:
                first = position[node][0]
                problems.append(f"node '{names[node]}' is in stages {first} and {number}")
            position[node] = (number, i)
    missing = [name for v, name in enumerate(names) if v not in position]
    if missing:
        problems.append(f"{len(missing)} nodes are in no stage, first '{missing[0]}'")
    return position, problems


def problems_of(graph: CostGraph, machine: Machine, plan: Plan) -> list[str]:
    """Return every way in which `plan` breaks the rules, in words; empty when it is valid."""
    names = graph.node_names
    problems: list[str] = []
    if len(plan.stages) > machine.stages:
        problems.append(f"{len(plan.stages)} stages, the machine has {machine.stages}")
    position, wrong = positions(names, plan.stages)
    problems += wrong
    if len(position) < graph.num_nodes:
        return problems
    if _runs_backward(graph, plan):
        for tensor, producer in enumerate(graph.tensor_producer.tolist()):
            for consumer in graph.tensor_consumers[tensor]:
                if position[producer] < position[consumer]:
                    continue
                problems.append(
                    f"node '{names[consumer]}' (stage {position[consumer][0]}) needs a tensor of "
                    f"'{names[producer]}' (stage {position[producer][0]}), which runs later"
                )
    problems += constraint_problems(graph, position, len(plan.stages) - 1)
    if machine.memory_limit is not None and not problems:
        for number, cost in enumerate(evaluate_all(graph, machine, plan)):
            device = machine.at(number)
            if not device.fits(cost.held_bytes):
                problems.append(
                    f"stage {number} holds {cost.held_bytes} bytes, the limit is {device.memory_limit}"
                )
    return problems


def constraint_problems(
    graph: CostGraph, position: Mapping[int, tuple[int, int]], last: int
) -> list[str]:
    """Return the groups, uncuttable pairs and pins that a plan of all nodes breaks, in words.

    Parameters
    ----------
    position
        Stage of each node, and its place in the stage.
    last
        Number of the last stage.
    """
    names = graph.node_names
    problems: list[str] = []
    home: dict[int, int] = {}
    for node, group in enumerate(graph.group.tolist()):
        if group >= 0 and position[home.setdefault(group, node)][0] != position[node][0]:
            problems.append(f"group '{graph.group_names[group]}' is cut at node '{names[node]}'")
    for a, b in graph.uncuttable.tolist():
        if position[a][0] != position[b][0]:
            problems.append(f"uncuttable pair '{names[a]}', '{names[b]}' is cut")
    for node, stage in enumerate(graph.stage.tolist()):
        if stage == FIRST and position[node][0] != 0:
            problems.append(f"node '{names[node]}' is pinned to the first stage")
        if stage == LAST and position[node][0] != last:
            problems.append(f"node '{names[node]}' is pinned to the last stage")
    return problems
