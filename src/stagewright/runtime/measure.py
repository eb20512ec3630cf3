# SPDX-License-Identifier: Apache-2.0
"""Measure a pipeline against its prediction and against the model that was split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ..cores import usable_cores
from ..errors import InputError
from ..splitting.manifest import Manifest
from .draining import Draining
from .engines import MakeEngine
from .inputs import random_inputs
from .pipeline import Pipeline
from .report import Comparison, RunReport, StageReport, WholeModel
from .stats import StageTimes, enough_items, steady_intervals
from .unsplit import Unsplit, find_model, open_unsplit
from .watch import RunWatch

if TYPE_CHECKING:
    from .ray_engine import RayChannel

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
    engine: Literal["process", "thread", "ray"] = "process",
    depth: int = 2,
    compare: bool = True,
    restart: int = 0,
    stall_after: float | None = None,
    provider: str = "cpu",
    address: str | None = None,
    ray_channel: RayChannel = "auto",
    dims: Mapping[str, int] | None = None,
    microbatch: int | None = None,
    on_interrupt: Callable[[], None] | None = None,
    watch: RunWatch | None = None,
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
        address=address,
        ray_channel=ray_channel,
        dims=dims,
        microbatch=microbatch,
        on_interrupt=on_interrupt,
        watch=watch,
    )


def measure(
    folder: str | Path,
    model_path: str | Path | None = None,
    *,
    items: int = 80,
    warmup: int = 5,
    threads: int = 1,
    seed: int = 0,
    engine: Literal["process", "thread", "ray"] = "process",
    depth: int = 2,
    level: str = "all",
    dims: Mapping[str, int] | None = None,
    compare: bool = True,
    restart: int = 0,
    stall_after: float | None = None,
    provider: str = "cpu",
    address: str | None = None,
    ray_channel: RayChannel = "auto",
    microbatch: int | None = None,
    on_interrupt: Callable[[], None] | None = None,
    watch: RunWatch | None = None,
) -> RunReport:
    """Measure a pipeline and the unsplit model in turns, so that both meet the same machine.

    Parameters
    ----------
    folder
        What ``stagewright split`` wrote.
    model_path
        The unsplit model; None for the path in the manifest, if it is still there.
    items
        Items to measure, split into rounds, four if there are enough; each round the pipeline, then
        the unsplit model with as many threads as the pipeline uses in total, then with one.
    warmup
        Items that go before, unmeasured.
    threads, engine, depth, level, restart, stall_after, provider, microbatch
        As of :class:`~stagewright.runtime.Pipeline`.
    address, ray_channel
        For the engine ``ray``: the cluster, and how stages hand items on, as of :func:`.ray_engine.ray_engine`.
    seed, dims
        As of :func:`~stagewright.runtime.inputs.random_inputs`.
    compare
        Whether the unsplit model is run at all.
    on_interrupt
        Called when Ctrl-C comes while items are under way.  Nothing more is fed then, what is inside comes out,
        and the report is of that; a second Ctrl-C raises KeyboardInterrupt.  None: the first one does.
    watch
        Takes how far the run is, for whoever asks it.

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
    path, reason = find_model(manifest, model_path) if compare else (None, "not asked for")
    total = threads * manifest.workers
    sessions: list[Unsplit] = []
    if path is not None:
        sessions, reason = open_unsplit(path, manifest, (total, 1), level, provider, feeds[0])
    with (
        Pipeline(
            folder,
            threads=threads,
            engine=_engine(engine, address, ray_channel),
            depth=depth,
            level=level,
            restart=restart,
            stall_after=stall_after,
            provider=provider,
            microbatch=microbatch,
        ) as pipeline,
        Draining(on_interrupt) as draining,
    ):
        watch = watch or RunWatch()
        watch.start(pipeline, items, [session.threads for session in sessions])
        unmeasured = max(warmup, len(feeds))
        warm = draining.until(islice(cycle(feeds), unmeasured))
        outputs = list(pipeline.map(warm))[: len(feeds)]
        if draining.asked:
            sessions, reason = [], "interrupted"
            watch.drop_sessions()
        comparison = _compare(outputs, feeds[: len(outputs)], sessions, reason)
        done, intervals, whole = _rounds(pipeline, sessions, feeds, items, draining, watch)
        stats, history = pipeline.stats(), pipeline.history(unmeasured)
        faults = pipeline.faults
    period = float(np.median(intervals)) if intervals else None
    predicted = [s.predicted or {} for s in manifest.stages]
    # Without the warm-up, unless a stage was started again and items were counted anew.
    times = [StageTimes.of(rows) for rows in history.rows] if history.items else stats.stages
    return RunReport(
        period=period,
        predicted_period=manifest.predicted_period,
        throughput=len(intervals) / sum(intervals) if intervals else None,
        comparison=comparison,
        stages=tuple(
            StageReport(
                s.file,
                t.compute,
                t.wait,
                t.send,
                t.blocked,
                p.get("total"),
                p.get("work"),
                s.worker,
            )
            for s, t, p in zip(manifest.stages, times, predicted, strict=True)
        ),
        whole=tuple(_whole(n, times, period) for n, times in whole.items() if times),
        latency=stats.latency,
        items=done,
        engine=engine,
        threads_per_stage=threads,
        depth=depth,
        cores=usable_cores(),
        seed=seed,
        faults=faults,
        interrupted=draining.asked,
        history=history,
    )


