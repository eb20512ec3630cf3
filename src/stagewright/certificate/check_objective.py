# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: objectives beyond the period, and the proof of a makespan (docs/certificate.md).

Standard library only, and nothing of this package: check_devices.py runs this file, which lies beside it,
by its path; the names of check.py are here as `tools`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SECOND = 10**12
tools: Any = globals().get("tools")  # the names of check.py


@dataclass
class Objective:
    """What the plan is to be best at, and what it says of that; times in picoseconds."""

    minimise: str
    value: int
    lower: int
    period_limit: int | None
    latency_limit: int | None


def load_objective(document: Any, fleet: Any) -> Objective | None:
    """Read the objective; None where it is the period."""
    if "objective" not in document:
        return None
    data = document["objective"]
    limits = ("period_limit", "latency_limit")
    tools.keys(data, "objective", ("minimise", "value", "lower_bound"), limits)
    goal = tools.typed(data["minimise"], str, "objective.minimise")
    given = {key for key in limits if key in data}
    allowed = {
        "period": ({"latency_limit"},),
        "latency": (set(), {"period_limit"}),
        "makespan": (set(), {"period_limit"}),
        "cost": ({"period_limit"},),
    }
    if goal not in allowed or given not in allowed[goal]:
        raise tools.FaultError(
            f"objective: expected another goal or limits, got {tools.show(goal)}"
        )
    if goal == "makespan" and fleet.schedule is not None:
        raise tools.FaultError("objective: expected no schedule beside the makespan")
    if goal == "cost" and fleet.order is not None:
        raise tools.FaultError("objective: expected devices in any order for the cost")
    unit = 1 if goal == "cost" else SECOND
    value, lower = (
        tools.scaled(data[key], unit, f"objective.{key}", whole=True)
        for key in ("value", "lower_bound")
    )
    period, latency = (
        tools.scaled(data[key], SECOND, f"objective.{key}", whole=True) if key in data else None
        for key in limits
    )
    return Objective(goal, value, lower, period, latency)


def objective_problems(
    objective: Objective, fleet: Any, devices: list[int], totals: list[int], done: int
) -> Iterator[str]:
    """Yield what is wrong with the value of the objective, its bound and its limits; `done` is the makespan."""
    many = [1 if fleet.schedule is None else fleet.schedule.modes[d][0] for d in devices]
    kinds = [fleet.kinds[fleet.seat(device)[0]] for device in devices]
    cost = sum(kind.cost * count for kind, count in zip(kinds, many, strict=True))
    right = {
        "period": max(totals),
        "latency": sum(totals),
        "makespan": done,
        "cost": cost,
    }[objective.minimise]
    if objective.value != right:
        yield f"objective.value: states {objective.value}, is {right}"
    if objective.lower > right:
        yield f"objective.lower_bound: {objective.lower} is above the value, {right}"
    for limit, value in (
        (objective.period_limit, max(totals)),
        (objective.latency_limit, sum(totals)),
    ):
        if limit is not None and value > limit:
            yield f"objective: the plan takes {value} ps, the limit is {limit} ps"


# --- the makespan -------------------------------------------------------------------------------


def makespan_of(graph: Any, stages: list[list[int]], totals: list[int]) -> int:
    """Return when the last stage is done: each starts when all are whose tensors it reads."""
    place = {v: s for s, nodes in enumerate(stages) for v in nodes}
    needs: list[set[int]] = [set() for _ in stages]
    for producer, consumers, _, _ in graph.tensors:
        for consumer in consumers:
            needs[place[consumer]].add(place[producer])
    done: list[int] = []
    for s, total in enumerate(totals):
        done.append(total + max((done[p] for p in needs[s] if p < s), default=0))
    return max(done)


