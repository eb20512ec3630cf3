# SPDX-License-Identifier: Apache-2.0
"""Measured work: node times by onnxruntime on this machine.

The runtime executes an optimised model; :mod:`.attribution` carries the times of its kernels back
to the nodes of the model that was read.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from ..errors import InputError, ModelError
from ..graph import CostGraph
from ..units import TIME_UNITS
from .attribution import Shares, attribute, marked_name
from .ort_session import PROVIDERS, onnxruntime, session_options
from .profile_file import FORMAT, Profile, Time
from .samples import given_inputs, sample_inputs
from .trace import TracedRun, read_trace

__all__ = ["FORMAT", "Profile", "Time", "apply_profile", "profile_onnx"]

_MAX_RUNS: Final = 100_000


def profile_onnx(
    path: str | Path,
    *,
    threads: int = 1,
    level: str = "all",
    warmup: int = 3,
    repetitions: int = 20,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
) -> Profile:
    """Measure the time of every node of an ONNX model.

    The model runs twice: traced, for the times of kernels, and untraced, for the time of a whole
    run.  Temporary files need about the size of the model.

    Parameters
    ----------
    path
        The model.
    threads, level
        Session options, see :func:`stagewright.cost.ort_session.session_options`.
    warmup, repetitions
        Runs before the measured ones, and measured runs.
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
    _check_count("warmup", warmup, 0)
    _check_count("repetitions", repetitions, 1)
    ort = onnxruntime("Profiling a model")
    model = load_model(path)
    names = onnx_node_names(model)
    for index, node in enumerate(model.graph.node):
        node.name = marked_name(index)
    content = model.SerializeToString()
    options = session_options(threads, level)
    session = _session(content, options, path)
    given = given_inputs(session, path, inputs or {})
    shapes = {**(shapes or {}), **{name: array.shape for name, array in given.items()}}
    fixed = fix_inputs(path, model.graph, shapes, dims or {}).inputs
    wanted = {name: value.shape or () for name, value in fixed.items() if name not in given}
    feeds = {**given, **sample_inputs(session, path, wanted, seed=seed)}
    times = _timed_runs(session, feeds, warmup, repetitions, path)
    del session
    weights = _weights(path, names, shapes, dims)
    with tempfile.TemporaryDirectory(prefix="stagewright-") as folder:
        runs, optimised = _traced_runs(
            content, Path(folder), threads, level, feeds, warmup, repetitions, path
        )
    shares = attribute(model.graph, optimised, weights)
    return Profile(
        model_sha256=_sha256(path),
        nodes=_node_times(names, runs, shares),
        session=_summary(times),
        traced_session=round(statistics.median(run.total for run in runs)),
        attributed=min(1.0, statistics.median(_attributed(run, shares) for run in runs)),
        shapes={name: tuple(array.shape) for name, array in feeds.items()},
        threads=threads,
        level=level,
        runtime=f"onnxruntime {ort.__version__}",
        warmup=warmup,
        repetitions=repetitions,
        seed=seed,
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
    )


