# SPDX-License-Identifier: Apache-2.0
"""Measure a pipeline against its prediction and against the model that was split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ..cores import usable_cores
from ..errors import InputError, StagewrightError
from ..splitting.manifest import Manifest
from ..splitting.typed_model import file_sha256
from .inputs import random_inputs
from .pipeline import Pipeline
from .report import Comparison, RunReport, StageReport, WholeModel
from .stage_loop import open_session
from .stats import steady_intervals

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["measure", "run_directory"]

_ROUNDS: Final = 4
_DIFFERENT_INPUTS: Final = 4
_RTOL: Final = 1e-4
_ATOL: Final = 1e-5


def run_directory(
    folder: str | Path,
    *,
    batches: int = 80,
    threads_per_stage: int = 1,
    seed: int = 0,
    model: str | Path | None = None,
    engine: Literal["process", "thread"] = "process",
    depth: int = 2,
    compare: bool = True,
    restart: int = 0,
    stall_after: float | None = None,
    provider: str = "cpu",
) -> RunReport:
    """Run seeded random inputs through a folder of stage files and report; see :func:`measure`."""
    return measure(
        folder,
        model_path=model,
        items=batches,
        threads=threads_per_stage,
        seed=seed,
        engine=engine,
        depth=depth,
        compare=compare,
        restart=restart,
        stall_after=stall_after,
        provider=provider,
    )


def measure(
    folder: str | Path,
    model_path: str | Path | None = None,
    *,
    items: int = 80,
    warmup: int = 5,
    threads: int = 1,
    seed: int = 0,
    engine: Literal["process", "thread"] = "process",
    depth: int = 2,
    level: str = "all",
    dims: Mapping[str, int] | None = None,
    compare: bool = True,
    restart: int = 0,
    stall_after: float | None = None,
    provider: str = "cpu",
) -> RunReport:
    """Measure a pipeline and the unsplit model in turns, so that both meet the same machine.

    Parameters
    ----------
    folder
        What ``stagewright split`` wrote.
    model_path
        The unsplit model; None for the path in the manifest, if it is still there.
    items
        Items to measure, split into rounds; each round the pipeline, then the unsplit model with as
        many threads as the pipeline uses in total, then with one.
    warmup
        Items that go before, unmeasured.
    threads, engine, depth, level, restart, stall_after, provider
        As of :class:`~stagewright.runtime.Pipeline`.
    seed, dims
        As of :func:`~stagewright.runtime.inputs.random_inputs`.
    compare
        Whether the unsplit model is run at all.

    Raises
    ------
    InputError
        If the folder, an option or a given `model_path` cannot be used.
    RunError
        If a stage fails.
    """
    if items < _ROUNDS:
        raise InputError("items", f"at least {_ROUNDS}", str(items))
    manifest = Manifest.load(folder)
    feeds = [random_inputs(manifest.inputs, seed + i, dims) for i in range(_DIFFERENT_INPUTS)]
    path, reason = _find_model(manifest, model_path) if compare else (None, "not asked for")
    total = threads * len(manifest.stages)
    sessions: list[tuple[int, onnxruntime.InferenceSession]] = []
    if path is not None:
        sessions, reason = _whole_sessions(path, total, level)
        reason = reason or _first_run(sessions, feeds[0], manifest)
    sessions = [] if reason else sessions
    with Pipeline(
        folder,
        threads=threads,
        engine=engine,
        depth=depth,
        level=level,
        restart=restart,
        stall_after=stall_after,
        provider=provider,
    ) as pipeline:
        unmeasured = max(warmup, len(feeds))
        outputs = list(pipeline.map(islice(cycle(feeds), unmeasured)))
        comparison = _compare(outputs[: len(feeds)], feeds, sessions, manifest, reason)
        intervals, whole = _rounds(pipeline, sessions, feeds, items)
        stats, history = pipeline.stats(), pipeline.history(unmeasured)
    period = float(np.median(intervals)) if intervals else None
    predicted = [s.predicted or {} for s in manifest.stages]
    return RunReport(
        period=period,
        predicted_period=manifest.predicted_period,
        throughput=len(intervals) / sum(intervals) if intervals else None,
        comparison=comparison,
        stages=tuple(
            StageReport(s.file, t.compute, t.wait, t.send, t.blocked, p.get("total"), p.get("work"))
            for s, t, p in zip(manifest.stages, stats.stages, predicted, strict=True)
        ),
        whole=tuple(_whole(n, times, period) for n, times in whole.items()),
        latency=stats.latency,
        items=items,
        engine=engine,
        threads_per_stage=threads,
        depth=depth,
        cores=usable_cores(),
        seed=seed,
        history=history,
    )


def _find_model(manifest: Manifest, given: str | Path | None) -> tuple[Path | None, str]:
    """Return the unsplit model's path, or why there is none to compare with."""
    path = Path(manifest.model_path if given is None else given)
    if path.is_file() and file_sha256(path) == manifest.model_sha256:
        return path, ""
    what = "another model than was split" if path.is_file() else "no file"
    if given is not None:
        raise InputError(str(given), "the model that was split", what)
    return None, f"{what} at '{path}'; give --model"


