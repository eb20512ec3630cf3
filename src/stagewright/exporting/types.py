# SPDX-License-Identifier: Apache-2.0
"""What is exported, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..graph import CostGraph
from ..machine import Machine
from ..plans import Plan
from ..units import seconds_from_ps

if TYPE_CHECKING:
    from .stack import Stack

__all__ = ["Export", "Job", "Layers", "Loss"]


@dataclass(frozen=True)
class Loss:
    """What a consumer will run, and what it costs that it cannot express more; picoseconds.

    Attributes
    ----------
    planned
        Bottleneck of the plan that was exported.
    bottleneck
        Bottleneck of what the consumer runs, by the reference evaluation.
    lower_bound
        No plan that the consumer can express has a bottleneck below this; 0 if that is not known.
    """

    planned: int
    bottleneck: int
    lower_bound: int

    @property
    def gap(self) -> float | None:
        """How much better another plan for this consumer could be; None if that is not known."""
        if self.bottleneck == self.lower_bound:
            return 0.0
        return float(Fraction(self.bottleneck, self.lower_bound) - 1) if self.lower_bound else None

    @property
    def loss(self) -> float | None:
        """How much worse it is than the plan that was exported; None where that one costs nothing."""
        if self.bottleneck == self.planned:
            return 0.0
        return float(Fraction(self.bottleneck, self.planned) - 1) if self.planned else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data; times are exact decimals of seconds."""
        return {
            "planned": seconds_from_ps(self.planned),
            "bottleneck": seconds_from_ps(self.bottleneck),
            "lower_bound": seconds_from_ps(self.lower_bound),
            "gap": self.gap,
            "loss": self.loss,
        }


@dataclass(frozen=True)
class Layers:
    """How many layers each stage runs, and what that means.

    Attributes
    ----------
    stack
        The layers of the model.
    counts
        Layers per stage, as many as the plan has stages.
    rounded
        Whether the plan cut layers, so that these counts are another plan's.
    loss, notes
        What it costs, and what the counts cannot say.
    """

    stack: Stack
    counts: tuple[int, ...]
    rounded: bool
    loss: Loss
    notes: tuple[str, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of the first layer of each stage."""
        return tuple(sum(self.counts[:i]) for i in range(len(self.counts)))


@dataclass(frozen=True)
class Job:
    """A plan on its way to a consumer.

    Attributes
    ----------
    graph, machine, plan
        What was planned.
    document
        The content of the plan file.
    model
        Path of the model.
    places
        Names of the devices, one per stage, for consumers that name them; empty for 0, 1, ...
    round
        Whether a plan that the consumer cannot express may become the best one that it can.
    time_limit
        Seconds for finding that one, and for proving how good it is.
    shapes, dims
        Input shapes and symbolic dimensions that were fixed.
    """

    graph: CostGraph
    machine: Machine
    plan: Plan
    document: Mapping[str, Any]
    model: str
    places: Sequence[str] = ()
    round: bool = False
    time_limit: float = 10.0
    shapes: Mapping[str, Sequence[int]] | None = None
    dims: Mapping[str, int] | None = None

    @cached_property
    def layers(self) -> Layers:
        """The plan as counts of layers; see :func:`.layers.layers_of` for the errors."""
        from .layers import layers_of

        return layers_of(self)

    @property
    def as_planned(self) -> Loss:
        """The cost of a consumer that runs the plan as it is."""
        planned, lower = (
            int(Decimal(str(self.document.get(key, 0))) * 10**12)
            for key in ("bottleneck", "lower_bound")
        )
        return Loss(planned, planned, lower)


@dataclass(frozen=True)
class Export:
    """What a consumer gets.

    Attributes
    ----------
    target
        Name of the consumer.
    text
        The setting or the file, ready to use; for folders a line that says what was written.
    value
        The same as data, for programs.
    loss
        What the consumer runs, and what it costs.
    notes
        What the consumer cannot express, in words.
    folder
        Whether files were written into a folder; then `text` is only for people.
    """

    target: str
    text: str
    value: Any
    loss: Loss
    notes: tuple[str, ...] = ()
    folder: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "target": self.target,
            "value": self.value,
            "cost": self.loss.to_json(),
            "cannot_express": list(self.notes),
        }
