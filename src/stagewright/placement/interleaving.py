# SPDX-License-Identifier: Apache-2.0
"""Devices that take turns with several chunks of a pipeline that trains, and the plain reference of what they hold.

A plan for p devices with v chunks each lists p v stages, none of them empty; the s-th is on device s mod p, where devices
stand in the order of the fleet, and takes its seat there, which says whether it recomputes.  A stage pays for tensors as
any stage does, also for those that another stage of its device makes or needs, for they pass along
the pipeline.  The period is the load of the busiest device: the sum of its stages; with overlap the longest of what they
compute, receive and send together.

A device holds the state of the parameters of all its stages.  Beside that it holds, while it runs one of them,
what its stages keep of the microbatches in flight (:mod:`.chunks`), for the running one its peak:

    state_factor * parameters + the most over all passes of ( sum of held * kept - kept of the running one + its peak )

`in_flight` of a stage is the most microbatches that are held of it at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .chunks import moments
from .devices import Fleet

if TYPE_CHECKING:
    from .workload import PlacedStage

__all__ = ["chunk_problems", "held_of", "owners"]


def owners(fleet: Fleet, stages: int) -> list[int]:
    """Return the device of each of so many stages."""
    return [stage % fleet.stages for stage in range(stages)]


def held_of(fleet: Fleet, costs: Sequence[PlacedStage]) -> list[int]:
    """Return the bytes that each device holds, by the costs of all stages.

    Raises
    ------
    ValueError
        If the fleet has no interleaved schedule.
    """
    schedule, p = fleet.schedule, fleet.stages
    if schedule is None or not schedule.interleaved:
        raise ValueError("expected an interleaved schedule")
    rows = []
    for rank in range(p):
        own = costs[rank::p]
        activations = max(
            sum(n * cost.kept_bytes for n, cost in zip(held, own, strict=True))
            + own[chunk].peak_bytes
            - own[chunk].kept_bytes
            for held, chunk in moments(rank, p, schedule.chunks, schedule.microbatches)
        )
        rows.append(activations + schedule.state_factor * sum(cost.param_bytes for cost in own))
    return rows


def chunk_problems(fleet: Fleet, seats: Sequence[int]) -> list[str]:
    """Return what is wrong with the seats that the stages of a plan take."""
    schedule = fleet.schedule
    chunks = 1 if schedule is None else schedule.chunks
    if len(seats) != fleet.stages * chunks:
        said = f"{fleet.stages} devices have {chunks} chunks each"
        return [f"{len(seats)} stages where {said}: {fleet.stages * chunks}"]
    return [
        f"stage {stage} is on another kind than device {device}, which is its own"
        for stage, (seat, device) in enumerate(zip(seats, owners(fleet, len(seats)), strict=True))
        if not 0 <= seat < len(fleet.seats) or fleet.seats[seat].kind != fleet.kind_of[device]
    ]
