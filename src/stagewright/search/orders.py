# SPDX-License-Identifier: Apache-2.0
"""Search over topological orders, each sliced optimally by the native core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _native
from ..effort import Effort
from ..graph import CostGraph
from ..problem import Problem

__all__ = [
    "Found",
    "OrderSearch",
    "model_order",
    "nearest",
    "one_stage",
    "priced",
    "random_order",
    "search_orders",
    "segment_costs",
    "slice_again",
    "slice_along",
]

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


def nearest(problem: Problem, stage_of: Sequence[int]) -> Found:
    """Return a plan close to the one that puts node v of the cost graph into stage ``stage_of[v]``.

    A class goes where its first node is, or further behind if what feeds it is there.
    """
    successors = problem.successors()
    wanted = [min(stage_of[v] for v in nodes) for nodes in problem.members]
    for v in problem.order.tolist():
        for u in successors[v]:
            wanted[u] = max(wanted[u], wanted[v])
    number = {b: i for i, b in enumerate(sorted(set(wanted)))}
    return priced(problem, [number[b] for b in wanted])


def priced(problem: Problem, blocks: Sequence[int]) -> Found:
    """Return a plan given by the block of each contracted node."""
    block = np.array(blocks, np.int32)
    return Found(max(_native.block_costs(problem.instance, block)), block)


def random_order(problem: Problem, seed: int) -> npt.NDArray[np.int32]:
    """Return a random topological order of the contracted nodes: Kahn's, any ready node next with equal chance."""
    return _native.random_order(problem.instance, "random", seed)


def model_order(problem: Problem, graph: CostGraph) -> npt.NDArray[np.int32]:
    """Return the order in which the model lists its nodes: topological, ties by the first node of a class.

    It is what one would cut by hand: what makes a tensor mostly stands near what needs it.  int32[num_nodes].
    """
    place = np.empty(graph.num_nodes, np.uint32)
    place[graph.topological_order] = np.arange(graph.num_nodes, dtype=np.uint32)
    keys = np.array([place[list(nodes)].min() for nodes in problem.members], np.uint32)
    return _native.priority_order(problem.instance, keys)


def slice_along(problem: Problem, order: Sequence[int] | npt.NDArray[np.int32]) -> Found:
    """Return the best plan among the slicings of a topological order of the contracted nodes."""
    found = np.asarray(order, np.int32)
    value, block, _ = _native.slice_order(problem.instance, found, problem.machine.stages, 0)
    return Found(value, block, 1)


def segment_costs(
    problem: Problem, order: Sequence[int] | npt.NDArray[np.int32], threshold: int
) -> int:
    """Return how few segments of an order cost at most `threshold` each, from one pass over the segments' costs.

    More than there are nodes where no number is enough.
    """
    return _native.slice_pass(problem.instance, np.asarray(order, np.int32), threshold)


def slice_again(
    problem: Problem, block: npt.NDArray[np.int32], below: int, lower: int = 0
) -> Found | None:
    """Return the best slicing of the order of a plan, which may have more blocks than there are stages.

    None where no slicing costs less than `below` picoseconds; one of at most `lower` is good enough.
    """
    order = problem.order[np.argsort(block[problem.order], kind="stable")]
    # What is known is mostly close; from far above, it is quicker to come from below.
    upper = below - 1 if below <= 2 * lower else None
    _, found, _ = _native.slice_order(
        problem.instance, order, problem.machine.stages, lower=lower, upper=upper
    )
    if not len(found):
        return None
    value = max(_native.block_costs(problem.instance, found))
    return Found(value, found) if value < below else None


def search_orders(
    problem: Problem,
    lower: int,
    start: Found | None = None,
    settings: OrderSearch | None = None,
    seconds: float = _NEVER,
    effort: Effort | None = None,
    order: npt.NDArray[np.int32] | None = None,
) -> Found:
    """Return the best plan found; at least as good as `start`.

    Stops at a bottleneck of `lower` picoseconds, at the end of the settings or of the time; `effort` wins
    over `seconds`.  `order`: a topological order to slice beside those that are drawn.
    """
    settings = settings or OrderSearch()
    value, block, evaluations, interrupted = _native.search_orders(
        problem.instance,
        problem.machine.stages,
        lower,
        None if start is None else start.block,
        order,
        restarts=settings.restarts,
        local_moves=settings.local_moves,
        seed=settings.seed,
        **(effort or Effort.within(seconds)).native(),
    )
    return Found(value, block, evaluations, interrupted)
