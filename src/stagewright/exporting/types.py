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
    from ..placement.devices import Fleet
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
    devices
        The device of each stage, where they are of several kinds.
    """

    stack: Stack
    counts: tuple[int, ...]
    rounded: bool
    loss: Loss
    notes: tuple[str, ...]
    devices: tuple[int, ...] = ()

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
    fleet, devices
        Devices of several kinds, and that of each stage as :class:`..placement.workload.PlacedPlan` has it; None and
        none for identical ones.
    backward, along
        Of training: which nodes run backward, and whether along the pipeline, as
        :class:`..placement.workload.Workload` has them.
    numbers
        The number of the device of each stage, where the plan file says so: devices may run several.
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
    fleet: Fleet | None = None
    devices: tuple[int, ...] = ()
    backward: tuple[bool, ...] = ()
    along: bool = False
    numbers: tuple[int, ...] = ()

    def owners(self, devices: Sequence[int]) -> Sequence[int]:
        """Return the number of the device that runs each stage; each its own where none runs several."""
        if self.fleet is not None and self.fleet.shared:
            return devices
        return self.numbers if len(self.numbers) == len(devices) else range(len(devices))

    @cached_property
    def stack(self) -> Stack:
        """The layers of the model; of training those of the forward pass, with their backward nodes."""
        if any(self.backward):
            from .passes import stack_of_passes

            return stack_of_passes(self.graph, self.backward)
        from .stack import stack_of

        return stack_of(self.graph)

    def default_places(self, devices: Sequence[int]) -> list[str]:
        """Return ``cpu`` or the number of a GPU per stage: kinds of the name cpu are not numbered."""
        if self.fleet is None:
            return []
        found: list[str] = []
        numbers: dict[int, int] = {}
        for owner, device in zip(self.owners(devices), devices, strict=True):
            if self.fleet.kinds[self.fleet.seat_at(device).kind].name.lower() == "cpu":
                found.append("cpu")
            else:
                found.append(str(numbers.setdefault(owner, len(numbers))))
        return found

    def gpu_places(self) -> list[str]:
        """Return the device of each stage as given, or as ``cpu`` and ``gpu:0``; none where nothing is known."""
        if self.places or self.fleet is None:
            return list(self.places)
        return [p if p == "cpu" else f"gpu:{p}" for p in self.default_places(self.devices)]

    def work_of(self, stage: int) -> Sequence[int]:
        """Return the picoseconds of each node on the device of a stage."""
        if self.fleet is not None:
            work = self.fleet.kinds[self.fleet.seat_at(self.devices[stage]).kind].work
            if work is not None:
                return work
        own: list[int] = self.graph.work.tolist()
        return own

    def device_rows(self, devices: Sequence[int]) -> tuple[dict[str, Any], ...]:
        """Return the kind, the host and, where devices are shared, the number of the device of each stage."""
        if self.fleet is None:
            return ()
        kinds = [self.fleet.kinds[self.fleet.seat_at(device).kind] for device in devices]
        owners = self.owners(devices)
        several = self.fleet.shared or len(set(owners)) < len(owners)
        return tuple(
            {
                "stage": stage,
                "device": kind.name,
                **({"host": kind.host} if kind.host else {}),
                **({"number": owners[stage]} if several else {}),
            }
            for stage, kind in enumerate(kinds)
        )

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
    devices
        The kind and the host of each stage's device, where devices are of several kinds.
    """

    target: str
    text: str
    value: Any
    loss: Loss
    notes: tuple[str, ...] = ()
    folder: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)
    devices: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "target": self.target,
            "value": self.value,
            "cost": self.loss.to_json(),
            "cannot_express": list(self.notes),
            **({"devices": [dict(row) for row in self.devices]} if self.devices else {}),
        }
