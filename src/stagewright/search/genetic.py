# SPDX-License-Identifier: Apache-2.0
"""The search of Archer et al. (ICML 2024): random orders, and a genetic search over node priorities.

Every topological order is Kahn's order under some priorities, and an order has an optimal slicing; so
a plan is sought in the space of priorities ("sort and slice").  The genetic search is BRKGA, the
biased random-key genetic algorithm of Goncalves and Resende (J. Heuristics 17, 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _native
from ..effort import Effort
from ..problem import Problem
from .orders import Found

__all__ = ["PRESETS", "Evolved", "Genetic", "RandomOrders", "search_genetic"]

_NEVER = 1e9


@dataclass(frozen=True)
class RandomOrders:
    """Independent random Kahn orders, each sliced optimally ("random-N").

    Attributes
    ----------
    count
        Orders to draw.
    seed
        Seed of the generator.
    """

    count: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count: expected at least 1, got {self.count}")


@dataclass(frozen=True)
class Genetic:
    """How BRKGA evolves; the fractions lie in the ranges that Goncalves and Resende recommend.

    Attributes
    ----------
    population
        Members per island.
    generations
        Generations, the first one drawn at random.
    elite
        Share of the members that survive unchanged (0.10 to 0.25 recommended).
    mutants
        Share of the members drawn afresh in each generation (0.10 to 0.30).
    bias
        Chance that a child takes a priority from its elite parent (0.5 to 0.8).
    islands
        Populations that evolve apart.
    migration
        Generations between exchanges of the islands.
    migrants
        Best members that each island then sends to the next one.
    guided
        Whether the depth-first, breadth-first, heaviest-path and work-balanced orders join the first
        generation.
    seed
        Equal seeds give equal results, at any number of threads, unless time runs out.
    """

    population: int = 100
    generations: int = 100
    elite: float = 0.2
    mutants: float = 0.1
    bias: float = 0.7
    islands: int = 1
    migration: int = 10
    migrants: int = 2
    guided: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("population", "generations", "islands", "migration"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("elite", "mutants", "bias"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        if self.population < 2 or self.num_elites + self.num_mutants > self.population:
            raise ValueError(
                f"population: {self.population} members cannot hold {self.num_elites} elites, "
                f"{self.num_mutants} mutants and someone else"
            )

    @property
    def num_elites(self) -> int:
        """Members that survive, at least one and not all."""
        return min(max(1, round(self.elite * self.population)), self.population - 1)

    @property
    def num_mutants(self) -> int:
        """Members drawn afresh in each generation."""
        return round(self.mutants * self.population)


#: Settings by name.  The first five are those of the paper; the published text gives population
#: and generations, the other parameters are :class:`Genetic`'s defaults.
PRESETS: dict[str, RandomOrders | Genetic] = {
    "random-100": RandomOrders(100),
    "random-1000": RandomOrders(1000),
    "random-10000": RandomOrders(10_000),
    "brkga-100": Genetic(population=10, generations=10),
    "brkga-10000": Genetic(population=100, generations=100),
    "islands-10000": Genetic(population=50, generations=50, islands=4, guided=True),
}


@dataclass(frozen=True, eq=False)
class Evolved(Found):
    """What was found; `evaluations` is population times generations, as the paper counts.

    Attributes
    ----------
    decoded
        Orders made and judged; a surviving elite is not made again.
    optima
        Of these, orders whose optimum had to be computed: one pass showed that the others
        cannot matter.
    """

    decoded: int = 0
    optima: int = 0


def search_genetic(
    problem: Problem,
    settings: RandomOrders | Genetic | str = "brkga-10000",
    lower: int = 0,
    start: Found | None = None,
    orders: Sequence[npt.NDArray[np.int32]] = (),
    threads: int = 1,
    seconds: float = _NEVER,
    effort: Effort | None = None,
) -> Evolved:
    """Return the best plan found; at least as good as `start`.

    Parameters
    ----------
    problem
        What to plan.
    settings
        How to search, or the name of a preset.
    lower
        A lower bound in picoseconds; reaching it ends the search.
    start
        A plan to improve on; its order joins the first generation.
    orders
        Topological orders that join the first generation of a genetic search; the result is at
        least as good as the optimum of each.
    threads
        Threads for the islands; the result does not depend on it.
    seconds
        Time limit.
    effort
        Wins over it; of work nothing is counted.
    """
    if isinstance(settings, str):
        if settings not in PRESETS:
            raise ValueError(f"settings: unknown preset {settings!r}; known: {', '.join(PRESETS)}")
        settings = PRESETS[settings]
    limits = (effort or Effort.within(seconds)).native()
    block = None if start is None else start.block
    stages = problem.machine.stages
    if isinstance(settings, RandomOrders):
        found = _native.random_orders(
            problem.instance, stages, lower, settings.count, settings.seed, **limits
        )
        if start is not None and start.bottleneck <= found[0]:
            found = (start.bottleneck, start.block, *found[2:])
    else:
        found = _native.evolve(
            problem.instance,
            stages,
            lower,
            block,
            list(orders),
            population=settings.population,
            generations=settings.generations,
            elites=settings.num_elites,
            mutants=settings.num_mutants,
            bias=settings.bias,
            islands=settings.islands,
            migration=settings.migration,
            migrants=settings.migrants,
            guided=settings.guided,
            seed=settings.seed,
            threads=threads,
            **limits,
        )
    value, best, evaluations, decoded, optima, interrupted = found
    return Evolved(value, best, evaluations, interrupted, decoded, optima)
