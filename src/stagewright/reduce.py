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

**Memory.**  The two proofs above are about the relaxed f.  When memory binds, a merge must also keep an
optimal plan of the true f, in which the nodes of every stage run in the best order: the lower bounds of
the exact method count true peaks.  Take an optimal plan with its orders and move u as above; only the
peaks of the two blocks need another look.  Here u, x and p are classes of nodes of the cost graph, b(t)
is a size, "inner" are the tensors whose readers are all in u, and the nodes of u run one after another.

- (F), X: u runs just before the first node y of X that reads a tensor of u (at the start if there is none).
  Before that, X holds the s that x does not read, but none of out(u), which it held from the start.
  While u runs it holds those s, inner, and the t that X did not receive beyond what was there; when y
  ran, the outputs of y came on top.  Afterwards only t with readers elsewhere are held longer.  So the peak
  rises by at most the largest of  b(new s) - b(t read by x),  b(new s) + b(inner) + b(t not read by x) - the
  least b(outputs of some reader of u),  and  b(t with C(t) != {x}).
- (F), A: a new s that leaves is held to the end, where all of out(u) was held from the run of u.  If one
  node of u reads every s and writes every t, the peak rises by at most b(new s) - b(out(u)), else b(new s).
- (B), P: u runs just after the last node w of P that makes an input of u (p makes one).  The tensors that only w
  reads were alive with the outputs of w and are gone.  The peak rises by at most the largest of  b(new s),
  b(new s) + b(inner) + b(out(u)) - the least b(read by w alone),  and  b(out(u)) - b(s of p that only u
  reads): those left P at the end and now need not be held after u.
- (B), U: out(u) is held from the start, where the s that only u reads were.  If one node of u reads
  all of those and writes every t, the peak rises by at most b(out(u)) - b(those s), else b(out(u)).

The merge is done if it obeys the inequality of each block with the overflow of that rise added.  With a
hard limit of memory it must not rise at all, so that no block that fits stops fitting.

