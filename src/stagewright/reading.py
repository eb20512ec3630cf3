# SPDX-License-Identifier: Apache-2.0
"""Reading with costs: a model or a graph file, the work of its nodes, and what must not be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .readers.settings import ReadSettings

if TYPE_CHECKING:
    from .cost.catalogue import Catalogue
    from .cost.profile_file import Profile
    from .graph import CostGraph
    from .shaping.constraints import Constraints
    from .source import Source

    ConstraintsLike = Constraints | Mapping[str, Any] | str | Path | None

__all__ = ["profile", "read", "read_again", "with_batch"]


def read(
    model: Any,
    example_inputs: Any = None,
    *,
    device: str | None = None,
    profile: str | Path | Profile | None = None,
    store: str | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    options: Mapping[str, str] | None = None,
    catalogue: Catalogue | None = None,
    fuse: bool | None = None,
    granularity: str = "op",
    constraints: ConstraintsLike = None,
    settings: ReadSettings | None = None,
    **chosen: Any,
) -> CostGraph:
    """Read a model or a graph file, give its nodes work, and say what must not be cut.

    Parameters
    ----------
    model
        Path of an ONNX model, a PyTorch program (``.pt2``), a Hugging Face configuration, a
        ``stagewright-graph/1`` file, or a file of another format of docs/formats.md; or a
        ``torch.nn.Module`` or ``torch.export.ExportedProgram``.
    example_inputs
        For a module: a tuple of positional inputs, a dict of inputs by name, or one tensor.  Only
        shapes and types matter, so tensors on the meta device do.
    device
        Name of a device of the catalogue: work is estimated by its roofline.  A graph file keeps the
        work it states, if it states any.
    profile
        A file of ``stagewright profile``, or what :func:`profile` returned: work is measured.  Wins over
        `store` and `device`.
    store
        A store that ``stagewright profile --fill`` filled, ``default`` for the user's own: work is the
        sum of the model's kernels, each measured alone.  What was not measured is estimated for
        `device` if one is given.
    shapes, dims
        Input shapes by name, and values of symbolic dimensions by name.
    options
        Choices that the format leaves open, such as ``{"input": "keep"}`` for a profile of PipeDream.
    catalogue
        Where `device` is looked up; the built-in one by default.
    fuse
        Whether nodes that compilers run as one kernel are priced as one and share a stage; by default
        where work is estimated for a device.  With a profile or a store: whether nodes that the measured runtime
        fused share a stage, by default yes.
    granularity
        ``op``: cuts may fall between any two nodes; ``module``, ``layer``: between those that the
        names of the nodes tell (:mod:`.shaping.granularity`).
    constraints
        What must stay together or be first or last: a :class:`.shaping.constraints.Constraints`, a
        mapping with its attributes, or a TOML file.
    settings, chosen
        A :class:`~stagewright.readers.settings.ReadSettings`, or its attributes one by one: batch,
        sequence, phase, cache, dtype, replicate, read_limit.  Files are read in a process of their own,
        which `read_limit` ends; modules in this one.

    Raises
    ------
    InputError
        If the file, the device, the profile, the store or a constraint cannot be used.  Without one of them the
        work of a model is 0, which only reading and splitting can use.
    """
    from .readers.anything import read_anything
    from .shaping.shape import shape

    settings = (settings or ReadSettings()).having(chosen)
    dims = with_batch(model, settings.batch, shapes, dims)
    graph = read_anything(model, example_inputs, shapes, dims, options, settings)
    if profile is not None:
        from .cost.measured import apply_profile
        from .cost.profile_file import Profile
        from .shaping.shape import as_run

        if not isinstance(profile, (str, Path, Profile)):
            wanted = "the path of a profile, or what profile() returned"
            raise InputError("profile", wanted, type(profile).__name__)
        measured = profile if isinstance(profile, Profile) else Profile.load(profile)
        graph = apply_profile(graph, measured, model=model)
        graph = graph if fuse is False else as_run(graph, measured.fused)
    elif device is not None and not graph.work.any():
        from .cost.catalogue import load_catalogue
        from .shaping.shape import estimate

        estimated = estimate(graph, (catalogue or load_catalogue()).device(device), fuse=fuse)
        graph = (
            estimated
            if store is None
            else _stored(graph, model, store, fuse, shapes, dims, fallback=estimated)
        )
    elif store is not None:
        graph = _stored(graph, model, store, fuse, shapes, dims)
    elif fuse:
        raise InputError(
            "fuse", "work that is estimated (a device)", f"work that '{model}' states, or none"
        )
    return shape(graph, granularity, constraints)


def with_batch(
    model: Any,
    batch: int | None,
    shapes: Mapping[str, Sequence[int]] | None,
    dims: Mapping[str, int] | None,
) -> Mapping[str, int] | None:
    """Return `dims` with the batch dimensions of an ONNX model, whose file says which these are."""
    if batch is None or not str(model).endswith(".onnx"):
        return dims
    from .readers.onnx_inputs import batch_dims

    return batch_dims(Path(model), batch, shapes or {}, dims or {})


def _stored(
    graph: CostGraph,
    model: Any,
    store: str | Path,
    fuse: bool | None,
    shapes: Mapping[str, Sequence[int]] | None,
    dims: Mapping[str, int] | None,
    fallback: CostGraph | None = None,
) -> CostGraph:
    """Return the graph with work from a store, the nodes of each kernel together."""
    from .cost.fill import Setting, apply_store, fused_nodes, kernel_times
    from .cost.store import Store, store_path
    from .shaping.shape import as_run

    with Store(store_path(store), create=False) as opened:
        graph = apply_store(graph, model, opened, shapes=shapes, dims=dims, fallback=fallback)
        if fuse is False:
            return graph
        _, kernels = kernel_times(model, opened, Setting(), shapes=shapes, dims=dims)
    return as_run(graph, fused_nodes(use for use, _ in kernels))


def profile(
    model: Any,
    example_inputs: Any = None,
    *,
    dims: Mapping[str, int] | None = None,
    settings: ReadSettings | None = None,
    level: str = "all",
    provider: str = "cpu",
    **options: Any,
) -> Profile:
    """Measure the time of every node of a model on this machine.

    ``profile(...).save("profile.json")`` makes the file that :func:`read` takes.

    Parameters
    ----------
    model, example_inputs, dims, settings
        As for :func:`read`: an ONNX model runs with onnxruntime, everything of PyTorch with PyTorch.
    level, provider
        Of onnxruntime only: graph optimisation, and ``cpu`` or ``cuda``.
    options
        What both take: threads, warmup, repetitions, precision, shapes, seed
        (:func:`.cost.profile.profile_onnx`, :func:`.cost.torch_profile.profile_torch`).

    Raises
    ------
    InputError
        If the model cannot be run or an option is wrong.
    """
    from .readers import file_kind

    settings = settings or ReadSettings()
    if isinstance(model, (str, Path)) and file_kind(model) == "onnx":
        from .cost.profile import profile_onnx

        if example_inputs is not None:
            raise InputError("example_inputs", "none for a file", type(example_inputs).__name__)
        settings.refuse_model_options(str(model), "an ONNX model", but=("batch",))
        dims = with_batch(model, settings.batch, options.get("shapes"), dims)
        return profile_onnx(model, dims=dims, level=level, provider=provider, **options)
    from .cost.torch_profile import profile_torch

    for name, given, expected in (
        ("dims", dims or None, None),
        ("provider", provider, "cpu"),
        ("level", level, "all"),
    ):
        if given != expected:
            wanted = f"'{expected}'" if expected else "none"
            raise InputError(name, f"{wanted} for what PyTorch runs", repr(given), "Leave it out.")
    return profile_torch(model, example_inputs, settings=settings, **options)


def read_again(
    source: Source,
    model: str | Path | None = None,
    catalogue: Catalogue | None = None,
    *,
    shaped: bool = False,
) -> CostGraph:
    """Read a model as `source` says that it is read.

    Parameters
    ----------
    model
        Where the model is now, if it is elsewhere.
    catalogue
        The devices, where `source` names one.
    shaped
        With the granularity and the constraints of `source`, as it is planned, and the backward pass.
    """
    graph = read(
        model or source.model,
        device=source.device,
        profile=source.profile,
        store=source.store,
        shapes=source.shapes,
        dims=source.dims,
        options=source.options,
        catalogue=catalogue,
        fuse=source.fuse,
        granularity=source.granularity if shaped else "op",
        constraints=source.constraints if shaped else None,
        settings=source.settings,
    )
    if source.backward is None or not shaped:
        return graph
    from .placement.backward import training_workload

    return training_workload(graph, source.backward, model or source.model).graph
