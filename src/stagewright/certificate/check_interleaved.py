# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: training whose devices take turns with several chunks (docs/certificate.md).

Standard library only, and nothing of this package: check_devices.py and check_schedule.py run this file, which
lies beside them, by its path.

Of p devices with v chunks each, device r runs stages r, p + r, 2 p + r, ...: its chunks 0 to v - 1.  Microbatches pass in
rounds of p, so of its first i forward passes, with i = q p v + r, chunk c has q p + min(p, max(0, r - c p)); of
backward passes chunk v - 1 - c has as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

NUMBERS = ("microbatches", "state_factor", "replicas", "chunks")
MOST_CHUNKS = 64
Load = tuple[int, ...]
tools: Any = globals().get("tools")  # the names of check.py


# --- the schedule -------------------------------------------------------------------------------


def share(passes: int, chunk: int, p: int, v: int) -> int:
    """Return how many of the first forward passes of a device are those of a chunk."""
    rounds, more = divmod(passes, p * v)
    return rounds * p + min(p, max(0, more - chunk * p))


def at_first(rank: int, p: int, v: int, m: int) -> int:
    """Return the forward passes that a device has begun when it begins its first backward one."""
    return min(m * v, 2 * (p - rank - 1) + (v - 1) * p + 1)


def held_of_chunks(rank: int, p: int, v: int, m: int) -> Iterator[tuple[list[int], int]]:
    """Yield the microbatches that a device holds of each chunk, and the chunk that it runs, for all passes.

    What rounds after the fourth do, the fourth does.
    """
    total = min(m, 4 * p) * v
    ahead, back = 0, 0
    while back < total:
        forward = ahead < total and ahead < at_first(rank, p, v, m) + back
        turn = ahead if forward else back
        chunk = turn // p % v
        ahead += forward
        held = [share(ahead, c, p, v) - share(back, v - 1 - c, p, v) for c in range(v)]
        yield held, chunk if forward else v - 1 - chunk
        back += not forward


