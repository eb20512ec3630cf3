# SPDX-License-Identifier: Apache-2.0
"""The public function export: a plan for the programs that run pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .api import Result, Source, read, read_plan
from .errors import CheckError, InputError
from .machine import Machine

if TYPE_CHECKING:
    from .cost.catalogue import Catalogue
    from .exporting import Export, Job
    from .graph import CostGraph

__all__ = ["export"]


def export(
    plan: Result | str | Path,
    target: str,
    output: str | Path | None = None,
    *,
    model: CostGraph | str | Path | None = None,
    places: Sequence[str] = (),
    round: bool = False,  # noqa: A002
    time_limit: float = 10.0,
    overwrite: bool = False,
    catalogue: Catalogue | None = None,
) -> Export:
    """Write a plan in the terms of another program, and say what it cannot express (docs/exporting.md).

    Parameters
    ----------
    plan
        A result, or the path of a plan file.
    target
        ``vllm``, ``triton``, ...: one of :data:`.exporting.TARGETS`.
    output
        The file or folder to write.
    model
        The model, where the plan file does not say or it lies elsewhere now.
    places
        The device of each stage, for programs that name devices.
    round
        Whether a plan that the program cannot express may become the best one that it can.
    time_limit
        Seconds for finding that one and proving how good it is.

    Raises
    ------
    InputError
        If the program cannot express the plan, or something given cannot be used.
    """
    from .exporting import export as write

    job = _job(plan, model, places, catalogue, round=round, time_limit=time_limit)
    return write(job, target, output, overwrite=overwrite)


def _job(
    plan: Result | str | Path,
    model: CostGraph | str | Path | None,
    places: Sequence[str],
    catalogue: Catalogue | None,
    *,
    round: bool,  # noqa: A002
    time_limit: float,
) -> Job:
    from .certificate.build import plan_of
    from .exporting import Job
    from .shaping.shape import as_planned

    if isinstance(plan, Result):
        document, source, graph = plan.to_json(), plan.source, plan.graph
    else:
        document, source = read_plan(plan)
        if model is None and source is None:
            raise InputError(str(plan), "the path of its model", "none", "Give --model.")
        known = model if model is not None else source.model if source else ""
        graph = _graph(known, source, catalogue)
        graph = as_planned(graph, document)
        if graph.sha256 != document.get("graph_sha256"):
            raise CheckError(
                f"{plan}: graph_sha256",
                f"'{graph.sha256}', the hash of graph '{graph.name}'",
                repr(document.get("graph_sha256")),
                "The plan was made for another graph: give its --model, and --devices if it used one.",
            )
    path = source.model if source else ""
    if isinstance(model, (str, Path)):
        path = str(model)
    return Job(
        graph,
        Machine.from_json(document["machine"]),
        plan_of(document, graph, path),
        document,
        path,
        places,
        round,
        time_limit,
        source.shapes if source else None,
        _dims(path, source),
    )


def _graph(
    model: CostGraph | str | Path, source: Source | None, catalogue: Catalogue | None
) -> CostGraph:
    """Read the graph again as it was read for the plan."""
    from .graph import CostGraph

    if isinstance(model, CostGraph):
        return model
    if source is None:
        return read(model)
    return read(
        model,
        device=source.device,
        profile=source.profile,
        store=source.store,
        shapes=source.shapes,
        dims=source.dims,
        options=source.options,
        catalogue=catalogue,
        fuse=source.fuse,
        settings=source.settings,
    )


def _dims(path: str, source: Source | None) -> Mapping[str, int] | None:
    """Return the symbolic sizes that were fixed, those of a batch among them."""
    if source is None:
        return None
    if source.settings.batch is None or not path.endswith(".onnx"):
        return source.dims
    from .readers.onnx_inputs import batch_dims

    return batch_dims(Path(path), source.settings.batch, source.shapes, source.dims)