def apply_profile(
    graph: CostGraph,
    profile: Profile,
    *,
    model: str | Path | None = None,
    whole_run: bool = True,
) -> CostGraph:
    """Return the graph with measured times as work, rounded up.

    Parameters
    ----------
    graph
        Graph of the model that was measured.
    profile
        The measurements.
    model
        The file that `graph` was read from; if given, it must be the one that was measured.
    whole_run
        Whether to scale the median times so that they add up to the median time of a whole
        untraced run.  That undoes the cost of tracing and spreads the runtime's own time between
        kernels over the nodes.  False takes the medians as they were traced.

    Raises
    ------
    InputError
        If the profile is of another model: by its hash, or because it lacks nodes of the graph.
    """
    remedy = "Measure this model: stagewright profile MODEL -o profile.json."
    if model is not None and (found := _sha256(Path(model))) != profile.model_sha256:
        raise InputError(
            f"profile for {model}",
            f"one of the file with SHA-256 {found[:12]}...",
            f"one of {profile.model_sha256[:12]}...",
            remedy,
        )
    missing = [name for name in graph.node_names if name not in profile.nodes]
    if missing:
        raise InputError(
            f"profile for graph '{graph.name}'",
            f"times for all {graph.num_nodes} nodes",
            f"none for {len(missing)} of them, first '{missing[0]}'",
            remedy,
        )
    work = [profile.nodes[name].median for name in graph.node_names]
    total = sum(work)
    if whole_run and total:
        work = [-(-ps * profile.session.median // total) for ps in work]
    return graph.replace(work=work)


def _check_count(item: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_RUNS:
        raise InputError(item, f"a whole number from {least} to {_MAX_RUNS}", repr(value))


def _weights(
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


def _session(content: bytes, options: Any, path: Path) -> Any:
    ort = onnxruntime("Profiling a model")
    # The model comes as bytes, for its nodes were renamed; external data is still beside the file.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.resolve().parent)
    )
    return _guarded(path, lambda: ort.InferenceSession(content, options, providers=PROVIDERS))


def _guarded(path: Path, action: Callable[[], Any]) -> Any:
    """Turn the runtime's own exceptions into one of ours that names the model."""
    try:
        return action()
    except Exception as error:  # the runtime's exceptions share no other base
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            str(path),
            "a model that onnxruntime runs on the given inputs",
            lines[0],
            "Check the shapes (--shape, --dim), or give the inputs themselves.",
        ) from error


def _timed_runs(
    session: Any, feeds: Mapping[str, Any], warmup: int, repetitions: int, path: Path
) -> list[int]:
    """Return the picoseconds of each measured run."""
    times = []
    for _ in range(warmup + repetitions):
        begin = time.perf_counter_ns()
        _guarded(path, lambda: session.run(None, feeds))
        times.append((time.perf_counter_ns() - begin) * TIME_UNITS["ns"])
    return times[warmup:]


def _traced_runs(
    content: bytes,
    folder: Path,
    threads: int,
    level: str,
    feeds: Mapping[str, Any],
    warmup: int,
    repetitions: int,
    path: Path,
) -> tuple[list[TracedRun], Any]:
    """Return the traced runs and the graph that the runtime made of the model."""
    import onnx

    options = session_options(threads, level, profile_dir=folder)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    for key, value in (("file_name", "optimised.bin"), ("min_size_in_bytes", "1024")):
        options.add_session_config_entry(
            f"session.optimized_model_external_initializers_{key}", value
        )
    session = _session(content, options, path)
    _timed_runs(session, feeds, warmup, repetitions, path)
    trace = Path(session.end_profiling())
    optimised = onnx.load(folder / "optimised.onnx", load_external_data=False)
    return read_trace(trace, runs=repetitions), optimised.graph


def _attributed(run: TracedRun, shares: Mapping[str, Shares]) -> float:
    found = sum(ps for name, ps in run.kernels.items() if shares.get(name))
    return found / run.total if run.total else 1.0


def _node_times(
    names: Sequence[str], runs: Sequence[TracedRun], shares: Mapping[str, Shares]
) -> dict[str, Time]:
    sums = [[0.0, 0.0, 0.0] for _ in names]
    for kernel in runs[0].kernels:
        summary = _summary([run.kernels.get(kernel, 0) for run in runs])
        for node, fraction in shares.get(kernel, {}).items():
            for i, ps in enumerate((summary.median, summary.p10, summary.p90)):
                sums[node][i] += fraction * ps
    # Rounded up: a cost is never understated.
    rounded = [[-int(-ps // 1) for ps in row] for row in sums]
    return {name: Time(*row) for name, row in zip(names, rounded, strict=True)}


def _summary(times: Sequence[int]) -> Time:
    ordered = sorted(times)
    last = len(ordered) - 1
    return Time(
        median=round(statistics.median(ordered)),
        p10=ordered[round(last * 0.1)],
        p90=ordered[round(last * 0.9)],
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(str(path), "a readable file", error.strerror or str(error)) from None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
