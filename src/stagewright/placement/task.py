# SPDX-License-Identifier: Apache-2.0
"""The problem as the algorithms see it: classes of nodes, work per seat, tensors priced per link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..classes import merge_classes, stage_classes
from ..errors import InputError
from ..units import INT64_MAX
from .devices import UNABLE, Fleet, Seat
from .workload import Workload

__all__ = ["Task", "compile_task"]


@dataclass(frozen=True, eq=False)
class Task:
    """Classes of nodes with costs per seat.

    Attributes
    ----------
    fleet
        The devices; `work[s]` belongs to its s-th seat.
    work
        Picoseconds per seat and class, `UNABLE` where the seat cannot run it.
    producer, consumers
        Per tensor: the class that makes it and the other classes that read it, sorted.
    receive, send
        Picoseconds per seat and tensor.
    after
        Per class those whose block is the same or a later one, sorted; acyclic.
    param_bytes, params_of, working_set
        As in :class:`..problem.Problem`; zero and empty where memory cannot bind.
    members
        The nodes of each class.
    training
        Whether some nodes run backward.
    kept_bytes, kept_of, fed_bytes, back_bytes
        With a schedule and where memory can bind: the bytes of what the backward pass needs of the forward
        pass, which of it each class needs, and the bytes of each tensor that a stage that receives it keeps if it
        recomputes, and that it holds between its passes.
    reverse
        Whether the classes stand from the last to the first along the pipeline, as a schedule has them.
    """

    fleet: Fleet
    work: tuple[tuple[int, ...], ...]
    producer: tuple[int, ...]
    consumers: tuple[tuple[int, ...], ...]
    receive: tuple[tuple[int, ...], ...]
    send: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    param_bytes: tuple[int, ...]
    params_of: tuple[tuple[int, ...], ...]
    working_set: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    training: bool
    kept_bytes: tuple[int, ...] = ()
    kept_of: tuple[tuple[int, ...], ...] = ()
    fed_bytes: tuple[int, ...] = ()
    back_bytes: tuple[int, ...] = ()
    reverse: bool = False

    @property
    def size(self) -> int:
        """The number of classes."""
        return len(self.members)

    def least_work(self) -> list[int]:
        """Return the fewest picoseconds that each class takes anywhere, 0 where nothing can run it."""
        if not any(UNABLE in row for row in self.work):
            return list(map(min, zip(*self.work, strict=True)))
        return [
            min([w for w in column if w != UNABLE], default=0)
            for column in zip(*self.work, strict=True)
        ]

    def contract(self, together: Sequence[Sequence[int]]) -> Task:
        """Unite each set of classes, and what acyclicity adds; classes are in topological order."""
        return self.united(merge_classes(self.after, together, range(self.size)))

    def united(self, label: Sequence[int]) -> Task:
        """Unite the classes of equal labels 0, 1, ..., between which precedence is acyclic."""
        count = max(label) + 1
        rows: list[set[int]] = [set() for _ in range(count)]
        for v, above in enumerate(self.after):
            rows[label[v]].update([label[w] for w in above])
        for v, row in enumerate(rows):
            row.discard(v)
        place = _positions(rows)
        label = [place[v] for v in label]
        after: list[tuple[int, ...]] = [()] * count
        for v, row in enumerate(rows):
            after[place[v]] = tuple(sorted([place[w] for w in row]))
        homes: list[list[int]] = [[] for _ in range(count)]
        for v, new in enumerate(label):
            homes[new].append(v)
        # Tensors of the same ends are one; `slot` says which.
        merged: dict[tuple[int, tuple[int, ...]], int] = {}
        slot: list[tuple[int, int]] = []
        for t, (p, users) in enumerate(zip(self.producer, self.consumers, strict=True)):
            outside = {label[u] for u in users}
            outside.discard(label[p])
            if outside:
                ends = label[p], tuple(sorted(outside))
                slot.append((t, merged.setdefault(ends, len(merged))))
        # Nothing is united, and no tensors are: often so for the graph itself.
        ends_of = list(zip(self.producer, self.consumers, strict=True))
        if label == list(range(self.size)) and list(merged) == ends_of:
            return self
        done: dict[int, tuple[int, ...]] = {}  # seats may share rows

        def summed(row: tuple[int, ...]) -> tuple[int, ...]:
            if id(row) not in done:
                sums = [0] * len(merged)
                for t, i in slot:
                    sums[i] += row[t]
                done[id(row)] = tuple(sums)
            return done[id(row)]

        def added(row: tuple[int, ...]) -> tuple[int, ...]:
            sums = [0] * count
            for w, new in zip(row, label, strict=True):
                sums[new] += w
            for w, new in zip(row, label, strict=True) if UNABLE in row else ():
                if w == UNABLE:
                    sums[new] = UNABLE
            return tuple(sums)

        def joined(rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
            if not any(rows):
                return ((),) * count
            return tuple(tuple(sorted({p for v in home for p in rows[v]})) for home in homes)

        return replace(
            self,
            work=tuple(map(added, self.work)),
            producer=tuple([p for p, _ in merged]),
            consumers=tuple([users for _, users in merged]),
            receive=tuple(map(summed, self.receive)),
            send=tuple(map(summed, self.send)),
            after=tuple(after),
            params_of=joined(self.params_of),
            kept_of=joined(self.kept_of) if self.kept_of else (),
            fed_bytes=summed(self.fed_bytes) if self.fed_bytes else (),
            back_bytes=summed(self.back_bytes) if self.back_bytes else (),
            working_set=tuple([max([self.working_set[v] for v in home]) for home in homes]),
            members=tuple([tuple([m for v in home for m in self.members[v]]) for home in homes]),
        )


def _positions(rows: Sequence[set[int]]) -> list[int]:
    """Return the place of each class in a topological order that keeps to the numbers where it can."""
    import heapq

    waiting = [0] * len(rows)
    for row in rows:
        for v in row:
            waiting[v] += 1
    ready = [v for v, count in enumerate(waiting) if not count]
    place, number = [0] * len(rows), 0
    while ready:
        v = heapq.heappop(ready)
        place[v] = number
        number += 1
        for w in rows[v]:
            waiting[w] -= 1
            if not waiting[w]:
                heapq.heappush(ready, w)
    return place


def compile_task(workload: Workload, fleet: Fleet) -> Task:
    """Price everything and contract the constraints.

    Raises
    ------
    InputError
        If some tensor is given in bytes and a kind has no bandwidth, a kind's work is of another graph,
        training meets links between neighbours, or a schedule has no backward pass.
    """
    graph = workload.graph
    n = graph.num_nodes
    if fleet.links is not None and any(workload.backward):
        raise InputError(
            "links between neighbours",
            "none for training, whose tensors go both ways",
            f"{len(fleet.links)} links",
        )
    if fleet.schedule is not None and not any(workload.backward):
        raise InputError("schedule", "a workload with a backward pass", "one without")
    precedence = workload.precedence()
    label, first, last = stage_classes(graph, precedence)
    nbytes, times = graph.tensor_bytes.tolist(), graph.tensor_time.tolist()
    consumers = graph.tensor_consumers.rows()
    producer, replicable = graph.tensor_producer.tolist(), graph.replicable.tolist()
    sizes = [max(0, size) for size in nbytes]
    everything = most_held(fleet, sum(sizes), int(graph.param_bytes.sum()))
    limits = [m for kind in fleet.kinds for m in (kind.memory, kind.memory_limit) if m is not None]
    binds = everything > min(limits, default=everything)
    synced = any(seat.replicas > 1 for seat in fleet.seats)
    working_set, params_of = [0] * n, _users(workload) if binds or synced else [()] * n
    if binds:
        for p, users, size in zip(producer, consumers, sizes, strict=True):
            for v in (p, *users):
                working_set[v] += size
    links = {link for seat in fleet.seats for link in (seat.receive, seat.send)}
    prices = {link: link.prices(nbytes, times) for link in links}
    if any(replicable):
        for link, row in prices.items():
            prices[link] = tuple(
                [0 if replicable[p] else price for p, price in zip(producer, row, strict=True)]
            )
    plain = Task(
        fleet=fleet,
        work=tuple(workload.work_at(fleet, seat) for seat in fleet.seats),
        producer=tuple(producer),
        consumers=tuple(map(tuple, consumers)),
        receive=tuple(_of_one(seat, prices[seat.receive]) for seat in fleet.seats),
        send=tuple(_of_one(seat, prices[seat.send]) for seat in fleet.seats),
        after=tuple(tuple(sorted(set(row))) for row in precedence),
        param_bytes=tuple(graph.param_bytes.tolist()) if binds or synced else (),
        params_of=tuple(params_of),
        working_set=tuple(working_set),
        members=tuple((v,) for v in range(n)),
        training=any(workload.backward),
        **(_stashes(workload, sizes) if binds and fleet.schedule is not None else {}),
    )
    groups: list[list[int]] = [[] for _ in range(max(label) + 1)]
    for v, number in enumerate(label):
        groups[number].append(v)
    task = plain.contract(groups)
    pinned = [-1 if c < 0 else groups[c][0] for c in (first, last)]
    home = {m: c for c, nodes in enumerate(task.members) for m in nodes}
    task = _pinned(task, *(-1 if v < 0 else home[v] for v in pinned))
    return task if fleet.schedule is None else _turned(task)


def _of_one(seat: Seat, prices: tuple[int, ...]) -> tuple[int, ...]:
    """Return the part of one replica in the price of each tensor."""
    return prices if seat.replicas == 1 else tuple(map(seat.shared, prices))


def most_held(fleet: Fleet, activations: int, params: int) -> int:
    """Return bytes that no stage exceeds.

    Raises
    ------
    InputError
        If they do not fit in 64 bits.
    """
    if fleet.schedule is None:
        return activations + params
    flight = fleet.schedule.in_flight(1, fleet.stages)
    if fleet.schedule.interleaved:  # no chunk of a device has more than two rounds in flight
        flight = fleet.schedule.chunks * min(fleet.schedule.microbatches, 2 * fleet.stages)
    held = fleet.schedule.state_factor * params + (1 + flight) * activations
    if held > INT64_MAX // 4:
        raise InputError("microbatches", "as many as can be counted in 64 bits of bytes", str(held))
    return held


def _stashes(workload: Workload, sizes: Sequence[int]) -> dict[str, Any]:
    """Return what classes of one node keep for the backward pass, and what they keep of what they receive."""
    graph, backward = workload.graph, workload.backward
    producer, consumers = graph.tensor_producer.tolist(), graph.tensor_consumers.rows()
    fed = tuple(0 if backward[p] else size for p, size in zip(producer, sizes, strict=True))
    kept_of: list[list[int]] = [[] for _ in backward]
    kept = [t for t, size in enumerate(fed) if size and any(backward[v] for v in consumers[t])]
    for i, t in enumerate(kept):
        for v in consumers[t]:
            if backward[v]:
                kept_of[v].append(i)
    return {
        "kept_bytes": tuple(fed[t] for t in kept),
        "kept_of": tuple(map(tuple, kept_of)),
        "fed_bytes": fed,
        "back_bytes": tuple(size - own for size, own in zip(sizes, fed, strict=True)),
    }


def _turned(task: Task) -> Task:
    """Return the task from the end of the pipeline to its start.

    What a block costs does not depend on the direction; how many devices come behind it is known then.
    """
    rows: list[list[int]] = [[] for _ in task.after]
    for v, row in enumerate(task.after):
        for w in row:
            rows[w].append(v)
    return replace(task, after=tuple(map(tuple, rows)), reverse=True).contract([])


def _users(workload: Workload) -> list[tuple[int, ...]]:
    rows: list[list[int]] = [[] for _ in range(workload.graph.num_nodes)]
    for parameter, users in enumerate(workload.graph.param_users.rows()):
        for u in users:
            rows[u].append(parameter)
    return list(map(tuple, rows))


def _pinned(task: Task, first: int, last: int) -> Task:
    """Put the class `first` into every non-empty ideal and `last` into none but the full one."""
    if first < 0 and last < 0:
        return task
    rows = [set(row) for row in task.after]
    for v, row in enumerate(rows):
        if first >= 0 and v != first:
            rows[first].add(v)
        if last >= 0 and v != last:
            row.add(last)
    return replace(task, after=tuple(tuple(sorted(row)) for row in rows)).contract([])
