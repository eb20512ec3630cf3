# SPDX-License-Identifier: Apache-2.0
"""A graph on a machine as the algorithms see it: every constraint compiled away.

Groups, uncuttable pairs and pins say that nodes share a stage.  Together with acyclicity that forces
more: what lies on a path between two nodes of a stage is in that stage.  :func:`compile_problem`
contracts all of it, so that search, exact method and bounds meet plain DAGs only, and any chain of
ideals of the contracted DAG is a valid plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .allocation import many_objects
from .classes import stage_classes
from .graph import CostGraph, Ragged
from .hard_limit import HardLimit
from .machine import Machine
from .plans import tensor_costs
from .units import INT64_MAX

if TYPE_CHECKING:
    from ._native import Instance, TensorUses

__all__ = ["Flow", "Problem", "compile_problem", "pinned"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The tensors of the cost graph, which no contraction touches: what peak memory depends on.

    Attributes
    ----------
    producer, consumers, nbytes
        Per tensor: the node that makes it, the nodes that read it, its size in bytes.
    reads, writes
        Tensors per node.
    """

    producer: tuple[int, ...]
    consumers: tuple[tuple[int, ...], ...]
    nbytes: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, graph: CostGraph) -> Flow:
        """Return the tensors of `graph`; those priced as times have no size."""
        reads: list[list[int]] = [[] for _ in range(graph.num_nodes)]
        writes: list[list[int]] = [[] for _ in range(graph.num_nodes)]
        producer, consumers = graph.tensor_producer.tolist(), graph.tensor_consumers.rows()
        for tensor, (p, users) in enumerate(zip(producer, consumers, strict=True)):
            writes[p].append(tensor)
            for u in users:
                reads[u].append(tensor)
        return cls(
            tuple(producer),
            tuple(map(tuple, consumers)),
            tuple(np.maximum(graph.tensor_bytes, 0).tolist()),
            tuple(map(tuple, reads)),
            tuple(map(tuple, writes)),
        )

    @cached_property
    def native(self) -> TensorUses:
        """The native form, made once."""
        from ._native import TensorUses

        rows = Ragged.of(self.consumers)
        return TensorUses(
            len(self.reads),
            np.array(self.producer, np.int32),
            np.array(self.nbytes, np.int64),
            rows.offsets,
            rows.values,
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """A DAG of contracted nodes with exact costs, and what each stands for.

    Attributes
    ----------
    machine
        Stages, bandwidth, latency, memory.
    work
        Picoseconds per contracted node.
    producer, consumers, cost
        Per tensor: the node that makes it, the other nodes that read it (sorted), and the
        picoseconds that each stage pays that sends or receives it.
    edges
        Precedence beyond the tensors (pins).
    param_bytes, params_of
        Bytes per parameter; parameters used per node.  Empty when memory cannot bind.
    working_set
        Bytes that are held at least while the node runs.
    members
        Nodes of the cost graph in each contracted node, in topological order.
    flow
        The tensors of the cost graph; None when memory cannot bind.
    limit
        The hard limit of memory; None when there is none or everything fits.
    alive
        Whether the native form knows what is surely alive while nodes of the cost graph run.
    """

    machine: Machine
    work: tuple[int, ...]
    producer: tuple[int, ...]
    consumers: tuple[tuple[int, ...], ...]
    cost: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    param_bytes: tuple[int, ...]
    params_of: tuple[tuple[int, ...], ...]
    working_set: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    flow: Flow | None
    limit: HardLimit | None = None
    alive: bool = False

    @property
    def memory_binds(self) -> bool:
        """Whether overflow can be above zero at all, or some stage may be refused."""
        return self.flow is not None

    @property
    def refusal(self) -> int:
        """A cost that no stage that fits reaches; without a hard limit no stage at all."""
        return self.limit.refusal if self.limit else INT64_MAX

    def overflow(self, held: int) -> int:
        """Return picoseconds for a stage that holds so many bytes, the step of a hard limit included."""
        penalty = self.limit.penalty(held) if self.limit else 0
        return penalty + self.machine.spill_time(held)

    def for_stages(self, stages: int) -> Problem:
        """Return the problem on a machine of another number of stages; nothing else depends on it."""
        if stages == self.machine.stages:
            return self
        other = replace(self, machine=replace(self.machine, stages=stages))
        # What is made once does not depend on the number of stages.
        for name in ("instance", "order", "total_work"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    def with_less_memory(self, nbytes: int) -> Problem:
        """Return the problem on a machine with so many bytes less, for searches that underrate peaks."""
        memory, limit = self.machine.memory, self.limit
        return replace(
            self,
            machine=replace(
                self.machine, memory=None if memory is None else max(0, memory - nbytes)
            ),
            limit=limit and replace(limit, nbytes=max(0, limit.nbytes - nbytes)),
        )

    def held_at_least(self) -> Sequence[int]:
        """Return bytes per node that every stage with it holds: its parameters, its working set."""
        return [
            sum(self.param_bytes[p] for p in params) + held
            for params, held in zip(self.params_of, self.working_set, strict=True)
        ]

    @property
    def num_nodes(self) -> int:
        """Number of contracted nodes."""
        return len(self.work)

    @cached_property
    def total_work(self) -> int:
        """Sum of all work in picoseconds."""
        return sum(self.work)

    @cached_property
    def instance(self) -> Instance:
        """The native form, made once."""
        from ._native import Instance

        rows = Ragged.of(self.consumers)
        instance = Instance(
            np.array(self.work, np.int64),
            np.array(self.producer, np.int32),
            np.array(self.cost, np.int64),
            rows.offsets,
            rows.values,
            np.array([a for a, _ in self.edges], np.int32),
            np.array([b for _, b in self.edges], np.int32),
        )
        if self.memory_binds:
            machine, params = self.machine, Ragged.of(self.params_of)
            instance.set_memory(
                INT64_MAX if machine.memory is None else machine.memory,
                machine.bandwidth or 1,
                np.array(self.param_bytes, np.int64),
                params.offsets,
                params.values,
                np.array(self.working_set, np.int64),
            )
        if self.limit is not None:
            instance.set_limit(self.limit.nbytes, self.limit.refusal, self.limit.per_byte)
        if self.alive and self.flow is not None:
            members = Ragged.of(self.members)
            instance.set_alive(self.flow.native, members.offsets, members.values)
        return instance

    def counting_alive(self) -> Problem:
        """Return the problem for bounds that count what is alive beside a working set."""
        return self if self.flow is None or self.alive else replace(self, alive=True)

    def least_costs(self) -> Sequence[int]:
        """Return picoseconds per node that every block with it costs: its work, what it spills alone."""
        if not self.memory_binds:
            return self.work
        held = self.held_at_least()
        return [work + self.overflow(size) for work, size in zip(self.work, held, strict=True)]

    @cached_property
    def order(self) -> npt.NDArray[np.int32]:
        """A topological order, precedence beyond the tensors included: int32[num_nodes]."""
        successors = self.successors()
        waiting = [0] * self.num_nodes
        for row in successors:
            for v in row:
                waiting[v] += 1
        order = [v for v, count in enumerate(waiting) if count == 0]
        for v in order:
            for u in successors[v]:
                waiting[u] -= 1
                if waiting[u] == 0:
                    order.append(u)
        return np.array(order, np.int32)

    def successors(self) -> list[list[int]]:
        """Return the distinct successors of every node."""
        rows: list[set[int]] = [set() for _ in self.work]
        for producer, users in zip(self.producer, self.consumers, strict=True):
            rows[producer].update(users)
        for a, b in self.edges:
            rows[a].add(b)
        return [sorted(row) for row in rows]

    def expand(self, block: Sequence[int], num_nodes: int) -> list[int]:
        """Return the block of every node of the cost graph from the blocks of contracted nodes."""
        full = [0] * num_nodes
        for number, nodes in zip(block, self.members, strict=True):
            for node in nodes:
                full[node] = number
        return full

    def contract(self, label: Sequence[int]) -> Problem:
        """Merge the nodes of equal label (0, 1, ... without holes); the result must be acyclic.

        Tensors inside a merged node vanish; tensors of one node with the same consumers become one
        whose cost is the sum, since the same stages pay them.
        """
        count = max(label) + 1
        rows: list[list[int]] = [[] for _ in range(count)]
        for v, new in enumerate(label):
            rows[new].append(v)
        merged: dict[tuple[int, tuple[int, ...]], int] = {}
        for producer, users, cost in zip(self.producer, self.consumers, self.cost, strict=True):
            home = label[producer]
            if len(users) == 1:  # most are
                outside: tuple[int, ...] = (label[users[0]],)
                if outside[0] == home:
                    continue
            else:
                outside = tuple(sorted({label[u] for u in users} - {home}))
            if outside:
                key = (home, outside)
                merged[key] = merged.get(key, 0) + cost
        return Problem(
            machine=self.machine,
            work=tuple(sum(self.work[v] for v in row) for row in rows),
            producer=tuple(home for home, _ in merged),
            consumers=tuple(users for _, users in merged),
            cost=tuple(merged.values()),
            edges=tuple(
                sorted({(label[a], label[b]) for a, b in self.edges if label[a] != label[b]})
            ),
            param_bytes=self.param_bytes,
            params_of=tuple(_united(self.params_of, row) for row in rows),
            working_set=tuple(max(self.working_set[v] for v in row) for row in rows),
            members=tuple(
                self.members[row[0]]
                if len(row) == 1
                else tuple(m for v in row for m in self.members[v])
                for row in rows
            ),
            flow=self.flow,
            limit=self.limit,
            alive=self.alive,
        )


def _united(sets: Sequence[tuple[int, ...]], row: Sequence[int]) -> tuple[int, ...]:
    if len(row) == 1:
        return sets[row[0]]
    return tuple(sorted({p for v in row for p in sets[v]}))


@many_objects()
def compile_problem(graph: CostGraph, machine: Machine) -> Problem:
    """Price the tensors of `graph` on `machine` and contract its constraints.

    Raises
    ------
    InputError
        If some tensor is given in bytes and the machine has no bandwidth, or the numbers are too
        large for a hard limit of memory.
    """
    if graph.has_constraints:
        label, first, last = stage_classes(graph)
        return pinned(_priced(graph, machine, range(graph.num_nodes)).contract(label), first, last)
    # Nothing to contract: what remains of it is to number the nodes in topological order.
    return _without_parallel(_priced(graph, machine, graph.topological_order.tolist()))


def _priced(graph: CostGraph, machine: Machine, order: Sequence[int]) -> Problem:
    """Return the graph on the machine with its own nodes, the i-th being node ``order[i]`` of the graph."""
    n = graph.num_nodes
    number = np.empty(n, np.int32)
    number[order] = np.arange(n, dtype=np.int32)
    uses = graph.tensor_consumers
    values = number[uses.values]
    readers = Ragged(uses.offsets, values[np.lexsort((values, uses.row_of()))])
    producer, consumers = number[graph.tensor_producer].tolist(), readers.rows()
    costs = tensor_costs(graph, machine)
    sizes = np.maximum(graph.tensor_bytes, 0)
    everything = int(sizes.sum()) + int(graph.param_bytes.sum())
    least = machine.least_memory
    binds = least is not None and everything > least
    limit = None
    if machine.memory_limit is not None and everything > machine.memory_limit:
        dearest = int(graph.work.sum()) + sum(costs) + machine.spill_time(everything)
        limit = HardLimit.of(machine.memory_limit, dearest, everything)
    params_of: list[list[int]] = [[]] * n
    working_set = np.zeros(n, np.int64)
    if binds:
        np.add.at(working_set, producer, sizes)
        np.add.at(working_set, readers.values, sizes[readers.row_of()])
        params_of = [[] for _ in range(n)]
        for parameter, users in enumerate(graph.param_users.rows()):
            for u in users:
                params_of[number[u]].append(parameter)
    return Problem(
        machine=machine,
        work=tuple(graph.work[order].tolist()),
        producer=tuple(producer),
        consumers=tuple(map(tuple, consumers)),
        cost=tuple(costs),
        edges=(),
        param_bytes=tuple(graph.param_bytes.tolist()) if binds else (),
        params_of=tuple(map(tuple, params_of)),
        working_set=tuple(working_set.tolist()),
        members=tuple((v,) for v in order),
        flow=Flow.of(graph) if binds else None,
        limit=limit,
    )


def _without_parallel(problem: Problem) -> Problem:
    """Drop tensors that nobody reads; those of one node with the same consumers become one of the summed cost."""
    if len(set(problem.producer)) == len(problem.producer) and all(problem.consumers):
        return problem
    merged: dict[tuple[int, tuple[int, ...]], int] = {}
    for key, cost in zip(
        zip(problem.producer, problem.consumers, strict=True), problem.cost, strict=True
    ):
        if key[1]:
            merged[key] = merged.get(key, 0) + cost
    return replace(
        problem,
        producer=tuple(p for p, _ in merged),
        consumers=tuple(users for _, users in merged),
        cost=tuple(merged.values()),
    )


def pinned(problem: Problem, first: int, last: int) -> Problem:
    """Put the class `first` into every non-empty ideal and `last` into none but the full one."""
    if first < 0 and last < 0:
        return problem
    successors = problem.successors()
    has_predecessor = {s for row in successors for s in row}
    edges = set(problem.edges)
    for v, row in enumerate(successors):
        if first >= 0 and v != first and v not in has_predecessor:
            edges.add((first, v))
        if last >= 0 and v != last and not row:
            edges.add((v, last))
    return replace(problem, edges=tuple(sorted(edges)))
