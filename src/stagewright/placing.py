# SPDX-License-Identifier: Apache-2.0
"""The public function place: plans for devices of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError
from .ladder import require_time_limit, require_work
from .source import Source
from .units import parse_time

if TYPE_CHECKING:
    from .bound.types import Bound
    from .certificate.check import Report
    from .cost.catalogue import Catalogue
    from .graph import CostGraph
    from .placement.devices import Fleet
    from .placement.method import PlacedSolution
    from .placement.schedule import Schedule
    from .placement.workload import PlacedPlan, Workload
    from .reports.notebook import Figure

__all__ = ["PlacedResult", "place"]

Mode = Literal["inference", "training"]


@dataclass(frozen=True, eq=False)
class PlacedResult:
    """A plan for devices of several kinds, with its proof.

    Attributes
    ----------
    workload, fleet
        What was planned for what.
    solution
        The plan and how it was found; times in picoseconds.
    seed
        Seed of the random choices.
    source
        Where the graph came from, as far as it is known.
    """

    workload: Workload
    fleet: Fleet
    solution: PlacedSolution
    seed: int
    source: Source | None = None

    @property
    def status(self) -> str:
        """``optimal``, ``bounded`` or ``feasible``."""
        return str(self.to_json()["status"])

    @property
    def bottleneck(self) -> float:
        """The period in seconds."""
        return self.solution.bottleneck / 1e12

    @property
    def lower_bound(self) -> float:
        """No plan has a bottleneck below this many seconds."""
        return self.solution.lower_bound / 1e12

    @property
    def plan(self) -> PlacedPlan:
        """The stages and their devices."""
        return self.solution.plan

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Every lower bound of the period found, with how it is known."""
        return self.solution.bounds

    @property
    def gap(self) -> float | None:
        """Return upper / lower - 1 of the period; None when the lower bound is 0 and the period is not."""
        gap: float | None = self._document["gap"]
        return gap

    def stages_frame(self, library: str = "pandas") -> Any:
        """Return one row per stage as a data frame of pandas or polars (:mod:`.frames`)."""
        from .frames import stages_frame

        return stages_frame(self._document, library)

    def to_json(self) -> dict[str, Any]:
        """Return the plan file's content."""
        return dict(self._document)

    @cached_property
    def _document(self) -> dict[str, Any]:
        from .placement.document import placed_document

        document = placed_document(self.workload, self.fleet, self.solution, seed=self.seed)
        return document if self.source is None else document | {"source": self.source.to_json()}

    def save(self, path: str | Path) -> None:
        """Write the plan file; it appears whole or not at all."""
        from .certificate.build import save

        save(self._document, path)

    def report(self, path: str | Path, *, verify: bool = True) -> None:
        """Write the report page, one self-contained HTML file; `verify` lets the checker verify the plan."""
        from .files import write_whole

        write_whole(path, self._page(verify=verify))

    def plot(self, what: str = "page") -> Figure:
        """Return a picture for a notebook cell: interactive, self-contained, without network.

        Parameters
        ----------
        what
            ``page`` for everything, or one section: ``graph``, ``stages``, ``memory``, ``machine``, ``bounds``, ...

        Raises
        ------
        InputError
            If there is no such section.
        """
        from .reports.notebook import Figure, require_part

        require_part(what)
        return Figure(self._page(only="" if what == "page" else what), what)

    def _page(self, **extras: Any) -> str:
        from .reporting import Extras, report_text

        return report_text(self._document, self.workload.graph, Extras(**extras))

    def _repr_html_(self) -> str:
        from .reports.notebook import plan_html

        return plan_html(self._document, self.workload.graph.name)

    def __repr__(self) -> str:
        from .units import format_time

        return (
            f"<PlacedResult of '{self.workload.graph.name}': {len(self.solution.plan.stages)} stages, "
            f"bottleneck {format_time(self.solution.bottleneck)}, {self.status}>"
        )

    def check(self, exhaustive_seconds: float | None = None) -> Report:
        """Verify the plan by the independent checker."""
        from .api import check

        return check(self.workload.graph, self._document, exhaustive_seconds=exhaustive_seconds)


