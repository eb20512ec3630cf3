# SPDX-License-Identifier: Apache-2.0
"""Search over topological orders, each sliced optimally by the native core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _native
from ..effort import Effort
from ..problem import Problem

__all__ = ["Found", "OrderSearch", "one_stage", "search_orders"]

_NEVER = 1e9


@dataclass(frozen=True)
class OrderSearch:
    """How much to search.

    Attributes
    ----------
    restarts
        Topological orders drawn from scratch: depth first, reversed depth first and random in turn.
    local_moves
        Segments of the best order that are drawn again.
    seed
        Seed of the generator; equal seeds give equal results unless time runs out.
    """

    restarts: int = 64
    local_moves: int = 2000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Found:
    """A plan of a problem: the block of each contracted node and its bottleneck in picoseconds.

    From a search the bottleneck is the relaxed one: overflow counts parameters and the largest working
    set.  `exact.pricing` puts the true one in its place.
    """

    bottleneck: int
    block: npt.NDArray[np.int32]
    evaluations: int = 0
    interrupted: bool = False


def one_stage(problem: Problem) -> Found:
    """Return the plan that needs no search: everything in one stage."""
    block = np.zeros(problem.num_nodes, np.int32)
    return Found(_native.block_costs(problem.instance, block)[0], block)


def search_orders(
    problem: Problem,
    lower: int,
    start: Found | None = None,
    settings: OrderSearch | None = None,
    seconds: float = _NEVER,
    effort: Effort | None = None,
) -> Found:
    """Return the best plan found; at least as good as `start`.

    Stops at a bottleneck of `lower` picoseconds, at the end of the settings or of the time; `effort` wins
    over `seconds`.
    """
    settings = settings or OrderSearch()
    value, block, evaluations, interrupted = _native.search_orders(
        problem.instance,
        problem.machine.stages,
        lower,
        None if start is None else start.block,
        restarts=settings.restarts,
        local_moves=settings.local_moves,
        seed=settings.seed,
        **(effort or Effort.within(seconds)).native(),
    )
    return Found(value, block, evaluations, interrupted)
