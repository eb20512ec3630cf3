# SPDX-License-Identifier: Apache-2.0
"""The public functions: read, plan, bound, check, split, run.

They join the layers and do nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Unpack

from .asking import MachineOptions, Quantity, asked_for, machine_for
from .errors import CheckError, InputError, LimitError
from .ladder import (
    BOUND_METHODS,
    SOLVERS,
    bound,
    integrality_gap,
    require_time_limit,
)
from .reading import profile, read, with_batch
from .source import Source

if TYPE_CHECKING:
    from .asking import ConstraintsLike
    from .bound.types import Bound
    from .certificate.check import Report
    from .graph import CostGraph
    from .machine import Machine
    from .plans import Plan
    from .reports.notebook import Figure
    from .runtime import RunReport
    from .solve import Progress, Solution
    from .splitting import Manifest
    from .splitting.torch_stages import TorchStages

__all__ = [
    "BOUND_METHODS",
    "SOLVERS",
    "Quantity",
    "Result",
    "Source",
    "bound",
    "check",
    "integrality_gap",
    "machine_for",
    "plan",
    "profile",
    "read",
    "run",
    "split",
]


@dataclass(frozen=True, eq=False)
class Result:
    """A plan with its proof.

    Attributes
    ----------
    graph, machine
        What was planned for what; the graph with its groups and pins, the machine without what is
        reserved.
    solution
        The plan and how it was found; times in picoseconds.
    seed
        Seed of the random choices.
    source
        Where the graph came from, None if it was made in memory.
    operator_level
        The solution where cuts may fall between any two nodes, for plans of modules or layers.
    """

    graph: CostGraph
    machine: Machine
    solution: Solution
    seed: int = 0
    source: Source | None = None
    operator_level: Solution | None = None

    @property
    def plan(self) -> Plan:
        """The stages."""
        return self.solution.plan

    @property
    def bottleneck(self) -> float:
        """Cost of the slowest stage, seconds: the period at steady state."""
        return self.solution.bottleneck / 1e12

    @property
    def lower_bound(self) -> float:
        """No plan has a bottleneck below this many seconds."""
        return self.solution.lower_bound / 1e12

    @property
    def gap(self) -> float | None:
        """Return upper / lower - 1; None when the lower bound is 0 and the bottleneck is not."""
        gap: float | None = self.to_json()["gap"]
        return gap

    @property
    def status(self) -> Literal["optimal", "bounded", "feasible"]:
        """``optimal`` (gap 0, proven), ``bounded`` or ``feasible``."""
        status: Literal["optimal", "bounded", "feasible"] = self.to_json()["status"]
        return status

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Every lower bound found, with how it is known."""
        return self.solution.bounds

    def to_json(self) -> dict[str, Any]:
        """Return the content of the plan file; times are exact decimals of seconds."""
        from .certificate.build import history_entries, operator_level, plan_document

        document = plan_document(
            self.graph,
            self.machine,
            self.plan,
            self.bounds,
            stopped_because=self.solution.stopped_because,
            seconds=self.solution.seconds,
            seed=self.seed,
        )
        document["history"] = history_entries(self.solution.history)
        if self.source is not None:
            from .cost.provenance import provenance

            document["source"] = {**self.source.to_json(), "costs": provenance(self.graph)}
        if self.graph.notes:
            document["notes"] = list(self.graph.notes)
        if self.operator_level is not None:
            finer = self.operator_level
            document["operator_level"] = operator_level(
                self.solution.bottleneck, finer.bottleneck, finer.lower_bound
            )
        return document

    def stages_frame(self, library: str = "pandas") -> Any:
        """Return one row per stage as a data frame of pandas or polars (:mod:`.frames`)."""
        from .frames import stages_frame

        return stages_frame(self.to_json(), library)

    def nodes_frame(self, library: str = "pandas") -> Any:
        """Return one row per node as a data frame of pandas or polars (:mod:`.frames`)."""
        from .frames import nodes_frame

        return nodes_frame(self.graph, self.plan, library)

    def cuts_frame(self, library: str = "pandas") -> Any:
        """Return one row per tensor that crosses, and stage that receives it (:mod:`.frames`)."""
        from .frames import cuts_frame

        return cuts_frame(self.graph, self.machine, self.plan, library)

    def save(self, path: str | Path) -> None:
        """Write the plan file."""
        from .certificate.build import save

        save(self.to_json(), path)

    def report(
        self,
        path: str | Path,
        *,
        run: RunReport | Mapping[str, Any] | None = None,
        what_if: float = 0.0,
        verify: bool = False,
    ) -> None:
        """Write the report page, one self-contained HTML file.

        Parameters
        ----------
        path
            Where to.
        run
            What :func:`run` measured, to be compared with the prediction.
        what_if
            Seconds to spend on plans for other bandwidths and numbers of stages, for the page's sliders.
        verify
            Whether the page is to say what the independent checker finds.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        from .files import write_whole

        write_whole(path, self._page(run=run, what_if=what_if, verify=verify))

    def plot(self, what: str = "page", *, run: Any = None, what_if: float = 0.0) -> Figure:
        """Return a picture for a notebook cell: interactive, self-contained, without network.

        Parameters
        ----------
        what
            ``page`` for everything, or one section: ``graph``, ``stages``, ``memory``, ``search``, ``bounds``,
            ``what-if``, ...
        run, what_if
            As for :meth:`report`.

        Raises
        ------
        InputError
            If there is no such section.
        """
        from .reports.notebook import Figure, require_part

        require_part(what)
        seconds = (what_if or 10.0) if what == "what-if" else what_if
        only = "" if what == "page" else what
        return Figure(self._page(run=run, what_if=seconds, only=only), what)

    def _page(self, *, run: Any = None, **extras: Any) -> str:
        from .reporting import Extras, report_text

        measured = run if run is None or isinstance(run, Mapping) else run.to_json()
        return report_text(self.to_json(), self.graph, Extras(measured, **extras))

    def _repr_html_(self) -> str:
        from .reports.notebook import plan_html

        return plan_html(self.to_json(), self.graph.name)

    def to_torch(self, module: Any, example_inputs: Any = None) -> TorchStages:
        """Return a module per stage of the PyTorch module or program that was planned.

        Errors and details are those of :func:`.shipping.to_torch`.
        """
        from .splitting.torch_stages import split_torch

        stages = [[self.graph.node_names[v] for v in nodes] for nodes in self.plan.stages]
        replicable = {n for n, v in self.graph.index_of.items() if self.graph.replicable[v]}
        return split_torch(module, example_inputs, stages, replicable=replicable)

    def __repr__(self) -> str:
        from .units import format_time

        return (
            f"<Result of '{self.graph.name}': {len(self.plan.stages)} stages, bottleneck "
            f"{format_time(self.solution.bottleneck)}, {self.status}>"
        )


class Planned(Protocol):
    """What :func:`plan` and :func:`stagewright.place` return: a plan document, and where its graph came from."""

    @property
    def source(self) -> Source | None:
        """Where the graph came from."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of the plan file."""


