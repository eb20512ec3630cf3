# SPDX-License-Identifier: Apache-2.0
"""The exact program for the makespan: plans as chains of ideals, and what is open on the way.

A plan lists its stages in an order in which no stage needs a later one, so it is a chain of ideals; the next stage is
the difference of two of them.  What later stages have to know of the earlier ones is when the classes are done whose
tensors they may still need: those of the ideal with successors outside (the open ones).  A label holds the makespan so
far and these times, per ideal and devices in use.  A label that is nowhere less than another one at the
same place is dropped.  So is one that cannot end below the best plan: behind a stage follows at least the heaviest path,
by the least work anywhere, of what still needs it.

The merges of :mod:`.task` raise no makespan either.  Moving u into the block B of its successor x, which every
other successor of u can be reached from, costs no block more; B needed the block A of u before and so was not to start
before whatever u needs was done; and who needs u's tensors needed x, or is in B.  Likewise the other way round: what
u needs is reached before x, so B waits for nothing new, and who needs u is not done earlier in A than in B,
which A waited for.

Memory counts a stage's parameters and its largest working set, a lower bound of what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..effort import Effort
from .devices import UNABLE
from .task import Task

__all__ = ["MakespanFound", "best_makespan", "heaviest_path", "path_to"]

_MOST_IDEALS: Final = 1500
_MOST_LABELS: Final = 400_000


@dataclass(frozen=True)
class MakespanFound:
    """``yes`` with the best plan below the threshold, ``no`` if there is none, ``unknown`` if that is too much."""

    answer: str
    value: int = 0
    stages: tuple[tuple[int, ...], ...] = ()
    devices: tuple[int, ...] = ()
    ideals: int | None = None


@dataclass(frozen=True, eq=False)
class _Label:
    """A way to run an ideal: when it is done in all, when each open class is, and the last stage."""

    makespan: int
    ready: tuple[int, ...]
    block: int = 0
    place: int = 0
    before: _Label | None = None


def heaviest_path(task: Task) -> list[int]:
    """Return per class the least work, on any device, of the heaviest path that starts with it."""
    least, users, path = task.least_work(), _users(task), [0] * task.size
    for v in range(task.size - 1, -1, -1):
        path[v] = least[v] + max((path[w] for w in users[v]), default=0)
    return path


def path_to(task: Task) -> list[int]:
    """Return per class the least work, on any device, of the heaviest path that ends with it."""
    least, users = task.least_work(), _users(task)
    path = list(least)
    for v in range(task.size):
        for w in users[v]:
            path[w] = max(path[w], path[v] + least[w])
    return path


def _users(task: Task) -> list[set[int]]:
    """Return per class those that read its tensors."""
    users: list[set[int]] = [set() for _ in range(task.size)]
    for p, row in zip(task.producer, task.consumers, strict=True):
        users[p].update(row)
    return users


def best_makespan(
    task: Task, below: int, effort: Effort, *, stage_limit: int | None = None, margin: int = 0
) -> MakespanFound:
    """Return the plan of least makespan below `below` picoseconds.

    Parameters
    ----------
    stage_limit
        Picoseconds that no stage may exceed.
    margin
        Bytes by which every memory is smaller.
    """
    return _Program(task, below, effort, stage_limit, margin).run()


class _Program:
    def __init__(
        self, task: Task, below: int, effort: Effort, stage_limit: int | None, margin: int
    ) -> None:
        self.task, self.below, self.effort, self.margin = task, below, effort, margin
        self.stage_below = below if stage_limit is None else min(below, stage_limit + 1)
        self.users = _users(task)
        self.sources: list[set[int]] = [set() for _ in range(task.size)]
        for v, row in enumerate(self.users):
            for w in row:
                self.sources[w].add(v)
        self.path = heaviest_path(task)
        self.tensors: list[list[int]] = [[] for _ in range(task.size)]
        self.pins = []
        for t, (p, users) in enumerate(zip(task.producer, task.consumers, strict=True)):
            self.pins.append((1 << p, sum(1 << v for v in users)))
            for v in (p, *users):
                self.tensors[v].append(t)
        self.steps: dict[int, list[tuple[int, int, int]]] = {}
        for state, to, seat, place, _ in task.fleet.transitions():
            self.steps.setdefault(state, []).append((to, seat, place))
        self.best: _Label | None = None

    def run(self) -> MakespanFound:
        ideals = self._ideals()
        if ideals is None:
            return MakespanFound("unknown")
        opens = {ideal: self._open(ideal) for ideal in ideals}
        labels: dict[int, dict[int, list[_Label]]] = {ideal: {} for ideal in ideals}
        labels[0][0] = [_Label(0, ())]
        whole, count = (1 << self.task.size) - 1, 0
        for i, ideal in enumerate(ideals):
            here = labels.pop(ideal)
            if not here or ideal == whole:
                continue
            for larger in ideals[i + 1 :]:
                if ideal & ~larger:
                    continue
                for state, label in self._next(ideal, larger, here, opens):
                    if larger == whole:
                        if label.makespan < self.below:
                            self.best, self.below = label, label.makespan
                            self.stage_below = min(self.stage_below, label.makespan)
                    elif _offer(labels[larger].setdefault(state, []), label):
                        count += 1
                if count > _MOST_LABELS or self.effort.over():
                    return MakespanFound("unknown")
        if self.best is None:
            return MakespanFound("no", ideals=len(ideals))
        return self._plan(self.best, len(ideals))

    def _ideals(self) -> list[int] | None:
        """Return all ideals, smaller ones first; None where there are too many."""
        before = [0] * self.task.size
        for v, row in enumerate(self.task.after):
            for w in row:
                before[w] |= 1 << v
        found, layer = [], {0}
        while layer:
            found += sorted(layer)
            if len(found) > _MOST_IDEALS or self.effort.over():
                return None
            layer = {
                ideal | 1 << v
                for ideal in layer
                for v in range(self.task.size)
                if not ideal >> v & 1 and not before[v] & ~ideal
            }
        return found

    def _open(self, ideal: int) -> list[int]:
        return [v for v in _bits(ideal) if any(not ideal >> w & 1 for w in self.users[v])]

    def _next(
        self,
        ideal: int,
        larger: int,
        here: dict[int, list[_Label]],
        opens: dict[int, list[int]],
    ) -> Iterator[tuple[int, _Label]]:
        """Yield the labels that one more stage, from an ideal to a larger one, leads to."""
        block = larger & ~ideal
        nodes = list(_bits(block))
        costs: dict[int, int | None] = {}
        old, new = opens[ideal], opens[larger]
        needed = {v for w in nodes for v in self.sources[w]}
        waits = [i for i, v in enumerate(old) if v in needed]
        kept = [old.index(v) if not block >> v & 1 else -1 for v in new]
        behind = max(
            (self.path[w] for v in nodes for w in self.users[v] if not larger >> w & 1), default=0
        )
        for state, labels in here.items():
            for to, seat, place in self.steps.get(state, ()):
                if seat not in costs:
                    costs[seat] = self._cost(block, nodes, seat)
                cost = costs[seat]
                if cost is None or cost >= self.stage_below:
                    continue
                for label in labels:
                    done = max((label.ready[i] for i in waits), default=0) + cost
                    makespan = max(label.makespan, done)
                    if makespan >= self.below or done + behind >= self.below:
                        continue
                    ready = tuple(done if i < 0 else label.ready[i] for i in kept)
                    yield to, _Label(makespan, ready, block, place, label)

    def _cost(self, block: int, nodes: Sequence[int], seat: int) -> int | None:
        """Return what a block costs on a seat; None if it cannot run there."""
        task = self.task
        kind = task.fleet.kinds[task.fleet.seats[seat].kind]
        work = [task.work[seat][v] for v in nodes]
        if UNABLE in work:
            return None
        params = {p for v in nodes for p in task.params_of[v]}
        held = sum(task.param_bytes[p] for p in params) + max(task.working_set[v] for v in nodes)
        held += self.margin if any(task.working_set) else 0
        if not kind.fits(held):
            return None
        received = sent = 0
        for t in {t for v in nodes for t in self.tensors[v]}:
            made, read = self.pins[t]
            if made & block:
                sent += task.send[seat][t] if read & ~block else 0
            elif read & block:
                received += task.receive[seat][t]
        compute = sum(work) + kind.spill_time(held)
        return max(compute, received, sent) if task.fleet.overlap else compute + received + sent

    def _plan(self, label: _Label, ideals: int) -> MakespanFound:
        value, stages, devices = label.makespan, [], []
        while label.before is not None:
            stages.append(tuple(m for v in _bits(label.block) for m in self.task.members[v]))
            devices.append(label.place)
            label = label.before
        return MakespanFound("yes", value, tuple(stages[::-1]), tuple(devices[::-1]), ideals)


def _offer(row: list[_Label], label: _Label) -> bool:
    """Keep a label unless another one is as good everywhere; drop those that it beats."""
    key = (label.makespan, *label.ready)
    for other in row:
        if all(a <= b for a, b in zip((other.makespan, *other.ready), key, strict=True)):
            return False
    row[:] = [
        other
        for other in row
        if not all(a <= b for a, b in zip(key, (other.makespan, *other.ready), strict=True))
    ]
    row.append(label)
    return True


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
