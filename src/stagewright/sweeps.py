# SPDX-License-Identifier: Apache-2.0
"""The public function sweep: what each number of devices reaches, and how many a rate takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from .api import Quantity, Result, Source
from .asking import MachineOptions, asked_for, machine_for
from .errors import InputError
from .ladder import require_time_limit
from .units import PS_PER_SECOND

if TYPE_CHECKING:
    from .asking import ConstraintsLike
    from .graph import CostGraph
    from .sweeping import Answer, Point, PointProgress

__all__ = ["Sweep", "parse_stages", "sweep"]

_MOST_POINTS = 4096


@dataclass(frozen=True, eq=False)
class Sweep:
    """The points of a sweep.

    Attributes
    ----------
    graph
        What was planned, with its groups and pins.
    points
        One for each machine that was reached, in the order asked for; times in picoseconds.
    pareto
        Which of them are worth having: nothing uses at most as many devices, with a period and a latency that are
        no longer, and is better in one of the three.
    seconds
        How long all took together.
    interrupted
        Ctrl-C came; points may be missing.
    seed
        Seed of the random choices.
    source
        Where the graph came from, None if it was made in memory.
    target
        Inferences per second that were asked for; None for none.
    """

    graph: CostGraph
    points: tuple[Point, ...]
    pareto: tuple[bool, ...]
    seconds: float
    interrupted: bool = False
    seed: int = 0
    source: Source | None = None
    target: float | None = None

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def result(self, point: Point) -> Result:
        """Return a point as what :func:`plan` returns.

        Raises
        ------
        InputError
            If the point has no plan.
        """
        if point.solution is None:
            raise InputError("point", "one with a plan", point.why)
        return Result(self.graph, point.machine, point.solution, self.seed, self.source)

    def devices_for(self, rate: float) -> list[tuple[Point, Answer]]:
        """Return how many devices `rate` inferences per second take, for each kind of machine.

        Each answer comes with the cheapest point that reaches the rate, or else with the fastest one.
        """
        from .sweeping import devices_for

        period = period_of(rate)
        answers = []
        for points in self.families():
            answer = devices_for(points, period)
            with_plan = [p for p in points if p.period is not None] or points
            enough = [p for p in points if p.reaches(period)]
            best = (
                min(enough, key=lambda p: p.devices)
                if enough
                else min(with_plan, key=lambda p: p.period or 0)
            )
            answers.append((best, answer))
        return answers

    def families(self) -> list[list[Point]]:
        """Return the points by machines that differ in their stages only."""
        found: dict[Any, list[Point]] = {}
        for point in self.points:
            found.setdefault(replace(point.machine, stages=1), []).append(point)
        return list(found.values())

    def to_json(self) -> dict[str, Any]:
        """Return what ``stagewright sweep --json`` prints (docs/sweeps.md); times are exact seconds."""
        from .sweeping.document import sweep_document

        return sweep_document(self)

    def frame(self, library: str = "pandas") -> Any:
        """Return one row per point as a data frame of pandas or polars; times in seconds.

        Raises
        ------
        MissingDependencyError
            If the library is not installed.
        """
        from .frames import sweep_frame

        return sweep_frame(self.to_json(), library)

    def save_plans(self, folder: str | Path) -> list[Path]:
        """Write the plan file of every point into `folder`, made if it is not there; return the paths."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(str(folder), "a folder to write to", str(error.strerror)) from None
        several = len(self.families()) > 1
        paths = []
        for point in self.points:
            if point.solution is not None:
                machine = point.machine
                more = f"-{machine.bandwidth}Bps" if several and machine.bandwidth else ""
                paths.append(folder / f"stages-{machine.stages:03d}{more}.plan.json")
                self.result(point).save(paths[-1])
        return paths

    def __repr__(self) -> str:
        proven = sum(point.optimal for point in self.points)
        return f"<Sweep of '{self.graph.name}': {len(self.points)} points, {proven} proven optimal>"


