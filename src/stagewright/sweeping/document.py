# SPDX-License-Identifier: Apache-2.0
"""A sweep as JSON and as CSV: one entry per point, exact seconds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol

from ..graph import CostGraph
from ..units import seconds_from_ps
from .points import Answer, Point

__all__ = ["FORMAT", "csv_text", "sweep_document"]

FORMAT: Final = "stagewright-sweep/1"


class Points(Protocol):
    """What a document is made of; see :class:`.sweeps.Sweep`."""

    @property
    def graph(self) -> CostGraph: ...
    @property
    def points(self) -> tuple[Point, ...]: ...
    @property
    def pareto(self) -> tuple[bool, ...]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def interrupted(self) -> bool: ...
    @property
    def target(self) -> float | None: ...

    def devices_for(self, rate: float) -> Sequence[tuple[Point, Answer]]:
        """Return the answers to a rate."""


def sweep_document(sweep: Points) -> dict[str, Any]:
    """Return the points, and the answer where a rate was asked for."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "graph": sweep.graph.name,
        "graph_sha256": sweep.graph.sha256,
        "points": [
            _entry(point, good) for point, good in zip(sweep.points, sweep.pareto, strict=True)
        ],
        "seconds": Decimal(f"{sweep.seconds:.6f}"),
        "interrupted": sweep.interrupted,
    }
    if sweep.target is not None:
        document["target_rate"] = Decimal(str(sweep.target))
        document["answers"] = [
            {
                "bandwidth": point.machine.bandwidth,
                "devices": answer.devices,
                "at_least": None if answer.never else answer.at_least,
                "proven": answer.proven,
                "never": answer.never,
                "period": _seconds(point.period),
            }
            for point, answer in sweep.devices_for(sweep.target)
        ]
    return document


def _entry(point: Point, good: bool) -> dict[str, Any]:
    machine = point.machine
    gap = None
    if point.period is not None and point.lower:
        gap = Decimal(f"{(point.period - point.lower) / point.lower:.9f}")
    elif point.period == 0:
        gap = Decimal(0)
    return {
        "stages": machine.stages,
        "bandwidth": machine.bandwidth,
        "devices": point.devices or None,
        "period": _seconds(point.period),
        "lower_bound": _seconds(point.lower),
        "gap": gap,
        "latency": _seconds(point.latency),
        "status": _status(point),
        "pareto": good,
        "seconds": None if point.solution is None else Decimal(f"{point.solution.seconds:.6f}"),
        **({"why": point.why} if point.why else {}),
    }


def _status(point: Point) -> str:
    if point.solution is None:
        return "infeasible" if point.impossible else "unknown"
    return "optimal" if point.optimal else "bounded" if point.lower else "feasible"


def _seconds(value: int | None) -> Decimal | None:
    return None if value is None else seconds_from_ps(value)


def csv_text(document: Mapping[str, Any]) -> str:
    """Return the points of a document as CSV with a head line; times in seconds, empty where unknown."""
    text = io.StringIO()
    columns = [key for key in document["points"][0] if key != "why"] if document["points"] else []
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(document["points"])
    return text.getvalue()