def load_rounds(data: Any, fleet: Any, made: Any) -> Any:
    """Read an interleaved schedule, and replace the seats of the fleet by those of its stages."""
    choices = {"never": (False,), "auto": (False, True), "always": (True,)}
    tools.keys(data, "training.schedule", ("name", "recompute", *NUMBERS))
    if data["recompute"] not in choices:
        raise tools.FaultError("training.schedule.recompute: expected a choice that is known")
    for key in NUMBERS:
        if type(data[key]) is not int or not 1 <= data[key] <= 2**20:
            raise tools.FaultError(f"training.schedule.{key}: expected a whole number from 1")
    m, v, p = data["microbatches"], data["chunks"], fleet.stages
    if not 2 <= v <= MOST_CHUNKS:
        raise tools.FaultError(f"training.schedule.chunks: expected 2 to {MOST_CHUNKS}")
    if data["replicas"] != 1:
        raise tools.FaultError(
            "training.schedule.replicas: expected 1 where chunks are interleaved"
        )
    if p < 2 or m % p:
        raise tools.FaultError(
            "training.schedule.microbatches: expected a multiple of 2 or more devices"
        )
    if not fleet.sharing:
        raise tools.FaultError("machine.shared: expected true where chunks are interleaved")
    if not any(fleet.backward):
        raise tools.FaultError("training.backward: expected nodes beside a schedule")
    if any(kind.memory is not None for kind in fleet.kinds):
        raise tools.FaultError("machine: expected no memory beyond which chunks are streamed")
    schedule = made(data["name"], m, data["state_factor"], data["recompute"], 1, [], v)
    kinds = [kind for kind in fleet.kinds for _ in range(kind.count)]
    number = {kind.name: q for q, kind in enumerate(fleet.kinds)}
    most = [[0] * v for _ in range(p)]
    for rank in range(p):
        for held, _ in held_of_chunks(rank, p, v, m):
            most[rank] = list(map(max, most[rank], held))
    fleet.seats = []
    for stage in range(p * v):
        kind = kinds[stage % p]
        for again in choices[data["recompute"]]:
            fleet.seats.append((number[kind.name], kind.link, kind.link))
            schedule.modes.append((1, again, most[stage % p][stage // p] - 1))
    return schedule


def load_seats(document: Any, fleet: Any) -> list[int]:
    """Return the seat of each stage: the s-th has those of its device alone."""
    schedule, p = fleet.schedule, fleet.stages
    stages = document["stages"]
    if schedule.name != "interleaved":
        raise tools.FaultError("machine.shared: expected none with this schedule")
    if len(stages) != p * schedule.chunks:
        raise tools.FaultError(f"stages: expected {p * schedule.chunks}, got {len(stages)}")
    each = len(fleet.seats) // len(stages)
    seats = []
    for s, stage in enumerate(stages):
        for key in ("replicas", "recompute", "in_flight", "kept_bytes", "sync"):
            if key not in stage:
                raise tools.FaultError(f"stages[{s}]: expected {key}")
        own = fleet.kinds[fleet.seats[s * each][0]].name
        if stage["number"] != s % p or type(stage["number"]) is not int or stage["device"] != own:
            raise tools.FaultError(f"stages[{s}]: expected device {s % p}, {own!r}")
        if type(stage["replicas"]) is not int or stage["replicas"] != 1:
            raise tools.FaultError(f"stages[{s}].replicas: expected 1")
        rows = range(s * each, (s + 1) * each)
        found = [i for i in rows if stage["recompute"] is schedule.modes[i][1]]
        if not found:
            raise tools.FaultError(f"stages[{s}].recompute: expected what the schedule allows")
        seats += found
    return seats


# --- what devices do and hold ---------------------------------------------------------------------


def loads_of(fleet: Any, numbers: list[dict[str, int]]) -> list[int]:
    """Return what each device takes for all of its chunks."""
    keys = ("work", "overflow", "io_in", "io_out")
    rows = [numbers[d :: fleet.stages] for d in range(fleet.stages)]
    return [fleet.total({key: sum(row[key] for row in own) for key in keys}) for own in rows]


def held_problems(fleet: Any, numbers: list[dict[str, int]]) -> Iterator[str]:
    """Yield the devices that hold more than they may at some moment."""
    schedule, p = fleet.schedule, fleet.stages
    kinds = [kind for kind in fleet.kinds for _ in range(kind.count)]
    for rank, kind in enumerate(kinds):
        own = numbers[rank::p]
        most = max(
            sum(n * number["kept_bytes"] for n, number in zip(held, own, strict=True))
            + own[chunk]["peak_bytes"]
            - own[chunk]["kept_bytes"]
            for held, chunk in held_of_chunks(rank, p, schedule.chunks, schedule.microbatches)
        )
        most += schedule.factor * sum(number["param_bytes"] for number in own)
        if kind.limit is not None and most > kind.limit:
            yield f"device {rank}: holds {most} bytes, the limit of {kind.name!r} is {kind.limit}"


def check_interleaved(
    graph: Any, plan: Any, seats: list[int], report: Any, allowed: float | None
) -> None:
    """Check the stages, what their devices do and hold, and what the plan says about bounds."""
    fleet = plan.machine
    devices, schedule = (tools.beside(f"check_{name}.py") for name in ("devices", "schedule"))
    if "objective" in plan.document:
        raise tools.FaultError("objective: expected none where chunks are interleaved")
    if report.refuse(devices["structure_problems"](graph, fleet, seats, plan.stages)):
        return
    report.verified.append(
        f"{len(plan.stages)} stages, {fleet.schedule.chunks} on each of {fleet.stages} devices in turn, hold "
        "every node once, in an order that works, within all constraints, on devices that can run them"
    )
    numbers = devices["stage_numbers"](graph, fleet, seats, plan.stages)
    rows = zip(plan.stated, schedule["stated"](plan.document), strict=True)
    given = [row | more for row, more in rows]
    wrong = [
        *devices["number_problems"](fleet, seats, given, numbers),
        *held_problems(fleet, numbers),
    ]
    if not report.refuse(iter(wrong)):
        report.verified.append("the costs of all stages, and what devices hold at any time")
    bounds = [bound["value"] for bound in plan.bounds]
    period = max(loads_of(fleet, numbers))
    stated = plan.bottleneck, plan.lower_bound
    summary = tools.beside("check_stages.py")["summary_problems"]
    if not report.refuse(summary(plan.document, stated, bounds, period)):
        report.verified.append(
            f"the busiest device takes {tools.seconds(period)}; gap and status follow"
        )
    longest = max(number["total"] for number in numbers)
    report.refuse(schedule["step_problems"](plan.document, longest))
    if report.valid:
        tools.record(report, judge(graph, fleet, plan.bounds, allowed))


# --- the search -----------------------------------------------------------------------------------


class LimitReached(Exception):  # noqa: N818  # not an error: the answer stays open
    """A proof needs more than it may spend."""


@dataclass
class Cut:
    """An ideal: its classes as bits, and per seat their work and how many of them it cannot run."""

    classes: int
    work: dict[int, int]
    unable: dict[int, int]


class Block:
    """What the block between two ideals takes and holds, per kind and choice to recompute."""

    def __init__(self, search: Any, start: Any, end: Any, seats: list[int]) -> None:
        self.parts: dict[int, Load] = {}
        self.bytes: dict[int, tuple[int, int]] = {}  # for parameters, of each microbatch kept
        self.running = 0
        problem, fleet = search.problem, search.fleet
        able = [
            s
            for s in seats
            if end.unable[s] == start.unable[s] and end.work[s] - start.work[s] < search.limit
        ]
        if not able:
            return
        block = end.classes & ~start.classes
        nodes = [v for v in range(len(problem.after)) if block >> v & 1]
        received, sent = dict.fromkeys(able, 0), dict.fromkeys(able, 0)
        for t in {t for v in nodes for t in search.touching[v]}:
            made, read = search.pins[t]
            for s in able:
                if block & made and read & ~block:
                    sent[s] += problem.tensors[t][3][s]
                elif not block & made and read & block:
                    received[s] += problem.tensors[t][2][s]
        params = {p for v in nodes for p in problem.params[v]}
        saved = fed = gradients = 0
        if search.limited:
            saved, fed, gradients = search.kept.of(nodes)
        self.running = max(saved + gradients, *(problem.held[v] for v in nodes))
        for s in able:
            row = end.work[s] - start.work[s], received[s], sent[s]
            parts = row if fleet.overlap else (sum(row),)
            if max(parts) < search.limit:
                self.parts[s] = parts
                size = fleet.schedule.factor * sum(search.sizes[p] for p in params)
                self.bytes[s] = size, fed if fleet.schedule.modes[s][1] else saved


class Search:
    """The question whether there is a plan whose devices all take less than a limit.

    A label is what each device takes so far, and holds at least when all it holds is most: parameters, and what is kept.
    """

    def __init__(
        self, graph: Any, fleet: Any, problem: Any, limit: int, allowed: float | None
    ) -> None:
        self.problem, self.graph, self.limit = problem, graph, limit
        self.sizes = [size for size, _ in graph.params]
        self.limited = any(problem.held) or any(problem.params)
        self.kept = tools.beside("check_schedule.py")["Kept"](graph, fleet, problem.members)
        self.steps_left = 400_000 if allowed is None else 10**12
        self.deadline = monotonic() + (1e9 if allowed is None else allowed)
        self.pins = [(1 << made, sum(1 << v for v in read)) for made, read, _, _ in problem.tensors]
        self.touching = [
            [t for t, (made, read) in enumerate(self.pins) if (made | read) >> v & 1]
            for v in range(len(problem.after))
        ]
        self.fleet = fleet
        self.p, self.v = fleet.stages, fleet.schedule.chunks
        self.many = self.p * self.v
        self.each = len(fleet.seats) // self.many
        kinds = [kind for kind in fleet.kinds for _ in range(kind.count)]
        self.limits = [kind.limit for kind in kinds]
        # Seats of equal kind and choice cost the same.
        mode = [
            (seat[0], own[1]) for seat, own in zip(fleet.seats, fleet.schedule.modes, strict=True)
        ]
        self.alike = [mode.index(m) for m in mode]

    def seats(self, stage: int) -> range:
        """Return the seats of a stage."""
        return range(stage * self.each, (stage + 1) * self.each)

    def spend(self) -> None:
        """Count a step; LimitReached when it was one too many."""
        self.steps_left -= 1
        if self.steps_left < 0:
            raise LimitReached("too many steps")
        if not self.steps_left & 255 and monotonic() > self.deadline:
            raise LimitReached("out of time")

    def cuts(self, seats: list[int]) -> list[Cut]:
        """Return all ideals, smaller ones first, with what their classes take at each of some seats."""
        n, found = len(self.problem.after), list[Cut]()
        before = [0] * n
        for v, row in enumerate(self.problem.after):
            for w in row:
                before[w] |= 1 << v
        layer = {0: Cut(0, dict.fromkeys(seats, 0), dict.fromkeys(seats, 0))}
        while layer:
            found += layer.values()
            larger: dict[int, Cut] = {}
            for ideal, cut in layer.items():
                for v in range(n):
                    more = ideal | 1 << v
                    if ideal >> v & 1 or before[v] & ~ideal or more in larger:
                        continue
                    self.spend()
                    row = {s: self.problem.work[s][v] for s in seats}
                    work = {s: w + (row[s] or 0) for s, w in cut.work.items()}
                    unable = {s: u + (row[s] is None) for s, u in cut.unable.items()}
                    larger[more] = Cut(more, work, unable)
            layer = larger
        return found

    def found(self) -> tuple[bool, int]:
        """Return whether there is such a plan, and the number of ideals."""
        seats = sorted(set(self.alike))
        cuts = self.cuts(seats)
        blocks: list[list[tuple[int, Block]]] = [[] for _ in cuts]
        for i, start in enumerate(cuts):
            for j in range(i + 1, len(cuts)):
                if start.classes & ~cuts[j].classes:
                    continue
                self.spend()
                block = Block(self, start, cuts[j], seats)
                if block.parts:
                    blocks[i].append((j, block))
        least = self.least_left(blocks)
        labels: dict[int, list[Load]] = {}
        width = (3 if self.fleet.overlap else 1) * self.p
        if self.fill((0,) * width, least[self.many][0]):
            labels[0] = [(0,) * (width + self.p)]
        for left in range(self.many, 0, -1):
            labels = self.longer(labels, blocks, left, least[left - 1])
        return bool(labels.get(len(cuts) - 1)), len(cuts)

    def able(self, block: Block, stage: int) -> Iterator[tuple[Load, int]]:
        """Yield what a stage takes, and holds at least when all that is held is most, at each seat that fits."""
        rank, m = stage % self.p, self.fleet.schedule.microbatches
        rests = share(at_first(rank, self.p, self.v, m), stage // self.p, self.p, self.v)
        for s in self.seats(stage):
            if (parts := block.parts.get(self.alike[s])) is None:
                continue
            params, unit = block.bytes[self.alike[s]]
            limit, kept = self.limits[rank], self.fleet.schedule.modes[s][2]
            if limit is None or params + kept * unit + block.running <= limit:
                # The first backward pass, that of the last chunk, begins while all that rests is held.
                more = max(0, block.running - unit) if stage // self.p == self.v - 1 else 0
                yield parts, params + rests * unit + more

    def least_left(self, blocks: list[list[tuple[int, Block]]]) -> list[list[Load | None]]:
        """Return per number of stages left and ideal the least that these take together, each part by itself."""
        rows: list[list[Load | None]] = [[None] * len(blocks) for _ in range(self.many + 1)]
        rows[0][-1] = (0,) * (3 if self.fleet.overlap else 1)
        for left in range(1, self.many + 1):
            for i, row in enumerate(blocks):
                for j, block in row:
                    rest = rows[left - 1][j]
                    for parts, _ in () if rest is None else self.able(block, left - 1):
                        both = tuple(map(sum, zip(parts, rest or (), strict=True)))
                        known = rows[left][i]
                        rows[left][i] = both if known is None else tuple(map(min, known, both))
        return rows

    def fill(self, taken: Load, rest: Load | None) -> bool:
        """Return whether all devices together can take what they have and what is left at its least."""
        if rest is None:
            return False
        rows = (taken[r :: len(rest)] for r in range(len(rest)))
        return all(
            sum(row) + more <= self.p * (self.limit - 1)
            for row, more in zip(rows, rest, strict=True)
        )

    def longer(
        self,
        labels: dict[int, list[Load]],
        blocks: list[list[tuple[int, Block]]],
        left: int,
        least: list[Load | None],
    ) -> dict[int, list[Load]]:
        """Return the labels with one more stage, those left out that are nowhere less than another one."""
        stage = left - 1
        rank, parts = stage % self.p, 3 if self.fleet.overlap else 1
        longer: dict[int, list[Load]] = {}
        for i, rows in labels.items():
            for j, block in blocks[i]:
                for more, held in self.able(block, stage):
                    for row in rows:
                        self.spend()
                        new = list(row)
                        for r, time in enumerate(more):
                            new[rank * parts + r] += time
                        new[parts * self.p + rank] += held
                        limit, size = self.limits[rank], new[parts * self.p + rank]
                        if max(new[rank * parts : (rank + 1) * parts]) >= self.limit:
                            continue
                        if (limit is not None and size > limit) or not self.fill(
                            tuple(new[: parts * self.p]), least[j]
                        ):
                            continue
                        keep(longer.setdefault(j, []), tuple(new))
        return longer


def keep(rows: list[Load], new: Load) -> None:
    """Put a label among others unless one of them is nowhere more; drop those that are nowhere less."""
    if any(all(a <= b for a, b in zip(row, new, strict=True)) for row in rows):
        return
    rows[:] = [row for row in rows if any(a > b for a, b in zip(new, row, strict=True))]
    rows.append(new)


def judge(
    graph: Any, fleet: Any, bounds: list[dict[str, Any]], allowed: float | None
) -> Iterator[tuple[dict[str, Any], bool | None, str]]:
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why."""
    parts = tools.beside("check_classes.py")
    components = tools.beside("check_proofs.py")["components"]
    problem = parts["relevant"](graph, fleet, components)
    simple = parts["simple_bound"](problem, fleet)

    def search(value: int) -> tuple[bool | None, str]:
        try:
            found, ideals = Search(graph, fleet, problem, value, allowed).found()
        except LimitReached as reason:
            return None, f"the search was not redone ({reason}); --exhaustive SECONDS allows more"
        if found and parts["binds"](graph, fleet):
            return None, "redone with a lower bound of what devices hold: too low"
        if found:
            return False, "a plan below it exists"
        return True, f"the search over {ideals} ideals was redone"

    yield from tools.beside("check_bounds.py")["weigh"](
        bounds,
        simple,
        allowed,
        formula=lambda bound, _: (bound["value"] <= simple, f"recomputed, {simple} ps"),
        flow=lambda _: (False, "flows prove nothing about chunks"),
        search=search,
    )