def sweep(
    model: CostGraph | str | Path,
    stages: int | str | Sequence[int] = "1..16",
    *,
    bandwidths: Sequence[Quantity] = (),
    target_rate: float | None = None,
    count_graph_io: bool = False,
    time_limit: float = 60.0,
    seed: int = 0,
    threads: int | None = None,
    source: Source | None = None,
    progress: Callable[[PointProgress], None] | None = None,
    fuse: bool | None = None,
    granularity: str = "op",
    constraints: ConstraintsLike = None,
    **machine: Unpack[MachineOptions],
) -> Sweep:
    """Plan a graph for many numbers of stages, and perhaps several bandwidths, with shared work.

    Parameters
    ----------
    model, count_graph_io, seed, threads, source, fuse, granularity, constraints, machine
        As for :func:`plan`.
    stages
        Numbers of devices: a sequence, or a text such as ``1..16`` or ``1..4,8,16``.
    bandwidths
        Several bandwidths to look at in turn, instead of one.
    target_rate
        Inferences per second.  Time then goes to what decides how many devices that takes.
    time_limit
        Seconds for all points together; points that are still open share what the others leave.
    progress
        Called whenever a bound of some point changes, from the thread that calls this.

    Raises
    ------
    InputError
        If something given cannot be used.
    """
    from .settings import Settings
    from .sweeping import pareto, sweep_machines

    require_time_limit(time_limit)
    counts = parse_stages(stages)
    if bandwidths and machine.get("bandwidth") is not None:
        raise InputError("bandwidths", "none beside a bandwidth", repr(list(bandwidths)))
    asked = asked_for(
        model,
        device=machine.get("device"),
        catalogue=machine.get("catalogue"),
        source=source,
        fuse=fuse,
        granularity=granularity,
        constraints=constraints,
    )
    if machine.get("catalogue") is None and (machine.get("device") or machine.get("link")):
        from .cost.catalogue import load_catalogue

        machine["catalogue"] = load_catalogue()
    reserve = asked.constraints.reserve
    if any(reserve.stages.values()):
        raise InputError(
            "reserve",
            "the same on all devices in a sweep",
            f"more on stage {min(reserve.stages)}",
            "Reserve for all, or plan each number of stages on its own.",
        )
    kinds: list[MachineOptions] = [{**machine, "bandwidth": b} for b in bandwidths] or [machine]
    machines = [machine_for(k, reserve=reserve, **kind) for kind in kinds for k in counts]
    if len(machines) > _MOST_POINTS:
        raise InputError("stages", f"at most {_MOST_POINTS} points in a sweep", str(len(machines)))
    if count_graph_io:
        if len(kinds) > 1:
            raise InputError(
                "bandwidths", "one beside count_graph_io, which prices by it", str(len(kinds))
            )
        asked = asked.charged(machines[0])
    graph = asked.shaped()
    found = sweep_machines(
        graph,
        machines,
        Settings(time_limit=time_limit, seed=seed, threads=threads),
        target=None if target_rate is None else period_of(target_rate),
        progress=progress,
    )
    return Sweep(
        graph,
        found.points,
        tuple(pareto(found.points)),
        found.seconds,
        found.interrupted,
        seed,
        asked.source,
        target_rate,
    )


def period_of(rate: float) -> int:
    """Return the longest period, in whole picoseconds, at which there are `rate` inferences per second."""
    if not 0 < rate < float("inf"):
        raise InputError("target rate", "inferences per second above 0", repr(rate))
    from fractions import Fraction

    return int(PS_PER_SECOND / Fraction(str(rate)))


def parse_stages(stages: int | str | Sequence[int]) -> list[int]:
    """Return numbers of stages, each once and in increasing order; the texts are of :func:`sweep`."""
    expected = "numbers of devices such as 1..16 or 1..4,8,16"
    if isinstance(stages, str):
        found: set[int] = set()
        for part in stages.split(","):
            first, dots, last = part.strip().partition("..")
            if not first.isdecimal() or (dots and not last.isdecimal()):
                raise InputError("stages", expected, repr(stages))
            low, high = int(first), int(last or first)
            if not 1 <= low <= high or high - low >= _MOST_POINTS:
                raise InputError("stages", expected, repr(stages))
            found.update(range(low, high + 1))
        return sorted(found)
    numbers = [stages] if isinstance(stages, int) else list(stages)
    if not numbers or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in numbers):
        raise InputError("stages", "whole numbers of devices above 0", repr(numbers))
    return sorted(set(numbers))
