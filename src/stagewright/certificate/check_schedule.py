# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: training by a schedule of microbatches (docs/certificate.md).

Standard library only, and nothing of this package: check_devices.py and check_search.py run this file, which
lies beside them, by its path.

A seat is a kind of device, on how many of which a stage runs, whether it recomputes, and how many
microbatches it keeps beside the one that it runs.  The last follows from the devices behind it, so the search for
plans takes stages from the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

SECOND = 10**12
CHOICES = {"never": (False,), "auto": (False, True), "always": (True,)}
FIELDS = ("name", "microbatches", "factor", "recompute", "replicas")
STAGE_KEYS = ("replicas", "recompute", "in_flight", "kept_bytes", "sync")
tools: Any = globals().get("tools")  # the names of check.py


@dataclass
class Schedule:
    """How the pipeline trains; `modes` has replicas, recomputation and microbatches kept of every seat."""

    name: str
    microbatches: int
    factor: int
    recompute: str
    replicas: int
    modes: list[tuple[int, bool, int]]
    chunks: int = 1

    def kept(self, replicas: int, devices: int) -> int:
        """Return the microbatches kept beside one, by the devices from this stage on."""
        share = -(-self.microbatches // replicas)
        return (share if self.name == "gpipe" else min(share, -(-devices // replicas))) - 1

    def sync(self, s: int, kind: Any, params: int) -> int:
        """Return the picoseconds per microbatch of adding gradients up at a seat."""
        r = self.modes[s][0]
        if r == 1 or kind.link.free:
            return 0
        if kind.link.bandwidth is None:
            raise tools.FaultError(f"machine: expected a bandwidth of {kind.name!r}, got none")
        per: int = r * kind.link.bandwidth * self.microbatches
        return -(-params * 2 * (r - 1) * SECOND // per)


def load_schedule(data: Any, fleet: Any) -> Schedule:
    """Read a schedule, and replace the seats of the fleet by those that it allows."""
    if type(data) is dict and data.get("name") == "interleaved":
        rounds: Schedule = tools.beside("check_interleaved.py")["load_rounds"](
            data, fleet, Schedule
        )
        return rounds
    names = ("name", "microbatches", "state_factor", "recompute", "replicas")
    tools.keys(data, "training.schedule", names, ())
    if data["name"] not in ("gpipe", "1f1b") or data["recompute"] not in CHOICES:
        raise tools.FaultError("training.schedule: expected a name and a choice that are known")
    for key in ("microbatches", "state_factor", "replicas"):
        if type(data[key]) is not int or not 1 <= data[key] <= 2**20:
            raise tools.FaultError(f"training.schedule.{key}: expected a whole number from 1")
    if fleet.order is not None:
        raise tools.FaultError("machine.order: expected none beside a schedule")
    if not any(fleet.backward):
        raise tools.FaultError("training.backward: expected nodes beside a schedule")
    schedule = Schedule(modes=[], **dict(zip(FIELDS, (data[key] for key in names), strict=True)))
    fleet.seats = []
    for q, kind in enumerate(fleet.kinds):
        for r, again in product(
            range(1, min(schedule.replicas, kind.count) + 1), CHOICES[schedule.recompute]
        ):
            for kept in sorted({schedule.kept(r, d) for d in range(r, fleet.stages + 1)}):
                fleet.seats.append((q, kind.link, kind.link))
                schedule.modes.append((r, again, kept))
    return schedule


def load_seats(document: Any, fleet: Any, kinds: list[int]) -> list[int]:
    """Return the seat that each stage says it is at, and that the stages behind it allow."""
    schedule, left = fleet.schedule, [kind.count for kind in fleet.kinds]
    seats, behind = [], 0
    for i in range(len(kinds) - 1, -1, -1):
        stage, kind = document["stages"][i], kinds[i]
        for key in STAGE_KEYS:
            if key not in stage:
                raise tools.FaultError(f"stages[{i}]: expected {key}")
        replicas, again = stage["replicas"], stage["recompute"]
        if type(replicas) is not int or not 1 <= replicas <= schedule.replicas:
            raise tools.FaultError(f"stages[{i}].replicas: expected 1 to {schedule.replicas}")
        if type(again) is not bool or again not in CHOICES[schedule.recompute]:
            raise tools.FaultError(f"stages[{i}].recompute: expected what the schedule allows")
        left[kind] -= replicas
        if left[kind] < 0:
            raise tools.FaultError(
                f"stages[{i}]: expected {fleet.kinds[kind].name!r} left, got none"
            )
        behind += replicas
        mode = replicas, again, schedule.kept(replicas, behind)
        rows = enumerate(zip(fleet.seats, schedule.modes, strict=True))
        seats.append(next(s for s, (seat, own) in rows if seat[0] == kind and own == mode))
    return seats[::-1]


def kept_by(graph: Any, fleet: Any, nodes: set[int]) -> tuple[int, int, int]:
    """Return the bytes that backward nodes among `nodes` need of the forward pass, and that come from other stages.

    The latter are those of forward nodes, and of backward ones.
    """
    saved = fed = gradients = 0
    for producer, consumers, size, _ in graph.tensors:
        inside = [v for v in consumers if v in nodes] if size else []
        if not inside:
            continue
        if not fleet.backward[producer]:
            saved += size if any(fleet.backward[v] for v in inside) else 0
            fed += size if producer not in nodes else 0
        elif producer not in nodes:
            gradients += size
    return saved, fed, gradients


def complete(graph: Any, fleet: Any, seat: int, nodes: list[int], number: dict[str, int]) -> int:
    """Put sync, kept_bytes and in_flight into the numbers of a stage; return the bytes that it holds."""
    schedule: Schedule = fleet.schedule
    _, again, kept = schedule.modes[seat]
    saved, fed, _ = kept_by(graph, fleet, set(nodes))
    number["kept_bytes"] = fed if again else saved
    number["in_flight"] = kept + 1
    kind = fleet.kinds[fleet.seats[seat][0]]
    number["sync"] = schedule.sync(seat, kind, number["param_bytes"])
    params = schedule.factor * number["param_bytes"]
    held: int = params + kept * number["kept_bytes"] + number["peak_bytes"]
    return held


def order_problems(fleet: Any, stages: list[list[int]]) -> Iterator[str]:
    """Yield the stages that run a backward node before a forward one."""
    for s, nodes in enumerate(stages):
        turns = [fleet.backward[v] for v in nodes]
        if turns != sorted(turns):
            yield f"stages[{s}]: a backward node before a forward one"


def stated(document: Any) -> list[dict[str, int]]:
    """Return the numbers that only stages of a schedule have."""
    rows = []
    for i, stage in enumerate(document["stages"]):
        item = f"stages[{i}]"
        rows.append(
            {
                "sync": tools.scaled(stage["sync"], SECOND, f"{item}.sync", whole=True),
                "kept_bytes": tools.scaled(
                    stage["kept_bytes"], 1, f"{item}.kept_bytes", whole=True
                ),
                "in_flight": tools.scaled(stage["in_flight"], 1, f"{item}.in_flight", whole=True),
            }
        )
    return rows


def step_problems(document: Any, longest: int) -> Iterator[str]:
    """Yield what is wrong with the time of a step: m + k - 1 of the longest stage, m v + p - 1 with chunks."""
    data = document["training"]
    step = tools.scaled(data["step"], SECOND, "training.step", whole=True)
    many, chunks = len(document["stages"]), data["schedule"].get("chunks", 1)
    right = (data["schedule"]["microbatches"] * chunks + many // chunks - 1) * longest
    if step != right:
        yield f"training.step: states {step}, is {right} ps"


# --- the search ---------------------------------------------------------------------------------


def most_held(graph: Any, fleet: Any) -> int:
    """Return bytes that no stage exceeds."""
    sizes = sum(size or 0 for _, _, size, _ in graph.tensors)
    flight = fleet.schedule.chunks * (1 + max(kept for _, _, kept in fleet.schedule.modes))
    params = fleet.schedule.factor * sum(size for size, _ in graph.params)
    most: int = params + (1 + flight) * sizes
    return most


def turned(problem: Any) -> Any:
    """Return the problem from the end of the pipeline."""
    rows: list[set[int]] = [set() for _ in problem.after]
    for v, row in enumerate(problem.after):
        for w in row:
            rows[w].add(v)
    problem.after = rows
    return problem


def steps_of(fleet: Any) -> Iterator[tuple[int, int, int]]:
    """Yield per seat the states from which a stage may take it, as bits, and the shift to the next one."""
    sizes = [kind.count + 1 for kind in fleet.kinds]
    states = list(product(*map(range, sizes)))
    shifts = [1] * len(sizes)
    for q in range(len(sizes) - 2, -1, -1):
        shifts[q] = shifts[q + 1] * sizes[q + 1]
    for s, ((q, _, _), (r, _, kept)) in enumerate(
        zip(fleet.seats, fleet.schedule.modes, strict=True)
    ):
        mask = 0
        for state, used in enumerate(states):
            if used[q] + r < sizes[q] and fleet.schedule.kept(r, sum(used) + r) == kept:
                mask |= 1 << state
        yield s, mask, r * shifts[q]


class Kept:
    """What classes read, make and save of the tensors, as bits, and the bytes of any set of these."""

    def __init__(self, graph: Any, fleet: Any, members: list[set[int]]) -> None:
        home = {v: c for c, nodes in enumerate(members) for v in nodes}
        self.saved, self.reads, self.makes = ([0] * len(members) for _ in range(3))
        self.forward, sizes = 0, []
        for t, (producer, consumers, size, _) in enumerate(graph.tensors):
            sizes.append(size or 0)
            ahead = not fleet.backward[producer]
            self.forward |= ahead << t
            self.makes[home[producer]] |= 1 << t
            for v in consumers:
                self.reads[home[v]] |= 1 << t
                self.saved[home[v]] |= (ahead and fleet.backward[v]) << t
        # Per byte of such a set the bytes of the tensors that each of its values stands for.
        self.tables = [
            [
                sum(s for i, s in enumerate(sizes[b : b + 8]) if value >> i & 1)
                for value in range(256)
            ]
            for b in range(0, len(sizes), 8)
        ]

    def size(self, tensors: int) -> int:
        """Return the bytes of a set of tensors."""
        parts = tensors.to_bytes(len(self.tables), "little")
        return sum(table[part] for table, part in zip(self.tables, parts, strict=True))

    def of(self, classes: list[int]) -> tuple[int, int, int]:
        """Return what :func:`kept_by` returns for the nodes of some classes."""
        saved = reads = makes = 0
        for c in classes:
            saved |= self.saved[c]
            reads |= self.reads[c]
            makes |= self.makes[c]
        come = reads & ~makes
        return self.size(saved), self.size(come & self.forward), self.size(come & ~self.forward)


def saved_by(graph: Any, fleet: Any, problem: Any) -> tuple[list[set[int]], list[int]]:
    """Return per class the tensors that it saves for its backward nodes, and the bytes of each tensor."""
    home = {v: c for c, nodes in enumerate(problem.members) for v in nodes}
    rows: list[set[int]] = [set() for _ in problem.members]
    for t, (producer, consumers, _, _) in enumerate(graph.tensors):
        for v in consumers:
            if fleet.backward[v] and not fleet.backward[producer]:
                rows[home[v]].add(t)
    return rows, [size or 0 for _, _, size, _ in graph.tensors]


def charge(search: Any, nodes: list[int], compute: dict[int, int]) -> dict[int, int]:
    """Add to what a block computes what it streams and what adding gradients up takes; where it fits.

    Returns the latter apart, for devices that do both at once.
    """
    problem, fleet, schedule = search.problem, search.fleet, search.fleet.schedule
    params = {p for v in nodes for p in problem.params[v]}
    size = sum(search.sizes[p] for p in params)
    sync = {}
    if search.kept is None:
        search.kept = Kept(search.graph, fleet, problem.members)
    saved, fed, gradients = search.kept.of(nodes)
    running = max(saved + gradients, *(problem.held[v] for v in nodes))
    for s in list(compute):
        kind, (replicas, again, kept) = fleet.kinds[fleet.seats[s][0]], schedule.modes[s]
        held = schedule.factor * size + kept * (fed if again else saved) + running
        if kind.limit is not None and held > kind.limit:
            del compute[s]
            continue
        sync[s] = schedule.sync(s, kind, size)
        compute[s] += -(-kind.spilled(held) // replicas)
        if not fleet.overlap:
            compute[s] += sync[s]
    return sync