def plan(
    model: CostGraph | str | Path,
    stages: int,
    *,
    count_graph_io: bool = False,
    time_limit: float = 60.0,
    seed: int = 0,
    threads: int | None = None,
    start: Result | Plan | str | Path | None = None,
    source: Source | None = None,
    progress: Callable[[Progress], None] | None = None,
    fuse: bool | None = None,
    granularity: str = "op",
    constraints: ConstraintsLike = None,
    **machine: Unpack[MachineOptions],
) -> Result:
    """Cut a graph into at most `stages` stages, and prove how good the cut is.

    Parameters
    ----------
    model
        A cost graph, or the path of anything :func:`read` reads.
    stages
        Number of devices.
    machine
        ``bandwidth``, ``latency``, ``memory``, ``memory_limit``, ``device``, ``link`` and ``catalogue``: the
        numbers of the machine, see :class:`.asking.MachineOptions`.
    count_graph_io
        Charge the model for its own inputs and outputs (:mod:`.graph_io`); free by default.
    time_limit
        Seconds for everything but reading the model.
    seed, threads
        Seed of the random choices; threads to use (all cores by default).  The result does not
        depend on the number of threads unless time runs out.
    start
        A plan to start from: a result, a plan, or the path of a plan file, for at most as many stages.
        Of a result for the same graph, the lower bounds are kept if they hold: its machine has at least
        as many stages and is nowhere worse.
    progress
        Called whenever a bound changes, from the thread that calls this.
    fuse
        As for :func:`read`, where `model` is a path.
    granularity, constraints
        As for :func:`read`.  With ``module`` or ``layer`` half of the time goes to the plan that may
        cut anywhere, so that the result says what the coarser cuts cost.  What the constraints
        reserve is taken from the devices' memory.

    Raises
    ------
    InputError
        If something given cannot be used.
    InfeasibleError
        If it is proven that no plan keeps every stage within `memory_limit`.
    LimitError
        If no such plan was found, and none was shown not to exist.
    """
    from .reserved import solve_reserved
    from .solve import Settings
    from .starting import bounds_that_hold, plan_to_start_from

    require_time_limit(time_limit)
    asked = asked_for(
        model,
        device=machine.get("device"),
        catalogue=machine.get("catalogue"),
        source=source,
        fuse=fuse,
        granularity=granularity,
        constraints=constraints,
    )
    devices = machine_for(stages, reserve=asked.constraints.reserve, **machine)
    begun = time.perf_counter()
    if count_graph_io:
        asked = asked.charged(devices)
    shaped = asked.shaped()
    # The plan file will hold it, and to make it takes a while: better before the deadline than behind it.
    _ = shaped.sha256
    settings = Settings(
        time_limit=time_limit,
        seed=seed,
        threads=threads,
        start=plan_to_start_from(start.to_json() if isinstance(start, Result) else start, shaped),
        bounds=bounds_that_hold(start, shaped, devices) if isinstance(start, Result) else (),
    )
    if granularity == "op":
        found = solve_reserved(shaped, devices, settings, progress, begun)
        return Result(shaped, devices, found, seed, asked.source)
    settings = replace(settings, time_limit=time_limit / 2)
    solution = solve_reserved(shaped, devices, settings, progress)
    finer = None
    if solution.stopped_because != "interrupted":
        with suppress(LimitError):  # then nothing is said of what the units cost
            finer = solve_reserved(asked.shaped("op"), devices, settings, progress)
    return Result(shaped, devices, solution, seed, asked.source, finer)


