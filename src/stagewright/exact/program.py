# SPDX-License-Identifier: Apache-2.0
"""The dynamic program over ideals as a proof: improve the incumbent until nothing is better.

Each question "is there a plan of bottleneck <= T?" is answered exhaustively by the native core.  The
first is asked just below the incumbent; most often the answer is no and the incumbent is optimal.
Otherwise the gap is halved until it is small, and then closed from the top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import _native
from ..problem import Problem
from ..search.orders import Found, OrderSearch, search_orders
from .must_link import contract_at

__all__ = ["ExactLimits", "Proof", "prove"]

_MANY = 5_000  # ideals from which on a question takes longer than a search
_CLOSE = 2_000  # a gap below one in so many is closed from the top


@dataclass(frozen=True)
class ExactLimits:
    """When listing the ideals is given up: their number, and the memory they take in bytes."""

    max_ideals: int = 1_000_000
    max_bytes: int = 2**31


@dataclass(frozen=True, eq=False)
class Proof:
    """What the program found.

    Attributes
    ----------
    best
        The incumbent, perhaps improved.
    lower
        No plan has a bottleneck below this many picoseconds (0 when nothing was shown).
    ideals, pairs
        Ideals listed and pairs of ideals looked at.
    complete
        Whether all ideals could be listed.
    """

    best: Found
    lower: int
    ideals: int
    pairs: int
    complete: bool
    interrupted: bool = False


def prove(
    problem: Problem,
    incumbent: Found,
    lower: int,
    limits: ExactLimits,
    seconds_left: Callable[[], float],
    seed: int = 0,
) -> Proof:
    """Improve `incumbent` until it is optimal or time is up; `lower` is any valid lower bound.

    `problem` is the reduced problem that `incumbent` is a plan of.
    """
    best, shown = incumbent, 0
    # Only plans better than the incumbent matter from here on, so what they keep together
    # is contracted; the class of each node translates their blocks back.
    small = contract_at(_with_own_members(problem), best.bottleneck - 1)
    if small.num_nodes == 1:
        # Every better plan would be one block: then it is that block or there is none.
        whole = int(_native.block_costs(small.instance, np.zeros(1, np.int32))[0])
        if whole < best.bottleneck:
            best = Found(whole, np.zeros(problem.num_nodes, np.int32))
        return Proof(best, best.bottleneck, 2, 1, complete=True)
    ideals = _native.IdealGraph(
        small.instance, limits.max_ideals, limits.max_bytes, seconds=seconds_left()
    )
    if ideals.complete and ideals.count > _MANY:
        # Every question is dear from here on; a better incumbent saves several.
        moves = OrderSearch(restarts=12, local_moves=ideals.count // 20, seed=seed)
        best = search_orders(problem, lower, best, moves, seconds_left() / 4)
    interrupted = best.interrupted
    from_top = True
    while ideals.complete and max(lower, shown) < best.bottleneck and not interrupted:
        low, high = max(lower, shown), best.bottleneck
        # Most often the incumbent is optimal, so ask just below it; halve when it was not.
        threshold = high - 1 if from_top else low + (high - low) // 2
        answer, block, interrupted = ideals.decide(
            problem.machine.stages, threshold, seconds=seconds_left()
        )
        if answer == "yes":
            full = np.array(small.expand(block.tolist(), problem.num_nodes), np.int32)
            best = Found(max(_native.block_costs(problem.instance, full)), full)
            from_top = False
        elif answer == "no":
            shown = threshold + 1
            from_top = best.bottleneck - shown < best.bottleneck // _CLOSE
        else:
            break
    return Proof(best, shown, ideals.count, ideals.pairs, ideals.complete, interrupted)


def _with_own_members(problem: Problem) -> Problem:
    """Let each node stand for itself, so that expand() leads back to `problem`."""
    from dataclasses import replace

    return replace(problem, members=tuple((v,) for v in range(problem.num_nodes)))
