# SPDX-License-Identifier: Apache-2.0
"""The exact program over ideals and devices, for one threshold after another.

Only plans below a threshold are asked for, so tensors that cost a block too much are never cut: their classes
are contracted, and the graph is reduced again before its ideals are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from .. import _native
from ..effort import Effort
from .devices import Fleet
from .lowering import NO_LIMIT, native_task
from .merges import reduce_task
from .task import Task

__all__ = ["Ask", "Found", "Listed", "linked", "near_order"]

_MOST_BYTES: Final = 2**30
_BYTES_PER_STATE: Final = 16


@dataclass(frozen=True)
class Ask:
    """What makes a plan the best: its longest stage, or the sum of its stages.

    Attributes
    ----------
    latency
        The sum: one request passes through one stage after another.
    stage_limit
        Picoseconds that no stage may exceed; None for no such limit.
    cheapest
        The cost of the devices comes first.
    """

    latency: bool = False
    stage_limit: int | None = None
    cheapest: bool = False

    def weights(self, fleet: Fleet) -> list[int]:
        """Return what the devices in use cost in each state; empty where that does not matter."""
        return fleet.costs() if self.cheapest else []


@dataclass(frozen=True)
class Found:
    """The answer of the program: ``yes`` with the best plan below the threshold, ``no`` if there is none.

    `value` is the bottleneck, or the latency where that was asked for.  `stages` lists the nodes of the cost graph in each stage, unordered, and `devices` what each takes.
    """

    answer: str
    value: int = 0
    stages: tuple[tuple[int, ...], ...] = ()
    devices: tuple[int, ...] = ()
    pairs: int = 0
    interrupted: bool = False


class Listed:
    """A task with the ideals of its precedence, or of that precedence and more; at most so many."""

    def __init__(
        self,
        task: Task,
        effort: Effort,
        more: Iterable[tuple[int, int]] = (),
        most: int | None = None,
    ) -> None:
        self.task = task
        pairs = [(v, w) for v, row in enumerate(task.after) for w in row] + list(more)
        edges = np.array(sorted(set(pairs)), np.int32).reshape(-1, 2)
        none64, none32 = np.zeros(0, np.int64), np.zeros(0, np.int32)
        self._instance = _native.Instance(
            np.zeros(task.size, np.int64),
            none32,
            none64,
            np.zeros(1, np.int64),
            none32,
            np.ascontiguousarray(edges[:, 0]),
            np.ascontiguousarray(edges[:, 1]),
        )
        if most is None:
            most = _MOST_BYTES // (_BYTES_PER_STATE * task.fleet.states + 64)
        self._ideals = _native.IdealGraph(
            self._instance, max_ideals=most, max_bytes=_MOST_BYTES, **effort.native()
        )

    @property
    def native(self) -> _native.IdealGraph:
        """The ideals, for the native core."""
        return self._ideals

    @property
    def complete(self) -> bool:
        """Whether all ideals were listed: there are few enough, and there was time."""
        return self._ideals.complete

    @property
    def count(self) -> int:
        """The number of ideals listed."""
        return self._ideals.count

    def best(self, below: int, effort: Effort, margin: int = 0, ask: Ask | None = None) -> Found:
        """Return the best plan of a value < `below` picoseconds, every memory smaller by `margin` bytes."""
        ask = ask or Ask()
        transitions = list(self.task.fleet.transitions())
        native = native_task(self.task, transitions, margin)
        answer, value, block, taken, pairs, interrupted = native.best(
            self._ideals,
            below,
            stage_below=NO_LIMIT if ask.stage_limit is None else ask.stage_limit + 1,
            sum=ask.latency,
            weight=np.array(ask.weights(self.task.fleet), np.int64),
            **effort.native(),
        )
        if answer != "yes":
            return Found(answer, pairs=pairs, interrupted=interrupted)
        stages: list[list[int]] = [[] for _ in taken.tolist()]
        for v, number in enumerate(block.tolist()):
            stages[number].extend(self.task.members[v])
        devices = tuple(transitions[t][3] for t in taken.tolist())
        if self.task.reverse:
            stages, devices = stages[::-1], devices[::-1]
        return Found(answer, value, tuple(map(tuple, stages)), devices, pairs, interrupted)


def near_order(order: Sequence[int], width: int) -> list[tuple[int, int]]:
    """Return precedence that lets only classes less than `width` places apart change places.

    With width 1 the order is the only one left.
    """
    last = len(order)
    return [
        (order[i], order[j])
        for i in range(last)
        for j in range(i + width, min(i + 2 * width, last))
    ]


def linked(task: Task, below: int) -> Task:
    """Unite what no plan of bottleneck < `below` puts into different blocks, and reduce the rest.

    A tensor that is cut is paid by its sender and by each receiver, beside the work of the node at that end.
    One of two different blocks may be on a device whose transfers are free if there is one such
    device; with more of them both may.
    """
    free = sum(
        kind.count
        for q, kind in enumerate(task.fleet.kinds)
        if all(seat.receive.free and seat.send.free for seat in task.fleet.seats if seat.kind == q)
    )
    mixed = any(seat.receive.free != seat.send.free for seat in task.fleet.seats)
    if free > 1 or mixed:
        return task
    seats = [
        s for s, seat in enumerate(task.fleet.seats) if not (seat.receive.free and seat.send.free)
    ]
    if not seats:
        return task
    least = task.least_work()

    def dearer(v: int, price: int) -> bool:
        return (max if task.fleet.overlap else sum)((least[v], price)) >= below

    together: list[Sequence[int]] = []
    for t, (p, users) in enumerate(zip(task.producer, task.consumers, strict=True)):
        sent = dearer(p, min(task.send[s][t] for s in seats))
        price = min(task.receive[s][t] for s in seats)
        for user in users:
            received = dearer(user, price)
            if (sent and received) if free else (sent or received):
                together.append((p, user))
    return reduce_task(task.contract(together)) if together else task