def _engine(
    engine: Literal["process", "thread", "ray"], address: str | None, ray_channel: RayChannel
) -> Literal["process", "thread"] | MakeEngine:
    if engine == "ray":
        from .ray_engine import ray_engine

        return ray_engine(address, channel=ray_channel)
    given = {"address": address, "ray_channel": None if ray_channel == "auto" else ray_channel}
    for name, value in given.items():
        if value is not None:
            raise InputError(name, f"none for the engine '{engine}'", repr(value))
    return engine


def _rounds(
    pipeline: Pipeline,
    sessions: Sequence[Unsplit],
    feeds: Sequence[Mapping[str, Any]],
    items: int,
    draining: Draining,
    watch: RunWatch,
) -> tuple[int, list[float], dict[int, list[float]]]:
    """Return the items done, the pipeline's steady intervals, and the times of each session by its threads."""
    done = 0
    intervals: list[float] = []
    whole: dict[int, list[float]] = {session.threads: [] for session in sessions}
    stages = len(pipeline.manifest.stages)
    # A round too short to be steady says nothing, so few items make few rounds.
    rounds = max(1, min(_ROUNDS, items // enough_items(stages)))
    count = -(-items // rounds)
    stored = [session.stored(feed) for session in sessions[:1] for feed in feeds]
    for _ in range(rounds):
        fed = draining.until(islice(cycle(feeds), count))
        completed = [perf_counter() for _ in watch.pipeline_items(pipeline.map(fed))]
        done += len(completed)
        intervals += steady_intervals(completed, stages).tolist()
        for number, session in enumerate(sessions):
            given = draining.until(islice(cycle(stored), count))
            for feed in watch.session_items(number, given):
                start = perf_counter()
                session.compute(feed)
                whole[session.threads].append(perf_counter() - start)
    return done, intervals, whole


def _whole(threads: int, times: Sequence[float], period: float | None) -> WholeModel:
    median = float(np.median(times))
    speedup = median / period if period else None
    return WholeModel(threads, median, len(times) / sum(times), speedup)


def _compare(
    outputs: Sequence[Mapping[str, Any]],
    feeds: Sequence[Mapping[str, Any]],
    sessions: Sequence[Unsplit],
    reason: str,
) -> Comparison:
    """Compare the outputs of the first items with the unsplit model's."""
    if not sessions:
        return Comparison(None, None, None, f"not compared: {reason}")
    equal, max_abs, max_rel = True, 0.0, 0.0
    for got, feed in zip(outputs, feeds, strict=True):
        for name, value in sessions[-1].run(feed).items():
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
