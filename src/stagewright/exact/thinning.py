# SPDX-License-Identifier: Apache-2.0
"""The program over ideals without a few nodes, where memory binds and there are too many ideals.

Nodes that may run nearly anywhere make most of the ideals: the projections of a time step that every residual
block reads, the keys and values of cross-attention.  Leave some of them out, with all tensors they
write and all parameters that only they use.  From a plan of the whole problem the plan of the rest follows by leaving
them out of their stages, and no stage S becomes dearer:

- work(S) and param(S) lose terms, and a tensor that was not cut is not cut now: it has fewer consumers.
- An order of S without them holds no more at any time: a tensor dies with the last of fewer readers, and those that
  they write are gone.  A tensor that nobody else reads stays in the run of its producer, who holds it anyway.

Part of what a stage pays for them comes back (:func:`_charges`).  Let u be left out, w its work, p the bytes that only u uses as
parameters, and t_1, t_2, ... its tensors with some reader in the rest, of cost c_i.  A stage S with a reader of t_i either
receives t_i, for c_i, or holds u, for w and p bytes more.  So with w_i + time(p_i) <= c_i, the w_i together at most w and the p_i at
most p, every stage with a reader of t_i pays w_i and holds p_i bytes: without u in S, received tensors cost at least as much as
both, and with u in S work and parameters are at least these.  Bytes count as a parameter of all readers of t_i, and work
at one of them; with a hard limit of memory bytes are no time, and none are charged.

What precedes what among the rest still does.  So the optimum of the rest is a lower bound for the whole, and
the program over its ideals finds it.  Its plan is a plan of the whole as soon as the nodes have a stage each,
anywhere between those of what they read and of what reads them (:class:`Placing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .. import _native
from ..effort import Effort
from ..problem import Flow, Problem
from ..reduce import reduce_problem
from .must_link import contract_at
from .program import ExactLimits, list_ideals

__all__ = ["Thinned", "Thinning", "leave_out", "thin"]

_SECOND = 10**12
_STEP = 1 / 24  # of the nodes, left out at a time
_FLOATING = 0.75  # of the most that any node floats: these are left out, the cheapest first
_LISTING = 0.05  # of the work, for each attempt to list the ideals
_QUESTION = 0.4  # of the work, for each question
_FIRST = 0.125  # of the gap, where the second question is asked: other bounds are often close
_PLACING = 0.1  # of the work, for what was left out of one plan
_LOOK, _LOOK_AT_NODE = 5_000, 60  # work to price the blocks of a plan
_DEAREST = 4  # blocks that decide where a node goes
_STATES = 500  # of a search for the best order of a block
_CLOSE = 1000  # a gap below one in so many is closed from the top


def leave_out(problem: Problem, gone: Iterable[int]) -> Problem:
    """Return `problem` without the nodes `gone`; its optimum is at most that of `problem`.

    The tensors of the cost graph lose the members of these nodes, too, so that least peaks are those of the rest.
    """
    out = set(gone)
    kept = [v for v in range(problem.num_nodes) if v not in out]
    new = {v: i for i, v in enumerate(kept)}
    merged: dict[tuple[int, tuple[int, ...]], int] = {}
    for producer, users, cost in zip(
        problem.producer, problem.consumers, problem.cost, strict=True
    ):
        rest = tuple(new[u] for u in users if u not in out)
        if producer not in out and rest:
            key = new[producer], rest
            merged[key] = merged.get(key, 0) + cost
    work, param_bytes = list(problem.work), list(problem.param_bytes)
    params_of = [list(row) for row in problem.params_of]
    for readers, time, nbytes in _charges(problem, out):
        work[readers[0]] += time
        if nbytes > 0:
            for u in readers:
                params_of[u].append(len(param_bytes))
            param_bytes.append(nbytes)
    flow, sets = problem.flow, [problem.working_set[v] for v in kept]
    if flow is not None:
        flow = _without(flow, {m for v in out for m in problem.members[v]})
        sizes = flow.nbytes
        sets = [
            max(
                sum(sizes[t] for row in (flow.reads, flow.writes) for t in row[m])
                for m in problem.members[v]
            )
            for v in kept
        ]
    return replace(
        problem,
        work=tuple(work[v] for v in kept),
        producer=tuple(home for home, _ in merged),
        consumers=tuple(users for _, users in merged),
        cost=tuple(merged.values()),
        edges=_around(problem, out, new),
        param_bytes=tuple(param_bytes),
        params_of=tuple(tuple(params_of[v]) for v in kept),
        working_set=tuple(sets),
        members=tuple(problem.members[v] for v in kept),
        flow=flow,
    )


def _charges(problem: Problem, out: set[int]) -> Iterator[tuple[list[int], int, int]]:
    """Yield nodes of the rest, picoseconds and bytes: what every stage with one of the nodes pays and holds for `out`."""
    users = [0] * len(problem.param_bytes)
    for row in problem.params_of:
        for parameter in row:
            users[parameter] += 1
    time_left = {v: problem.work[v] for v in out}
    bytes_left = dict.fromkeys(out, 0)
    if problem.limit is None and problem.memory_binds:
        for v in out:
            row = problem.params_of[v]
            bytes_left[v] = sum(problem.param_bytes[p] for p in row if users[p] == 1)
    bandwidth = problem.machine.bandwidth or 0
    for producer, readers, cost in zip(
        problem.producer, problem.consumers, problem.cost, strict=True
    ):
        rest = [u for u in readers if u not in out]
        if producer not in out or not rest:
            continue
        time = min(cost, time_left[producer])
        nbytes = min((cost - time) * bandwidth // _SECOND, bytes_left[producer])
        time_left[producer] -= time
        bytes_left[producer] -= nbytes
        yield rest, time, nbytes


def _without(flow: Flow, out: set[int]) -> Flow:
    """Return the tensors that nodes beside `out` write, with the readers beside these."""
    lost = [producer in out for producer in flow.producer]
    consumers = tuple(
        () if gone else tuple(u for u in users if u not in out)
        for gone, users in zip(lost, flow.consumers, strict=True)
    )
    reads: list[list[int]] = [[] for _ in flow.reads]
    for tensor, users in enumerate(consumers):
        for u in users:
            reads[u].append(tensor)
    nbytes = tuple(0 if gone else size for gone, size in zip(lost, flow.nbytes, strict=True))
    return Flow(flow.producer, consumers, nbytes, tuple(map(tuple, reads)), flow.writes)


def _around(problem: Problem, out: set[int], new: dict[int, int]) -> tuple[tuple[int, int], ...]:
    """Return the precedence edges of the rest: its own, and those that led through nodes left out."""
    successors = problem.successors()
    behind: dict[int, set[int]] = {}
    for v in reversed(problem.order.tolist()):
        if v in out:
            behind[v] = set().union(*(behind[u] if u in out else {u} for u in successors[v]))
    edges = {(a, b) for a, b in problem.edges if a in new and b in new}
    for v in new:
        for u in successors[v]:
            if u in out:
                edges.update((v, w) for w in behind[u])
    return tuple(sorted((new[a], new[b]) for a, b in edges))


@dataclass(frozen=True, eq=False)
class Thinned:
    """A problem without some nodes, whose ideals could be listed.

    Attributes
    ----------
    gone
        Nodes that were left out, sorted.
    problem
        The rest, contracted for a threshold and reduced.
    ideals
        All its ideals.
    """

    gone: tuple[int, ...]
    problem: Problem
    ideals: _native.IdealGraph

    def value(self, block: npt.NDArray[np.int32]) -> int:
        """Return the bottleneck of a plan of the rest in picoseconds, not above the true one."""
        rows = [list(row) for row in self.problem.members]
        raised = _with_peaks(self.problem, self.problem.flow, rows, block.tolist())
        return max(_native.block_costs(raised.instance, block))


def _with_peaks(
    problem: Problem, flow: Flow | None, members: Sequence[Sequence[int]], block: Sequence[int]
) -> Problem:
    """Return `problem` with a node in each block that holds what the block needs at its peak.

    `members` lists the nodes of the cost graph of each node that counts; those without any are left out.
    """
    if flow is None:
        return problem
    nodes: dict[int, list[int]] = {}
    first: dict[int, int] = {}
    for v, (row, b) in enumerate(zip(members, block, strict=True)):
        if row:
            nodes.setdefault(b, []).extend(row)
            first.setdefault(b, v)
    sets = list(problem.working_set)
    for b, row in nodes.items():
        stage = np.array(row, np.int32)
        peak, _, _ = _native.order_stage(flow.native, stage, enough=0, max_states=_STATES)
        sets[first[b]] = max(sets[first[b]], peak)
    return replace(problem, working_set=tuple(sets))


def thin(problem: Problem, threshold: int, limits: ExactLimits, effort: Effort) -> Thinned | None:
    """Leave out floating nodes until all ideals can be listed; only plans <= `threshold` picoseconds matter.

    Returns
    -------
    None when the effort was over before.
    """
    above, below = _closures(problem)
    lost = _lost(problem)
    out: set[int] = set()
    while not effort.over():
        rest = reduce_problem(leave_out(problem, out), effort) if out else problem
        rest = contract_at(rest, threshold, effort)
        ideals = list_ideals(rest, limits, effort.share(_LISTING)).ideals
        if ideals.complete:
            return Thinned(tuple(sorted(out)), rest, ideals)
        left = [v for v in range(problem.num_nodes) if v not in out]
        mask = sum(1 << v for v in left)
        floats = [len(left) - ((above[v] | below[v]) & mask).bit_count() for v in left]
        most = max(floats)
        if most <= 1:
            return None  # a chain, whose ideals are too many for the limits
        some = [
            v for v, many in zip(left, floats, strict=True) if many >= _FLOATING * most and many > 1
        ]
        some.sort(key=lambda v: (lost[v], v))
        out.update(some[: max(1, int(_STEP * len(left)))])
    return None


def _closures(problem: Problem) -> tuple[list[int], list[int]]:
    """Return the ancestors and the descendants of every node, itself included, as bits."""
    successors, order = problem.successors(), problem.order.tolist()
    above = [1 << v for v in range(problem.num_nodes)]
    below = above.copy()
    for v in order:
        for u in successors[v]:
            above[u] |= above[v]
    for v in reversed(order):
        for u in successors[v]:
            below[v] |= below[u]
    return above, below


def _lost(problem: Problem) -> list[int]:
    """Return picoseconds per node that may be missing in the bound without it."""
    machine = problem.machine
    lost = list(problem.work)
    for v, params in enumerate(problem.params_of):
        size = sum(problem.param_bytes[p] for p in params)
        lost[v] += size * _SECOND // (machine.bandwidth or _SECOND)
    for producer, cost in zip(problem.producer, problem.cost, strict=True):
        lost[producer] += cost
    return lost


@dataclass(frozen=True, eq=False)
class Thinning:
    """What the program over the ideals of the rest showed.

    Attributes
    ----------
    lower
        No plan has a bottleneck below this many picoseconds; 0 when nothing was shown.
    plans
        Blocks per node of the whole problem, of plans to look at.
    more
        With more work it could do more.
    """

    lower: int = 0
    plans: tuple[npt.NDArray[np.int32], ...] = ()
    more: bool = False

    @classmethod
    def of(
        cls,
        problem: Problem,
        lower: int,
        upper: int,
        limits: ExactLimits,
        effort: Effort,
        *,
        whole: bool = False,
    ) -> Thinning:
        """Bound plans below `upper`; `lower` is any valid lower bound, in picoseconds.

        `problem` may be contracted: then only plans below `upper` need to have survived.  Where nothing needs to be
        left out, the exact method does the same unless it has a larger problem: that is asked here with `whole`.
        """
        problem = replace(problem, alive=False)  # peaks are counted as they are
        thinned = thin(problem, upper - 1, limits, effort)
        if thinned is None or not (thinned.gone or whole):
            return cls(more=thinned is None)
        placing = Placing(problem, thinned)
        plans: list[npt.NDArray[np.int32]] = []
        shown, threshold, share = lower, upper - 1, _FIRST
        while shown < upper and not effort.over():
            answer, block, _ = thinned.ideals.decide(
                problem.machine.stages, threshold, **effort.share(_QUESTION).native()
            )
            if answer == "yes":
                upper = min(threshold, thinned.value(block))
                plans.append(placing.of(block, effort))
            elif answer == "no":
                shown, share = threshold + 1, 0.5
            else:
                break
            # When they are close, the plan is likely to be the best one.
            close = upper - shown <= upper // _CLOSE
            threshold = upper - 1 if close else shown + int(share * (upper - shown))
        return cls(shown if shown > lower else 0, tuple(plans), more=True)


class Placing:
    """Finds stages for what was left out of a plan."""

    def __init__(self, problem: Problem, thinned: Thinned) -> None:
        self.problem, self.thinned = problem, thinned
        self._stages = min(problem.machine.stages, problem.num_nodes)
        self._successors = problem.successors()
        self._predecessors: list[list[int]] = [[] for _ in self._successors]
        for v, row in enumerate(self._successors):
            for u in row:
                self._predecessors[u].append(v)
        self._out = set(thinned.gone)
        self._gone = [v for v in problem.order.tolist() if v in self._out]
        home = {m: v for v, members in enumerate(problem.members) for m in members}
        self._rows = [sorted({home[m] for m in row}) for row in thinned.problem.members]

    def of(
        self, block: Sequence[int] | npt.NDArray[np.int32], effort: Effort
    ) -> npt.NDArray[np.int32]:
        """Return blocks of the whole problem from those of the rest: empty stages go where they help most."""
        numbers = {b: i for i, b in enumerate(sorted(set(map(int, block))))}
        fixed = [0] * self.problem.num_nodes
        for row, b in zip(self._rows, block, strict=True):
            for v in row:
                fixed[v] = numbers[int(b)]
        if not self._gone:
            return np.array(fixed, np.int32)
        spare = self._stages - len(numbers)
        rows = [() if v in self._out else m for v, m in enumerate(self.problem.members)]
        flow = self.thinned.problem.flow
        instance = _with_peaks(self.problem, flow, rows, fixed).instance
        tried = [
            self._placed([b + spare if b >= gap else b for b in fixed], instance)
            for gap in self._gaps(len(numbers), effort)
        ]
        placed = min(tried)[1]
        numbers = {b: i for i, b in enumerate(sorted(set(placed)))}
        return np.array([numbers[b] for b in placed], np.int32)

    def _gaps(self, used: int, effort: Effort) -> Sequence[int]:
        """Return before which of the used stages empty ones may come: as many as the work allows."""
        if used == self._stages:
            return (0,)
        looks = 2 * len(self._gone) * self._stages
        each = looks * (_LOOK + _LOOK_AT_NODE * self.problem.num_nodes)
        step = (used + 1) * each // max(1, int(_PLACING * effort.work))
        return range(0, used + 1, max(1, step))

    def _placed(self, block: list[int], instance: _native.Instance) -> tuple[list[int], list[int]]:
        """Place one node after the other where the dearest blocks stay cheapest; return costs and blocks."""
        latest = self._latest(block)
        full = np.array(block, np.int32)
        for again in (False, True):
            for v in self._gone:
                first = max((int(full[u]) for u in self._predecessors[v]), default=0)
                last = latest[v]
                if again:
                    last = min((int(full[u]) for u in self._successors[v]), default=last)
                best: tuple[tuple[list[int], int], int] | None = None
                for b in range(first, last + 1):
                    full[v] = b
                    costs = _native.block_costs(instance, full)
                    key = sorted(costs, reverse=True)[:_DEAREST], sum(costs)
                    if best is None or key < best[0]:
                        best = key, b
                if best is not None:
                    full[v] = best[1]
        return sorted(_native.block_costs(instance, full), reverse=True), full.tolist()

    def _latest(self, block: list[int]) -> dict[int, int]:
        """Return the last block that each node left out may be in."""
        latest: dict[int, int] = {}
        for v in reversed(self._gone):
            latest[v] = min(
                (latest.get(u, block[u]) for u in self._successors[v]),
                default=self._stages - 1,
            )
        return latest