def _output_names(manifest: Manifest) -> list[str]:
    return [t.name for t in manifest.outputs]


def _whole_sessions(
    path: Path, threads: int, level: str
) -> tuple[list[tuple[int, onnxruntime.InferenceSession]], str]:
    """Return the unsplit model's sessions by threads, or why it cannot be loaded."""
    try:
        return [(n, open_session(str(path), n, level)) for n in dict.fromkeys((threads, 1))], ""
    except StagewrightError:
        raise
    except Exception as fault:  # noqa: BLE001  # onnxruntime's errors have no common class
        return [], f"onnxruntime does not load the unsplit model: {fault}"


def _first_run(
    sessions: Sequence[tuple[int, Any]], feeds: Mapping[str, Any], manifest: Manifest
) -> str:
    """Run each session once; return why that is not possible, if so."""
    try:
        for _, session in sessions:
            session.run(_output_names(manifest), dict(feeds))
    except Exception as fault:  # noqa: BLE001  # onnxruntime's errors have no common class
        # A model split for other sizes than it states runs as stages only.
        return f"the unsplit model does not run with these inputs: {fault}"
    return ""


def _rounds(
    pipeline: Pipeline,
    sessions: Sequence[tuple[int, Any]],
    feeds: Sequence[Mapping[str, Any]],
    items: int,
) -> tuple[list[float], dict[int, list[float]]]:
    """Return the pipeline's steady intervals, and the times of each session by its threads."""
    intervals: list[float] = []
    whole: dict[int, list[float]] = {n: [] for n, _ in sessions}
    names = _output_names(pipeline.manifest)
    count = -(-items // _ROUNDS)
    for _ in range(_ROUNDS):
        completed = [perf_counter() for _ in pipeline.map(islice(cycle(feeds), count))]
        intervals += steady_intervals(completed, len(pipeline.manifest.stages)).tolist()
        for threads, session in sessions:
            for feed in islice(cycle(feeds), count):
                start = perf_counter()
                session.run(names, dict(feed))
                whole[threads].append(perf_counter() - start)
    return intervals, whole


def _whole(threads: int, times: Sequence[float], period: float | None) -> WholeModel:
    median = float(np.median(times))
    speedup = median / period if period else float("nan")
    return WholeModel(threads, median, len(times) / sum(times), speedup)


def _compare(
    outputs: Sequence[Mapping[str, Any]],
    feeds: Sequence[Mapping[str, Any]],
    sessions: Sequence[tuple[int, Any]],
    manifest: Manifest,
    reason: str,
) -> Comparison:
    """Compare the outputs of the first items with the unsplit model's."""
    if not sessions:
        return Comparison(None, None, None, f"not compared: {reason}")
    equal, max_abs, max_rel = True, 0.0, 0.0
    names = _output_names(manifest)
    for got, feed in zip(outputs, feeds, strict=True):
        expected = sessions[-1][1].run(names, dict(feed))
        for name, value in zip(names, expected, strict=True):
            same, absolute, relative = _difference(got[name], value)
            equal &= same
            max_abs, max_rel = max(max_abs, absolute), max(max_rel, relative)
    return Comparison(equal, max_abs, max_rel, "")


def _difference(got: Any, expected: Any) -> tuple[bool, float, float]:
    """Return whether two outputs agree, and the largest absolute and relative difference."""
    if isinstance(expected, dict):  # label to score
        if not isinstance(got, dict) or got.keys() != expected.keys():
            return False, float("inf"), float("inf")
        return _difference([got[key] for key in expected], list(expected.values()))
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return False, float("inf"), float("inf")
        parts = [_difference(a, b) for a, b in zip(got, expected, strict=True)]
        return (
            all(p[0] for p in parts),
            max((p[1] for p in parts), default=0.0),
            max((p[2] for p in parts), default=0.0),
        )
    a, b = np.asarray(got), np.asarray(expected)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False, float("inf"), float("inf")
    if a.dtype.kind not in "fiub" or not a.size:
        return bool((a == b).all()), 0.0, 0.0
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    # Equal infinities and NaNs are no difference.
    alike = (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b))
    with np.errstate(invalid="ignore"):
        gap = np.where(alike, 0.0, np.abs(wide_a - wide_b))
    gap = np.nan_to_num(gap, nan=np.inf)
    relative = gap / np.maximum(np.abs(np.nan_to_num(wide_b)), np.finfo(np.float64).tiny)
    relative = np.where(gap == 0, 0.0, relative)
    close = bool(np.allclose(wide_a, wide_b, rtol=_RTOL, atol=_ATOL, equal_nan=True))
    return close, float(gap.max()), float(relative.max())
