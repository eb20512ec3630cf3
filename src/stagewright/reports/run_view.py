# SPDX-License-Identifier: Apache-2.0
"""What reports show of a run, read from a run report: picoseconds, clean names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..errors import InputError
from ..units import PS_PER_SECOND
from .view import clean

__all__ = ["RunStageView", "RunView", "WholeView", "read_run_view"]


@dataclass(frozen=True)
class RunStageView:
    """One stage as measured; medians in picoseconds, None where not known."""

    number: int
    file: str
    compute: int | None
    wait: int | None
    send: int | None
    predicted: int | None
    predicted_work: int | None
    worker: int | None = None


@dataclass(frozen=True)
class WholeView:
    """The unsplit model, measured."""

    threads: int
    period: int | None
    speedup: float | None


@dataclass(frozen=True)
class RunView:
    """What `stagewright run --json` prints; times in picoseconds."""

    period: int | None
    predicted_period: int | None
    throughput: float | None
    outputs_equal: bool | None
    max_abs: float | None
    reason: str
    stages: tuple[RunStageView, ...]
    whole: tuple[WholeView, ...]
    latency: tuple[tuple[str, int], ...]
    settings: tuple[tuple[str, str], ...]


def read_run_view(report: Mapping[str, Any]) -> RunView:
    """Read a run report; whatever it lacks is None or empty.

    Raises
    ------
    InputError
        If it is no run report.
    """
    stages = report.get("stages") if isinstance(report, Mapping) else None
    if not isinstance(stages, (list, tuple)) or "period" not in report:
        raise InputError(
            "run report", "the object that `stagewright run --json` prints", type(report).__name__
        )
    try:
        return _run(report, stages)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "run report", "the object that `stagewright run --json` prints", f"a fault ({error})"
        ) from None


def _run(report: Mapping[str, Any], stages: list[Any] | tuple[Any, ...]) -> RunView:
    comparison = report.get("comparison") or {}
    equal = report.get("outputs_equal")
    settings = ("items", "engine", "threads_per_stage", "depth", "cores", "seed")
    return RunView(
        period=_measured(report.get("period")),
        predicted_period=_measured(report.get("predicted_period")),
        throughput=_number(report.get("throughput")),
        outputs_equal=None if equal is None else bool(equal),
        max_abs=_float(comparison.get("max_abs")),
        reason=clean(comparison.get("reason") or ""),
        stages=tuple(_run_stage(i, s) for i, s in enumerate(stages)),
        whole=tuple(
            WholeView(int(w["threads"]), _measured(w.get("period")), _number(w.get("speedup")))
            for w in report.get("whole") or ()
        ),
        latency=_present(report.get("latency") or {}, _measured),
        settings=tuple((key, clean(report[key])) for key in settings if key in report),
    )


def _run_stage(number: int, data: Mapping[str, Any]) -> RunStageView:
    return RunStageView(
        number=number,
        file=clean(data.get("file") or ""),
        compute=_measured(data.get("compute")),
        wait=_measured(data.get("wait")),
        send=_measured(data.get("send")),
        predicted=_measured(data.get("predicted")),
        predicted_work=_measured(data.get("predicted_work")),
        worker=None if data.get("worker") is None else int(data["worker"]),
    )


def _present(
    values: Mapping[str, Any], read: Callable[[Any], int | None]
) -> tuple[tuple[str, int], ...]:
    pairs = ((clean(key), read(value)) for key, value in values.items())
    return tuple((key, value) for key, value in pairs if value is not None)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _number(value: Any) -> float | None:
    number = _float(value)
    return number if number is not None and isfinite(number) else None


def _measured(value: Any) -> int | None:
    """Return measured seconds as picoseconds; None for what is no time."""
    number = _number(value)
    return round(number * PS_PER_SECOND) if number is not None and number >= 0 else None
