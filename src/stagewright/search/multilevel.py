# SPDX-License-Identifier: Apache-2.0
"""Multilevel search: contract, solve the small graph, refine on the way back; near-linear in the graph.

It is the search for large graphs, whose blocks are too large for windows and whose orders are too many.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import _native
from ..effort import Effort
from ..problem import Problem
from .orders import Found

__all__ = ["Multilevel", "search_levels"]

_NEVER = 1e9


@dataclass(frozen=True)
class Multilevel:
    """How much to search.

    Attributes
    ----------
    cycles
        Times to contract and come back; every one starts from the best plan so far.
    windows
        Windows per cycle on the smallest graph (see :mod:`.windows`).
    moves_per_node
        Moves of the local search on each level, per node of that level.
    seed
        Seed of the generator; equal seeds give equal results unless time runs out.
    """

    cycles: int = 10
    windows: int = 2000
    moves_per_node: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("cycles", "windows", "moves_per_node"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")


def search_levels(
    problem: Problem,
    lower: int,
    start: Found | None = None,
    settings: Multilevel | None = None,
    seconds: float = _NEVER,
    effort: Effort | None = None,
) -> Found:
    """Return the best plan found; at least as good as `start`.

    Stops at a bottleneck of `lower` picoseconds, at the end of the settings or of the time; `effort` wins
    over `seconds`.
    """
    settings = settings or Multilevel()
    value, block, evaluations, interrupted = _native.search_levels(
        problem.instance,
        problem.machine.stages,
        lower,
        None if start is None else start.block,
        cycles=settings.cycles,
        windows=settings.windows,
        moves_per_node=settings.moves_per_node,
        seed=settings.seed,
        **(effort or Effort.within(seconds)).native(),
    )
    return Found(value, block, evaluations, interrupted)
