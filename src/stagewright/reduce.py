# SPDX-License-Identifier: Apache-2.0
"""Safe reductions: merges of neighbouring nodes that never lose the optimum.

Two mirror-image rules with one inequality each.  Write c(t) for the cost of a tensor, C(t) for its
consumers, in(u) and out(u) for the tensors that u reads and writes, w(u) for its work, and p(u, y)
for the overflow that u can bring into the block of y: ceil(extra / B) with ``extra`` the bytes of
parameters of u that y does not use plus what the working set of u exceeds that of y by (0 without
memory).  Costs are the relaxed f of the exact method: overflow counts parameters plus the largest
single working set.

**Forward.**  Let x be a successor of u from which all other successors of u can be reached.  If

    w(u) + p(u, x) + sum c(s) over s in in(u), x not in C(s)
                   + sum c(t) over t in out(u), x not in C(t)
                  <= sum c(t) over t in out(u), C(t) = {x},                                     (F)

some optimal plan has u and x in one block.

*Proof.*  Take an optimal plan with u in A and x in X, A != X; then A < X.  Move u to X.  Every
predecessor of u is in a block <= A, every successor is x or behind x, so in a block >= X: the
plan stays acyclic.

- X gains w(u) and p(u, x).  It newly receives at most the s in in(u) that x does not read.  A tensor t
  of out(u) that x reads was received by X and no longer is; X now sends it only if it has a consumer
  behind X, so only if C(t) != {x}: the change is <= 0, and -c(t) if C(t) = {x}.  A tensor that x does not
  read costs X at most c(t).  By (F) the sum of all changes is <= 0.
- A loses w(u) and sends no t of out(u) any more; all of them were sent, since every consumer
  is in a block >= X.  It newly sends at most the s in in(u) made in A that did not leave A before; such an
  s is not read by x.  By (F) those cost at most sum c(t) over C(t) = {x}, which A saves.
- Any other block Q that makes some s in in(u) sent it to A and now sends it to X or elsewhere still: no
  change.  Any other block that reads some t of out(u) still receives it.  No block's overflow
  but X's can rise.

**Backward.**  Let p be a predecessor of u that can be reached from all other predecessors of u.  If

    w(u) + p(u, p) + sum c(s) over s in in(u) not made by p, p not in C(s)
                   + sum c(t) over t in out(u)
                  <= sum c(s) over s made by p, C(s) = {u},                                     (B)

some optimal plan has u and p in one block.

*Proof.*  Take an optimal plan with p in P and u in U, P != U; then P < U.  Move u to P.  All
predecessors of u are in blocks <= P, all successors in blocks >= U: the plan stays acyclic.

- P gains w(u) and p(u, p).  It newly receives at most the s in in(u) made before P that p does not read.  It
  newly sends at most all of out(u).  It stops sending the s made by p that only u read.  By (B) the
  sum is <= 0.
- U loses w(u) and the reception of the s made by p that only u read.  It newly receives
  at most all of out(u).  By (B) the sum is <= 0.
- Blocks behind U that read t in out(u) still receive it; blocks that make some s in in(u) sent it before.

Each merge yields an equivalent smaller problem, so merges may follow one another.  The merged graph
is acyclic: by the choice of x (of p) no path leads from u to x (from p to u) through a third node.
Special cases: a free source joins its first consumer, a free sink its last producer, an expanding cast
its producer, a shrinking one its consumer.  (Rules R1 to R3 for single-output nodes are these
inequalities with one tensor.)
"""

from __future__ import annotations

from collections import deque

from .problem import Problem

__all__ = ["reduce_problem"]

# Reachability is decided by a bounded walk; giving up only leaves a merge undone.
_MAX_WALK = 256


def reduce_problem(problem: Problem) -> Problem:
    """Apply both rules until neither applies; see the module's docstring for the proofs."""
    if problem.num_nodes == 1:
        return problem
    return _Reducer(problem).run()


