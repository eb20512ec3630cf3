# SPDX-License-Identifier: Apache-2.0
"""Measured work: node times by onnxruntime on this machine.

The runtime executes an optimised model; :mod:`.attribution` carries the times of its kernels back
to the nodes of the model that was read.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy.typing as npt

from ..cores import usable_cores
from .attribution import Shares, attribute, marked_name
from .measured import apply_profile, model_sha256
from .node_times import (
    Correction,
    Kernel,
    attributed_share,
    check_count,
    node_times,
    summary,
    typical_times,
    whole_run,
)
from .ort_session import onnxruntime
from .profile_file import FORMAT, Profile, Time
from .runs import Runner
from .samples import given_inputs, sample_inputs
from .surroundings import OtherLoad, cpu_name, pinning

__all__ = [
    "FORMAT",
    "Profile",
    "Time",
    "apply_profile",
    "measure_session",
    "model_sha256",
    "node_weights",
    "profile_onnx",
]


def profile_onnx(
    path: str | Path,
    *,
    threads: int = 1,
    level: str = "all",
    warmup: int = 3,
    repetitions: int = 20,
    precision: float | None = None,
    provider: str = "cpu",
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
) -> Profile:
    """Measure the time of every node of an ONNX model.

    The model runs untraced, for the time of a whole run, then traced, for the times of kernels.
    Node times are those of the kernels, corrected for tracing so that they add up to the untraced
    run (docs/costs.md).

    Parameters
    ----------
    path
        The model.
    threads, level
        Session options, see :func:`stagewright.cost.ort_session.session_options`.
    warmup, repetitions
        Runs before the measured ones, and measured runs.
    precision
        Repeat the untraced runs, at most ten times `repetitions`, until the interval that holds
        their median with 95 % reaches this fraction to either side.
    provider
        Where the runtime runs: ``cpu`` or ``cuda``.
    shapes, dims
        Shapes of inputs by name, and values of symbolic dimensions by name.
    inputs
        Arrays to feed instead of random ones, by input name.
    seed
        Seed of the random inputs.

    Raises
    ------
    ModelError
        If the model cannot be read, an input has no known shape, or the model does not run.
    InputError
        If an option is wrong.
    MissingDependencyError
        If onnxruntime is not installed.
    RunError
        If the runtime's trace cannot be used.
    """
    from ..readers.onnx_file import load_model, onnx_node_names
    from ..readers.onnx_inputs import fix_inputs

    path = Path(path)
    check_count("warmup", warmup, 0)
    check_count("repetitions", repetitions, 1)
    ort = onnxruntime("Profiling a model")
    model = load_model(path)
    names = onnx_node_names(model)
    for index, node in enumerate(model.graph.node):
        node.name = marked_name(index)
    content = model.SerializeToString()
    runner = Runner(path, content, threads, level, warmup, repetitions, provider)
    load = OtherLoad()
    session = runner.session()
    given = given_inputs(session, path, inputs or {})
    shapes = {**(shapes or {}), **{name: array.shape for name, array in given.items()}}
    fixed = fix_inputs(path, model.graph, shapes, dims or {}).inputs
    wanted = {name: value.dims for name, value in fixed.items() if name not in given}
    feeds = {**given, **sample_inputs(session, path, wanted, seed=seed)}
    wall, cpu = (summary(times) for times in runner.time(session, feeds, precision))
    del session  # before the second one: a large model should not be in memory twice
    weights = node_weights(path, names, shapes, dims)
    runs, optimised = runner.trace(feeds)
    shares = attribute(model.graph, optimised, weights)
    whole = whole_run(wall, cpu, threads, provider)
    typical = typical_times(runs, busy=whole < 0.9 * wall.median)
    correction = Correction.of(typical, whole, shares)
    return Profile(
        model_sha256=model_sha256(path),
        nodes=node_times(names, runs, typical, shares, correction),
        session=wall,
        cpu_time=cpu.median,
        traced_session=round(statistics.median(run.total for run in runs)),
        trace_overhead=correction.overhead,
        attributed=min(1.0, statistics.median(attributed_share(run, shares) for run in runs)),
        shapes={name: tuple(array.shape) for name, array in feeds.items()},
        threads=threads,
        level=level,
        runtime=f"onnxruntime {ort.__version__}",
        warmup=warmup,
        repetitions=repetitions,
        seed=seed,
        cpu=cpu_name(),
        cores=usable_cores(),
        fused=_fused(names, shares),
        pinned=pinning(),
        others=round(load.cores(), 3),
        provider=provider,
    )


def _fused(names: Sequence[str], shares: Mapping[Kernel, Shares]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the nodes of each kernel that stands for several.

    A node that several kernels compute (each repeats it) belongs to none.
    """
    regions = dict.fromkeys(tuple(sorted(share)) for share in shares.values())
    homes = Counter(node for region in regions for node in region)
    alone = (tuple(names[v] for v in region if homes[v] == 1) for region in sorted(regions))
    return tuple(nodes for nodes in alone if len(nodes) > 1)


def measure_session(
    path: str | Path,
    *,
    threads: int = 1,
    level: str = "all",
    warmup: int = 3,
    repetitions: int = 20,
    precision: float | None = None,
    provider: str = "cpu",
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
) -> int:
    """Return the picoseconds of one untraced inference, as profiles take them to add up to.

    The median by processor time with one thread, else by the clock; parameters and errors as for
    :func:`profile_onnx`.
    """
    from ..readers.onnx_file import load_model
    from ..readers.onnx_inputs import fix_inputs

    path = Path(path)
    model = load_model(path)
    runner = Runner(path, model.SerializeToString(), threads, level, warmup, repetitions, provider)
    session = runner.session()
    fixed = fix_inputs(path, model.graph, shapes or {}, dims or {}).inputs
    wanted = {name: value.dims for name, value in fixed.items()}
    feeds = sample_inputs(session, path, wanted, seed=seed)
    wall, cpu = (summary(times) for times in runner.time(session, feeds, precision))
    return whole_run(wall, cpu, threads, provider)


def node_weights(
    path: Path,
    names: Sequence[str],
    shapes: Mapping[str, Sequence[int]],
    dims: Mapping[str, int] | None,
) -> list[float]:
    """Return the estimated time of each node, to split times of fused nodes by."""
    from ..readers.onnx_model import read_onnx
    from .catalogue import load_catalogue
    from .roofline import apply_roofline

    # A fused kernel is launched once: no overhead per node.
    device = replace(load_catalogue().device("cpu-core"), overhead=0)
    graph = apply_roofline(read_onnx(path, shapes=shapes, dims=dims), device)
    work = dict(zip(graph.node_names, graph.work.tolist(), strict=True))
    return [float(work.get(name, 0)) for name in names]
