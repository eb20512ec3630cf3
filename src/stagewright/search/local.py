# SPDX-License-Identifier: Apache-2.0
"""Partition local search: nodes move between stages while the quotient graph stays acyclic.

Single nodes, swaps, nodes with what must follow them, and chains along the pipeline.  Judging a move takes
time proportional to the node's degree, at any size of graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .. import _native
from ..effort import Effort
from ..problem import Problem
from .orders import Found

__all__ = ["LocalSearch", "search_locally"]

_NEVER = 1e9


@dataclass(frozen=True)
class LocalSearch:
    """How much to search.

    Attributes
    ----------
    moves
        Moves to judge; a few million per second.
    objective
        "smoothed": the sum of powers of the block costs, where worse moves pass at random, ever fewer
        as a round of some thousand moves goes on.  "lexicographic": the block costs in decreasing order, which
        no move may make worse.
    heat
        How much worse a move may be at the start of the hottest rounds, others start at a half, a fourth ...;
        1 is what one node of average work adds.
    seed
        Seed of the generator; equal seeds give equal results unless time runs out.
    """

    moves: int = 1_000_000
    objective: Literal["smoothed", "lexicographic"] = "smoothed"
    heat: float = 32.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.moves < 0:
            raise ValueError(f"moves: expected at least 0, got {self.moves}")
        if self.objective not in ("smoothed", "lexicographic"):
            raise ValueError(
                f"objective: expected 'smoothed' or 'lexicographic', got {self.objective!r}"
            )
        if not 0 <= self.heat < float("inf"):
            raise ValueError(f"heat: expected a finite number from 0, got {self.heat}")


def search_locally(
    problem: Problem,
    lower: int,
    start: Found,
    settings: LocalSearch | None = None,
    seconds: float = _NEVER,
    effort: Effort | None = None,
) -> Found:
    """Return the best plan found from `start`, never a worse one.

    Stops at a bottleneck of `lower` picoseconds, at the end of the settings or of the time; `effort` wins
    over `seconds`.
    """
    settings = settings or LocalSearch()
    value, block, moves, interrupted = _native.search_locally(
        problem.instance,
        problem.machine.stages,
        lower,
        start.block,
        moves=settings.moves,
        lexicographic=settings.objective == "lexicographic",
        heat=settings.heat,
        seed=settings.seed,
        **(effort or Effort.within(seconds)).native(),
    )
    return Found(value, block, moves, interrupted)