def check(
    graph: CostGraph,
    plan: Planned | Mapping[str, Any] | str | Path,
    *,
    exhaustive_seconds: float | None = None,
) -> Report:
    """Verify a plan by the independent checker, which shares no code with the solver.

    Parameters
    ----------
    graph
        The graph that was planned, or the one that the plan's granularity and constraints were given
        for.
    plan
        A result, the content of a plan file, or its path.
    exhaustive_seconds
        Time to spend on redoing exhaustive proofs; None for those that take a few seconds.
    """
    import json

    from .certificate.build import dumps
    from .certificate.check import check_texts, read_json
    from .readers.graph_writer import graph_text
    from .shaping.shape import as_planned

    if isinstance(plan, (str, Path)):
        document = read_json(plan)
    else:
        content = plan if isinstance(plan, Mapping) else plan.to_json()
        document = json.loads(dumps(content), parse_float=Decimal)
    return check_texts(
        json.loads(graph_text(as_planned(graph, document)), parse_float=Decimal),
        document,
        exhaustive_seconds=exhaustive_seconds,
    )


def split(
    model: str | Path,
    plan: Planned | str | Path,
    folder: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    any_size: bool = False,
    overwrite: bool = False,
) -> Manifest:
    """Write one model file per stage and a manifest into `folder`.

    Parameters
    ----------
    model
        The ONNX model that was planned.
    plan
        A result, or the path of a plan file.
    shapes, dims
        As given for reading; by default what the plan file says.
    any_size
        Leave symbolic sizes symbolic: the stages take any, not only those that costs were counted for.

    Raises
    ------
    InputError
        If the plan does not fit the model or the folder may not be written.
    """
    from .certificate.build import plan_of
    from .splitting import split_onnx

    if isinstance(plan, (str, Path)):
        document, source = read_plan(plan)
        item = str(plan)
    else:
        document, source, item = plan.to_json(), plan.source, "plan"
    require_inference(document, item, "split")
    shapes = shapes or (source.shapes if source else None)
    dims = dims or (source.dims if source else None)
    dims = with_batch(model, source.settings.batch if source else None, shapes, dims)
    graph = read(model, shapes=shapes, dims=dims)
    if any_size:
        shapes = dims = None
    return split_onnx(
        model,
        graph,
        plan_of(document, graph, item),
        folder,
        document=document,
        shapes=shapes,
        dims=dims,
        overwrite=overwrite,
    )


def read_plan(path: str | Path) -> tuple[dict[str, Any], Source | None]:
    """Return the content of a plan file, unverified, and where its graph came from."""
    from .certificate.build import read_document

    document = read_document(path)
    source = document.get("source")
    if source is None:
        return document, None
    try:
        return document, Source.from_json(source)
    except (TypeError, AttributeError):
        raise CheckError(f"{path}: source", "the object of docs/plan_file.md", "another") from None


def require_inference(document: Mapping[str, Any], item: str, what: str) -> None:
    """Refuse the plan of a pipeline that trains.

    Raises
    ------
    InputError
        If it is one; the message says what cannot be done with it.
    """
    if "training" in document:
        raise InputError(
            item,
            f"a plan for inference to be {what}",
            "one for training, whose stages run backward as well",
            "Plan without --mode training, or export the plan for what trains: megatron, deepspeed, "
            "split-points.",
        )


def run(folder: str | Path, **options: Any) -> RunReport:
    """Run the stage files in `folder` as a pipeline and measure; see runtime.run_directory()."""
    from .runtime import run_directory

    return run_directory(folder, **options)
