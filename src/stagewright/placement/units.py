# SPDX-License-Identifier: Apache-2.0
"""What is assigned to shared devices as one, and how an assignment becomes stages.

**Atoms** share a stage: nodes that must not be cut apart, and those pinned to the first or last stage with all
that precedence draws in.  **Units** share a device: atoms of one group, and what the following rule unites.

**Merges that never lose the optimum.**  Let u and x be units, and take any assignment with u on a device A and x on
another one, B.  Move u to B.  Of the tensors of u let E be those between u and x alone, and O those that x has no
part in.  Those of E were paid by A and by B and are now paid by neither; those of O may now be paid by both.  A
tensor of u that x has a part in was paid by both, and costs no more now, since a shared device receives and sends at
the same price.  What other devices pay depends on whether the rest of a tensor's nodes are elsewhere, which does not
change for them.  So no load rises if, on every kind of device,

    work(u) + all of O  <=  all of E

where x can run (u must be able to run there), and the same without work(u) where u can.  Precedence plays no
part, so x may be any unit that shares a tensor.  Where memory binds, u must hold nothing; where receiving,
sending and computing overlap, the sum says nothing and nothing is merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .devices import UNABLE, Fleet
from .sharing import ungrouped
from .task import Task, compile_task
from .workload import Workload

__all__ = ["Units", "compile_units", "stages_of"]


@dataclass(frozen=True, eq=False)
class Units:
    """A problem for shared devices.

    Attributes
    ----------
    atoms
        Nodes that share a stage, in topological order, with their precedence.
    whole
        Atoms of one group united; no precedence, which does not matter for the loads.
    task
        What the rule above leaves of `whole`.
    """

    atoms: Task
    whole: Task
    task: Task


def compile_units(workload: Workload, fleet: Fleet) -> Units:
    """Price everything, unite what shares a device, and reduce.

    Raises
    ------
    InputError
        As :func:`.task.compile_task`.
    """
    graph = workload.graph
    atoms = compile_task(replace(workload, graph=ungrouped(graph)), fleet)
    home = {v: a for a, nodes in enumerate(atoms.members) for v in nodes}
    groups: dict[int, list[int]] = {}
    for v, group in enumerate(graph.group.tolist()):
        if group >= 0:
            groups.setdefault(group, []).append(home[v])
    whole = replace(atoms, after=((),) * atoms.size).contract(list(groups.values()))
    task = whole
    while not fleet.overlap and (pairs := _safe_pairs(task)):
        task = task.contract(pairs)
    return Units(atoms, whole, task)


def _safe_pairs(task: Task) -> list[tuple[int, int]]:
    """Return units to merge, none in two pairs: each merge is safe after the others."""
    touching: list[list[int]] = [[] for _ in range(task.size)]
    pins = [{p, *users} for p, users in zip(task.producer, task.consumers, strict=True)]
    for t, among in enumerate(pins):
        for v in among:
            touching[v].append(t)
    taken: set[int] = set()
    found = []
    for u in range(task.size):
        if u in taken or task.working_set[u] or task.params_of[u]:
            continue
        for x in sorted(set().union(*(pins[t] for t in touching[u])) - {u} - taken):
            if _safe(task, u, x, [(t, pins[t]) for t in touching[u]]):
                taken |= {u, x}
                found.append((u, x))
                break
    return found


def _safe(task: Task, u: int, x: int, tensors: Sequence[tuple[int, set[int]]]) -> bool:
    own = [t for t, among in tensors if len(among) == 2 and x in among]
    others = [t for t, among in tensors if x not in among]
    for work, price in zip(task.work, task.receive, strict=True):
        if work[x] != UNABLE and work[u] == UNABLE:
            return False
        left = sum(price[t] for t in own) - sum(price[t] for t in others)
        if work[x] != UNABLE and work[u] > left:
            return False
        if work[u] != UNABLE and left < 0:
            return False
    return True


def stages_of(atoms: Task, device: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Cut an assignment into stages: lists of nodes along the pipeline, and the device of each.

    The next stage is that of the device which can go furthest without another one; few stages come of that, not
    the fewest.

    Parameters
    ----------
    device
        Of each atom.
    """
    waiting = [0] * atoms.size
    for row in atoms.after:
        for w in row:
            waiting[w] += 1
    left = set(range(atoms.size))
    stages, devices = [], []
    while left:
        ready = [v for v in sorted(left) if not waiting[v]]
        runs = [_run_of(atoms, device, waiting, ready, d) for d in {device[v]: 0 for v in ready}]
        longest = max(runs, key=len)
        for v in longest:
            for w in atoms.after[v]:
                waiting[w] -= 1
        left -= set(longest)
        stages.append([node for v in longest for node in atoms.members[v]])
        devices.append(device[longest[0]])
    return stages, devices


def _run_of(
    atoms: Task, device: Sequence[int], waiting: Sequence[int], ready: Sequence[int], mine: int
) -> list[int]:
    """Return the atoms that a device can run now, one after another, without another device."""
    run = [v for v in ready if device[v] == mine]
    gone: dict[int, int] = {}
    for v in run:
        for w in atoms.after[v]:
            gone[w] = gone.get(w, 0) + 1
            if device[w] == mine and gone[w] == waiting[w]:
                run.append(w)
    return run