class _Reducer:
    """The graph while nodes merge: `u` into `y` keeps the number, work and position of y."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        n = problem.num_nodes
        self.work = list(problem.work)
        self.cost = problem.cost
        self.producer = list(problem.producer)
        self.consumers = [set(users) for users in problem.consumers]
        self.reads: list[set[int]] = [set() for _ in range(n)]
        self.writes: list[set[int]] = [set() for _ in range(n)]
        self.after: list[set[int]] = [set() for _ in range(n)]  # precedence beyond tensors
        self.before: list[set[int]] = [set() for _ in range(n)]
        for t, (p, users) in enumerate(zip(problem.producer, problem.consumers, strict=True)):
            self.writes[p].add(t)
            for u in users:
                self.reads[u].add(t)
        for a, b in problem.edges:
            self.after[a].add(b)
            self.before[b].add(a)
        self.params = [set(p) for p in problem.params_of]
        self.working_set = list(problem.working_set)
        self.into = list(range(n))
        self.position = _positions(problem)

    def run(self) -> Problem:
        n = self.problem.num_nodes
        queue = deque(sorted(range(n), key=self.position.__getitem__))
        queued = [True] * n
        while queue:
            u = queue.popleft()
            queued[u] = False
            if self.into[u] != u:
                continue
            target = self._forward(u)
            if target < 0:
                target = self._backward(u)
            if target < 0:
                continue
            self._merge(u, target)
            for v in {target} | self._successors(target) | self._predecessors(target):
                if not queued[v]:
                    queued[v] = True
                    queue.append(v)
        return self._result()

    def _forward(self, u: int) -> int:
        """Return the x that u may join by rule (F), or -1."""
        if not self.writes[u]:
            return -1
        gain = -self.work[u]
        x = -1
        for t in self.writes[u]:
            users = self.consumers[t]
            if len(users) == 1:
                gain += self.cost[t]
        if gain < 0:
            return -1
        successors = self._successors(u)
        x = min(successors, key=self.position.__getitem__)
        for t in self.writes[u]:
            users = self.consumers[t]
            if x not in users:
                gain -= self.cost[t] * (2 if len(users) == 1 else 1)
        for s in self.reads[u]:
            if x not in self.consumers[s]:
                gain -= self.cost[s]
        if gain < 0 or gain < self._overflow(u, x):
            return -1
        others = successors - {x}
        if others and not self._reaches(x, others):
            return -1
        return x

    def _backward(self, u: int) -> int:
        """Return the p that u may join by rule (B), or -1."""
        if not self.reads[u]:
            return -1
        loss = self.work[u] + sum(self.cost[t] for t in self.writes[u])
        predecessors = self._predecessors(u)
        p = max(predecessors, key=self.position.__getitem__)
        for s in self.reads[u]:
            if self.producer[s] == p:
                if len(self.consumers[s]) == 1:
                    loss -= self.cost[s]
            elif p not in self.consumers[s]:
                loss += self.cost[s]
        if loss > 0 or loss + self._overflow(u, p) > 0:
            return -1
        for other in predecessors - {p}:
            if not self._reaches(other, {p}):
                return -1
        return p

    def _overflow(self, u: int, y: int) -> int:
        """Return p(u, y): the most that u can add to the overflow of the block of y."""
        if not self.problem.memory_binds:
            return 0
        extra = sum(self.problem.param_bytes[p] for p in self.params[u] - self.params[y])
        extra += max(0, self.working_set[u] - self.working_set[y])
        return self.problem.machine.transfer_time(extra)

    def _successors(self, v: int) -> set[int]:
        return self.after[v].union(*(self.consumers[t] for t in self.writes[v]))

    def _predecessors(self, v: int) -> set[int]:
        return self.before[v].union(self.producer[t] for t in self.reads[v])

    def _reaches(self, start: int, goals: set[int]) -> bool:
        """Whether every goal can be reached from `start` (False also when the walk grows long)."""
        limit = max(self.position[g] for g in goals)
        missing = set(goals)
        seen = {start}
        stack = [start]
        while stack and len(seen) < _MAX_WALK:
            for v in self._successors(stack.pop()):
                if v not in seen and self.position[v] <= limit:
                    seen.add(v)
                    stack.append(v)
                    missing.discard(v)
            if not missing:
                return True
        return False

    def _merge(self, u: int, y: int) -> None:
        """Merge u into y; every tensor between them vanishes when its last outside user does."""
        self.into[u] = y
        self.work[y] += self.work[u]
        self.params[y] |= self.params[u]
        self.working_set[y] = max(self.working_set[y], self.working_set[u])
        for t in self.writes[u]:
            self.producer[t] = y
            self.consumers[t].discard(y)
            self.reads[y].discard(t)
            if self.consumers[t]:
                self.writes[y].add(t)
        for s in self.reads[u]:
            self.consumers[s].discard(u)
            if self.producer[s] == y:
                if not self.consumers[s]:
                    self.writes[y].discard(s)
            else:
                self.consumers[s].add(y)
                self.reads[y].add(s)
        for a, b in ((self.after, self.before), (self.before, self.after)):
            for v in a[u]:
                b[v].discard(u)
                if v != y:
                    a[y].add(v)
                    b[v].add(y)

    def _result(self) -> Problem:
        n = self.problem.num_nodes
        kept = sorted((v for v in range(n) if self.into[v] == v), key=self.position.__getitem__)
        number = {v: i for i, v in enumerate(kept)}
        label = []
        for v in range(n):
            root = v
            while self.into[root] != root:
                root = self.into[root]
            label.append(number[root])
        return self.problem.contract(label) if len(kept) < n else self.problem


def _positions(problem: Problem) -> list[int]:
    """Return the place of each node in some topological order."""
    successors = problem.successors()
    missing = [0] * problem.num_nodes
    for row in successors:
        for v in row:
            missing[v] += 1
    queue = [v for v, count in enumerate(missing) if count == 0]
    for v in queue:
        for u in successors[v]:
            missing[u] -= 1
            if missing[u] == 0:
                queue.append(u)
    position = [0] * problem.num_nodes
    for i, v in enumerate(queue):
        position[v] = i
    return position
