# SPDX-License-Identifier: Apache-2.0
"""The lower bounds that need a solver, as models, weakest first.

In the manner of Archer, Fahrbach, Liu and Prabhu (ICML 2024): their exact MIP, and their
relaxations around the bottleneck block.  Notation: k stages, W all work, T the bottleneck of a plan, a
block S between the ideal I before it and the nodes A behind it, io(S) its communication, f(S) its cost with
overflow as in :mod:`.blocks`, out(I) and in(A) the cost of the tensors that leave I and that enter A,
each once.

All are stated for a :class:`~stagewright.problem.Problem`, so groups, uncuttable pairs and pins are
contracted, and are meant for the *reduced* one: reductions keep the optimum, so a lower bound of the
reduced problem's optimum is one of the original's.  k counts at most the nodes.

Let S be the block with the most work of any plan, and b its place.  Then

    (1) f(S) <= T,   work(S) >= W / k,
    (2) W - work(S) + out(I) + in(A) <= (k - 1) T,
    (3) work(I) <= (b - 1) work(S)   and   work(A) <= (k - b) work(S),
    (4) work(I) + out(I) <= (b - 1) T   and   work(A) + in(A) <= (k - b) T,

since S has at least the average work, no block has more, and of the at most b - 1 blocks before S (the at
most k - b behind) each costs at most T, holds its work, and each tensor that leaves I (enters A) is
paid by the block that makes it (by at least one that reads it).  The least T is

- ``bottleneck`` over all I, A subject to (1), that is the cheapest convex block with at least average work;
- ``superblock`` subject to (1) and (2): what is before and what is behind S are one superblock each, and
  where S stands is left open;
- ``guess`` subject to (1), (3) and (4) for a given b, and then the minimum over b = 1 .. k;
- ``mip`` the optimum itself, with a column per node and stage and O(1) rows per pin and stage.

So bottleneck <= superblock <= guess <= optimum: (4) with (1) adds up to (2).

Average communication needs no solver: :mod:`.average`.

The LP relaxations of the first three are weak.  Where memory does not bind, that of ``bottleneck`` is
exactly W / k: a 1/k share of the whole graph has average work and no cut.  How weak is printed by ``bound --integrality-gap``.
"""

from __future__ import annotations

from collections.abc import Callable

from ..problem import Problem
from .blocks import Pieces
from .model import Expression, Model

__all__ = [
    "FORMULATIONS",
    "bottleneck_model",
    "exact_model",
    "exact_model_and_ideals",
    "guess_models",
    "superblock_model",
]


def bottleneck_model(problem: Problem) -> list[Model]:
    """Return min f(S) over convex S with work(S) >= W / k."""
    pieces = Pieces(problem)
    before = pieces.ideal()
    block = pieces.block(before, pieces.ideal(inside=before))
    pieces.builder.at_least(block.work, pieces.average)
    pieces.bounds_bottleneck(block.cost)
    return [_built(pieces)]


def superblock_model(problem: Problem) -> list[Model]:
    """Return min T subject to (1) and (2) of the module's docstring."""
    pieces = Pieces(problem)
    before = pieces.ideal()
    upto = pieces.ideal(inside=before)
    block = pieces.block(before, upto)
    pieces.builder.at_least(block.work, pieces.average)
    pieces.bounds_bottleneck(block.cost)
    rest = Expression(constant=pieces.costs.total_work).minus(block.work)
    rest.add(pieces.crossing(before)).add(pieces.crossing(upto))
    pieces.bounds_bottleneck(rest, pieces.stages - 1)
    return [_built(pieces)]


def guess_models(problem: Problem) -> list[Model]:
    """Return min T subject to (1), (3) and (4) for each place b of the block with the most work."""
    stages = min(problem.machine.stages, problem.num_nodes)
    return [_guess(problem, place) for place in range(1, stages + 1)]


def _guess(problem: Problem, place: int) -> Model:
    pieces = Pieces(problem)
    before = pieces.nothing() if place == 1 else pieces.ideal()
    upto = pieces.whole() if place == pieces.stages else pieces.ideal(inside=before)
    block = pieces.block(before, upto)
    pieces.builder.at_least(block.work, pieces.average)
    pieces.bounds_bottleneck(block.cost)
    behind = Expression(constant=pieces.costs.total_work).minus(pieces.work_of(upto))
    for side, work, blocks in (
        (before, pieces.work_of(before), place - 1),
        (upto, behind, pieces.stages - place),
    ):
        if blocks:
            pieces.builder.at_least(Expression().add(block.work, blocks).minus(work))
            pieces.bounds_bottleneck(work.add(pieces.crossing(side)), blocks)
    return _built(pieces)


def exact_model(problem: Problem) -> list[Model]:
    """Return the whole problem: x[v, j] says that node v is in one of the blocks 0 .. j."""
    return [exact_model_and_ideals(problem)[0]]


def exact_model_and_ideals(problem: Problem) -> tuple[Model, list[list[Expression]]]:
    """Return the whole problem, and the membership of every node in blocks 0 .. j for each j."""
    pieces = Pieces(problem)
    ideals: list[list[Expression]] = []
    before = pieces.nothing()
    for j in range(pieces.stages):
        last = j == pieces.stages - 1
        upto = pieces.whole() if last else pieces.ideal(inside=before if j else None)
        pieces.bounds_bottleneck(pieces.block(before, upto).cost)
        ideals.append(upto)
        before = upto
    return _built(pieces), ideals


def _built(pieces: Pieces) -> Model:
    return pieces.builder.build(pieces.bottleneck, pieces.costs.unit)


FORMULATIONS: dict[str, Callable[[Problem], list[Model]]] = {
    "bottleneck": bottleneck_model,
    "superblock": superblock_model,
    "guess": guess_models,
    "mip": exact_model,
}
