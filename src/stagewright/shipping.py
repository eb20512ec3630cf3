# SPDX-License-Identifier: Apache-2.0
"""The public functions export and to_torch: a plan for the programs that run pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .api import Result, Source, read, read_plan, require_inference
from .errors import CheckError, InputError
from .machine import Machine
from .placing import PlacedResult
from .reading import read_again

if TYPE_CHECKING:
    from .cost.catalogue import Catalogue
    from .exporting import Export, Job
    from .graph import CostGraph
    from .splitting.torch_stages import TorchStages

__all__ = ["export", "to_torch"]


def export(
    plan: Result | PlacedResult | str | Path,
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
        A result of :func:`plan` or :func:`place`, or the path of a plan file.
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


def to_torch(
    plan: Result | PlacedResult | str | Path, model: Any = None, example_inputs: Any = None
) -> TorchStages:
    """Cut a PyTorch model into a module per stage, for ``torch.distributed.pipelining`` (docs/exporting.md).

    Parameters
    ----------
    plan
        A result, or the path of a plan file.
    model
        The module or the ``torch.export.ExportedProgram`` that was planned, or the path of a ``.pt2`` file;
        None for the file that the plan was made for.
    example_inputs
        For a module: the inputs that it was planned with.

    Raises
    ------
    CheckError
        If the plan is for another model.
    ModelError
        If the model cannot be exported, or a stage of it cannot be run by itself.
    """
    from .readers.torch_export import require_torch
    from .splitting.torch_stages import split_torch

    require_torch("splitting a PyTorch model")
    if isinstance(plan, (str, Path)):
        document, source = read_plan(plan)
        item = str(plan)
    else:
        document, source, item = plan.to_json(), plan.source, "plan"
    require_inference(document, item, "cut into modules")
    if model is None:
        model = source.model if source else ""
    if isinstance(model, (str, Path)):
        from .readers.torch_file import load_program

        if not str(model).endswith(".pt2"):
            raise InputError("model", "a module, a program, or a .pt2 file", repr(str(model)))
        model = load_program(model)
    if isinstance(plan, Result):
        return plan.to_torch(model, example_inputs)
    return split_torch(
        model,
        example_inputs,
        [stage["nodes"] for stage in document["stages"]],
        item=item,
        replicable=None if source is None or source.settings.replicate else (),
    )


def _job(
    plan: Result | PlacedResult | str | Path,
    model: CostGraph | str | Path | None,
    places: Sequence[str],
    catalogue: Catalogue | None,
    *,
    round: bool,  # noqa: A002
    time_limit: float,
) -> Job:
    from .certificate.build import plan_of
    from .exporting import Job
    from .placement.again import fleet_of, placed_plan_of, workload_of
    from .shaping.shape import as_planned

    item = "plan" if isinstance(plan, (Result, PlacedResult)) else str(plan)
    if isinstance(plan, Result):
        document, source, graph = plan.to_json(), plan.source, plan.graph
    elif isinstance(plan, PlacedResult):
        document, source, graph = plan.to_json(), plan.source, plan.workload.graph
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
    fleet = fleet_of(document, item) if "devices" in document["machine"] else None
    workload = workload_of(document, graph)
    return Job(
        graph,
        Machine.from_json(document["machine"]) if fleet is None else Machine(fleet.stages),
        plan_of(document, graph, item),
        document,
        path,
        places,
        round,
        time_limit,
        source.shapes if source else None,
        _dims(path, source),
        fleet,
        () if fleet is None else placed_plan_of(document, graph, fleet, item).devices,
        workload.backward,
        workload.along,
        tuple(stage["number"] for stage in document["stages"] if "number" in stage),
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
    # A backward pass is added to what is planned, after its units and constraints.
    return read_again(source, model, catalogue, shaped=source.backward is not None)


def _dims(path: str, source: Source | None) -> Mapping[str, int] | None:
    """Return the symbolic sizes that were fixed, those of a batch among them."""
    if source is None:
        return None
    if source.settings.batch is None or not path.endswith(".onnx"):
        return source.dims
    from .readers.onnx_inputs import batch_dims

    return batch_dims(Path(path), source.settings.batch, source.shapes, source.dims)
