# SPDX-License-Identifier: Apache-2.0
"""Corridor search: the exact program over ideals, restricted to those near the plan's boundaries.

Where windows divide a few neighbouring blocks anew, a corridor divides all of them at once, each by a few
nodes around its boundaries.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import _native
from ..effort import Effort
from ..problem import Problem
from .orders import Found

__all__ = ["Corridor", "CorridorFound", "search_corridor"]

_NEVER = 1e9


@dataclass(frozen=True)
class Corridor:
    """How far to go.

    Attributes
    ----------
    first_width, last_width
        Ideals around each boundary, at first and at most; the width doubles when it no longer pays.
    patience
        Corridors of one width without success until it doubles.
    max_ideals
        Ideals of a whole corridor; one with more is given up.
    rounds
        Corridors to look at.
    seed
        Seed of the generator; equal seeds give equal results unless time runs out.
    """

    first_width: int = 32
    last_width: int = 2000
    patience: int = 3
    max_ideals: int = 30_000
    rounds: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("first_width", "last_width", "patience", "max_ideals"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.rounds < 0:
            raise ValueError(f"rounds: expected at least 0, got {self.rounds}")


@dataclass(frozen=True, eq=False)
class CorridorFound(Found):
    """What was found; `evaluations` counts the ideals listed.

    Attributes
    ----------
    width
        Width of the last corridor.
    exhaustive
        Whether the last corridor held every plan: then this one is optimal.
    """

    width: int = 0
    exhaustive: bool = False


def search_corridor(
    problem: Problem,
    lower: int,
    start: Found,
    settings: Corridor | None = None,
    seconds: float = _NEVER,
    effort: Effort | None = None,
) -> CorridorFound:
    """Return the best plan found from `start`, never a worse one.

    Stops at a bottleneck of `lower` picoseconds, at the end of the settings or of the time; `effort` wins
    over `seconds`.
    """
    settings = settings or Corridor()
    value, block, ideals, width, exhaustive, interrupted = _native.search_corridor(
        problem.instance,
        problem.machine.stages,
        lower,
        start.block,
        first_width=settings.first_width,
        last_width=settings.last_width,
        max_ideals=settings.max_ideals,
        patience=settings.patience,
        rounds=settings.rounds,
        seed=settings.seed,
        **(effort or Effort.within(seconds)).native(),
    )
    return CorridorFound(value, block, ideals, interrupted, width, exhaustive)
