# SPDX-License-Identifier: Apache-2.0
"""Measured work: node times by onnxruntime on this machine.

The runtime executes an optimised model; :mod:`.attribution` carries the times of its kernels back
to the nodes of the model that was read.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy.typing as npt

from ..cores import usable_cores
from ..errors import InputError, ModelError
from ..graph import CostGraph
from ..units import TIME_UNITS
from .attribution import Shares, attribute, marked_name
from .ort_session import onnxruntime
from .profile_file import FORMAT, Profile, Time
from .runs import Runner
from .samples import given_inputs, sample_inputs
from .surroundings import OtherLoad, cpu_name, pinning
from .trace import Kernel, TracedRun

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

_MAX_RUNS: Final = 100_000
_MAX_TRACE_OVERHEAD: Final = 20 * TIME_UNITS["us"]
_LEAST_KERNEL: Final = TIME_UNITS["us"] // 10
_CPU_CLOCK_IS_FINE: Final = time.get_clock_info("process_time").resolution <= 1e-6


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
    _check_count("warmup", warmup, 0)
    _check_count("repetitions", repetitions, 1)
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
    wall, cpu = (_summary(times) for times in runner.time(session, feeds, precision))
    del session  # before the second one: a large model should not be in memory twice
    weights = node_weights(path, names, shapes, dims)
    runs, optimised = runner.trace(feeds)
    shares = attribute(model.graph, optimised, weights)
    whole = _whole(wall, cpu, threads, provider)
    typical = _typical(runs, busy=whole < 0.9 * wall.median)
    correction = _Correction.of(typical, whole, shares)
    return Profile(
        model_sha256=model_sha256(path),
        nodes=_node_times(names, runs, typical, shares, correction),
        session=wall,
        cpu_time=cpu.median,
        traced_session=round(statistics.median(run.total for run in runs)),
        trace_overhead=correction.overhead,
        attributed=min(1.0, statistics.median(_attributed(run, shares) for run in runs)),
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
    wall, cpu = (_summary(times) for times in runner.time(session, feeds, precision))
    return _whole(wall, cpu, threads, provider)


def _whole(wall: Time, cpu: Time, threads: int, provider: str) -> int:
    """Return the time of an untraced run: by the processor's clock where one thread runs on it."""
    by_processor = threads == 1 and provider == "cpu" and _CPU_CLOCK_IS_FINE
    return min(cpu.median, wall.median) if by_processor else wall.median


def apply_profile(
    graph: CostGraph, profile: Profile, *, model: str | Path | None = None
) -> CostGraph:
    """Return the graph with the measured median times as work.

    Parameters
    ----------
    graph
        Graph of the model that was measured.
    profile
        The measurements.
    model
        The file that `graph` was read from; if given, it must be the one that was measured.

    Raises
    ------
    InputError
        If the profile is of another model: by its hash, or because it lacks nodes of the graph.
    """
    remedy = "Measure this model: stagewright profile MODEL -o profile.json."
    if model is not None and (found := model_sha256(Path(model))) != profile.model_sha256:
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
    return graph.replace(
        work=[profile.nodes[name].median for name in graph.node_names],
        node_sources=("measured",) * graph.num_nodes,
    )


def _check_count(item: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_RUNS:
        raise InputError(item, f"a whole number from {least} to {_MAX_RUNS}", repr(value))


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


@dataclass(frozen=True)
class _Correction:
    """Traced to untraced time of a kernel: subtract `overhead`, then multiply by `scale`.

    Tracing adds nearly the same to every kernel, however short (negative: the runtime's own time
    between kernels exceeds it).  What then still differs from the untraced run came from outside
    and hit all kernels alike.
    """

    overhead: int
    scale: float = 1.0

    @classmethod
    def of(
        cls, typical: Mapping[Kernel, int], whole: int, shares: Mapping[Kernel, Shares]
    ) -> _Correction:
        overhead = round((sum(typical.values()) - whole) / len(typical))
        bounded = cls(max(-_MAX_TRACE_OVERHEAD, min(overhead, _MAX_TRACE_OVERHEAD)))
        total = sum(bounded.apply(ps) for kernel, ps in typical.items() if shares.get(kernel))
        return replace(bounded, scale=whole / total if total else 1.0)

    def apply(self, ps: int) -> float:
        return max(ps - self.overhead, _LEAST_KERNEL) * self.scale


def _typical(runs: Sequence[TracedRun], *, busy: bool) -> dict[Kernel, int]:
    """Return the time of each kernel: the median over the quicker half of the runs.

    On a `busy` machine, whose scheduler may strike the same kernel in most runs, the 10th
    percentile over all runs; the sum is scaled afterwards.
    """
    if busy:
        return {k: _summary([run.kernels[k] for run in runs]).p10 for k in runs[0].kernels}
    quick = sorted(runs, key=lambda run: run.total)[: (len(runs) + 1) // 2]
    return {k: _summary([run.kernels[k] for run in quick]).median for k in runs[0].kernels}


def _attributed(run: TracedRun, shares: Mapping[Kernel, Shares]) -> float:
    found = sum(ps for name, ps in run.kernels.items() if shares.get(name))
    return found / run.total if run.total else 1.0


def _node_times(
    names: Sequence[str],
    runs: Sequence[TracedRun],
    typical: Mapping[Kernel, int],
    shares: Mapping[Kernel, Shares],
    correction: _Correction,
) -> dict[str, Time]:
    sums = [[0.0, 0.0, 0.0] for _ in names]
    for kernel, median in typical.items():
        spread = _summary([run.kernels[kernel] for run in runs])
        row = (median, min(spread.p10, median), max(spread.p90, median))
        for node, fraction in shares.get(kernel, {}).items():
            for i, ps in enumerate(row):
                sums[node][i] += fraction * correction.apply(ps)
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


def model_sha256(path: Path) -> str:
    """Return the SHA-256 of a model file (not of weights stored beside it)."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(str(path), "a readable file", error.strerror or str(error)) from None
