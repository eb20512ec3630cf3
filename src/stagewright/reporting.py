# SPDX-License-Identifier: Apache-2.0
"""Report pages: a plan, the graph it is for if that can be had, and what else is to be shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .errors import CheckError, StagewrightError
from .source import Source

if TYPE_CHECKING:
    from .cost.catalogue import Catalogue
    from .graph import CostGraph

__all__ = ["Extras", "graph_of_plan", "graph_or_reason", "report_text", "verification"]

_DATA_ONLY: Final = (
    "onnx",
    "graph",
    "cost_graph_def",
    "dnn_partitioning",
    "pipedream",
    "piper",
    "stablehlo",
)
"""Formats that are read without running anything of the model's; these are read unasked."""


@dataclass(frozen=True)
class Extras:
    """What a page shows beyond the plan.

    Attributes
    ----------
    run
        The content of ``stagewright run --json``.
    what_if
        Seconds to spend on plans for other machines; 0 for none.
    verify
        Whether to let the independent checker verify the plan, which takes up to a few seconds.
    title
        Name of what was planned; the model's file name by default.
    only
        One section of the page, :data:`.reports.page.PARTS`.
    """

    run: Mapping[str, Any] | None = None
    what_if: float = 0.0
    verify: bool = False
    title: str | None = None
    only: str = ""


def report_text(
    document: Mapping[str, Any],
    graph: CostGraph | None,
    extras: Extras | None = None,
    *,
    missing: str = "",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Return the page about a plan document; `graph` is the one that was planned, shaped as it was.

    Without a graph the page says `missing` in its place.

    Raises
    ------
    CheckError
        If the document is not the content of a plan file, or not for this graph.
    InputError
        If the run is not a run report.
    """
    from .certificate.build import plan_of
    from .machine import Machine
    from .plans import problems_of
    from .reports.drawing import drawing
    from .reports.page import page

    extras = extras or Extras()
    if graph is not None and "devices" in document["machine"]:
        return _placed_text(document, graph, extras)
    if graph is None:
        return page(document, run=extras.run, title=extras.title, missing=missing, only=extras.only)
    machine, plan = Machine.from_json(document["machine"]), plan_of(document, graph, "plan")
    verified = verification(graph, document) if extras.verify else None
    faults = problems_of(graph, machine, plan)
    if faults:
        missing = f"The graph is not shown, for the plan is not valid: {faults[0]}."
    alternatives = None
    if extras.what_if > 0 and not faults:
        from .what_if import what_if

        source = document.get("source")
        charged = isinstance(source, Mapping) and bool(source.get("count_graph_io"))
        alternatives = what_if(
            graph,
            machine,
            plan,
            time_limit=extras.what_if,
            seed=int(document.get("seed") or 0),
            threads=threads,
            links=not charged,
            progress=progress,
        )
    return page(
        document,
        run=extras.run,
        title=extras.title,
        drawing=None if faults else drawing(graph, machine, plan),
        missing=missing,
        what_if=alternatives,
        verified=verified,
        only=extras.only,
    )


def _placed_text(document: Mapping[str, Any], graph: CostGraph, extras: Extras) -> str:
    """Return the page about a plan for devices of several kinds, or for training."""
    from .placement.again import fleet_of, placed_plan_of, workload_of
    from .placement.sharing import problems_of_shared
    from .placement.workload import problems_of
    from .plans import Plan
    from .reports.drawing import drawing
    from .reports.page import page
    from .reports.view import read_plan_view

    view, fleet = read_plan_view(document), fleet_of(document)
    workload, plan = workload_of(document, graph), placed_plan_of(document, graph, fleet)
    faults = (problems_of_shared if fleet.shared else problems_of)(workload, fleet, plan)
    found = None
    if not faults:
        work = graph.work.tolist()
        for device, nodes in zip(plan.devices, plan.stages, strict=True):
            there = workload.work_at(fleet, fleet.seat_at(device))
            for v in nodes:
                work[v] = there[v]
        shown = graph.replace(work=work)
        # Stages of one device hand tensors to each other for nothing.
        units = [s.unit for s in view.stages if s.unit is not None]
        devices = units if len(units) == len(view.stages) else ()
        passes = workload.backward
        found = drawing(shown, view.machine, Plan(plan.stages), view.ends, passes, devices)
    return page(
        document,
        run=extras.run,
        title=extras.title,
        drawing=found,
        missing=f"The graph is not shown, for the plan is not valid: {faults[0]}."
        if faults
        else "",
        verified=verification(graph, document) if extras.verify else None,
        only=extras.only,
    )


def verification(graph: CostGraph, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the independent checker says of a plan document for a graph."""
    from .certificate.build import dumps
    from .certificate.check import check_texts
    from .readers.graph_writer import graph_text

    found = check_texts(
        json.loads(graph_text(graph), parse_float=Decimal),
        json.loads(dumps(document), parse_float=Decimal),
    )
    return asdict(found)


def graph_of_plan(
    document: Mapping[str, Any],
    source: Source,
    catalogue: Catalogue | None = None,
) -> CostGraph:
    """Read the graph that a plan was made for, from the model that `source` names.

    Raises
    ------
    InputError
        If the model cannot be read.
    CheckError
        If it is another graph than the plan's.
    """
    from .reading import read_again
    from .shaping.shape import as_planned

    devices = catalogue if source.device else None
    # A backward pass is added to what is planned, after its units and constraints.
    trains = source.backward is not None
    graph = as_planned(read_again(source, catalogue=devices, shaped=trains), document)
    if document.get("graph_sha256") != graph.sha256:
        raise CheckError(
            f"{source.model}",
            f"the graph that the plan is for, of hash '{document.get('graph_sha256')}'",
            f"one of hash '{graph.sha256}'",
            "Give the same model, read with the same device or profile.",
        )
    return graph


def graph_or_reason(
    document: Mapping[str, Any], source: Source | None, catalogue: Catalogue | None = None
) -> tuple[CostGraph | None, str]:
    """Return the graph of a plan if the plan says where it is and it can be read safely, else why not."""
    from .readers import file_kind

    how = "Give the model: stagewright report PLAN.json MODEL."
    if source is None:
        return None, f"The graph is not shown: the plan file does not say where it came from. {how}"
    path = Path(source.model)
    if not path.is_file():
        return None, f"The graph is not shown: '{source.model}' is not there. {how}"
    try:
        if file_kind(path) not in _DATA_ONLY:
            why = "reading it runs code of a framework, which is not done unasked"
            return None, f"The graph is not shown: {why}. {how}"
        return graph_of_plan(document, source, catalogue), ""
    except StagewrightError as error:
        return None, f"The graph is not shown: {error} {how}"