class Makespan:
    """The question whether there is a plan that is done before a limit, over a search of check_search.py.

    A plan is a chain of ideals.  Per ideal and devices in use stand, for each way to run it, when the classes are done
    whose tensors are still read outside; ways that are nowhere sooner than another one are dropped.
    """

    def __init__(self, search: Any, before: int) -> None:
        self.search, self.before, problem = search, before, search.problem
        n = len(problem.after)
        self.users: list[set[int]] = [set() for _ in range(n)]
        self.sources: list[set[int]] = [set() for _ in range(n)]
        for made, read, _, _ in problem.tensors:
            self.users[made] |= read
            for v in read:
                self.sources[v].add(made)
        self.path = heaviest_paths(problem)

    def found(self) -> tuple[bool, int]:
        """Return whether there is such a plan, and the number of ideals."""
        search = self.search
        cuts, count = search.cuts()
        if not cuts or cuts[0].classes:
            return False, count
        whole = (1 << len(self.users)) - 1
        opens = [
            [v for v in range(len(self.users)) if self.is_open(v, cut.classes)] for cut in cuts
        ]
        ways: list[dict[int, list[tuple[int, ...]]]] = [{} for _ in cuts]
        ways[0][0] = [()]
        for i, start in enumerate(cuts):
            here = {s: rows for s, rows in ways[i].items() if start.states >> s & 1}
            ways[i] = {}
            for j in range(i + 1, len(cuts) if here else 0):
                if start.classes & ~cuts[j].classes:
                    continue
                search.spend()
                for state, ready in self.next(start, cuts[j], here, opens[i], opens[j]):
                    if cuts[j].classes == whole:
                        return True, count
                    keep(ways[j].setdefault(state, []), ready)
        return False, count

    def is_open(self, v: int, ideal: int) -> bool:
        """Return whether a class is in an ideal and read outside of it."""
        return bool(ideal >> v & 1) and any(not ideal >> w & 1 for w in self.users[v])

    def next(
        self, start: Any, end: Any, here: dict[int, list[tuple[int, ...]]], old: Any, new: Any
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield the states and times that the block between two ideals leads to."""
        search = self.search
        steps = [step for step in search.devices.steps if any(step[1] >> s & 1 for s in here)]
        costs = search.costs(start, end, {seat for seat, _, _ in steps})
        if not costs:
            return
        block = end.classes & ~start.classes
        nodes = [v for v in range(len(self.users)) if block >> v & 1]
        needed = set().union(*(self.sources[v] for v in nodes))
        waits = [i for i, v in enumerate(old) if v in needed]
        place = [-1 if block >> v & 1 else old.index(v) for v in new]
        later = [self.path[w] for v in nodes for w in self.users[v] if not end.classes >> w & 1]
        for seat, mask, shift in steps:
            cost = costs.get(seat, search.limit)
            if cost >= search.limit:
                continue
            for state, rows in here.items():
                for ready in rows if mask >> state & 1 else ():
                    search.spend()
                    done = cost + max((ready[i] for i in waits), default=0)
                    if done + max(later, default=0) < self.before:
                        times = tuple(done if i < 0 else ready[i] for i in place)
                        yield state + shift if shift else seat + 1, times


def keep(rows: list[tuple[int, ...]], ready: tuple[int, ...]) -> None:
    """Add times unless others are as soon everywhere; drop those that are not sooner anywhere."""
    if any(all(a <= b for a, b in zip(row, ready, strict=True)) for row in rows):
        return
    rows[:] = [row for row in rows if not all(b <= a for a, b in zip(row, ready, strict=True))]
    rows.append(ready)


def heaviest_paths(problem: Any) -> list[int]:
    """Return per class the least work of the heaviest path of tensors that starts with it."""
    n = len(problem.after)
    path = problem.least()
    least, users = list(path), [set[int]() for _ in range(n)]
    for made, read, _, _ in problem.tensors:
        users[made] |= read
    waiting = [len(row) for row in users]
    before: list[list[int]] = [[] for _ in range(n)]
    for v, row in enumerate(users):
        for w in row:
            before[w].append(v)
    ready = [v for v in range(n) if not waiting[v]]
    while ready:
        w = ready.pop()
        for v in before[w]:
            path[v] = max(path[v], least[v] + path[w])
            waiting[v] -= 1
            if not waiting[v]:
                ready.append(v)
    return list(path)


def judge_objective(
    graph: Any, fleet: Any, objective: Objective, components: Any, allowed: float | None
) -> tuple[bool | None, str]:
    """Return whether no plan within the limit is done before the bound, None if open, and why."""
    parts, searches = tools.beside("check_classes.py"), tools.beside("check_search.py")
    problem = parts["relevant"](graph, fleet, components)
    lower = limit = objective.lower
    if lower <= max(parts["simple_bound"](problem, fleet), *heaviest_paths(problem)):
        return True, "no more than a formula says"
    if objective.period_limit is not None:
        limit = min(limit, objective.period_limit + 1)
    # The proof of the merges is one of precedence by tensors; pins add some that is not.
    pinned = any(pin is not None for pin in graph.pins)
    small = parts["linked" if pinned else "smaller"](problem, fleet, limit, components)
    try:
        search = searches["Search"](small, graph, fleet, limit, allowed)
        found, ideals = Makespan(search, lower).found()
    except searches["LimitReached"] as reason:
        return None, f"the search was not redone ({reason}); --exhaustive SECONDS allows more"
    if not found:
        return True, f"the search over {ideals} ideals was redone"
    if parts["binds"](graph, fleet):
        return None, "redone with a lower bound of what stages hold: too low"
    return False, "a plan below it exists"
