# SPDX-License-Identifier: Apache-2.0
"""The problem as the algorithms see it: classes of nodes, work per seat, tensors priced per link.

**Merges that never lose the optimum.**  Let u and x be classes, x a successor of u from which all other successors of
u can be reached (or, mirrored, a predecessor that all other predecessors reach).  Take any plan in which they
are in different blocks, A with u and B with x, and move u to B: by the choice of x no precedence breaks, for
what u has to come before comes not before B, and what has to come before u is in A or earlier.  Of the tensors of
u let E be those between u and x alone, and O those that x has no part in.  Blocks other than A and B are
cut by the same tensors as before.  Those of E are no longer cut by either, and those of O may now be cut by
both.  A tensor that x has a part in was cut by both and costs no more, but for one case: what u makes for x
and for others B received before and sends now; let T be the sum of what sending those costs more than receiving.
So no block costs more if, on every seat,

    work(u) + the dearest end of all of O + T <= the cheapest end of all of E

where x can run (B), and the same without work(u) and T where u can (A); on seats where x can run u must be able
to run.  No other tensor turns round: along the pipeline u passes no consumer of its tensors.  In training,
where it could, both ends cost the same on every seat (links between neighbours are refused).  Where receiving,
sending and computing overlap, the sum says nothing, so there O must be empty, nothing turn round, u be without
work, and nothing run backward.  Where memory binds, u must hold nothing: no parameters, and no bytes while
it runs.  With replicas u must have no parameters either.  With a schedule A may be empty then, and a stage
before it has fewer devices behind it and keeps no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..classes import merge_classes, stage_classes
from ..errors import InputError
from ..units import INT64_MAX
from .devices import UNABLE, Fleet
from .workload import Workload

__all__ = ["Task", "compile_task", "reduce_task"]


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
        return [
            min((row[v] for row in self.work if row[v] != UNABLE), default=0)
            for v in range(self.size)
        ]

    def contract(self, together: Sequence[Sequence[int]]) -> Task:
        """Unite each set of classes, and what acyclicity adds; classes are in topological order."""
        label = merge_classes(self.after, together, range(self.size))
        count = max(label) + 1
        rows: list[set[int]] = [set() for _ in range(count)]
        for v, above in enumerate(self.after):
            rows[label[v]].update(label[w] for w in above if label[w] != label[v])
        place = _positions(rows)
        label = [place[v] for v in label]
        after: list[tuple[int, ...]] = [()] * count
        for v, row in enumerate(rows):
            after[place[v]] = tuple(sorted(place[w] for w in row))
        homes: list[list[int]] = [[] for _ in range(count)]
        for v, new in enumerate(label):
            homes[new].append(v)
        merged: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for t, (p, users) in enumerate(zip(self.producer, self.consumers, strict=True)):
            outside = tuple(sorted({label[u] for u in users} - {label[p]}))
            if outside:
                merged.setdefault((label[p], outside), []).append(t)

        def summed(row: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(sum(row[t] for t in tensors) for tensors in merged.values())

        def added(row: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(
                UNABLE if any(row[v] == UNABLE for v in home) else sum(row[v] for v in home)
                for home in homes
            )

        def united(rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(sorted({p for v in home for p in rows[v]})) for home in homes)

        return replace(
            self,
            work=tuple(map(added, self.work)),
            producer=tuple(p for p, _ in merged),
            consumers=tuple(users for _, users in merged),
            receive=tuple(map(summed, self.receive)),
            send=tuple(map(summed, self.send)),
            after=tuple(after),
            params_of=united(self.params_of),
            kept_of=united(self.kept_of) if self.kept_of else (),
            fed_bytes=summed(self.fed_bytes) if self.fed_bytes else (),
            back_bytes=summed(self.back_bytes) if self.back_bytes else (),
            working_set=tuple(max(self.working_set[v] for v in home) for home in homes),
            members=tuple(tuple(m for v in home for m in self.members[v]) for home in homes),
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
    prices = {
        link: tuple(
            0 if replicable[p] else link.price(size, time)
            for p, size, time in zip(producer, nbytes, times, strict=True)
        )
        for link in {link for seat in fleet.seats for link in (seat.receive, seat.send)}
    }
    plain = Task(
        fleet=fleet,
        work=tuple(workload.work_at(fleet, seat) for seat in fleet.seats),
        producer=tuple(producer),
        consumers=tuple(map(tuple, consumers)),
        receive=tuple(tuple(map(seat.shared, prices[seat.receive])) for seat in fleet.seats),
        send=tuple(tuple(map(seat.shared, prices[seat.send])) for seat in fleet.seats),
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


def reduce_task(task: Task) -> Task:
    """Merge classes until no rule of this module's docstring applies."""
    while True:
        merges = _Merges(task)
        if not merges.found:
            return task
        task = task.contract(merges.found)


class _Merges:
    """Pairs of classes to merge, no class in two of them: each is safe after the others."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.seats = range(len(task.work))
        self.tensors: list[list[int]] = [[] for _ in range(task.size)]
        for t, (p, users) in enumerate(zip(task.producer, task.consumers, strict=True)):
            for v in (p, *users):
                self.tensors[v].append(t)
        before: list[list[int]] = [[] for _ in range(task.size)]
        for v, row in enumerate(task.after):
            for w in row:
                before[w].append(v)
        self.found: list[tuple[int, int]] = []
        if task.fleet.overlap and task.training:
            return
        below, above = _closures(task.after, before)
        taken: set[int] = set()
        for u in range(task.size):
            ahead, behind = task.after[u], before[u]
            # Classes are in topological order: the first successor is the only one that may reach all.
            candidates = [
                (ahead[0], below, ahead) if ahead else None,
                (behind[-1], above, behind) if behind else None,
            ]
            for candidate in filter(None, candidates):
                x, reach, neighbours = candidate
                if (
                    u in taken
                    or x in taken
                    or any(not reach[x] >> w & 1 for w in neighbours if w != x)
                ):
                    continue
                if self._safe(u, x):
                    taken |= {u, x}
                    self.found.append((u, x))

    def _safe(self, u: int, x: int) -> bool:
        task = self.task
        if task.working_set[u] or task.params_of[u]:
            return False
        among = [(t, {task.producer[t], *task.consumers[t]}) for t in self.tensors[u]]
        own = [t for t, pins in among if pins == {u, x}]
        others = [t for t, pins in among if x not in pins]
        turned = [t for t, pins in among if x in pins and len(pins) > 2 and task.producer[t] == u]
        if task.fleet.overlap and (others or turned):
            return False
        for s in self.seats:
            receive, send = task.receive[s], task.send[s]
            saved = sum(min(receive[t], send[t]) for t in own)
            paid = sum(max(receive[t], send[t]) for t in others)
            sent = sum(max(0, send[t] - receive[t]) for t in turned)
            runs_u, runs_x = task.work[s][u] != UNABLE, task.work[s][x] != UNABLE
            if runs_x and not runs_u:
                return False
            if runs_x and task.work[s][u] + paid + sent > (0 if task.fleet.overlap else saved):
                return False
            if runs_u and paid > saved:
                return False
        return True


def _closures(
    after: Sequence[Sequence[int]], before: Sequence[Sequence[int]]
) -> tuple[list[int], list[int]]:
    """Return the classes that each reaches, and those that reach it, as bits; it counts among both."""
    n = len(after)
    below, above = [0] * n, [0] * n
    for v in range(n - 1, -1, -1):
        below[v] = 1 << v
        for w in after[v]:
            below[v] |= below[w]
    for v in range(n):
        above[v] = 1 << v
        for w in before[v]:
            above[v] |= above[w]
    return below, above