def place(
    model: Workload | CostGraph | str | Path,
    machine: Fleet | str | Path | None = None,
    *,
    mode: Mode = "inference",
    objective: Literal["period", "latency", "makespan", "cost"] = "period",
    period_limit: float | str | None = None,
    latency_limit: float | str | None = None,
    work: str | Path | Mapping[str, tuple[int, ...]] | None = None,
    schedule: Schedule | Mapping[str, Any] | None = None,
    backward: float | str | None = None,
    shared: bool = False,
    catalogue: Catalogue | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
    source: Source | None = None,
) -> PlacedResult:
    """Plan for devices of several kinds (docs/placement.md).

    Parameters
    ----------
    model
        A workload, a graph, or the path of anything that :func:`read` reads.
    machine
        The devices, or the path of a machine file.  By default those that the file of the model is for,
        which only workloads of dnn-partitioning say.
    mode
        ``training`` plans the backward pass as well.
    objective
        What to minimise: the period; the latency of one request that passes through one stage after
        another; its makespan, where stages that do not need each other run side by side; or the cost of the
        devices in use.
    period_limit, latency_limit
        Seconds, or texts such as ``5ms``, that the other of the two must not exceed; ``cost`` needs a limit of the
        period.
    work
        Work per kind of device: a file beside the model, or picoseconds per node by name.
    schedule
        Of training: a :class:`.placement.schedule.Schedule` or its attributes by name, over those that the
        machine file gives; without either the memory of microbatches in flight is left out.
    backward
        Of training, where the model holds the forward pass alone: by how much the backward pass takes longer
        (2 unless given or known from the file).
    shared
        Whether a device may run several stages, as `shared` of a machine file says.
    catalogue
        Devices and links that the machine file may name.
    time_limit
        Seconds.
    seed
        Seed of the random choices.
    source
        Where the graph came from, for the plan file.

    Raises
    ------
    InputError
        If something given cannot be used.
    InfeasibleError, LimitError
        If no plan fits, or none was found in time.
    """
    from .placement.devices import Fleet
    from .placement.fleet_file import read_fleet
    from .placement.interleaved_method import solve_interleaved
    from .placement.makespan_method import solve_makespan
    from .placement.method import solve_placed
    from .placement.objective import Objective
    from .placement.reading import read_published, read_work, read_workload
    from .placement.sharing_method import solve_shared
    from .placement.workload import Workload
    from .readers import file_kind

    require_time_limit(time_limit)
    path = Path(model) if isinstance(model, (str, Path)) else None
    how = None if backward is None else str(backward)
    if isinstance(model, Workload):
        workload = model
    elif path is not None and machine is None and file_kind(path) == "dnn_partitioning":
        workload, machine = read_published(path, mode)
        source = source or _source_of(path, workload)
    elif path is not None and (mode == "inference" or file_kind(path) == "dnn_partitioning"):
        from .api import read

        workload = read_workload(path, mode, read)
        source = source or _source_of(path, workload)
    elif mode == "training":
        from .api import read
        from .placement.backward import TIMES, training_workload

        origin = path or (None if source is None else source.model)
        graph = model if path is None else read(path)
        workload = training_workload(graph, how, origin)  # type: ignore[arg-type]
        timed = how is None and origin is not None and file_kind(origin) == "pipedream"
        how = TIMES if timed else how or "2"
        source = source or (None if path is None else Source(str(path)))
        source = None if source is None else replace(source, backward=how)
    else:
        workload = Workload(model)  # type: ignore[arg-type]  # what is left is a CostGraph
    if mode == "inference" and (schedule is not None or backward is not None):
        raise InputError("schedule, backward", "none but in mode training", "mode inference")
    if work is not None:
        rows = work if isinstance(work, Mapping) else read_work(work, workload.graph)
        workload = replace(workload, rows={**workload.rows, **rows})
    if machine is None:
        raise InputError("machine", "the devices to plan for", "none", "Give --machine FILE.")
    fleet = machine if isinstance(machine, Fleet) else read_fleet(machine, workload, catalogue)
    fleet = scheduled(fleet, schedule)
    if shared and not fleet.shared:
        fleet = replace(fleet, shared=True)
    if any(kind.work is None for kind in fleet.kinds):
        require_work(workload.graph)
    limits = [
        None if given is None else parse_time(given, item=item)
        for given, item in ((period_limit, "period limit"), (latency_limit, "latency limit"))
    ]
    goal = Objective(objective, *limits)
    solve: Callable[..., PlacedSolution] = solve_shared if fleet.shared else solve_placed
    if fleet.interleaved:
        solve = solve_interleaved
    elif goal.minimise == "makespan" and not fleet.shared:
        solve = solve_makespan
    solution = solve(workload, fleet, objective=goal, time_limit=time_limit, seed=seed)
    return PlacedResult(workload, fleet, solution, seed, source)


def scheduled(fleet: Fleet, schedule: Schedule | Mapping[str, Any] | None) -> Fleet:
    """Return the fleet with a schedule, whose attributes may be given over those that it has."""
    from .placement.schedule import Schedule

    if not schedule:
        return fleet
    if isinstance(schedule, Schedule):
        return replace(fleet, schedule=schedule)
    known = [entry.name for entry in fields(Schedule)]
    for key in schedule:
        if key not in known:
            raise InputError(f"schedule: {key}", f"one of {', '.join(known)}", "another")
    return replace(fleet, schedule=replace(fleet.schedule or Schedule(), **schedule))


def _source_of(path: Path, workload: Workload) -> Source:
    options = {"backward": "keep"} if any(workload.backward) else {}
    return Source(str(path), options=options)
