# SPDX-License-Identifier: Apache-2.0
"""Search by windows: a few consecutive blocks at a time are contracted at random and divided anew.

Each window is solved exactly, so one step moves many nodes at once, in all parallel branches.  It is
the search for wide graphs, where orders explore too little and ideals are too many to list.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import _native
from ..effort import Effort
from ..problem import Problem
from .orders import Found

__all__ = ["WindowSearch", "search_windows"]

_NEVER = 1e9


@dataclass(frozen=True)
class WindowSearch:
    """How much to search.

    Attributes
    ----------
    rounds
        Windows to look at; some thousand per second.
    seed
        Seed of the generator; equal seeds give equal results unless time runs out.
    """

    rounds: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds: expected at least 0, got {self.rounds}")


def search_windows(
    problem: Problem,
    lower: int,
    start: Found,
    settings: WindowSearch | None = None,
    seconds: float = _NEVER,
    effort: Effort | None = None,
) -> Found:
    """Return the best plan found from `start`, never a worse one.

    Stops at a bottleneck of `lower` picoseconds, at the end of the settings or of the time; `effort` wins
    over `seconds`.
    """
    settings = settings or WindowSearch()
    value, block, rounds, interrupted = _native.search_windows(
        problem.instance,
        problem.machine.stages,
        lower,
        start.block,
        rounds=settings.rounds,
        seed=settings.seed,
        **(effort or Effort.within(seconds)).native(),
    )
    return Found(value, block, rounds, interrupted)
