# SPDX-License-Identifier: Apache-2.0
"""What a measured run found; the content of ``stagewright run --json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .history import RunHistory

__all__ = ["Comparison", "RunReport", "StageReport", "WholeModel"]


@dataclass(frozen=True)
class StageReport:
    """One stage: measured medians in seconds beside the predicted total and work, if known.

    `wait` is for inputs, `blocked` for room to send.  `worker` is the number of the device, where devices run
    several stages.
    """

    file: str
    compute: float | None
    wait: float | None
    send: float | None
    blocked: float | None
    predicted: float | None
    predicted_work: float | None
    worker: int | None = None


@dataclass(frozen=True)
class WholeModel:
    """The unsplit model in one session of so many threads: its period, and how it compares."""

    threads: int
    period: float
    throughput: float
    speedup: float | None


@dataclass(frozen=True)
class Comparison:
    """How far the pipeline's outputs are from the unsplit model's, over all items compared.

    `equal` means within rtol 1e-4 and atol 1e-5; the largest differences are given besides.
    `reason` says why nothing was compared; empty when it was.
    """

    equal: bool | None
    max_abs: float | None
    max_rel: float | None
    reason: str


@dataclass(frozen=True)
class RunReport:
    """A measured run; times in seconds.

    `period` is the median time between results of a full pipeline, `throughput` results per second
    over the same stretch.  `whole` holds the unsplit model measured in turns with the pipeline;
    `faults` has a line for each time that a stage was started again, `history` when each stage did
    what, of the last items.  `items` are those done, fewer than asked for if it was `interrupted`.
    """

    period: float | None
    predicted_period: float | None
    throughput: float | None
    comparison: Comparison
    stages: tuple[StageReport, ...]
    whole: tuple[WholeModel, ...]
    latency: dict[str, float]
    items: int
    engine: str
    threads_per_stage: int
    depth: int
    cores: int
    seed: int
    faults: tuple[str, ...] = ()
    interrupted: bool = False
    history: RunHistory | None = field(default=None, repr=False, compare=False)

    @property
    def outputs_equal(self) -> bool | None:
        """Whether the outputs equal the unsplit model's; None if that could not be compared."""
        return self.comparison.equal

    def to_json(self) -> dict[str, Any]:
        """Return plain data: the documented keys first."""
        data = asdict(replace(self, history=None))
        del data["history"]
        head = ("period", "predicted_period", "throughput")
        rest = {k: v for k, v in data.items() if k not in (*head, "stages")}
        for stage in data["stages"]:
            if stage["worker"] is None:
                del stage["worker"]
        return {
            **{k: data[k] for k in head},
            "outputs_equal": self.outputs_equal,
            "stages": list(data["stages"]),
            **rest,
            "whole": list(data["whole"]),
            "faults": list(data["faults"]),
        }