Each merge yields an equivalent smaller problem, so merges may follow one another.  The merged graph
is acyclic: by the choice of x (of p) no path leads from u to x (from p to u) through a third node.
Special cases: a free source joins its first consumer, a free sink its last producer, an expanding cast
its producer, a shrinking one its consumer.  (Rules R1 to R3 for single-output nodes are these
inequalities with one tensor.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .allocation import many_objects
from .effort import Effort
from .problem import Flow, Problem

__all__ = ["reduce_problem"]

# Reachability is decided by a bounded walk; giving up only leaves a merge undone.
_MAX_WALK = 256
_LOOKS = 64  # nodes between two looks at the clock
_WORTH = 0.1  # of the nodes have merged


@many_objects()
def reduce_problem(problem: Problem, effort: Effort | None = None) -> Problem:
    """Apply both rules until neither applies, or `effort` is over; the module's docstring has the proofs."""
    if problem.num_nodes == 1 or (effort is not None and effort.over()):
        return problem
    return _Reducer(problem).run(effort)


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
        self.stores = _Stores(problem, problem.flow) if problem.flow else None
        self.into = list(range(n))
        self.position = _positions(problem)

    def run(self, effort: Effort | None) -> Problem:
        n = self.problem.num_nodes
        looks = 0
        queue = deque(sorted(range(n), key=self.position.__getitem__))
        queued = [True] * n
        while queue:
            looks += 1
            if effort is not None and looks % _LOOKS == 0 and effort.over():
                # What was merged so far holds; contracting takes time too, so little is not worth it.
                merged = sum(into != v for v, into in enumerate(self.into))
                return self._result() if merged > n * _WORTH else self.problem
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
        if gain < 0 or not self._memory_allows_forward(u, x, gain):
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
        if loss > 0 or not self._memory_allows_backward(u, p, -loss):
            return -1
        for other in predecessors - {p}:
            if not self._reaches(other, {p}):
                return -1
        return p

    def _memory_allows_forward(self, u: int, x: int, gain: int) -> bool:
        """Whether overflow takes less than block X gains, and no more than A can bear."""
        if self.stores is None:
            return True
        rise_a, rise_x = self.stores.forward(u, x)
        sent = sum(self.cost[s] for s in self.reads[u] if x not in self.consumers[s])
        saved = self.work[u] + sum(self.cost[t] for t in self.writes[u])
        return self._overflow(u, x, rise_x) <= gain and self._price(rise_a) + sent <= saved

    def _memory_allows_backward(self, u: int, p: int, gain: int) -> bool:
        """Whether overflow takes less than block P gains, and no more than U can bear."""
        if self.stores is None:
            return True
        rise = self.stores.backward(u, p)
        if rise is None:
            return False
        received = sum(self.cost[t] for t in self.writes[u])
        saved = self.work[u] + sum(
            self.cost[s]
            for s in self.reads[u]
            if self.producer[s] == p and len(self.consumers[s]) == 1
        )
        rise_p, rise_u = rise
        return self._overflow(u, p, rise_p) <= gain and self._price(rise_u) + received <= saved

    def _overflow(self, u: int, y: int, rise: int) -> int:
        """Return p(u, y), the most that u adds to the overflow of the block of y, relaxed or true."""
        extra = sum(self.problem.param_bytes[p] for p in self.params[u] - self.params[y])
        extra += max(rise, self.working_set[u] - self.working_set[y])
        return self._price(extra)

    def _price(self, rise: int) -> int:
        """Return the most that a rise by so many bytes costs a block."""
        problem = self.problem
        if problem.limit is not None and rise > 0:
            return problem.refusal
        return 0 if problem.machine.memory is None else problem.machine.transfer_time(rise)

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
        if self.stores is not None:
            self.stores.merge(u, y)
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


class _Stores:
    """By how many bytes the peaks of blocks can rise when a class moves (see **Memory** above)."""

    def __init__(self, problem: Problem, flow: Flow) -> None:
        self.flow = flow
        self.nodes = [list(nodes) for nodes in problem.members]
        self.home = [0] * len(flow.reads)
        for number, nodes in enumerate(self.nodes):
            for v in nodes:
                self.home[v] = number

    def merge(self, u: int, y: int) -> None:
        """Let u become part of y."""
        for v in self.nodes[u]:
            self.home[v] = y
        self.nodes[y] += self.nodes[u]

    def forward(self, u: int, x: int) -> tuple[int, int]:
        """Return the rise of the block that u leaves and of the block of its successor x."""
        ins, outs, inner = self._tensors(u)
        new = [s for s in ins if x not in self._readers(s)]
        read = [t for t in outs if x in self._readers(t)]
        unread = [t for t in outs if x not in self._readers(t)]
        shared = [t for t in outs if self._readers(t) - {u} != {x}]
        during = self._size(new) + inner + self._size(unread)
        if read:
            users = {v for t in outs for v in self.flow.consumers[t] if self.home[v] != u}
            during -= min(self._size(self.flow.writes[v]) for v in users)
        rise_x = max(0, self._size(new) - self._size(read), during, self._size(shared))
        rise_a = self._size(new)
        if self._has_core(u, new, outs):
            rise_a = max(0, rise_a - self._size(outs))
        return rise_a, rise_x

    def backward(self, u: int, p: int) -> tuple[int, int] | None:
        """Return the rise of the block of p and of the one that u leaves; None if p makes no input."""
        ins, outs, inner = self._tensors(u)
        made = [s for s in ins if self.home[self.flow.producer[s]] == p]
        if not made:
            return None
        new = [s for s in ins if s not in made and p not in self._readers(s)]
        freed = min(
            sum(self.flow.nbytes[r] for r in self.flow.reads[w] if len(self.flow.consumers[r]) == 1)
            for w in {self.flow.producer[s] for s in ins}
        )
        out = self._size(outs)
        gone = self._size(s for s in made if self._readers(s) == {u})
        rise_p = max(0, self._size(new), self._size(new) + inner + out - freed, out - gone)
        own = [s for s in ins if self._readers(s) <= {u, self.home[self.flow.producer[s]]}]
        rise_u = max(0, out - self._size(own)) if self._has_core(u, own, outs) else out
        return rise_p, rise_u

    def _tensors(self, u: int) -> tuple[list[int], list[int], int]:
        """Return the tensors that u reads from outside, those it writes for outside, other bytes."""
        ins = {s for v in self.nodes[u] for s in self.flow.reads[v]}
        written = [t for v in self.nodes[u] for t in self.flow.writes[v]]
        outs = [t for t in written if self._readers(t) - {u}]
        inner = self._size(written) - self._size(outs)
        return sorted(ins.difference(written)), outs, inner

    def _readers(self, tensor: int) -> set[int]:
        return {self.home[v] for v in self.flow.consumers[tensor]}

    def _size(self, tensors: Iterable[int]) -> int:
        return sum(self.flow.nbytes[t] for t in tensors)

    def _has_core(self, u: int, ins: Iterable[int], outs: Iterable[int]) -> bool:
        """Whether one node of u writes all of `outs` and reads all of `ins`."""
        writers = {self.flow.producer[t] for t in outs}
        return len(writers) == 1 and all(writers <= set(self.flow.consumers[s]) for s in ins)


def _positions(problem: Problem) -> list[int]:
    """Return the place of each node in some topological order."""
    position = [0] * problem.num_nodes
    for i, v in enumerate(problem.order.tolist()):
        position[v] = i
    return position
