# SPDX-License-Identifier: Apache-2.0
"""How microbatches pass through a pipeline that trains, and what its stages keep for that.

A stage keeps what its backward pass will need of every microbatch whose forward pass it has done and whose
backward pass it has not.  How many those are depends on the schedule and on how many devices come
behind it:

- **GPipe** (Huang et al., NeurIPS 2019): all m microbatches run forward, then all backward; every stage keeps m.
- **1F1B** (Narayanan et al., PipeDream, SOSP 2019; with a flush after m microbatches as in Megatron-LM): stage s
  of k starts k - s microbatches before it turns to its first backward pass, and keeps min(m, k - s).

Both take the same time, (m + k - 1) periods for m microbatches where all stages take one period each; the k - 1
beside m are the bubble.

- **Interleaved 1F1B** (Narayanan et al., SC 2021): each of p devices holds v chunks of the pipeline and takes turns with
  them (:mod:`.chunks`, :mod:`.interleaving`).  The period is what a device takes for all its chunks; where all chunks
  take a v-th of it, m microbatches take m + (p - 1) / v periods.

**Replicas.**  A stage on r devices gives each every r-th microbatch, so its work and its transfers per
microbatch are those of one device divided by r.  Once per m microbatches they add their gradients up by a ring,
in which each device sends and receives 2 (r - 1) / r of the parameter bytes (PipeDream's formula).  A replica
keeps the r-th part of the microbatches in flight, rounded up; behind a stage of r replicas with d devices in
it and behind it they are d / r on each.

**Recomputation** (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016).  A stage that recomputes keeps of a
microbatch only what it received from other stages, and runs its forward nodes once more before its backward ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from ..errors import InputError
from ..units import INT64_MAX, PS_PER_SECOND

__all__ = ["OPTIMIZERS", "Schedule"]

OPTIMIZERS: Final = {"sgd": 2, "momentum": 3, "adam": 4, "adam-mixed": 8}
"""Bytes held per byte of parameters: they, their gradients, and what the optimizer keeps.

``adam-mixed`` is for parameters of two bytes: beside them and their gradients 12 bytes of 32-bit copies and moments.
"""

_MOST: Final = 2**20
_MOST_CHUNKS: Final = 64
Recompute = Literal["never", "auto", "always"]


@dataclass(frozen=True)
class Schedule:
    """How a pipeline trains.

    Attributes
    ----------
    name
        ``gpipe``, ``1f1b`` or ``interleaved``.
    microbatches
        How many pass between two updates of the parameters; the graph's work is that of one.
    optimizer
        A name of `OPTIMIZERS`, or the bytes held per byte of parameters as a whole number.
    recompute
        Whether stages recompute: none, those for which the plan is better so, or all.
    replicas
        The most devices of one kind that one stage may run on; 1 where chunks are interleaved.
    chunks
        Of each device, 2 or more where they are interleaved, otherwise 1.
    """

    name: Literal["gpipe", "1f1b", "interleaved"] = "1f1b"
    microbatches: int = 8
    optimizer: str = "adam"
    recompute: Recompute = "never"
    replicas: int = 1
    chunks: int = 1

    def __post_init__(self) -> None:
        if self.name not in ("gpipe", "1f1b", "interleaved"):
            raise InputError("schedule", "gpipe, 1f1b or interleaved", repr(self.name))
        if self.recompute not in ("never", "auto", "always"):
            raise InputError("recompute", "never, auto or always", repr(self.recompute))
        numbers = ("microbatches", "replicas", "chunks")
        for what, number in ((name, getattr(self, name)) for name in numbers):
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST:
                raise InputError(what, f"a whole number from 1 to {_MOST}", repr(number))
        if self.interleaved and not 2 <= self.chunks <= _MOST_CHUNKS:
            raise InputError(
                "chunks",
                f"2 to {_MOST_CHUNKS} per device where they are interleaved",
                str(self.chunks),
                "Give --chunks, or use the schedule 1f1b.",
            )
        if not self.interleaved and self.chunks > 1:
            raise InputError("chunks", f"1 with the schedule {self.name}", str(self.chunks))
        if self.interleaved and self.replicas > 1:
            raise InputError("replicas", "1 where chunks are interleaved", str(self.replicas))
        known = self.optimizer in OPTIMIZERS
        if not known and not (self.optimizer.isdecimal() and 1 <= int(self.optimizer) <= 64):
            raise InputError(
                "optimizer",
                f"one of {', '.join(OPTIMIZERS)}, or bytes held per byte of parameters from 1 to 64",
                repr(self.optimizer),
            )

    @property
    def interleaved(self) -> bool:
        """Whether each device holds several chunks of the pipeline."""
        return self.name == "interleaved"

    @property
    def state_factor(self) -> int:
        """Bytes held per byte of parameters."""
        return OPTIMIZERS.get(self.optimizer) or int(self.optimizer)

    @property
    def choices(self) -> tuple[bool, ...]:
        """Whether a stage may do without recomputation, and with it."""
        return {"never": (False,), "auto": (False, True), "always": (True,)}[self.recompute]

    def in_flight(self, replicas: int, devices: int) -> int:
        """Return the most microbatches whose activations one device of a stage keeps.

        `devices` counts those of the stage and of all behind it.
        """
        most = -(-self.microbatches // replicas)
        return most if self.name == "gpipe" else min(most, -(-devices // replicas))

    def bubble(self, stages: int) -> Fraction:
        """Return by what the time of a step exceeds m periods: (m + k - 1) / m, (m + (p - 1) / v) / m for chunks."""
        idle = Fraction(stages - 1)
        if self.interleaved:
            idle = Fraction(stages // self.chunks - 1, self.chunks)
        return (self.microbatches + idle) / self.microbatches

    def step(self, stages: int, longest: int) -> int:
        """Return the picoseconds of a step of m microbatches where all stages take as long as the longest.

        That is (m + k - 1) stages, or (m v + p - 1) chunks: m + (p - 1) / v periods where chunks are equal, and
        more where they are not.
        """
        return (self.microbatches * self.chunks + stages // self.chunks - 1) * longest

    def sync_rate(self, replicas: int, bandwidth: int | None) -> tuple[int, int]:
        """Return picoseconds per microbatch and parameter byte as numerator and denominator.

        Raises
        ------
        InputError
            If replicas have no bandwidth to add their gradients up with.
        """
        if replicas == 1:
            return 0, 1
        if bandwidth is None:
            raise InputError(
                "replicas",
                "a bandwidth of every kind of device, for the sum of gradients",
                "none",
                "Give the kind a 'link' or a 'bandwidth'.",
            )
        rate = Fraction(
            2 * (replicas - 1) * PS_PER_SECOND, replicas * bandwidth * self.microbatches
        )
        if max(rate.numerator, rate.denominator) > INT64_MAX:
            raise InputError("bandwidth", "one whose rate fits in 64 bits", str(bandwidth))
        return rate.numerator, rate.denominator

    def to_json(self) -> dict[str, Any]:
        """Return the schedule as a plan file states it."""
        return {
            "name": self.name,
            "microbatches": self.microbatches,
            "state_factor": self.state_factor,
            "recompute": self.recompute,
            "replicas": self.replicas,
            **({"chunks": self.chunks} if self.interleaved else {}),
        }
